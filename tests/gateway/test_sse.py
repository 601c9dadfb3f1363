"""Where events end, under any split of the bytes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway import sse

EVENT = st.sampled_from(
    [b"data: {}\n\n", b": ping\n\n", b'data: {"a":"\xc3\xa9"}\r\n\r\n', b"event: x\ndata: 1\n\n", b"data:2\r\n\r\n"]
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(EVENT, min_size=1, max_size=12), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_gives_the_same_bytes_cut_only_between_events(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(events)
    splitter = sse.EventSplitter()
    blocks = [splitter.feed(piece) for piece in pieces(stream, cuts)]
    assert b"".join(blocks) == stream
    assert splitter.unfinished == b""
    assert [event for block in blocks for event in sse.events(block)] == events


@given(st.lists(EVENT, min_size=1, max_size=5), st.integers(1, 8))
def test_an_unfinished_event_is_kept_back(events: list[bytes], missing: int) -> None:
    stream = b"".join(events)
    splitter = sse.EventSplitter()
    given_out = splitter.feed(stream[:-missing])
    assert given_out == b"" or given_out.endswith((b"\n\n", b"\r\n\r\n"))
    assert given_out + splitter.unfinished == stream[:-missing]


def test_data_is_read_from_every_form_of_line() -> None:
    assert sse.data_of(b"data: x\n\n") == b"x"
    assert sse.data_of(b"data:x\r\n\r\n") == b"x"
    assert sse.data_of(b"event: e\ndata: a\ndata: b\n\n") == b"a\nb"
    assert sse.data_of(b": comment\n\n") == b""
    assert sse.data_of(b"\n\n") == b""


def test_an_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    splitter = sse.EventSplitter()
    piece = b"x" * (1024 * 1024)
    for _ in range(sse.MAX_EVENT_BYTES // len(piece)):
        splitter.feed(piece)
    try:
        splitter.feed(piece)
    except sse.EventTooLarge:
        return
    raise AssertionError("an endless event was swallowed")


@given(st.lists(st.sampled_from([b"data: a", b"data:", b"data:  b ", b"event: x", b": c", b"id: 1", b"datax: 1", b""])))
def test_the_data_of_any_event_is_what_its_data_lines_say(lines: list[bytes]) -> None:
    for ending in (b"\n", b"\r\n"):
        event = b"".join(line + ending for line in lines) + ending
        told = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        assert sse.data_of(event) == b"\n".join(told)
