"""Pytest plugin that deals the suite out to several processes (`-n 2`): one file at a time, in the order of collection.

pytest-django puts the tests that are rolled back before all others, which may commit: a file that has both kinds is
dealt out twice, so that in each process, as in one alone, no test that expects an empty database comes after them.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


class InOrder(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A file's tests stay together, with its fixtures, as far as they follow one another."""

    _stretches: dict[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._stretches is None:
            self._stretches = stretches(self.collection or [])
        return self._stretches[nodeid]


def stretches(nodeids: list[str]) -> dict[str, str]:
    """Return the name of each test's stretch: its file, and how many came before it."""
    found: dict[str, str] = {}
    last, count = "", 0
    for nodeid in nodeids:
        file = nodeid.partition("::")[0]
        if file != last:
            last, count = file, count + 1
        found[nodeid] = f"{file} {count}"
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InOrder:
    config.option.loadscopereorder = False
    return InOrder(config, log)
