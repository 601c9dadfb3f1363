"""The data plane's one pipeline, whatever the door: authenticate, limit, parse, route, answer, record.

`complete` is transport-neutral. A door (gateway/door.py, gateway/streaming.py) makes a `Call` of a request and sends
the `Reply`; it must read a reply's stream to its end or close it, since that is what writes the record.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from gateway.dialects.messages_request import chat_payload
from gateway.idempotency import Claim, Idempotency
from gateway.limits import Admission, QuotaExceeded
from gateway.outcome import CLIENT_GONE, Outcome
from gateway.providers.base import Unsupported
from gateway.relay import Relay, Reply, error_reply, json_reply, routes_of
from gateway.request_head import RequestHead
from gateway.schema import SCOPES, Endpoint, ModelRequest, parse
from gateway.snapshot import Caller, Snapshot, SnapshotKeeper
from gateway.spool import Spool
from nexus.errors import InvalidApiKey, NexusError, ScopeRequired, ServiceStopping

logger = logging.getLogger(__name__)
_BEARER = b"Bearer "


class InternalError(NexusError):
    """A fault of our own."""


class ServiceStarting(NexusError):
    code = "SERVICE_STARTING"
    status = 503


@dataclass(slots=True)
class Call:
    """One request as a door hands it over: its body, or how to read it once the caller is known."""

    endpoint: Endpoint
    head: RequestHead
    body: bytes | Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class Pipeline:
    """What the pipeline works with: the snapshot, the relay, the spool and the limits of this process."""

    snapshots: SnapshotKeeper
    relay: Relay
    spool: Spool
    admission: Admission
    idempotency: Idempotency

    async def complete(self, call: Call) -> Reply:
        """Answer one call. Every way out writes one record; a cancelled call is recorded as the client's leaving.

        Only the answer to an earlier call, given again for its idempotency key, is no call of its own.
        """
        outcome = Outcome(call.endpoint._value_, self.spool, self.admission.month)
        claim: Claim | None = None
        try:
            caller = outcome.caller = authenticate(self.snapshots.current, call.head.authorization)
            require_scope(caller, SCOPES[call.endpoint])
            if caller.limits is not None:
                shares = outcome.shares = self.admission.shares_of(caller, caller.limits)
                try:
                    outcome.admitted(self.admission.try_admit(shares) or await self.admission.admit(shares))
                except QuotaExceeded as spent:
                    return await self._answered_before(call, caller, outcome, spent)
            if call.head.fault is not None:
                raise call.head.fault
            body = call.body if isinstance(call.body, bytes) else await call.body()
            request = outcome.request = parse(call.endpoint, body, call.head.vendor)
            if call.endpoint is Endpoint.COUNT_TOKENS:
                return _counted(caller, request, outcome)
            if call.head.idempotency_key is not None:
                claimed = await self.idempotency.claim(call.head.idempotency_key, caller, request, outcome)
                if isinstance(claimed, Reply):
                    return claimed
                claim = claimed
            hold = outcome.hold
            if hold is not None and not hold.try_reserve(request):
                await hold.reserve(request)
            reply = await self.relay.answer(caller, request, outcome)
        except NexusError as error:
            outcome.close(error.status, error=error, retryable=_retryable(error.status))
            reply = error_reply(error, outcome)
        except asyncio.CancelledError:
            if not self.relay.stopping:
                outcome.close(CLIENT_GONE, error_class="client_gone", retryable=False)
                if claim is not None:
                    claim.release_soon()
                raise
            reply = _stopped(outcome)
        except Exception:
            # A fault of our own is answered, recorded and logged under the request's id; the process goes on.
            tenant_id = outcome.caller and outcome.caller.tenant_id
            logger.exception("A request failed.", extra={"request_id": outcome.id, "tenant_id": tenant_id})
            fault = InternalError("NEXUS failed on this request. Its log tells more under the request id.")
            outcome.close(fault.status, error=fault, retryable=True)
            reply = error_reply(fault, outcome)
        return reply if claim is None else await claim.settle(reply)

    async def _answered_before(self, call: Call, caller: Caller, outcome: Outcome, spent: QuotaExceeded) -> Reply:
        """Return what was answered to the call's idempotency key: a quota that is used up refuses nothing paid for."""
        if call.head.idempotency_key is None or call.head.fault is not None:
            raise spent
        body = call.body if isinstance(call.body, bytes) else await call.body()
        request = outcome.request = parse(call.endpoint, body, call.head.vendor)
        reply = await self.idempotency.find(call.head.idempotency_key, caller, request, outcome)
        if reply is None:
            raise spent
        return reply


def _counted(caller: Caller, request: ModelRequest, outcome: Outcome) -> Reply:
    """Answer about how many tokens a request has, without asking anybody. Raises ModelNotFound, InvalidRequest."""
    routes_of(caller, request.model)
    with suppress(Unsupported):  # it may be for a provider that understands more than chat
        chat_payload(request.payload)
    return json_reply(200, {"input_tokens": request.input_tokens_estimate}, outcome, {})


def _stopped(outcome: Outcome) -> Reply:
    """Answer a request that was cancelled because the process must stop."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    error = ServiceStopping()
    outcome.close(error.status, error=error, retryable=True)
    return error_reply(error, outcome)


def authenticate(snapshot: Snapshot, authorization: bytes) -> Caller:
    """Return who calls, from memory. Raises InvalidApiKey; ServiceStarting while no configuration was ever read."""
    if snapshot.revision < 0:
        raise ServiceStarting(
            "The gateway has not read its configuration yet. Try again.", headers={"retry-after": "1"}
        )
    if not authorization.startswith(_BEARER) and authorization[:7].lower() != _BEARER.lower():
        raise InvalidApiKey
    caller = snapshot.caller(sha256(authorization[7:].strip()).digest())
    if caller is None:
        raise InvalidApiKey
    return caller


def require_scope(caller: Caller, scope: str) -> None:
    """Raise ScopeRequired unless the caller holds the scope."""
    if scope not in caller.scopes:
        raise ScopeRequired(scope)


def _retryable(status: int) -> bool:
    return status in (408, 429) or status >= 500
