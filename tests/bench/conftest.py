"""The benchmark's own programs, compiled once for all tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.programs import Programs, build

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="the benchmark's programs want gcc")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def work() -> Iterator[Path]:
    """A working folder that the account of the embedded servers can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
