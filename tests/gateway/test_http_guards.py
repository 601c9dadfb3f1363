"""The server's guards on raw sockets: slow, huge, malformed and smuggled requests are refused; the server goes on."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.gateway.conftest import EVERY_DOOR, Client, Servers, in_force, make_client
from tests.gateway.raw import BODY, PATH, Link, ask, chunked, connected, head, request
from tests.stack import Server, eventually
from tests.upstream import Upstream

HURRY = {"NEXUS_CLIENT_SECONDS": "1"}
GET_MODELS = "GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n\r\n"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with Upstream(family="openai") as running:
        yield running


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The provider of all these tests, without a memory of the last one."""
    provider.reset()
    return provider


@pytest.fixture(scope="module")
def known(provider: Upstream, servers: Servers) -> Client:
    """One client for all these tests, which look at connections alone."""
    client = make_client()
    client.add_provider(provider, name="primary")
    in_force(*servers.running)
    return client


@pytest.fixture
def routed(known: Client, upstream: Upstream) -> Client:
    return known


@pytest.fixture(scope="module")
def hurried(servers: Servers, known: Client) -> Iterator[dict[str, Server]]:
    """Both of our own servers, with a second for a client to send its request."""
    with servers.stack.serving("all", "console", environment=HURRY) as (door, twin):
        yield {"door": door, "twin": twin}


@pytest.fixture(params=["door", "twin"])
def hurried_url(request: pytest.FixtureRequest, hurried: dict[str, Server]) -> str:
    return hurried[request.param].base_url


def goes_on(base_url: str, client: Client) -> None:
    assert ask(base_url, request(client.key)).status == 200


def refused_and_closed(link: Link, status: int, code: str) -> None:
    answer = link.answer()
    assert (answer.status, answer.error["code"]) == (status, code), answer
    assert link.ended()


# --- slow clients


@pytest.mark.parametrize("start", [b"P", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: a", b"\r\n\r\n"])
def test_a_head_that_never_ends_is_given_up(hurried_url: str, routed: Client, start: bytes) -> None:
    with connected(hurried_url) as link:
        link.send(start)
        refused_and_closed(link, 408, "REQUEST_TIMEOUT")
    goes_on(hurried_url, routed)


def test_a_head_that_drips_is_given_up_all_the_same(hurried_url: str, routed: Client) -> None:
    """Every byte comes soon after the last one: only a limit on the whole head ends this."""
    with connected(hurried_url) as link:
        link.send(head(routed.key)[:-2] + b"x-slow: ")
        link.socket.settimeout(0.1)
        data = b""
        until = time.monotonic() + 15
        while not data:
            assert time.monotonic() < until, "the server never gave up"
            link.send(b"a")
            with suppress(TimeoutError):
                data = link.socket.recv(4096)
        assert data.startswith(b"HTTP/1.1 408")
    goes_on(hurried_url, routed)


@pytest.mark.parametrize("framing", ["content-length: 1000", "transfer-encoding: chunked"])
@pytest.mark.parametrize("key", ["known", "unknown"])
def test_a_body_that_never_ends_is_given_up(hurried_url: str, routed: Client, framing: str, key: str) -> None:
    with connected(hurried_url) as link:
        link.send(head(routed.key if key == "known" else "nxk_unknown", framing))
        link.send(b"3e8\r\n{" if "chunked" in framing else b"{")
        answer = link.answer()
        assert answer.status in ((408,) if key == "known" else (401, 408)), answer
        assert answer.error["code"] in ("REQUEST_TIMEOUT", "INVALID_API_KEY")
        assert link.ended()
    goes_on(hurried_url, routed)


def test_a_client_that_says_nothing_is_let_go_without_a_word(hurried_url: str) -> None:
    with connected(hurried_url) as link:
        assert link.ended()


def test_a_hundred_slow_clients_keep_nobody_waiting(hurried_url: str, routed: Client) -> None:
    host, port = hurried_url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(100)]
    try:
        for number, link in enumerate(slow):
            link.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\n" if number % 2 else head(routed.key, "content-length: 9")
            )
        for _ in range(5):
            goes_on(hurried_url, routed)
        for link in slow:
            assert link.recv(12) == b"HTTP/1.1 408"
    finally:
        for link in slow:
            link.close()


