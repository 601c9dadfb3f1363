"""A tiny live call to a provider: does it answer, and does it take the key?

It goes through the data plane's own transport, so the addresses it dials are judged as those of requests are. What it
reports is in our words: an upstream's message may repeat the key or the URL it was called with.
"""

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus

from django.conf import settings

from gateway.egress import Allowance
from gateway.models import Provider
from gateway.providers.base import FailureKind, Target, UpstreamRequest
from gateway.providers.registry import FAMILIES
from gateway.services import open_api_key
from gateway.transport import Transport, TransportError, encode_head, parse_base_url
from nexus.encryption import SecretUnreadable

LIMIT_SECONDS = 10
_MOST_BYTES = 4 * 1024 * 1024  # OpenRouter's list of models is about half a megabyte


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of the call. `latency_ms` is until the response's headers; `error` is a sentence, or None."""

    ok: bool
    latency_ms: int | None
    status: int | None
    error: str | None
    models: tuple[str, ...] = ()  # the upstream names that it told


async def probe(provider: Provider) -> Probed:
    """List the provider's models, which costs nothing and needs the key. Takes at most LIMIT_SECONDS."""
    try:
        api_key = open_api_key(provider)
    except SecretUnreadable:
        return Probed(False, None, None, "The stored API key cannot be read: enter it again.")
    transport = Transport(allowance=Allowance.parse(settings.NEXUS_ALLOW_PRIVATE_PROVIDERS))
    try:
        return await _list_models(transport, provider, api_key)
    except TransportError as error:
        return Probed(False, None, None, str(error))  # constant words, made to be shown
    finally:
        await transport.close()


async def _list_models(transport: Transport, provider: Provider, api_key: str) -> Probed:
    origin, base_path = parse_base_url(provider.base_url)
    adapter = FAMILIES[provider.family]
    target = Target(base_path, api_key, "", provider.options)
    request = adapter.models_request(target)
    headers = request.headers
    if adapter.models_host is not None:
        origin = origin._replace(host=adapter.models_host(origin.host))
    if adapter.sign is not None:
        unsigned = UpstreamRequest(request.path, request.headers, b"")
        headers = adapter.sign(unsigned, target, host=origin.host_header, now=time.time(), method=b"GET").headers
    head = encode_head(b"GET", request.path, origin, headers, 0)
    loop = asyncio.get_running_loop()
    started = loop.time()
    response = await transport.send(origin, head, b"", first_byte_by=started + LIMIT_SECONDS)
    try:
        latency_ms = round((loop.time() - started) * 1000)
        status = response.status
        body = b""
        if status in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST):
            body = await response.read(limit=_MOST_BYTES, by=started + LIMIT_SECONDS)
    finally:
        response.close()
    if status != HTTPStatus.OK:
        # Google answers a bad key with 400, and only the body tells it from a bad request.
        refused = status in (401, 403) or (
            status == HTTPStatus.BAD_REQUEST and adapter.parse_error(status, (), body).kind is FailureKind.AUTH
        )
        return Probed(False, latency_ms, status, _complaint(status, refused=refused))
    try:
        models = tuple(adapter.parse_models(body))
    except ValueError:
        return Probed(False, latency_ms, status, "The answer is not this family's list of models. Is the family right?")
    return Probed(True, latency_ms, status, None, models)


def _complaint(status: int, *, refused: bool) -> str:
    if refused:
        return f"The provider refused the API key ({status})."
    if status == HTTPStatus.NOT_FOUND:
        return "The provider has no list of models at this base URL (404). Does the URL lack a version, as in /v1?"
    if 300 <= status < 400:
        return f"The provider answered with a redirect ({status}), which is not followed. Give the final URL."
    return f"The provider answered {status}."
