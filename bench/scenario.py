"""What the load generator does in one measurement: a letter for the kind of request, and how many at once."""

from dataclasses import dataclass

DEFAULT = "n1,n16,n64,n256,s1,s16,s64,s256,d64"
KINDS = {
    "n": "not streamed, an answer of 1.1 KB",
    "s": "streamed, 50 chunks without a pause",
    "d": "streamed, 50 chunks 10 ms apart",
    "l": "not streamed, 50 ms until the first byte",
}
# The upstream chooses its speed by the model (programs/mock.c).
_MODELS = {"n": "gpt-4o-mini", "s": "gpt-4o-mini", "d": "gpt-4o", "l": "gpt-4.1"}
MODELS = tuple(sorted(set(_MODELS.values())))
_MOST_CONNECTIONS = 4096


class UnknownScenario(ValueError):
    """A scenario that cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request at one concurrency, `n16` for short."""

    kind: str
    connections: int

    @classmethod
    def parse(cls, name: str) -> "Scenario":
        """Read a short name. Raises UnknownScenario."""
        kind, number = name[:1], name[1:]
        if kind not in KINDS or not number.isdigit() or not 1 <= int(number) <= _MOST_CONNECTIONS:
            raise UnknownScenario(f"{name!r} is no scenario: take a letter of {', '.join(KINDS)} and a number, as n16.")
        return cls(kind, int(number))

    @property
    def name(self) -> str:
        return f"{self.kind}{self.connections}"

    @property
    def streamed(self) -> bool:
        return self.kind in "sd"

    @property
    def model(self) -> str:
        return _MODELS[self.kind]