def test_a_slow_provider_is_not_taken_for_a_slow_client(hurried_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("latency=3000")
    assert ask(hurried_url, request(routed.key)).status == 200


# --- too much


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["x-long: " + "a" * 70_000], id="a long header"),
        pytest.param([f"x-{number}: {'a' * 1000}" for number in range(150)], id="a long head"),
        pytest.param([f"x-{number}: a" for number in range(300)], id="many headers"),
    ],
)
def test_a_head_that_is_too_large_is_refused(
    base_url: str, routed: Client, upstream: Upstream, lines: list[str]
) -> None:
    answer = ask(base_url, request(routed.key, BODY, *lines))
    assert (answer.status, answer.error["code"]) == (431, "HEAD_TOO_LARGE")
    assert upstream.stats()["requests"] == 0
    goes_on(base_url, routed)


def test_an_address_that_is_too_long_is_refused(base_url: str, routed: Client) -> None:
    answer = ask(base_url, head(routed.key, method="GET", path="/v1/models?" + "a" * 70_000))
    assert (answer.status, answer.error["code"]) == (431, "HEAD_TOO_LARGE")
    goes_on(base_url, routed)


def test_a_head_without_end_is_refused_before_it_ends(base_url: str, routed: Client) -> None:
    with connected(base_url) as link:
        link.send(head(routed.key)[:-2] + b"x-long: " + b"a" * 100_000)
        refused_and_closed(link, 431, "HEAD_TOO_LARGE")
    goes_on(base_url, routed)


@pytest.mark.parametrize("flood", [b"0\r\nx-trailer: " + b"a" * 300_000, b"1;" + b"a" * 300_000])
def test_framing_without_content_is_refused(base_url: str, routed: Client, flood: bytes) -> None:
    """A trailer or a chunk extension without end would otherwise fill the memory for as long as a body may take."""
    with connected(base_url) as link:
        link.send(chunked(routed.key, b""))
        for at in range(0, len(flood), 20_000):
            link.send(flood[at : at + 20_000])
        refused_and_closed(link, 400, "INVALID_REQUEST")
    goes_on(base_url, routed)


def test_a_trailer_is_no_header(base_url: str, routed: Client, upstream: Upstream) -> None:
    data = chunked(
        "nxk_unknown", b"%x\r\n%b\r\n0\r\nauthorization: Bearer %b\r\n\r\n" % (len(BODY), BODY, routed.key.encode())
    )
    assert ask(base_url, data).status == 401
    assert upstream.stats()["requests"] == 0


# --- what is no HTTP, or could be read in two ways


def lines(*more: str, first: str = f"POST {PATH} HTTP/1.1", host: str = "host: 127.0.0.1\r\n") -> bytes:
    return (f"{first}\r\n{host}" + "".join(f"{line}\r\n" for line in more) + "\r\n").encode("latin-1")


