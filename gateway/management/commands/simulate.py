"""`manage.py simulate`: a protocol-true simulator of one provider family's own API."""

import asyncio
import signal
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandError

from gateway.simulator.faults import NUMBERS
from gateway.simulator.registry import DIALECTS
from gateway.simulator.script import BadScript, Script, parse_script
from gateway.simulator.server import Behaviour, Simulator


class Command(BaseCommand):
    help = "Simulate one provider family's API, with faults, for demos, tests and benchmarks."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--family", required=True, help=f"one of: {', '.join(sorted(DIALECTS))}")
        parser.add_argument("--port", type=int, required=True, help="TCP port; 0 takes a free one")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--latency-ms", type=_at_least_zero, default=0, help="before the headers (default: 0)")
        parser.add_argument("--chunk-ms", type=_at_least_zero, default=0, help="between a stream's events (default: 0)")
        parser.add_argument("--fail-rate", type=_rate, help="part of the requests that fail, 0 to 1")
        parser.add_argument("--status", type=_status, help="what they fail with (default: 500); alone, all fail")
        parser.add_argument("--script", type=Path, help='JSON file: {"steps": [fault, ...], "repeat": false}')
        parser.add_argument("--api-key", default="", help="the only key that is accepted (default: any)")
        parser.add_argument("--seed", type=int, default=0, help="of the failures and ids (default: 0)")

    def handle(self, *, family: str, host: str, port: int, **options: Any) -> None:
        dialect = DIALECTS.get(family)
        if dialect is None:
            raise CommandError(f"The family {family!r} cannot be simulated. Available: {', '.join(sorted(DIALECTS))}.")
        simulator = Simulator(dialect, _behaviour(**options), _script(options["script"]))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                bound = runner.run(simulator.start(host, port))
            except (OSError, OverflowError) as error:
                raise CommandError(f"Cannot listen on {host}:{port}: {error}") from None
            self.stdout.write(
                f"Simulating {family} on http://{host}:{bound}{dialect.base_path} (no real model answers)"
            )
            self.stdout.flush()
            runner.run(_until_told_to_stop())
            runner.run(simulator.stop())


async def _until_told_to_stop() -> None:
    told = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, told.set)
    await told.wait()


def _behaviour(
    *,
    latency_ms: int,
    chunk_ms: int,
    fail_rate: float | None,
    status: int | None,
    api_key: str,
    seed: int,
    **_others: Any,
) -> Behaviour:
    if fail_rate is None:
        fail_rate = 0.0 if status is None else 1.0
    return Behaviour(latency_ms, chunk_ms, fail_rate, status or 500, api_key, seed)


def _script(path: Path | None) -> Script | None:
    if path is None:
        return None
    try:
        return parse_script(path.read_bytes())
    except (OSError, BadScript) as error:
        raise CommandError(f"Cannot use {path}: {error}") from None


def _at_least_zero(text: str) -> int:
    if not text.isdigit():
        raise ArgumentTypeError(f"{text!r} is not a number of milliseconds")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise ArgumentTypeError(f"{text!r} is not a rate from 0 to 1")
    return rate


def _status(text: str) -> int:
    least, most = NUMBERS["status"]
    if not text.isdigit() or not least <= int(text) <= most:
        raise ArgumentTypeError(f"{text!r} is not a status from {least} to {most}")
    return int(text)
