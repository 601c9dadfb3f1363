"""The fault grammar and scripts: pure text in, faults or a clear complaint out."""

import pytest

from gateway.simulator.faults import BadFault, expand, parse
from gateway.simulator.script import BadScript, Script, parse_script


@pytest.mark.parametrize(
    "text",
    [
        *("status=503", "status=429;retry_after=2", "insufficient_quota", "hang", "stall_headers", "stall@3", "drip=5"),
        *("latency=500", "html502", "error_first", "error@3", "empty", "cut@3", "reset@3", "cutbytes@120", "badjson@3"),
        *(
            "badchunk@3",
            "crlf",
            "split",
            "giant",
            "no_usage",
            "usage_twice",
            "double_finish",
            "unknown_event",
            "comments",
        ),
        *("no_done", "close", "crlf+split+comments", "status=429;retry_after=Wed, 21 Oct 2026 07:28:00 GMT"),
        "status=429;retry_after_ms=5;retry_after=soon",
    ],
)
def test_it_reads_what_it_writes(text: str) -> None:
    assert str(parse(text)) == text


def test_positions_have_defaults_where_one_is_obvious() -> None:
    assert parse("reset").value("reset") == 0
    assert parse("badjson").value("badjson") == 1


def test_nothing_and_ok_are_no_fault() -> None:
    assert parse("") == parse(" ") == parse("ok")
    assert not parse("ok").chosen


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("explode", "There is no fault 'explode'. Known: bad_crc, badchunk, "),
        ("status", "'status' needs a number from 400 to 599: status=400"),
        ("status=200", "'status' needs a number from 400 to 599"),
        ("status=abc", "'status' needs a number"),
        ("drip@5", "'drip' needs a number"),
        ("cut", "'cut' needs a position: cut@3"),
        ("cut=3", "'cut' needs a position: cut@3"),
        ("stall@-1", "'stall' needs a position"),
        ("hang=3", "'hang' takes no value"),
        ("status=429;after=2", "'status' has no option 'after=2'. Known: retry_after,"),
        ("status=429;retry_after", "'status' has no option 'retry_after'"),
        ("status=429;retry_after_date=soon", "'retry_after_date' needs a number of seconds"),
        ("status=429;retry_after=a\r\nb", "cannot be sent as a header"),
        ("hang;retry_after=2", "'hang' has no option 'retry_after=2'. It takes none"),
        ("crlf+", "'' is not a fault. Write name, name=number or name@position"),
        ("split+split", "'split' is named twice"),
        ("9lives", "'9lives' is not a fault"),
    ],
)
def test_it_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(BadFault) as raised:
        parse(text)
    assert complaint in str(raised.value)


def test_a_limit_is_for_the_first_requests() -> None:
    faults = parse("status=429;retry_after=1x2+latency=5")
    assert [str(faults.for_turn(turn)) for turn in range(4)] == [
        *["status=429;retry_after=1+latency=5"] * 2,
        *["latency=5"] * 2,
    ]


def test_a_limited_step_is_as_many_steps() -> None:
    assert [str(step) for step in expand(["hangx2", "ok", "crlf+cut@3x2"])] == [
        "hang",
        "hang",
        "",
        "crlf+cut@3",
        "crlf+cut@3",
    ]


def test_a_script_ends_or_begins_anew() -> None:
    once, again = Script(["hang", "ok"]), Script(["hang", "ok"], repeat=True)
    assert [str(once.take()) for _ in range(4)] == ["hang", "", "None", "None"]
    assert [str(again.take()) for _ in range(4)] == ["hang", "", "hang", ""]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "is not JSON"),
        (b"[]", "A script is"),
        (b'{"steps": [], "loop": true}', "A script is"),
        (b'{"steps": "hang"}', "must be a list"),
        (b'{"steps": [], "repeat": 1}', "repeat must be"),
        (b'{"steps": ["explode"]}', "There is no fault 'explode'"),
    ],
)
def test_a_bad_script_is_refused_with_the_reason(text: bytes, complaint: str) -> None:
    with pytest.raises(BadScript, match=complaint):
        parse_script(text)
