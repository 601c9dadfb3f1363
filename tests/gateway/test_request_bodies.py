"""Bodies that are not what they should be: the same error from every door, no upstream call, and the server goes on."""

import gzip
import json
from itertools import repeat

import pytest

from tests.gateway.conftest import EVERY_DOOR, Client
from tests.gateway.raw import BODY, Answer, ask, chunked, head, request
from tests.upstream import Upstream

pytestmark = EVERY_DOOR
LIMIT = 20 * 1024 * 1024  # NEXUS_MAX_BODY_BYTES as it is by default
DEEP = b"[" * 100_000 + b"]" * 100_000


def with_content(content: bytes) -> bytes:
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":' + content + b"}]}"


def goes_on(base_url: str, client: Client, upstream: Upstream, asked: int = 0) -> None:
    """Nothing was sent upstream, and the next request is answered."""
    assert upstream.stats()["requests"] == asked
    assert ask(base_url, request(client.key)).status == 200


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code), answer


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(BODY[:-10], id="cut short"),
        pytest.param(b"not JSON", id="text"),
        pytest.param(b"[]", id="list"),
        pytest.param(BODY + b"{}", id="two values"),
        pytest.param(BODY[:-1] + b',"model":"gpt-4o-mini"}', id="a name twice"),
        pytest.param(with_content(b'[{"type":"text","text":"a","text":"b"}]'), id="a name twice, deep inside"),
        pytest.param(BODY[:-1] + b',"temperature":NaN}', id="NaN"),
        pytest.param(BODY[:-1] + b',"temperature":Infinity}', id="Infinity"),
        pytest.param(BODY[:-1] + b',"temperature":-Infinity}', id="minus Infinity"),
        pytest.param(BODY[:-1] + b',"seed":' + b"9" * 5000 + b"}", id="an integer of 5000 digits"),
        pytest.param(with_content(DEEP), id="100,000 lists deep"),
        pytest.param(with_content(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), id="100,000 objects deep"),
        pytest.param(with_content(b'"\\ud800"'), id="half a surrogate pair"),
        pytest.param(with_content(b'"\\udc00\\ud800"'), id="a surrogate pair the wrong way round"),
        pytest.param(with_content(b'"\xff\xfe"'), id="bytes that are no UTF-8"),
        pytest.param(with_content(b'"\xed\xa0\x80"'), id="a surrogate in UTF-8"),
        pytest.param(with_content(b'"\xc0\x80"'), id="NUL in too many bytes"),
        pytest.param(with_content(b'"a\nb"'), id="a control character"),
        pytest.param(BODY.decode().encode("utf-16"), id="UTF-16"),
    ],
)
def test_json_that_two_parsers_could_read_differently_is_refused(
    base_url: str, routed: Client, upstream: Upstream, body: bytes
) -> None:
    refused(ask(base_url, request(routed.key, body)), 400, "INVALID_REQUEST")
    goes_on(base_url, routed, upstream)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_another_content_type_is_refused(base_url: str, routed: Client, upstream: Upstream, content_type: str) -> None:
    data = head(routed.key, f"content-type: {content_type}", f"content-length: {len(BODY)}") + BODY
    refused(ask(base_url, data), 415, "UNSUPPORTED_MEDIA_TYPE")
    goes_on(base_url, routed, upstream)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", None])
def test_json_by_any_of_its_names_is_taken(base_url: str, routed: Client, content_type: str | None) -> None:
    lines = [f"content-type: {content_type}"] if content_type else []
    assert ask(base_url, head(routed.key, *lines, f"content-length: {len(BODY)}") + BODY).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, identity"])
def test_a_compressed_body_is_refused_before_anything_is_unpacked(
    base_url: str, routed: Client, upstream: Upstream, encoding: str
) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    refused(ask(base_url, request(routed.key, bomb, f"content-encoding: {encoding}")), 415, "UNSUPPORTED_ENCODING")
    goes_on(base_url, routed, upstream)


def test_a_body_that_is_announced_too_long_is_refused_before_it_is_read(
    base_url: str, routed: Client, upstream: Upstream
) -> None:
    announced = head(routed.key, "content-type: application/json", f"content-length: {LIMIT + 1}")
    refused(ask(base_url, announced), 413, "BODY_TOO_LARGE")  # not one byte of it was sent
    goes_on(base_url, routed, upstream)


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long(base_url: str, routed: Client, upstream: Upstream) -> None:
    # There is no last chunk: an answer comes only from a server that has stopped reading.
    megabyte = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    endless = chunked(routed.key, b"".join(repeat(megabyte, LIMIT // 0x100000)) + b"1\r\nx\r\n")
    refused(ask(base_url, endless), 413, "BODY_TOO_LARGE")
    goes_on(base_url, routed, upstream)


def test_a_body_of_exactly_the_limit_is_taken(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("status=400")  # what matters is that it came through
    body = with_content(b'"' + b"x" * (LIMIT - len(with_content(b'""'))) + b'"')
    assert len(body) == LIMIT
    assert ask(base_url, request(routed.key, body)).status == 400
    assert upstream.stats()["requests"] == 1


def test_a_chunked_body_in_small_pieces_is_the_same_body(base_url: str, routed: Client, upstream: Upstream) -> None:
    pieces = b"".join(
        b"%x;note=1\r\n%b\r\n" % (len(BODY[at : at + 7]), BODY[at : at + 7]) for at in range(0, len(BODY), 7)
    )
    assert ask(base_url, chunked(routed.key, pieces + b"0\r\nx-checksum: 1\r\n\r\n")).status == 200
    assert upstream.log()[-1]["body"] == json.loads(BODY)


def test_a_stranger_hears_of_the_key_whatever_the_body_is(base_url: str, routed: Client, upstream: Upstream) -> None:
    refused(ask(base_url, request("nxk_unknown", b"[")), 401, "INVALID_API_KEY")
    goes_on(base_url, routed, upstream)