SMUGGLED = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
LENGTH = f"content-length: {len(BODY)}"
CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lines(LENGTH, "transfer-encoding: chunked") + b"0\r\n\r\n" + SMUGGLED, id="length and chunks"),
        pytest.param(lines("transfer-encoding: chunked", LENGTH) + b"0\r\n\r\n" + SMUGGLED, id="chunks and length"),
        pytest.param(lines(LENGTH, LENGTH) + BODY, id="the length twice"),
        pytest.param(lines(LENGTH, "content-length: 0") + BODY, id="two lengths"),
        pytest.param(lines(f"content-length: {len(BODY)}, {len(BODY)}") + BODY, id="a list of lengths"),
        pytest.param(lines(f"content-length: +{len(BODY)}") + BODY, id="a length with a sign"),
        pytest.param(lines("content-length: -1") + BODY, id="a negative length"),
        pytest.param(lines(f"content-length: {'9' * 30}") + BODY, id="a length past all bounds"),
        pytest.param(lines(f"content-length : {len(BODY)}") + BODY, id="a blank before the colon"),
        pytest.param(lines("content-length: 0x41") + BODY, id="a length in hex"),
        pytest.param(lines("transfer-encoding: gzip, chunked") + CHUNK + b"0\r\n\r\n", id="gzip, chunked"),
        pytest.param(lines("transfer-encoding: chunked, chunked") + CHUNK + b"0\r\n\r\n", id="chunked twice"),
        pytest.param(lines("transfer-encoding: chunked, identity") + CHUNK + b"0\r\n\r\n", id="chunked, identity"),
        pytest.param(lines("transfer-encoding: xchunked") + CHUNK + b"0\r\n\r\n", id="xchunked"),
        pytest.param(lines("transfer-encoding: \x0bchunked") + CHUNK + b"0\r\n\r\n", id="a tab of another kind"),
        pytest.param(
            lines("transfer-encoding: chunked", first=f"POST {PATH} HTTP/1.0") + CHUNK + b"0\r\n\r\n",
            id="chunks in 1.0",
        ),
        pytest.param(lines(LENGTH).replace(b"\r\n", b"\n") + BODY, id="bare line feeds"),
        pytest.param(lines("x: a\ny: b", LENGTH) + BODY, id="one bare line feed"),
        pytest.param(lines("x: a\ry: b", LENGTH) + BODY, id="a bare carriage return"),
        pytest.param(lines("x: a\r\n b", LENGTH) + BODY, id="a folded header"),
        pytest.param(lines("x: a\0b", LENGTH) + BODY, id="NUL in a header"),
        pytest.param(lines("x y: a", LENGTH) + BODY, id="a blank in a header's name"),
        pytest.param(lines(LENGTH, host="") + BODY, id="no host"),
        pytest.param(lines(LENGTH, "host: other") + BODY, id="two hosts"),
        pytest.param(lines(first="BREW /pot HTTP/1.1"), id="an unknown method"),
        pytest.param(lines(first="GET /healthz HTTP/1.2"), id="HTTP/1.2"),
        pytest.param(lines(first="PRI * HTTP/2.0", host="") + b"SM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET /healthz\r\n\r\n", id="HTTP/0.9"),
        pytest.param(lines(first="GET /\xff HTTP/1.1"), id="a byte that no address has"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\0" * 100, id="zeros"),
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused(
    base_url: str, routed: Client, upstream: Upstream, data: bytes
) -> None:
    """Nothing after it is read: were it, what one reader takes for a body would be another's request."""
    authorized = data.replace(b"\r\n", f"\r\nauthorization: Bearer {routed.key}\r\n".encode(), 1)
    with connected(base_url) as link:
        link.send(authorized)
        refused_and_closed(link, 400, "INVALID_REQUEST")
    assert upstream.stats()["requests"] == 0
    goes_on(base_url, routed)


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"0x41\r\n" + BODY + b"\r\n0\r\n\r\n", id="a prefix"),
        pytest.param(b"-41\r\n" + BODY + b"\r\n0\r\n\r\n", id="a sign"),
        pytest.param(b"41 \r\n" + BODY + b"\r\n0\r\n\r\n", id="a blank"),
        pytest.param(b"f" * 17 + b"\r\n" + BODY, id="past all bounds"),
        pytest.param(b"41\n" + BODY + b"\n0\n\n", id="bare line feeds"),
        pytest.param(b"40\r\n" + BODY + b"\r\n0\r\n\r\n", id="more content than said"),
        pytest.param(b"\r\n" + BODY, id="no size"),
    ],
)
def test_a_chunk_of_no_size_is_refused(base_url: str, routed: Client, upstream: Upstream, chunks: bytes) -> None:
    assert len(BODY) == 0x41
    with connected(base_url) as link:
        link.send(chunked(routed.key, chunks))
        refused_and_closed(link, 400, "INVALID_REQUEST")
    assert upstream.stats()["requests"] == 0
    goes_on(base_url, routed)


