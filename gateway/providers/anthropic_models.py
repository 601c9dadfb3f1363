"""What each generation of Claude takes, read off a model's name. Pure.

The API refuses what a model does not take, and models differ: sampling went in 4.7, thinking with a budget gave way to
adaptive thinking in 4.6. Facts: https://platform.claude.com/docs/en/build-with-claude/thinking, /effort,
/api/migration-2026-10-21. A name that tells nothing is taken for a model that takes everything.
"""

from functools import lru_cache
from typing import Literal

import msgspec

Thinking = Literal["none", "budget", "adaptive", "always"]
_LINES = frozenset(("opus", "sonnet", "haiku", "fable", "mythos", "instant"))
_ALWAYS_THINKING = frozenset(("fable", "mythos"))
_VERSION_DIGITS = 2  # more of them are a date


class Traits(msgspec.Struct, frozen=True):
    """What a model takes, and how many tokens of output are asked for where the client names no limit."""

    sampling: bool = True
    thinking: Thinking = "adaptive"
    effort: bool = True
    extra_high_effort: bool = True
    prefill: bool = True  # the last message may be the assistant's
    default_max_tokens: int = 8192


@lru_cache(maxsize=1000)
def traits_of(model: str) -> Traits:
    """Return what a model takes by its name, as in `claude-sonnet-4-5-20250929` and `claude-3-5-haiku-latest`."""
    words = model.rpartition("/")[2].partition("@")[0].lower().replace(".", "-").split("-")
    line = next((word for word in words if word in _LINES), "")
    numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) <= _VERSION_DIGITS]
    if not line or "claude" not in words:
        return Traits()
    major, minor = (*numbers, 0, 0)[:2] if numbers else (99, 0)  # without a number: one that is still to get it
    return _by_version(line, (major, minor))


def _by_version(line: str, version: tuple[int, int]) -> Traits:
    if version < (3, 7):
        return Traits(
            thinking="none",
            effort=False,
            extra_high_effort=False,
            default_max_tokens=8192 if version >= (3, 5) else 4096,
        )
    if version < (4, 6):
        small = line == "opus" and version < (4, 5)
        return Traits(
            thinking="budget",
            effort=line == "opus" and version >= (4, 5),
            extra_high_effort=False,
            default_max_tokens=32_000 if small else 64_000,
        )
    removed = version >= (4, 7)
    return Traits(
        sampling=not removed,
        thinking="always" if line in _ALWAYS_THINKING else "adaptive",
        extra_high_effort=removed,
        prefill=False,
        default_max_tokens=64_000,
    )
