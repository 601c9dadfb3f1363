"""Every fault, seen from the other end of the wire."""

import email.utils
import json
import socket
import time

import httpx
import pytest

from tests.gateway.simulator.asking import ask, chunks_of, data_of, dial, raw_request, read_to_end, text_of
from tests.upstream import Upstream

HELLO = "[simulated] You said: Hello there"


def exchange(upstream: Upstream, fault: str, *, stream: bool) -> tuple[bytes, str]:
    """Send one request over a connection of its own; return all that came and how it ended."""
    with dial(upstream) as link:
        link.sendall(raw_request(fault=fault, stream=stream))
        return read_to_end(link)


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """Return a chunked body, and whether it came to its proper end."""
    rest = raw.partition(b"\r\n\r\n")[2]
    body = b""
    while True:
        line, _, rest = rest.partition(b"\r\n")
        if not line:
            return body, False
        size = int(line, 16)
        if size == 0:
            return body, rest == b"\r\n"
        body += rest[:size]
        rest = rest[size + 2 :]


@pytest.mark.parametrize("stream", [False, True])
def test_faults_are_chosen_by_header_then_suffix_then_script(upstream: Upstream, stream: bool) -> None:
    upstream.script("status=503", "status=504")
    assert (
        ask(upstream, stream=stream, model="gpt-4o!status=502", headers={"x-sim-fault": "status=501"}).status_code
        == 501
    )
    assert ask(upstream, stream=stream, model="gpt-4o!status=502").status_code == 502
    assert [ask(upstream, stream=stream).status_code for _ in range(3)] == [503, 504, 200]


def test_a_suffix_is_not_part_of_the_model(upstream: Upstream) -> None:
    assert ask(upstream, model="gpt-4o!latency=1").json()["model"] == "gpt-4o"
    assert upstream.log()[-1]["model"] == "gpt-4o"


def test_a_limited_fault_is_counted_per_model(upstream: Upstream) -> None:
    models = [
        "a!status=429x2",
        "b!status=429x2",
        "a!status=429x2",
        "a!status=429x2",
        "b!status=429x2",
        "b!status=429x2",
    ]
    assert [ask(upstream, model=model).status_code for model in models] == [429, 429, 429, 200, 429, 200]


def test_a_fault_that_cannot_be_read_is_a_clear_400(upstream: Upstream) -> None:
    answer = ask(upstream, model="gpt-4o!explode")
    assert answer.status_code == 400
    assert "There is no fault 'explode'" in answer.json()["error"]["message"]


def test_retry_hints_are_sent_as_they_are_written(upstream: Upstream) -> None:
    assert ask(upstream, model="m!status=429;retry_after=2").headers["retry-after"] == "2"
    both = ask(upstream, model="m!status=429;retry_after=soon;retry_after_ms=5").headers
    assert (both["retry-after"], both["retry-after-ms"]) == ("soon", "5")
    date = ask(upstream, model="m!status=503;retry_after_date=90").headers["retry-after"]
    assert 80 < email.utils.parsedate_to_datetime(date).timestamp() - time.time() <= 90


@pytest.mark.parametrize("stream", [False, True])
def test_reset_is_a_tcp_reset(upstream: Upstream, stream: bool) -> None:
    assert exchange(upstream, "reset", stream=stream) == (b"", "reset")
    with dial(upstream) as link:
        link.sendall(raw_request(fault="reset@3+latency=1", stream=stream))
        data, end = read_to_end(link)
    assert end == "reset"
    assert data.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("stream", [False, True])
def test_hang_and_stall_say_nothing_more(upstream: Upstream, stream: bool) -> None:
    def said(fault: str) -> bytes:
        with dial(upstream) as link:
            link.sendall(raw_request(fault=fault, stream=stream))
            link.settimeout(0.2)
            data, end = read_to_end(link)
            assert end == "silent"
            return data

    assert said("hang") == said("stall@0") == b""
    assert said("stall_headers").endswith(b"\r\n\r\n")
    assert said("stall@1").endswith(b"\r\n\r\n")
    later = said("stall@2").partition(b"\r\n\r\n")[2]
    assert later
    assert b"there" not in later if stream else not later.endswith(b"}")


def test_a_cut_stream_ends_cleanly_without_its_marker(upstream: Upstream) -> None:
    answer = ask(upstream, stream=True, model="gpt-4o!cut@3")
    assert len(chunks_of(answer)) == 2
    assert text_of(answer) == "[simulated] "
    assert "[DONE]" not in answer.text
    assert chunks_of(ask(upstream, stream=True, model="gpt-4o!cut@1")) == []
    unmarked = ask(upstream, stream=True, model="gpt-4o!no_done")
    assert text_of(unmarked) == HELLO
    assert "[DONE]" not in unmarked.text


def test_a_cut_in_one_piece_ends_before_its_length(upstream: Upstream) -> None:
    data, end = exchange(upstream, "cut@2", stream=False)
    assert end == "closed"
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"content-length: %d" % (2 * len(body)) in head or b"content-length: %d" % (2 * len(body) + 1) in head


@pytest.mark.parametrize("byte", [0, 1, 120, 700])
def test_cutbytes_cuts_at_the_byte(upstream: Upstream, byte: int) -> None:
    data, end = exchange(upstream, f"cutbytes@{byte}", stream=True)
    body, ended = unchunked(data)
    assert (len(body), ended, end) == (byte, False, "closed")
    unary, end = exchange(upstream, f"cutbytes@{min(byte, 300)}", stream=False)
    assert len(unary.partition(b"\r\n\r\n")[2]) == min(byte, 300)
    assert end == "closed"