def test_garbage_behind_a_request_does_not_spoil_its_answer(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("latency=300")
    with connected(base_url) as link:
        link.send(request(routed.key))
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        link.send(b"\0\1\2 this is no request\r\n\r\n")
        answer = link.answer()
        assert answer.status == 200
        assert b"chat.completion" in answer.body
        assert link.ended()
    goes_on(base_url, routed)


def test_garbage_behind_a_stream_does_not_spoil_it(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("drip=30")
    with connected(base_url) as link:
        link.send(request(routed.key, BODY[:-1] + b',"stream":true}'))
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        link.send(b"\0\1\2 this is no request\r\n\r\n")
        assert link.answer().body.rstrip().endswith(b"data: [DONE]")
        assert link.ended()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_wish_for_another_protocol_is_passed_over(
    base_url: str, routed: Client, together: bool, method: str
) -> None:
    """curl --http2 asks so. The parser would take the body for the other protocol's, or for the next request."""
    wish = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    first = (
        request(routed.key, BODY, *wish)
        if method == "POST"
        else head(routed.key, *wish, method="GET", path="/v1/models")
    )
    at = len(first) if together else first.index(b"\r\n\r\n") + 4
    with connected(base_url) as link:
        link.send(first[:at])
        if not together:
            time.sleep(0.1)  # so that the head arrives alone
            link.send(first[at:])
        assert link.answer().status == 200
        link.send(GET_MODELS.format(routed.key).encode())
        assert link.answer().status == 200


# --- methods


@EVERY_DOOR
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_refused_by_name(base_url: str, routed: Client, method: str) -> None:
    with connected(base_url) as link:
        link.send(head(routed.key, method=method))
        answer = link.answer(head_only=method == "HEAD")
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"
        if method != "HEAD":
            assert answer.error["code"] == "METHOD_NOT_ALLOWED"
        link.send(request(routed.key))  # the answer to HEAD had no body, or this would not be read
        assert link.answer().status == 200


def test_no_tunnel_is_opened(base_url: str, routed: Client) -> None:
    answer = ask(base_url, b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n")
    assert (answer.status, answer.error["code"]) == (405, "METHOD_NOT_ALLOWED")
    goes_on(base_url, routed)


@EVERY_DOOR
def test_head_of_a_page_that_has_one(base_url: str, routed: Client) -> None:
    with connected(base_url) as link:
        link.send(head(routed.key, method="HEAD", path="/v1/models"))
        answer = link.answer(head_only=True)
        assert answer.status == 200
        assert int(answer.headers["content-length"]) > 0
        link.send(GET_MODELS.format(routed.key).encode())
        assert len(link.answer().body) == int(answer.headers["content-length"])


# --- many requests on one connection


@EVERY_DOOR
def test_one_connection_serves_one_request_after_the_other(base_url: str, routed: Client, upstream: Upstream) -> None:
    with connected(base_url) as link:
        for number in range(1, 21):
            if number % 3 == 0:
                link.send(GET_MODELS.format(routed.key).encode())
                assert b'"list"' in link.answer().body
            else:
                link.send(request(routed.key, BODY.replace(b"Hello", b"Number %d." % number)))
                assert b"Number %d." % number in link.answer().body
    assert upstream.stats()["requests"] == 14


@EVERY_DOOR
def test_each_request_on_a_connection_is_read_for_itself(base_url: str, routed: Client, upstream: Upstream) -> None:
    """The same head again and again but for one thing: whose key, how long, in how many pieces, which framing."""
    with connected(base_url) as link:

        def answered(data: bytes, word: bytes) -> None:
            link.send(data)
            answer = link.answer()
            assert (answer.status, word in answer.body) == (200, True), answer

        answered(request(routed.key), b"Hello")
        answered(request(routed.key), b"Hello")
        answered(request(routed.key, BODY.replace(b"Hello", b"A longer one")), b"A longer one")
        link.send(request("nxk_unknown"))
        assert link.answer().error["code"] == "INVALID_API_KEY"
        answered(request(routed.key), b"Hello")
        link.send(head(routed.key, "content-type: application/json", "content-length: 1") + b"{")
        assert link.answer().error["code"] == "INVALID_REQUEST"
        whole = request(routed.key, BODY.replace(b"Hello", b"In pieces"))
        for piece in (whole[:30], whole[30:-20], whole[-20:-1]):
            link.send(piece)
            time.sleep(0.02)  # or the pieces would come as one
        answered(whole[-1:], b"In pieces")
        answered(chunked(routed.key, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)), b"Hello")
        answered(request(routed.key, BODY, "x-more: 1"), b"Hello")
        answered(request(routed.key), b"Hello")
    assert upstream.stats()["requests"] == 8


@EVERY_DOOR
def test_requests_sent_at_once_are_answered_in_order_and_never_twice(
    base_url: str, routed: Client, upstream: Upstream
) -> None:
    """A server may close after an answer (RFC 9112, section 9.3.2): then what it did not answer it did not do."""
    numbers = range(1, 6)
    with connected(base_url) as link:
        link.send(b"".join(request(routed.key, BODY.replace(b"Hello", b"Number %d." % n)) for n in numbers))
        answered = 0
        for number in numbers:
            answer = link.answer()
            assert b"Number %d." % number in answer.body
            answered += 1
            if answer.headers.get("connection") == "close":
                assert link.ended()
                break
    assert answered >= 1
    assert [entry["body"]["messages"][0]["content"] for entry in upstream.log()] == [f"Number {n}." for n in numbers][
        :answered
    ]


@EVERY_DOOR
def test_a_request_behind_a_page_is_answered_after_it(base_url: str, routed: Client, upstream: Upstream) -> None:
    with connected(base_url) as link:
        link.send(GET_MODELS.format(routed.key).encode() + request(routed.key))
        assert b'"list"' in link.answer().body
        assert b"chat.completion" in link.answer().body
    assert upstream.stats()["requests"] == 1


# --- 100-continue


@EVERY_DOOR
@pytest.mark.parametrize("word", ["100-continue", "100-Continue"])
def test_a_client_that_waits_to_be_asked_is_asked(base_url: str, routed: Client, upstream: Upstream, word: str) -> None:
    with connected(base_url) as link:
        link.send(head(routed.key, LENGTH, f"expect: {word}"))
        assert link.socket.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.send(BODY)
        assert link.answer().status == 200
        link.send(request(routed.key))
        assert link.answer().status == 200
    assert upstream.stats()["requests"] == 2


def test_a_client_that_would_send_too_much_is_refused_instead_of_asked(base_url: str, routed: Client) -> None:
    with connected(base_url) as link:
        link.send(head(routed.key, "content-length: 1000000000", "expect: 100-continue"))
        refused_and_closed(link, 413, "BODY_TOO_LARGE")
    goes_on(base_url, routed)


def test_a_stranger_is_refused_instead_of_asked(servers: Servers, routed: Client) -> None:
    with connected(servers.door.base_url) as link:
        link.send(head("nxk_unknown", LENGTH, "expect: 100-continue"))
        refused_and_closed(link, 401, "INVALID_API_KEY")
    goes_on(servers.door.base_url, routed)


# --- hang-ups


@EVERY_DOOR
@pytest.mark.parametrize(
    "sent", [b"P", head("nxk", LENGTH)[:-3], None, request("nxk")[:-5], chunked("nxk", b"41\r\n{")]
)
@pytest.mark.parametrize("with_reset", [True, False])
def test_clients_that_leave_in_mid_request_leave_nothing_behind(
    base_url: str, routed: Client, upstream: Upstream, sent: bytes | None, with_reset: bool
) -> None:
    with connected(base_url) as link:
        link.send(head(routed.key, LENGTH) + BODY[:9] if sent is None else sent.replace(b"nxk", routed.key.encode()))
        if with_reset:
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.hang_up()
    goes_on(base_url, routed)
    assert upstream.stats()["requests"] == 1


def test_all_this_left_no_traceback(servers: Servers) -> None:
    """The last test of this module: whatever the servers went through, none of it was a fault of theirs."""
    assert "Traceback" not in servers.stack.logs()
