"""`manage.py simulate` as it is typed: without database, environment or secrets."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.simulator.registry import DIALECTS
from tests.gateway.simulator.asking import HELLO

ROOT = Path(__file__).resolve().parents[3]
BODY = {"model": "gpt-4o", "messages": HELLO}


def command(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "simulate", *arguments],
        env={"PATH": os.environ["PATH"], "NEXUS_DATA_DIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def simulating(directory: Path, *arguments: str, sign: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """Yield the printed base URL; afterwards the process has ended well and said nothing else."""
    with command(directory, "--family", "openai", "--port", "0", *arguments) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Simulating openai on http://127.0.0.1:"), process.stderr and process.stderr.read()
            yield line.split()[3]
            process.send_signal(sign)
            assert process.communicate(timeout=10) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()


def ask(base_url: str, key: str = "sk-test") -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{base_url}/chat/completions", json=BODY, headers=headers)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_told_to_stop(tmp_path: Path, sign: signal.Signals) -> None:
    with simulating(tmp_path, "--api-key", "sk-test", "--latency-ms", "20", sign=sign) as base_url:
        answer = ask(base_url)
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() >= 0.02
        assert ask(base_url, key="sk-other").status_code == 401


def test_it_follows_a_script_and_then_fails_always(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"steps": ["status=429", "ok"]}')
    with simulating(tmp_path, "--script", str(script), "--status", "503") as base_url:
        assert [ask(base_url).status_code for _ in range(4)] == [429, 200, 503, 503]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("--family", "llama"),
            f"The family 'llama' cannot be simulated. Available: {', '.join(sorted(DIALECTS))}.",
        ),
        (("--family", "openai", "--script", "/nowhere.json"), "Cannot use /nowhere.json"),
        (("--family", "openai", "--fail-rate", "2"), "'2' is not a rate from 0 to 1"),
        (("--family", "openai", "--status", "200"), "'200' is not a status from 400 to 599"),
        (("--family", "openai", "--chunk-ms", "-5"), "'-5' is not a number of milliseconds"),
        (("--family", "openai", "--host", "192.0.2.1"), "Cannot listen on 192.0.2.1:0"),
    ],
)
def test_it_says_what_it_cannot_do(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    with command(tmp_path, "--port", "0", *arguments) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode != 0
    assert complaint in said
    assert "Traceback" not in said
