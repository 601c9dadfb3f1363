-- The circuit breaker for all processes: gateway/circuit.py, atomic and on one clock.
--
-- KEYS  1 the circuit's hash, 2 the set of circuits that are not plainly closed, 3 the sorted set of those that closed
--       lately, by the time of it in ms: a process that has just started learns their generations from it
-- ARGV  1 verb (acquire, report, reset or trip), 2 the provider's id, 3 now in ms or '' for the server's clock,
--       then per verb: acquire: token, lease_ms, open_ms        report: result, generation, token, reason
-- Answers {admitted, is_probe, wait_ms, from, reason, <the fields of the state>}; `from` is '' without a transition.
-- Every change is published on nexus:circuits, so that the mirrors of all processes follow.
local THRESHOLD, SUCCESSES = 5, 2
-- A plainly closed circuit is forgotten after a day: far later than any request lives that was admitted before.
local FORGOTTEN_AFTER_MS = 24 * 60 * 60 * 1000
local FIELDS = {'status', 'consecutive_failures', 'probe_successes', 'generation', 'opened_at_ms', 'probe_token',
                'probe_expires_at_ms', 'succeeded_token', 'last_from', 'last_at_ms', 'last_reason'}
local key, active, recent, verb, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = ARGV[3] ~= '' and tonumber(ARGV[3]) or time[1] * 1000 + math.floor(time[2] / 1000)
local raw = redis.call('HMGET', key, unpack(FIELDS))
local s = {}
for i, name in ipairs(FIELDS) do s[name] = raw[i] or '' end
if s.status == '' then s.status = 'closed' end
for _, name in ipairs({'consecutive_failures', 'probe_successes', 'generation', 'opened_at_ms', 'probe_expires_at_ms',
                       'last_at_ms'}) do s[name] = tonumber(s[name]) or 0 end
local from, reason, changed, admitted, is_probe, wait = '', '', false, 0, 0, 0

local function move(to, why)
  from, reason, changed = s.status, why, true
  if to ~= 'open' then s.consecutive_failures = 0 end
  s.status, s.probe_successes, s.probe_token, s.probe_expires_at_ms, s.succeeded_token = to, 0, '', 0, ''
  s.generation, s.opened_at_ms = math.max(s.generation + 1, now), to == 'open' and now or 0
  s.last_from, s.last_at_ms, s.last_reason = from, now, why
end

if verb == 'acquire' then
  local token, lease, open_ms = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  -- The clock was set back: what was to be waited for begins anew, or it would last as long as the clock was set back.
  if s.status == 'open' and s.opened_at_ms > now then s.opened_at_ms, changed = now, true end
  if s.status == 'half_open' and s.probe_token ~= '' and s.probe_expires_at_ms > now + lease then
    s.probe_expires_at_ms, changed = now + lease, true
  end
  if s.status == 'closed' then
    admitted = 1
  elseif s.status == 'open' and s.opened_at_ms + open_ms - now > 0 then
    wait = s.opened_at_ms + open_ms - now
  elseif s.status == 'half_open' and s.probe_token ~= '' and now < s.probe_expires_at_ms then
    wait = s.probe_expires_at_ms - now
  else
    if s.status == 'open' then move('half_open', 'the open time is over') end
    s.probe_token, s.probe_expires_at_ms, admitted, is_probe, changed = token, now + lease, 1, 1, true
  end
elseif verb == 'report' then
  local result, generation, token, why = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
  if raw[4] == false then s.generation = generation end -- a Redis that has forgotten takes up where the processes are
  if generation == s.generation and s.status == 'closed' then
    if result == 'success' and s.consecutive_failures > 0 then
      s.consecutive_failures, changed = 0, true
    elseif result == 'failure' then
      s.consecutive_failures, changed = s.consecutive_failures + 1, true
      if s.consecutive_failures >= THRESHOLD then
        move('open', s.consecutive_failures .. ' consecutive failures, the last: ' .. why)
      end
    end
  elseif generation == s.generation and s.status == 'half_open' and token ~= '' and token == s.probe_token then
    s.probe_token, s.probe_expires_at_ms, changed = '', 0, true
    if result == 'failure' then
      move('open', 'the probe failed: ' .. why)
    elseif result == 'success' then
      s.probe_successes = s.probe_successes + 1
      s.succeeded_token = token
      if s.probe_successes >= SUCCESSES then move('closed', s.probe_successes .. ' probes succeeded') end
    end
  elseif generation == s.generation and s.status == 'half_open' and token ~= '' and token == s.succeeded_token
    and result == 'failure' then
    move('open', "the probe's stream broke: " .. why)
  end
elseif verb == 'reset' then
  move('closed', ARGV[4])
  if from == 'closed' then from, reason = '', '' end -- a new generation, but no transition to tell
elseif verb == 'trip' then
  move('open', ARGV[4])
  if from == 'open' then from, reason = '', '' end -- its time begins anew, but there is no transition to tell
end

if changed then
  local flat = {}
  for _, name in ipairs(FIELDS) do
    flat[#flat + 1] = name
    flat[#flat + 1] = type(s[name]) == 'number' and string.format('%d', s[name]) or s[name]
  end
  redis.call('HSET', key, unpack(flat))
  if s.status == 'closed' and s.consecutive_failures == 0 then
    redis.call('SREM', active, id)
    redis.call('PEXPIRE', key, FORGOTTEN_AFTER_MS)
    redis.call('ZADD', recent, now, id)
  else
    redis.call('SADD', active, id)
    redis.call('PERSIST', key)
    redis.call('ZREM', recent, id)
  end
  redis.call('ZREMRANGEBYSCORE', recent, '-inf', now - FORGOTTEN_AFTER_MS)
end
local answer = {admitted, is_probe, wait, from, reason}
for _, name in ipairs(FIELDS) do
  local value = s[name]
  answer[#answer + 1] = type(value) == 'number' and string.format('%d', value) or value
end
if changed then redis.call('PUBLISH', 'nexus:circuits', cjson.encode({id, unpack(answer, 6)})) end
return answer
