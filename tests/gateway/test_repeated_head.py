"""Heads that are known again: exactly those, and nothing that looks like one."""

import pytest

from gateway.repeated_head import RepeatedHead, learnt
from gateway.request_head import RequestHead
from gateway.schema import Endpoint
from nexus.errors import InvalidRequest

START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
SAID = RequestHead(b"Bearer k", b"once")


def request(
    body: bytes, *, before: bytes = START, length: bytes | None = None, after: bytes = b"a: b\r\n\r\n"
) -> bytes:
    return before + b"content-length: %b\r\n" % (length or b"%d" % len(body)) + after + body


def known() -> RepeatedHead:
    head = learnt(request(b"{}"), 2, Endpoint.CHAT, SAID)
    assert head is not None
    return head


@pytest.mark.parametrize("body", [b"{}", b"", b'{"model":"m"}', b"\r\n\r\n", b"x" * 70_000])
def test_a_request_with_the_same_head_is_its_body(body: bytes) -> None:
    assert known().body_in(request(body)) == body


def test_it_says_what_it_said_before_to_each_request_anew() -> None:
    head = known()
    first = head.head
    first.fault = InvalidRequest("no")
    assert head.endpoint is Endpoint.CHAT
    assert head.head == RequestHead(b"Bearer k", b"once")


@pytest.mark.parametrize(
    "data",
    [
        request(b"{}", before=START.replace(b"k\r\n", b"K\r\n")),
        request(b"{}", before=START.replace(b"chat/", b"")),
        request(b"{}", after=b"a: c\r\n\r\n"),
        request(b"{}", after=b"a: b\r\nc: d\r\n\r\n"),
        request(b"{}", after=b"content-length: 2\r\n\r\n"),
        request(b"{}", length=b"+2"),
        request(b"{}", length=b" 2"),
        request(b"{}", length=b"2 "),
        request(b"{}", length=b"0x2"),
        request(b"{}", length=b"2, 2"),
        request(b"{}", length="²".encode()),
        request(b"{}", length=b"1"),
        request(b"{}", length=b"3"),
        request(b"{}", length=b"0000000000000002"),
        request(b"{}").replace(b"content-length: 2", b"content-length: "),
        request(b"{}") + request(b"{}"),
        request(b"{}") + b"\r\n",
        b"\r\n" + request(b"{}"),
        request(b"{}")[:-1],
        request(b"{}")[:-4],
        request(b"{}")[:40],
        request(b"{}").replace(b"\r\n", b"\n"),
        b"",
    ],
)
def test_anything_else_is_for_the_parser(data: bytes) -> None:
    assert known().body_in(data) is None


@pytest.mark.parametrize(
    ("data", "body_bytes"),
    [
        (request(b"{}"), 1),  # something before the body that is none of the head
        (request(b"{}") + b"POST", 2),  # the next request has begun
        (request(b"{\r\n\r\n}") + b"12", 4),  # ... and what lies before it would look like the end of a head
        (b"\r\n\r\n" + request(b"{}"), 2),
        (request(b"{}", after=b"Content-Length: 2\r\n\r\n"), 2),
        (START + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 2),
        (START + b"\r\n", 0),
    ],
)
def test_a_head_whose_end_is_not_plain_is_not_learnt(data: bytes, body_bytes: int) -> None:
    assert learnt(data, body_bytes, Endpoint.CHAT, SAID) is None


def test_a_head_with_a_fault_is_not_learnt() -> None:
    assert learnt(request(b"{}"), 2, Endpoint.CHAT, RequestHead(b"Bearer k", fault=InvalidRequest("no"))) is None


def test_the_name_of_the_length_may_be_written_in_any_way() -> None:
    data = START + b"CONTENT-length:\t 2\r\n\r\n{}"
    head = learnt(data, 2, Endpoint.CHAT, SAID)
    assert head is not None
    assert head.body_in(data) == b"{}"
    assert head.body_in(data.replace(b"2", b"3") + b" ") == b"{} "
