"""One count that all processes share, and what is left of it for one of them: the arithmetic, pure.

A process uses units that it has claimed and nothing else, so what all use together never exceeds the limit. A claim is
told in absolute numbers ("I have taken 40, 7 of them are unused"), so that an answer that was lost, or a count that was
lost, is mended by the next question. Where room is scarce a process gets what it needs at this moment and nothing to
have in hand; where there is none but others hold unused units, it hears of these and may call them back.

The same arithmetic runs in Redis (counter.lua) and in PostgreSQL (`lease_quota`, in a migration); a property test holds
the three together.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What another process has taken, and how much of it was unused when it last asked."""

    taken: int
    spare: int


@dataclass(frozen=True, slots=True)
class Question:
    """A process declares its claim and asks for more. Units are requests or tokens."""

    seq: int  # rises with each question; one that was overtaken on the way changes nothing
    taken: int
    spare: int
    limit: int
    head: int = 0  # what is needed at the least; 0 for a mere declaration
    queued: int = 0  # for all requests that wait
    want: int = 0  # to have in hand, where there is room for all


@dataclass(frozen=True, slots=True)
class Answer:
    """Less granted than the question's `head` means that there is no room for it."""

    granted: int
    room: int  # what nobody has claimed
    elsewhere: int  # unused units of other processes, as they last told


def answer(question: Question, others: Iterable[Claim], used: int = 0) -> Answer:
    """Return what a process gets; `used` is what nobody's claim covers."""
    claims = list(others)
    elsewhere = sum(claim.spare for claim in claims)
    room = question.limit - used - question.taken - sum(claim.taken for claim in claims)
    if room < max(1, question.head):
        return Answer(0, max(0, room), elsewhere)
    # What is taken in hand leaves as much to each of the others, and again.
    fair = min(question.want, room // (2 * (len(claims) + 1)))
    granted = min(room, max(question.queued, fair))
    return Answer(granted, room - granted, elsewhere)
