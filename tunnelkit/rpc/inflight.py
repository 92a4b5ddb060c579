"""Calls that are under way, in both directions: ids and bounds (no I/O).

Two tables, which know nothing of each other.  `Outgoing` holds what this side waits for: each call
ends exactly once, by its reply, because the caller gave up, or because the peer is gone.
`Incoming` holds what this side carries out for the peer: a call keeps its place until nothing of it
runs any more, so that whoever calls and cancels gets no more of them than whoever waits.

What a table holds for a call is up to its owner: something to wake on this side, something to
cancel on the other.
"""

from __future__ import annotations

from itertools import count
from typing import Final, Generic, TypeVar

from .codes import RpcCode, RpcError
from .messages import Id

__all__ = ["MAX_INCOMING", "MAX_OUTGOING", "Incoming", "Outgoing"]

MAX_OUTGOING: Final = 4096
"""Most calls that this side waits for at once.  Stops: a peer that answers nothing making the
memory grow by everybody who asks it."""

MAX_INCOMING: Final = 256
"""Most calls of a peer that are carried out at once.  Stops: floods of calls."""

T = TypeVar("T")


class Outgoing(Generic[T]):
    """Calls of this side that wait for a reply; ids are numbers from 1 on, never used again."""

    def __init__(self, most: int = MAX_OUTGOING) -> None:
        self._most = most
        self._calls: dict[int, T] = {}
        self._ids = count(1)

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, call: T) -> int:
        """Take note of a call and return its id.

        Raises:
            RpcError: BUSY, as many calls wait already as may.
        """
        if len(self._calls) >= self._most:
            text = f"{self._most} calls wait for an answer of this peer already"
            raise RpcError(RpcCode.BUSY, text)
        number = next(self._ids)
        self._calls[number] = call
        return number

    def get(self, number: Id) -> T | None:
        """Return a call that still waits."""
        return self._calls.get(number) if type(number) is int else None

    def end(self, number: Id) -> T | None:
        """The call is over; return it, or None: it was over already, or there never was one."""
        return self._calls.pop(number, None) if type(number) is int else None

    def end_all(self) -> list[T]:
        """All calls are over: the peer is gone."""
        calls, self._calls = list(self._calls.values()), {}
        return calls


class Incoming(Generic[T]):
    """Calls of the peer that are carried out here."""

    def __init__(self, most: int = MAX_INCOMING) -> None:
        self._most = most
        self._calls: dict[Id, T] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, request_id: Id, call: T) -> None:
        """Take note of a call.

        Raises:
            RpcError: INVALID_REQUEST, a call with this id is under way; BUSY, too many are.
        """
        if len(self._calls) >= self._most:
            raise RpcError(RpcCode.BUSY, f"{self._most} calls are under way already")
        if request_id in self._calls:
            raise RpcError(RpcCode.INVALID_REQUEST, "a call with this id is under way")
        self._calls[request_id] = call

    def get(self, request_id: Id) -> T | None:
        """Return a call that is under way."""
        return self._calls.get(request_id)

    def end(self, request_id: Id, call: T) -> None:
        """The call is over, and nothing of it runs any more: its place and its id are free."""
        if self._calls.get(request_id) is call:
            del self._calls[request_id]

    def end_all(self) -> list[T]:
        """The peer is gone: return what is to be cancelled."""
        calls, self._calls = list(self._calls.values()), {}
        return calls
