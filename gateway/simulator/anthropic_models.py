"""The models of Anthropic's API, and what each generation of them refuses.

Facts: https://platform.claude.com/docs/en/build-with-claude/thinking, /effort, /api/migration-2026-10-21.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Model:
    """What a model takes."""

    thinking: frozenset[str] = frozenset(("adaptive", "enabled", "disabled"))
    sampling: bool = True  # temperature, top_p, top_k, in the API version that has them
    prefill: bool = True  # the last message may be the assistant's
    effort: bool = True
    max_tokens: int = 128_000


_ADAPTIVE_ONLY = Model(frozenset(("adaptive", "disabled", "between_tools")), sampling=False, prefill=False)
_ALWAYS_THINKING = Model(frozenset(("adaptive",)), sampling=False, prefill=False)
_BOTH = Model(prefill=False)
_MANUAL = Model(frozenset(("enabled", "disabled")), effort=False, max_tokens=64_000)
_ANY = Model()

MODELS: dict[str, Model] = {
    "claude-opus-5-5": _ADAPTIVE_ONLY,
    "claude-sonnet-5-5": _ADAPTIVE_ONLY,
    "claude-haiku-5-5": _ADAPTIVE_ONLY,
    "claude-fable-5-2": _ALWAYS_THINKING,
    "claude-opus-5": _ADAPTIVE_ONLY,
    "claude-sonnet-5": _ADAPTIVE_ONLY,
    "claude-opus-4-8": _ADAPTIVE_ONLY,
    "claude-opus-4-7": _ADAPTIVE_ONLY,
    "claude-opus-4-6": _BOTH,
    "claude-sonnet-4-6": _BOTH,
    "claude-opus-4-5": Model(frozenset(("enabled", "disabled")), max_tokens=64_000),
    "claude-sonnet-4-5": _MANUAL,
    "claude-haiku-4-5": _MANUAL,
}


def model_of(name: str) -> Model:
    """Return what a model takes, a dated one by the name before the date; an unknown one takes everything."""
    known = MODELS.get(name)
    if known is not None:
        return known
    before, _, date = name.rpartition("-")
    return MODELS.get(before, _ANY) if len(date) == 8 and date.isdigit() else _ANY


def listed(name: str) -> dict[str, Any]:
    """Return a model as the API's list has it."""
    line, *version = name.removeprefix("claude-").split("-")
    return {
        "type": "model",
        "id": name,
        "display_name": f"Claude {line.capitalize()} {'.'.join(version)} (simulated)",
        "created_at": "2026-10-21T00:00:00Z",
        "lifecycle": "active",
        "line": line,
        "max_input_tokens": 200_000,
        "max_tokens": model_of(name).max_tokens,
        "capabilities": None,
        "deprecated_at": None,
        "retires_at": None,
    }
