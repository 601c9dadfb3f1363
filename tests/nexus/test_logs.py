"""The log of every process: lines that no value can forge, in text or JSON, without secrets and without variables."""

import ast
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.test import Client as Browser

from nexus.logs import JsonFormatter, TextFormatter, bind, bound
from tests.accounts.test_keys_api import call
from tests.conftest import Person

ROOT = Path(__file__).parents[2]
APPS = ("accounts", "billing", "gateway", "nexus")
KEY = "nxk_" + "a1B2-_" * 7 + "x"
HOSTILE = "gpt\r\n2026-01-01T00:00:00.000Z CRITICAL nexus forged \x1b[31mred\x9b0m\u2028\u202eback\x00"


def record(message: str = "Something happened.", *args: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("gateway.test", logging.WARNING, "x.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


def failing(secret: str) -> logging.LogRecord:
    """A record of an error in a function that holds a secret."""
    try:
        _fail(secret, "upstream said\nno\x1b[2J")
    except ValueError:
        made = record("A request failed.")
        made.exc_info = sys.exc_info()
    return made


def _fail(secret: str, message: str) -> None:
    local = f"local {secret}"
    assert local
    raise ValueError(message)


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert line.isascii()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_json_line_says_when_what_where_and_the_fields() -> None:
    identifier = UUID(int=7)
    line = as_json(
        record("Quota spent.", request_id=identifier, tenant="acme", spent=3, share=0.5, over=True, none=None)
    )
    assert datetime.fromisoformat(line.pop("time")).tzinfo == UTC
    assert line.pop("pid") > 0
    assert line == {
        "level": "WARNING",
        "logger": "gateway.test",
        "message": "Quota spent.",
        "request_id": str(identifier),
        "tenant": "acme",
        "spent": 3,
        "share": 0.5,
        "over": True,
        "none": None,
    }


def test_a_text_line_says_the_same() -> None:
    line = TextFormatter().format(record("Quota spent.", tenant="acme", reason="too many", share=0.5))
    moment, rest = line.split(" ", 1)
    assert datetime.fromisoformat(moment).tzinfo == UTC
    assert rest == 'WARNING gateway.test Quota spent. tenant=acme reason="too many" share=0.5'


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_callers_chose_forges_no_line_and_steers_no_terminal(formatter: logging.Formatter) -> None:
    for made in (record(HOSTILE), record("Path %s.", HOSTILE), record(model=HOSTILE), record(**{HOSTILE: "x"})):
        line = formatter.format(made)
        assert all(character.isprintable() for character in line), line
        assert "\\r\\n" in line
        assert "forged" in line


def test_a_field_does_not_pass_for_what_the_line_itself_says() -> None:
    line = as_json(record(level="INFO", logger="elsewhere", time="never"))
    assert (line["level"], line["logger"]) == ("WARNING", "gateway.test")
    assert line["time"] != "never"


def test_a_value_with_quotes_ends_no_field() -> None:
    line = TextFormatter().format(record(model='x" status=200 y="'))
    assert line.endswith(r'model="x\" status=200 y=\""')


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_shows_code_and_no_variables(formatter: logging.Formatter) -> None:
    line = formatter.format(failing("the-value-of-a-variable"))
    assert "in _fail" in line
    assert "ValueError: upstream said" in line
    assert "the-value-of-a-variable" not in line


def test_no_line_of_a_traceback_begins_a_line_of_the_log() -> None:
    first, *rest = TextFormatter().format(failing("x")).split("\n")
    assert first.endswith("A request failed.")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_a_json_line_holds_the_traceback_as_one_string() -> None:
    line = as_json(failing("x"))
    assert line["exception"] == "ValueError"
    assert line["stack"].startswith("Traceback")


@pytest.mark.parametrize(
    ("secret", "left"),
    [
        (KEY, "nxk_"),
        ("sk-proj-0123456789abcdef", "sk-"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer "),
        ("postgres://nexus:s3cr3t@db.internal:5432/nexus", "postgres://nexus:"),
        ("redis://:s3cr3t@redis/0", "redis://:"),
    ],
)
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_looks_like_a_secret_is_left_out(formatter: logging.Formatter, secret: str, left: str) -> None:
    for made in (record(f"Failed on {secret}"), record("Failed on %s", secret), record(url=secret)):
        line = formatter.format(made)
        assert f"{left}[hidden]" in line
        assert secret not in line
        assert "s3cr3t" not in line
    broken = record()
    broken.exc_info = (ValueError, ValueError(secret), None)
    assert f"{left}[hidden]" in formatter.format(broken)
    if isinstance(formatter, JsonFormatter):
        json.loads(formatter.format(broken))


def test_an_address_without_a_password_is_left_alone() -> None:
    url = "https://llm.example.com:8443/v1?mail=a@b.example"
    assert url in TextFormatter().format(record(f"Asked {url}"))


def test_objects_of_other_libraries_are_left_out() -> None:
    """Django hangs the request on its lines and Celery the arguments of a task."""
    line = as_json(record(request=object(), data={"args": "content"}, status_code=500))
    assert line["status_code"] == 500
    assert not {"request", "data"} & line.keys()


def test_endless_values_are_cut() -> None:
    line = as_json(record("x" * 10_000, model="y" * 10_000))
    assert (len(line["message"]), len(line["model"])) == (2_000, 2_000)


def test_a_number_that_json_does_not_know_is_text() -> None:
    assert as_json(record(share=float("nan")))["share"] == "nan"


def test_what_is_bound_is_told_inside_the_block_alone() -> None:
    with bound(request_id="one"):
        bind(tenant="acme")
        assert (as_json(record())["request_id"], as_json(record())["tenant"]) == ("one", "acme")
        assert as_json(record(request_id="another"))["request_id"] == "another"
        bind(tenant=None)
        assert "tenant" not in as_json(record())
    assert not {"request_id", "tenant"} & as_json(record()).keys()


class _Lines(logging.Handler):
    """Formats as the handler on standard error does, at the moment of the call."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(as_json(record))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    handler = _Lines()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


def test_a_line_of_any_library_names_the_request_and_its_tenant(ada: Person, lines: list[dict[str, Any]]) -> None:
    answer = call(ada.key, "GET", "/v1/keys?limit=none")
    line = next(line for line in lines if line["logger"] == "django.request")
    assert (line["request_id"], line["tenant"], line["status_code"]) == (answer["x-request-id"], "acme", 400)


def test_a_request_leaves_nothing_behind_for_the_next(ada: Person, lines: list[dict[str, Any]]) -> None:
    call(ada.key, "GET", "/v1/keys")
    other = Browser().get("/v1/nothing")
    line = next(line for line in lines if line["logger"] == "django.request")
    assert line["request_id"] == other["x-request-id"]
    assert "tenant" not in line


def test_every_message_of_ours_is_constant() -> None:
    """What differs from line to line belongs into fields, where it can be searched for and cannot forge anything."""
    found = 0
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "logger"):
                    continue
                found += 1
                assert len(node.args) == 1, f"{path}:{node.lineno}"
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                assert {each.arg for each in node.keywords} <= {"extra", "exc_info"}, f"{path}:{node.lineno}"
    assert found > 10


PROGRAMS = {
    "django": "import django; django.setup()\n",
    "celery": "from nexus.celery import app\napp.log.setup(loglevel='WARNING', redirect_stdouts=True)\n",
}
TELLING = """
import logging, threading, warnings
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
logging.getLogger("celery.worker").warning("missed heartbeat from %s", "w\\n1")
warnings.warn("old way", DeprecationWarning)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
raise RuntimeError("the end\\nof it")
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_in_json_every_line_on_standard_error_is_json(program: str, tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin",
        "DJANGO_SETTINGS_MODULE": "nexus.settings.console",
        "NEXUS_DATA_DIR": str(tmp_path),
        "SECRET_KEY": "x" * 50,
        "NEXUS_LOG_FORMAT": "json",
        "NEXUS_LOG_LEVEL": "warning",
    }
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAMS[program] + TELLING],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.stdout == ""
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    told = {line["logger"]: line for line in lines if line["logger"] != "nexus"}
    assert told["celery.worker"]["message"] == "missed heartbeat from w\n1"
    assert "old way" in told["py.warnings"]["message"]
    assert told["uvicorn.error"]["level"] == "WARNING"
    assert [line["exception"] for line in lines if line["logger"] == "nexus"] == ["ZeroDivisionError", "RuntimeError"]
