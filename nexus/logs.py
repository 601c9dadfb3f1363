"""What every process writes to its log: one line per event, as text or as JSON (`NEXUS_LOG_FORMAT`).

A line says when, how grave, which module, a constant sentence, and fields: those of the call (`extra={…}`) and those
of what runs at the moment (`bound`), such as the request's id. Whatever a field, a message or an exception holds cannot
begin a line of its own, move the cursor or colour the terminal; what looks like a secret is left out. Tracebacks show
code and messages, never the values of variables.
"""

import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from decimal import Decimal
from logging.config import dictConfig
from types import MappingProxyType, TracebackType
from typing import Any
from uuid import UUID

MOST_CHARACTERS = 2_000  # of a message or a field
MOST_STACK_CHARACTERS = 20_000
_HIDDEN = "[hidden]"
# C0 and C1 controls, line and paragraph separators, and what turns the direction of writing around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SECRET = re.compile(
    r"(nxk_)[\w-]{16,}"
    r"|(\bsk-)[\w-]{12,}"
    r"|((?i:\bbearer)\s+)[^\s\"'\\,;]+"
    r"|(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"\\]*:)[^\s/\"\\]+(?=@)"  # a password in a URL
)
_PLAIN = re.compile(r"[\w.:/@+-]+\Z")  # a value that needs no quotes to be told from the next field
_NOT_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default=MappingProxyType({}))


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields to every line that is written inside the block, in this task or thread."""
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def bind(**fields: Any) -> None:
    """Add fields for the rest of the innermost `bound` block; None takes one away."""
    _CONTEXT.set({name: value for name, value in {**_CONTEXT.get(), **fields}.items() if value is not None})


class TextFormatter(logging.Formatter):
    """`time LEVEL logger message name=value …`; a traceback follows, indented, so that no line of it begins one."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_moment(record)} {record.levelname} {one_line(record.name)} {one_line(_message(record))}"
        line = " ".join([head, *(f"{one_line(name)}={_text(value)}" for name, value in fields_of(record).items())])
        stack = [f"    {one_line(each)}" for each in _stack(record).splitlines()]
        return without_secrets("\n".join([line, *stack]))


class JsonFormatter(logging.Formatter):
    """One JSON object, in ASCII: time, level, logger, message, pid, the fields, and an exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "pid": record.process,
        }
        line = {**fields_of(record), **line}  # a field does not pass for what the line itself says
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        if stack := _stack(record):
            line["stack"] = stack
        return without_secrets(json.dumps(line, default=str))


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's fields. Other libraries hang objects on theirs, which may hold anything: they are left out."""
    own = {name: value for name, value in record.__dict__.items() if name not in _NOT_FIELDS}
    # Django tells of a refused request when everything around it is over; the request knows what was bound.
    around = getattr(own.get("request"), "log_fields", None) or _CONTEXT.get()
    return {name: _short(value) for name, value in {**around, **own}.items() if _is_plain(value)}


def bound_now() -> Mapping[str, Any]:
    """Return the fields that a line written here would have beside its own."""
    return _CONTEXT.get()


def one_line(text: str) -> str:
    """Return text in which whatever ends a line or steers a terminal is shown instead of done."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def without_secrets(text: str) -> str:
    """Return text without what looks like a key, a token or a password. The last wall: none should come this far."""
    return _SECRET.sub(lambda found: f"{next(filter(None, found.groups()))}{_HIDDEN}", text)


def configure(config: Mapping[str, Any]) -> None:
    """Set logging up (Django's LOGGING_CONFIG). In JSON, what Python itself tells becomes lines of the log too."""
    dictConfig(dict(config))
    if config["handlers"]["stderr"]["formatter"] == "json":
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda found: _log_uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None:
        logging.getLogger("nexus").critical("An error ended the process.", exc_info=(kind, error, trace))


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    return record.getMessage()[:MOST_CHARACTERS]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | Decimal | UUID | date)


def _short(value: Any) -> Any:
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)[:MOST_CHARACTERS]


def _text(value: Any) -> str:
    shown = str(value)
    return shown if _PLAIN.match(shown) else one_line(json.dumps(shown, ensure_ascii=False))


def _stack(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return record.stack_info or ""
    text = "".join(traceback.format_exception(record.exc_info[1]))
    return text if len(text) <= MOST_STACK_CHARACTERS else f"…{text[-MOST_STACK_CHARACTERS:]}"
