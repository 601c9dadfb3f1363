"""A script: the faults of the requests to come, one step per request."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.simulator.faults import BadFault, Faults, expand


class BadScript(ValueError):
    """A script cannot be read; the message says why."""


class Script:
    """The steps that are left. With `repeat` they begin anew at the end."""

    def __init__(self, steps: Iterable[str] = (), *, repeat: bool = False) -> None:
        """Read the steps; raises BadFault."""
        self._steps = deque(expand(steps))
        self._repeat = repeat

    def __len__(self) -> int:
        return len(self._steps)

    def take(self) -> Faults | None:
        """Return the next request's faults, or None where the script is at its end."""
        if not self._steps:
            return None
        step = self._steps.popleft()
        if self._repeat:
            self._steps.append(step)
        return step


def parse_script(text: bytes) -> Script:
    """Read `{"steps": [fault, …], "repeat": bool}`. Raises BadScript."""
    try:
        content: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadScript(f"The script is not JSON: {error}") from error
    if not isinstance(content, dict) or not set(content) <= {"steps", "repeat"}:
        raise BadScript('A script is {"steps": [fault, ...], "repeat": false}.')
    steps, repeat = content.get("steps"), content.get("repeat", False)
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise BadScript("The script's steps must be a list of faults.")
    if not isinstance(repeat, bool):
        raise BadScript("The script's repeat must be true or false.")
    try:
        return Script(steps, repeat=repeat)
    except BadFault as error:
        raise BadScript(str(error)) from error
