"""One run of the load generator."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.cores import pinned
from bench.programs import CannotMeasure
from bench.result import LoadFigures
from bench.scenario import Scenario
from bench.targets import Target

_GRACE_SECONDS = 660  # beyond the asked-for time: the generator gives up by itself before that


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """The program, and the core it runs on."""

    program: Path
    core: int

    def run(
        self, target: Target, scenario: Scenario, *, seconds: float, warm_up_seconds: float = 0.0
    ) -> tuple[LoadFigures, str]:
        """Put load on a target. Returns the figures and what was said about the first bad answer, if any."""
        arguments = [
            "-p", str(target.port), "-c", str(scenario.connections), "-m", scenario.model, "-k", target.api_key,
            "-w", str(warm_up_seconds), "-d", str(seconds), *(["-s"] if scenario.streamed else []),
        ]  # fmt: skip
        for header in target.headers:
            arguments += ["-H", header]
        ended = subprocess.run(
            [str(self.program), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds + warm_up_seconds + _GRACE_SECONDS,
            preexec_fn=pinned({self.core}),
        )
        if ended.returncode != 0:
            raise CannotMeasure(f"The load generator failed on {target.name}: {ended.stderr.strip()}")
        return msgspec.json.decode(ended.stdout, type=LoadFigures), ended.stderr.strip()
