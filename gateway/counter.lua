-- One shared count: gateway/counter.py, atomic and on one clock.
--
-- KEYS  1 the count's hash: a field 'seq:taken:spare:until' for each process that has a claim
-- ARGV  process, seq, taken, spare, limit, head, queued, want, lease_ms (0: a claim lasts as long as the count),
--       keep_ms, name, tell ('changed': tell all processes that there is more; or '')
-- Answers {granted, room, elsewhere}. Where there is no room for `head`, all processes are told to give back what they do
-- not use; both are published on nexus:limits as '<what> <name>'.
local key, me, seq = KEYS[1], ARGV[1], tonumber(ARGV[2])
local taken, spare, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local head, queued, want = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local lease, keep, name, tell = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11], ARGV[12]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local total, claims, elsewhere = taken, 1, 0
local raw = redis.call('HGETALL', key)
for i = 1, #raw, 2 do
  local its_seq, its_taken, its_spare, its_until = string.match(raw[i + 1], '(%d+):(%d+):(%d+):(%d+)')
  if raw[i] == me then
    if tonumber(its_seq) >= seq then return {0, 0, 0} end
  elseif lease > 0 and tonumber(its_until) <= now then
    redis.call('HDEL', key, raw[i])
  else
    total, claims, elsewhere = total + tonumber(its_taken), claims + 1, elsewhere + tonumber(its_spare)
  end
end

local room, granted = limit - total, 0
if room >= math.max(1, head) then
  granted = math.min(room, math.max(queued, math.min(want, math.floor(room / (2 * claims)))))
  room = room - granted
end
local until_ms = lease > 0 and now + lease or 0
redis.call('HSET', key, me, string.format('%d:%d:%d:%d', seq, taken + granted, spare + granted, until_ms))
redis.call('PEXPIRE', key, keep)
if granted < head then tell = 'recall' end
if tell ~= '' then redis.call('PUBLISH', 'nexus:limits', tell .. ' ' .. name) end
return {granted, math.max(0, room), elsewhere}
