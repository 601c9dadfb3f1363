"""Streams: unbuffered, byte-exact under random chunking, and true to the upstream's own bytes."""

import hashlib
import re
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import EVERY_DOOR, Client
from tests.upstream import Upstream

pytestmark = EVERY_DOOR
BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "content": 'Grüße, 世界 🌍 and "quotes"\n' * 5}],
}


def read(base_url: str, headers: dict[str, str], **extra: str) -> bytes:
    with httpx.stream("POST", f"{base_url}/chat/completions", json=BODY, headers={**headers, **extra}) as answer:
        assert answer.status_code == 200
        return b"".join(answer.iter_raw())


def without_ids(stream: bytes) -> list[bytes]:
    return re.sub(rb'"(id|created)":\s*("[^"]*"|\d+)', rb"", stream).split(b"\n")


@pytest.mark.parametrize("fault", ["", "split", "crlf", "comments", "giant", "unknown_event", "split+crlf+comments"])
def test_the_clients_bytes_are_the_upstreams_bytes(
    base_url: str, routed: Client, upstream: Upstream, fault: str
) -> None:
    faults = [fault] * 2 if fault else []
    upstream.script(*faults)
    direct = read(upstream.base_url, {"authorization": "Bearer sk-upstream-secret"})
    relayed = read(f"{base_url}/v1", routed.headers)
    assert (
        hashlib.sha256(b"".join(without_ids(relayed))).digest()
        == hashlib.sha256(b"".join(without_ids(direct))).digest()
    )
    assert relayed.rstrip().endswith(b"data: [DONE]")


def test_every_event_arrives_when_it_is_sent(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("drip=40")
    arrivals: list[float] = []
    with httpx.stream("POST", f"{base_url}/v1/chat/completions", json=BODY, headers=routed.headers) as answer:
        for _ in answer.iter_raw():
            arrivals.append(time.monotonic())
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(arrivals) > 10
    # Were events collected, there would be few, long gaps; each is one upstream pause, give or take the machine.
    assert sorted(gaps)[len(gaps) // 2] < 0.12


def test_usage_that_was_not_asked_for_is_taken_out(base_url: str, routed: Client) -> None:
    body = {**BODY, "stream_options": None}
    answer = httpx.post(f"{base_url}/v1/chat/completions", json=body, headers=routed.headers)
    assert '"usage":{' not in answer.text.replace(" ", "")
    row = routed.row(answer.headers["x-request-id"])
    assert (row.output_tokens or 0) > 0
    assert not row.usage_estimated


def test_a_stream_without_usage_is_estimated_and_says_so(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("no_usage")
    answer = httpx.post(f"{base_url}/v1/chat/completions", json=BODY, headers=routed.headers)
    assert answer.text.rstrip().endswith("data: [DONE]")
    row = routed.row(answer.headers["x-request-id"])
    assert row.usage_estimated
    assert (row.output_tokens or 0) > 0


def test_the_upstream_is_asked_for_bytes_as_they_are(base_url: str, routed: Client, upstream: Upstream) -> None:
    httpx.post(f"{base_url}/v1/chat/completions", json=BODY, headers={**routed.headers, "accept-encoding": "gzip, br"})
    sent = upstream.log()[-1]
    assert sent["headers"]["accept-encoding"] == "identity"
    assert not any(name.startswith("x-") for name in sent["headers"])


def test_members_nobody_knows_reach_a_compatible_upstream(
    base_url: str, failing_over: Client, upstream: Upstream, backup: Upstream
) -> None:
    upstream.script("status=500")
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "x", "mystery": 1}],
        "vendor_option": {"a": [1.5]},
    }
    answer = httpx.post(f"{base_url}/v1/chat/completions", json=body, headers=failing_over.headers)
    assert answer.status_code == 200
    assert backup.log()[-1]["body"]["vendor_option"] == {"a": [1.5]}
