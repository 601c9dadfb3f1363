"""What a key may still do: its monthly quota, requests and tokens a minute, requests at once.

A request takes a unit of each before its body is read, and its tokens once that is known. What goes to a provider
counts; everything else is given back when the request is over: refused bodies, unknown models, and what another limit
refused. Where this process has the units in hand there is no I/O and nothing to await.
"""

import time
from datetime import UTC, datetime
from math import ceil, inf

from gateway.ledger import CountersUnknown, Ledger, Short
from gateway.schema import ModelRequest
from gateway.share import NEVER, Block, Kind, Share
from gateway.snapshot import Caller, KeyLimits
from gateway.token_estimate import tokens_reserved
from nexus.errors import NexusError

_UNAVAILABLE_RETRY_SECONDS = 1
_RESETS = [b"%ds" % second for second in range(60)] + [b"1m0s"]  # as OpenAI writes them


def minute_of(now: float) -> tuple[str, float]:
    """Return the name and the end of a moment's minute."""
    minute = int(now // 60)
    return str(minute), (minute + 1) * 60.0


def month_of(now: float) -> tuple[str, float]:
    """Return a moment's month as YYYY-MM (UTC), and its end."""
    moment = datetime.fromtimestamp(now, UTC)
    following = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
    return f"{moment:%Y-%m}", following.timestamp()


def _always(_: float) -> tuple[str, float]:
    return "now", inf


QUOTA = Kind(  # requests a month
    "quota", month_of, lease_seconds=300.0, busy_seconds=60.0, least=16, durable=True, believed_seconds=0.5
)
RPM = Kind("rpm", minute_of)  # requests a minute
TPM = Kind("tpm", minute_of)  # tokens a minute
SLOTS = Kind("slots", _always, lease_seconds=10.0, believed_seconds=0.05)  # requests at once

Headers = list[tuple[bytes, bytes]]


class QuotaExceeded(NexusError):
    code = "QUOTA_EXCEEDED"
    status = 429


class RateLimited(NexusError):
    code = "RATE_LIMITED"
    status = 429


class CountersUnavailable(NexusError):
    code = "COUNTERS_UNAVAILABLE"
    status = 503


class KeyShares:
    """This process's shares of one key's counts, and the headers that tell of them."""

    __slots__ = ("_rpm_limit", "_tpm_limit", "before_body", "limits", "quota", "rpm", "slots", "tpm")

    def __init__(self, limits: KeyLimits, key_id: str, ledger: Ledger) -> None:
        def share(kind: Kind, limit: int | None) -> Share | None:
            return None if limit is None else ledger.share(key_id, kind, limit)

        self.limits = limits
        self.quota = share(QUOTA, limits.monthly_requests)
        self.rpm = share(RPM, limits.rpm)
        self.slots = share(SLOTS, limits.max_concurrent)
        self.tpm = share(TPM, limits.tpm)
        self.before_body = tuple(each for each in (self.quota, self.rpm, self.slots) if each is not None)
        self._rpm_limit = b"x-ratelimit-limit-requests: %d\r\n" % (limits.rpm or 0)
        self._tpm_limit = b"x-ratelimit-limit-tokens: %d\r\n" % (limits.tpm or 0)

    def head(self) -> bytes:
        """Return the headers that tell what is left: what nobody has claimed, and what this process holds itself."""
        head, now = b"", time.time()
        reset = _RESETS[60 - int(now % 60)]
        if self.quota is not None:
            head = b"x-nexus-quota-remaining: %d\r\n" % _remaining(self.quota, now)
        if self.rpm is not None:
            head += b"%bx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n" % (
                self._rpm_limit, _remaining(self.rpm, now), reset,
            )  # fmt: skip
        if self.tpm is not None:
            head += b"%bx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %b\r\n" % (
                self._tpm_limit, _remaining(self.tpm, now), reset,
            )  # fmt: skip
        return head

    def refusal(self, share: Share, needed: int = 1) -> NexusError:
        """Return the error that says which limit is reached, and when to come again."""
        now, limit, kind = time.time(), share.limit, share.kind
        ends = kind.window_of(now)[1]
        if kind is QUOTA:
            return QuotaExceeded(
                f"This key's quota of {limit} requests a month is used up. "
                f"It begins anew on {datetime.fromtimestamp(ends, UTC):%Y-%m-%d} (UTC).",
                headers={"retry-after": str(ceil(ends - now)), "x-should-retry": "false"},
                limit="monthly_request_quota",
                value=limit,
            )
        if kind is SLOTS:
            return RateLimited(
                f"This key may have {limit} requests running at once (max_concurrent).",
                headers={"retry-after": "1"},
                limit="max_concurrent",
                value=limit,
            )
        headers = {"retry-after": str(max(1, ceil(ends - now)))}
        if needed > limit:
            headers["x-should-retry"] = "false"
            message = (
                f"This request may take {needed} tokens, more than this key may use in a minute (tpm: {limit}). "
                "Send less, or a lower max_tokens."
            )
        else:
            what = "requests" if kind is RPM else "tokens"
            message = f"This key may use {limit} {what} a minute ({kind.name}). The next one begins soon."
        return RateLimited(message, headers=headers, limit=kind.name, value=limit)


class Hold:
    """What one request has taken. `close` it once, when the request is over."""

    __slots__ = ("_blocks", "_ledger", "_reserved", "_token_block", "key")

    def __init__(self, ledger: Ledger, key: KeyShares, blocks: list[Block]) -> None:
        self.key = key
        self._ledger = ledger
        self._blocks = blocks  # in the order of the key's shares
        self._token_block: Block | None = None
        self._reserved = 0

    @property
    def quota_month(self) -> str:
        """The month whose quota a unit was taken of; empty for a key without one."""
        return self._blocks[0].window if self.key.quota is not None else ""

    def try_reserve(self, request: ModelRequest) -> bool:
        """Take the tokens that the request may need, if they are in hand or the key has no limit of tokens."""
        share = self.key.tpm
        if share is None:
            return True
        units, block = _tokens_of(request, share.limit), share.block
        if share.waiters or not share.has(units, time.time()):
            return False
        block.spare -= units
        self._token_block, self._reserved = block, units
        if block.spare < block.low:
            self._ledger.ask_ahead(share)
        return True

    async def reserve(self, request: ModelRequest) -> None:
        """Take the tokens that the request may need. Raises RateLimited, CountersUnavailable."""
        share = self.key.tpm
        assert share is not None
        units = _tokens_of(request, share.limit)
        if units > share.limit:
            raise self.key.refusal(share, units)
        self._token_block = await _take(self._ledger, self.key, share, units)
        self._reserved = units

    def close(self, *, counted: bool, tokens: int) -> None:
        """Settle: what went to a provider counts, with the tokens it really took; all else is given back."""
        key, ledger = self.key, self._ledger
        for share, block in zip(key.before_body, self._blocks, strict=False):
            if not counted or share is key.slots:
                ledger.put_back(share, block, 1)
        if self._token_block is None or key.tpm is None:
            return
        unused = self._reserved - (tokens if counted else 0)
        if unused > 0:
            ledger.put_back(key.tpm, self._token_block, unused)
        elif unused < 0:
            ledger.charge(key.tpm, -unused)


class Admission:
    """Lets requests in, within the limits of their keys."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keys: dict[str, KeyShares] = {}
        self._month, self._month_asked, self._month_ends = "", NEVER, NEVER

    @property
    def month(self) -> str:
        """The month that counts now, as YYYY-MM."""
        now = time.time()
        if not self._month_asked <= now < self._month_ends:  # earlier: the clock was set back
            self._month, self._month_ends = month_of(now)
            self._month_asked = now
        return self._month

    def shares_of(self, caller: Caller, limits: KeyLimits) -> KeyShares:
        """Return what this process holds of a key's limits, as they are now."""
        key = self._keys.get(caller.key_id)
        if key is None or key.limits is not limits:
            key = self._keys[caller.key_id] = KeyShares(limits, caller.key_id, self._ledger)
        return key

    def try_admit(self, key: KeyShares) -> Hold | None:
        """Take what a request needs before its body is read, if all of it is in hand. No I/O."""
        now = time.time()
        shares = key.before_body
        for share in shares:
            block = share.block
            if block.spare <= 0 or now >= block.ends or share.waiters:
                return None
        blocks = []
        for share in shares:
            block = share.block
            block.spare -= 1
            blocks.append(block)
            if block.spare < block.low:
                self._ledger.ask_ahead(share)
        return Hold(self._ledger, key, blocks)

    async def admit(self, key: KeyShares) -> Hold:
        """Take what a request needs before its body is read. Raises QuotaExceeded, RateLimited, CountersUnavailable."""
        blocks: list[Block] = []
        try:
            for share in key.before_body:
                blocks.append(await _take(self._ledger, key, share, 1))
        except BaseException:
            Hold(self._ledger, key, blocks).close(counted=False, tokens=0)
            raise
        return Hold(self._ledger, key, blocks)


async def _take(ledger: Ledger, key: KeyShares, share: Share, units: int) -> Block:
    try:
        return await ledger.take(share, units)
    except Short:
        raise key.refusal(share, units) from None
    except CountersUnknown:
        raise CountersUnavailable(
            "What is left of this key's limits cannot be told now, so nothing is let through. Try again.",
            headers={"retry-after": str(_UNAVAILABLE_RETRY_SECONDS)},
        ) from None


def _tokens_of(request: ModelRequest, limit: int) -> int:
    return tokens_reserved(request.input_tokens_estimate, request.most_output_tokens, limit)


def _remaining(share: Share, now: float) -> int:
    block = share.block
    return max(0, block.room + block.spare) if now < block.window_ends else share.limit
