"""Compare two HAR files: which request of one is which of the other (no I/O)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .comparing import NOT_COMPARED, Difference, compare
from .reading import Call

__all__ = ["Pairing", "pair_up"]


@dataclass(slots=True)
class Pairing:
    """A request of the one file, and the same of the other."""

    left: Call | None
    right: Call | None
    differences: list[Difference] = field(default_factory=list)

    @property
    def call(self) -> Call:
        """The request, from whichever file has it."""
        found = self.left if self.left is not None else self.right
        assert found is not None  # a pairing has one at least
        return found


def pair_up(
    left: Sequence[Call], right: Sequence[Call], ignored: frozenset[str] = NOT_COMPARED
) -> list[Pairing]:
    """Return the requests of both, in the order of the left one; then those of the right alone.

    Requests are the same where method and target are; the first of them is that of the other file,
    and so on.
    """
    rest: dict[tuple[str, bytes], deque[Call]] = {}
    for call in right:
        rest.setdefault((call.method, call.target), deque()).append(call)
    found = []
    for call in left:
        others = rest.get((call.method, call.target))
        other = others.popleft() if others else None
        found.append(Pairing(call, other, _differences(call, other, ignored)))
    alone = sorted((call for calls in rest.values() for call in calls), key=lambda c: c.number)
    return found + [Pairing(None, call, _differences(None, call, ignored)) for call in alone]


def _differences(
    left: Call | None, right: Call | None, ignored: frozenset[str]
) -> list[Difference]:
    if left is None or right is None:
        return [Difference("request", *_there(left), *_there(right))]
    found = []
    if left.body != right.body:
        sizes = (f"{len(left.body)} bytes", f"{len(right.body)} bytes")
        found.append(Difference("body of the request", *sizes))
    if left.answer is not None and right.answer is not None:
        found += compare(left.answer, right.answer, ignored)
    elif left.answer is not right.answer:
        found.append(Difference("answer", *_there(left.answer), *_there(right.answer)))
    return found


def _there(what: object) -> tuple[str]:
    return ("not there" if what is None else "there",)
