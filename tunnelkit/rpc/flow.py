"""Numbered items under credit: what lets a slow reader slow its writer, and nothing else.

The reader says up to which number it takes items, and says more when half of that is used up; the
writer waits for it.  Results of a method go that way, and arguments in the other direction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio
from msgspec import Raw
from outcome import Error, Outcome

from .codes import RpcCode, RpcError

__all__ = ["ITEMS_AHEAD", "Credit", "Feed", "ending"]

ITEMS_AHEAD: Final = 32
"""Items that may be under way.  Stops: a slow reader filling the memory."""

CLOSE_SECONDS: Final = 1.0
"""How long a producer of items may take to end after its last one, seconds."""

T = TypeVar("T")


@asynccontextmanager
async def ending(items: AsyncIterable[T]) -> AsyncGenerator[AsyncIterator[T]]:
    """Iterate over *items* in the block; a generator is closed when the block is left."""
    iterator = aiter(items)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
                await close()


class Credit:
    """What the writer may send."""

    __slots__ = ("_allowed", "_news")

    def __init__(self) -> None:
        self._allowed = 0
        self._news: trio.Event | None = None

    def allow(self, upto: int) -> None:
        """The reader takes so many items in all; less than before changes nothing."""
        if upto > self._allowed:
            self._allowed = upto
            if self._news is not None:
                self._news.set()
                self._news = None

    async def wait(self, number: int) -> None:
        """Wait until the item of that number may be sent.

        Cancellation: atomic.
        """
        while number >= self._allowed:
            if self._news is None:
                self._news = trio.Event()
            await self._news.wait()


class Feed(Generic[T]):
    """What the reader has got and not yet taken.

    Args:
        what: names the items in errors.
        kind: the type of an item.
        allow: tells the writer up to which number items are taken.
    """

    def __init__(self, what: str, kind: Any, allow: Callable[[int], None]) -> None:
        self.credit = ITEMS_AHEAD
        """How many items the writer may send in all."""
        self.end: Outcome[Any] | None = None
        """How it ends once all items are taken; None: it goes on."""
        self._what = what
        self._kind = kind
        self._allow = allow
        self._items: deque[T] = deque()
        self._taken = 0
        self._arrived = 0
        self._news = trio.Event()

    def arrived(self, number: int, value: Raw) -> None:
        """An item came.

        Raises:
            RpcError: it is not the next one, or more than was allowed (INVALID_REQUEST: the peer
                is not to be trusted with more), or not of the right type (INVALID_PARAMS).
        """
        if number != self._arrived or number >= self.credit:
            text = f"item {number} of {self._what} was not due"
            raise RpcError(RpcCode.INVALID_REQUEST, text)
        self._arrived += 1
        try:
            item: T = msgspec.json.decode(bytes(value), type=self._kind)
        except (msgspec.DecodeError, RecursionError) as error:
            text = f"item {number} of {self._what}: {error}"
            raise RpcError(RpcCode.INVALID_PARAMS, text) from None
        if self.end is None:
            self._items.append(item)
            self._wake()

    def finish(self, end: Outcome[Any]) -> None:
        """No more items will come; the first end counts."""
        if self.end is None:
            self.end = end
            self._wake()

    def clear(self) -> None:
        """Forget what has arrived."""
        self._items.clear()

    async def take(self) -> T:
        """Return the next item.

        Raises:
            StopAsyncIteration: there are no more; or whatever it ended with.
        Cancellation: atomic.
        """
        while not self._items and self.end is None:
            await self._news.wait()
        if not self._items:
            assert self.end is not None  # the loop says so
            self.end.unwrap()
            raise StopAsyncIteration
        item = self._items.popleft()
        self._taken += 1
        if self.end is None and self.credit - self._taken <= ITEMS_AHEAD // 2:
            self.credit = self._taken + ITEMS_AHEAD
            self._allow(self.credit)
        return item

    def fail(self, error: Exception) -> None:
        """It ends with *error*, after what has arrived."""
        self.finish(Error(error))

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