def test_a_bad_chunk_breaks_the_framing(upstream: Upstream) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        ask(upstream, stream=True, model="gpt-4o!badchunk@3")


def test_bad_json_is_not_json(upstream: Upstream) -> None:
    with pytest.raises(json.JSONDecodeError):
        ask(upstream, model="gpt-4o!badjson").json()
    data = data_of(ask(upstream, stream=True, model="gpt-4o!badjson@2"))
    json.loads(data[0])
    with pytest.raises(json.JSONDecodeError):
        json.loads(data[1])


def test_an_error_event_is_the_last(upstream: Upstream) -> None:
    chunks = chunks_of(ask(upstream, stream=True, model="gpt-4o!error@3"))
    assert [set(chunk) == {"error"} for chunk in chunks] == [False, False, True]
    first = ask(upstream, stream=True, model="gpt-4o!error_first")
    assert first.status_code == 200
    assert [set(chunk) for chunk in chunks_of(first)] == [{"error"}]
    unary = ask(upstream, model="gpt-4o!error_first")
    assert (unary.status_code, set(unary.json())) == (200, {"error"})


def test_empty_is_200_and_nothing(upstream: Upstream) -> None:
    for stream in (False, True):
        answer = ask(upstream, stream=stream, model="gpt-4o!empty")
        assert (answer.status_code, answer.content) == (200, b"")


def test_html_comes_from_a_proxy(upstream: Upstream) -> None:
    answer = ask(upstream, stream=True, model="gpt-4o!html502")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "text/html"
    assert answer.text.startswith("<html>")


@pytest.mark.parametrize("fault", ["crlf", "comments", "split", "unknown_event", "giant", "split+crlf+comments"])
def test_harmless_faults_leave_the_text_alone(upstream: Upstream, fault: str) -> None:
    answer = ask(upstream, stream=True, model=f"gpt-4o!{fault}")
    assert text_of(answer).startswith(HELLO)
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_harmless_faults_are_there(upstream: Upstream) -> None:
    def raw(fault: str) -> bytes:
        return ask(upstream, stream=True, model=f"gpt-4o!{fault}").content

    assert b"\r\n\r\n" in raw("crlf")
    assert b"\n\n" not in raw("crlf")
    assert b": keep-alive\n\n" in raw("comments")
    assert b"event: simulated.unknown\n" in raw("unknown_event")
    assert max(map(len, raw("giant").split(b"\n"))) > 1024 * 1024
    assert ask(upstream, model="gpt-4o!comments").content.startswith(b"\n\n{")
    assert len(ask(upstream, model="gpt-4o!giant").content) > 1024 * 1024


def test_split_sends_few_bytes_at_a_time_and_splits_characters(upstream: Upstream) -> None:
    with dial(upstream) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(raw_request(fault="split", stream=True, text="世界" * 50))
        pieces: list[bytes] = []
        while not b"".join(pieces[-40:]).endswith(b"\r\n0\r\n\r\n"):
            pieces.append(link.recv(7))
    assert max(map(len, pieces)) <= 7
    assert any(0x80 <= piece[0] < 0xC0 for piece in pieces)


def test_usage_is_left_out_or_sent_twice(upstream: Upstream) -> None:
    options = {"include_usage": True}

    def usages(fault: str) -> int:
        answer = ask(upstream, stream=True, stream_options=options, model=f"gpt-4o!{fault}")
        return sum(bool(chunk.get("usage")) for chunk in chunks_of(answer))

    assert [usages("ok"), usages("no_usage"), usages("usage_twice")] == [1, 0, 2]
    assert "usage" not in ask(upstream, model="gpt-4o!no_usage").json()


def test_double_finish_finishes_twice(upstream: Upstream) -> None:
    chunks = chunks_of(ask(upstream, stream=True, model="gpt-4o!double_finish"))
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == ["stop", "stop"]


@pytest.mark.parametrize("stream", [False, True])
def test_close_closes_and_says_so(upstream: Upstream, stream: bool) -> None:
    data, end = exchange(upstream, "close", stream=stream)
    assert b"connection: close\r\n" in data
    assert end == "closed"


def test_latency_is_before_the_headers_and_drip_between_the_events(upstream: Upstream) -> None:
    started = time.monotonic()
    ask(upstream, model="gpt-4o!latency=100")
    assert time.monotonic() - started >= 0.1
    started = time.monotonic()
    answer = ask(upstream, stream=True, model="gpt-4o!drip=20")
    assert time.monotonic() - started >= 0.02 * (len(data_of(answer)) - 1)
    assert answer.elapsed.total_seconds() >= 0


def test_the_key_is_checked_before_a_failure_is_shown(upstream: Upstream) -> None:
    upstream.script("status=503")
    assert httpx.get(f"{upstream.base_url}/models").status_code == 401


def test_a_share_of_the_requests_fails_the_same_way_each_time() -> None:
    def statuses() -> list[int]:
        with Upstream(fail_rate=0.3, fail_status=529, seed=7) as upstream:
            return [ask(upstream).status_code for _ in range(40)]

    first = statuses()
    assert first == statuses()
    assert set(first) == {200, 529}
    assert 4 <= first.count(529) <= 22
