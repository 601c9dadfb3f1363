"""The two locks: what a user installs is what the tests ran with, file for file."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ENTRY = re.compile(r"^([a-z0-9._-]+)(?:\[[^]]*])?==(\S+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the version and the hashes of each package of a lock."""
    text = (ROOT / lock).read_text()
    return {
        name: (version, frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)))
        for name, version, rest in _ENTRY.findall(text)
    }


def test_both_locks_name_the_same_files_of_the_packages_they_share() -> None:
    """`make run` installs one of them and the tests run with the other, so a fault in the first would go unseen."""
    users, developers = pins("requirements.txt"), pins("requirements-dev.txt")
    assert len(users) > 50
    assert all(hashes for _, hashes in users.values())
    assert {name: pin for name, pin in users.items() if developers.get(name, pin) != pin} == {}
    assert set(users) <= set(developers)
