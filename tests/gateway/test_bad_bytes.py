"""Whatever bytes come in, the data plane says what is wrong with them: never a 500, never silence."""

import json
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.schema import Endpoint
from tests.gateway.conftest import Client, Servers
from tests.openapi import assert_valid

PATHS = [f"/v1/{endpoint.value}" for endpoint in Endpoint]
MESSAGES = [{"role": "user", "content": "Hello"}]
GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "prompt": "x", "input": "x"}
DEEP = b'{"model": "gpt-4o", "prompt": "x", "input": "x", "messages": [{"role": "user"}], "more": %b}'
BODIES = {
    "nothing": b"",
    "white space": b" \n\t",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"text"',
    "no UTF-8": b'{"model": "\xff\xfe"}',
    "a UTF-8 surrogate": b'{"model": "\xed\xa0\x80"}',
    "an escaped surrogate": json.dumps({**GOOD, "input": "\ud800", "prompt": "\ud800", "user": "\ud800"}).encode(),
    "NUL": b"\x00" * 64,
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "cut": json.dumps(GOOD).encode()[:-1],
    "two objects": json.dumps(GOOD).encode() * 2,
    "a member twice": b'{"model": "gpt-4o", "model": "gpt-4o"}',
    "NaN": DEEP % b"NaN",
    "infinity": DEEP % b"1e99999",
    "a number without end": DEEP % (b"9" * 100_000),
    "nested lists": DEEP % (b"[" * 50_000 + b"]" * 50_000),
    "nested objects": DEEP % (b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "nested lists that parse": DEEP % (b"[" * 150 + b"]" * 150),
    "members of other kinds": b'{"model": {"a": 1}, "messages": 7, "prompt": true, "input": {}, "stream": "yes"}',
    "an image for a name": b'{"model": "' + b"\xf0\x9f\x90\x8d" * 300 + b'"}',
    "options of another kind": json.dumps({**GOOD, "stream": True, "stream_options": [1]}).encode(),
    "a NUL in the model": json.dumps({**GOOD, "model": "gpt-4o\0"}).encode(),
}


def check(answer: httpx.Response) -> None:
    """Assert that an answer is one, or an error of the one shape that is the client's fault."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert_valid(answer.json(), {"$ref": "#/components/schemas/Error"})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_bad_body_is_the_clients_fault(base_url: str, routed: Client, path: str, body: bytes) -> None:
    headers = {**routed.headers, "content-type": "application/json"}
    check(httpx.post(f"{base_url}{path}", content=body, headers=headers, timeout=30))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
members = st.dictionaries(
    st.sampled_from([*GOOD, "stream", "stream_options", "temperature", "tools", "stop", "metadata"]) | st.text(),
    json_values,
    max_size=6,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)
@given(changed=members, path=st.sampled_from(PATHS), junk=st.none() | st.binary(max_size=200), cut=st.integers(0, 400))
def test_no_body_of_any_kind_makes_the_gateway_fail(
    servers: Servers, routed: Client, changed: dict[str, Any], path: str, junk: bytes | None, cut: int
) -> None:
    body = json.dumps({**GOOD, **changed}).encode()
    if junk is not None:
        body = body[:cut] + junk + body[cut:]
    check(httpx.post(f"{servers.door.base_url}{path}", content=body, headers=routed.headers, timeout=30))


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999999999999999999\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\xfe\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /v1/chat/completions?%ff HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /v1/models/%ff%fe HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
        b"GET /v1/models/%00%0d%0a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer nxk_\r\n\r\n",
        b"GET /v1/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda head: repr(head[:60]),
)
def test_a_bad_head_is_the_clients_fault(servers: Servers, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", servers.door.port), timeout=20) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert answer.startswith(b"HTTP/1.1 4"), answer[:300]


@pytest.mark.parametrize("name", ["%ff%fe", "%00", "%0d%0aset-cookie:%20a=b", "a" * 5000, "..%2f..", "%f0%9f%90%8d"])
def test_a_model_of_any_name_is_known_or_not(base_url: str, routed: Client, name: str) -> None:
    answer = httpx.get(f"{base_url}/v1/models/{name}", headers=routed.headers)
    assert answer.status_code == 404
    assert_valid(answer.json(), {"$ref": "#/components/schemas/Error"})
    assert "set-cookie" not in answer.headers
