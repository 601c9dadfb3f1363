"""`scripts/setup` in a directory of its own: which Python it takes, and when it leaves an environment alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/setup"
OLD = '#!/bin/sh\n[ "$2" = "import sys; print(sys.version.split()[0])" ] && echo 3.11.2 && exit 0\nexit 1\n'
BROKEN_SHIM = '#!/bin/sh\necho "pyenv: $(basename $0): command not found" >&2\nexit 127\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with locks that name nothing, so that no index is asked."""
    checkout = tmp_path / "a checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(SCRIPT, checkout / "scripts/setup")
    for lock in ("requirements.txt", "requirements-dev.txt"):
        (checkout / lock).write_text("# nothing\n")
    return checkout


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The first directory of the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    return programs


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def set_up(
    checkout: Path, programs: Path, lock: str = "requirements.txt", **environment: str
) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(checkout.parent), "PIP_NO_INDEX": "1", **environment}
    return subprocess.run(
        ["scripts/setup", lock], cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=100
    )


def test_it_takes_the_python_that_works_not_the_first_of_that_name(checkout: Path, programs: Path) -> None:
    program(programs / "python3", OLD)
    program(programs / "python3.13", BROKEN_SHIM)
    program(programs / "python3.12", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')

    made = set_up(checkout, programs)

    assert made.returncode == 0, made.stderr
    assert f"({programs}/python3.12)" in made.stderr
    version = subprocess.run([checkout / ".venv/bin/python", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.split()[1] == sys.version.split()[0]


def test_a_second_run_says_and_does_nothing_until_the_lock_changes(checkout: Path, programs: Path) -> None:
    first = set_up(checkout, programs, PYTHON=sys.executable)
    before = os.stat(checkout / ".venv/.installed-requirements.txt").st_mtime_ns
    second = set_up(checkout, programs)
    after = os.stat(checkout / ".venv/.installed-requirements.txt").st_mtime_ns
    (checkout / "requirements.txt").write_text("# still nothing\n")
    third = set_up(checkout, programs)

    assert first.returncode == second.returncode == third.returncode == 0, first.stderr + third.stderr
    assert (second.stdout, second.stderr, after) == ("", "", before)
    assert "Installing what requirements.txt names" in third.stderr
    assert "Using Python" not in third.stderr


def test_a_moved_environment_is_made_anew(checkout: Path, programs: Path) -> None:
    set_up(checkout, programs, PYTHON=sys.executable)
    moved = checkout.rename(checkout.with_name("elsewhere"))

    again = set_up(moved, programs, PYTHON=sys.executable)

    assert again.returncode == 0, again.stderr
    assert "Making .venv anew" in again.stderr
    assert str(moved) in (moved / ".venv/bin/activate").read_text()


def test_a_working_environment_of_somebody_else_is_kept(checkout: Path, programs: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", checkout / ".venv"], check=True)
    (checkout / ".venv/theirs").touch()

    made = set_up(checkout, programs, "requirements-dev.txt")

    assert made.returncode == 0, made.stderr
    assert "anew" not in made.stderr
    assert (checkout / ".venv/theirs").exists()


def test_a_broken_environment_is_not_removed_while_no_python_fits(checkout: Path, programs: Path) -> None:
    program(programs / "old", OLD)
    (checkout / ".venv/bin").mkdir(parents=True)

    refused = set_up(checkout, programs, PYTHON=str(programs / "old"))

    assert refused.returncode == 1
    assert "old is not a working Python 3.12 or newer" in refused.stderr
    assert (checkout / ".venv/bin").exists()


def test_it_looks_beside_a_python_that_is_too_old(checkout: Path, programs: Path, tmp_path: Path) -> None:
    """pyenv keeps every version in one folder, which may belong to somebody else."""
    versions = tmp_path / "versions"
    (versions / "3.12.9/bin").mkdir(parents=True)
    program(versions / "3.12.9/bin/python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program(programs / "python3", f'#!/bin/sh\ncase $2 in *base_prefix*) echo "{versions}";; *) exit 1;; esac\n')

    made = set_up(checkout, programs)

    assert made.returncode == 0, made.stderr
    assert f"({versions}/3.12.9/bin/python3)" in made.stderr
