"""Numbered items under credit: what lets a slow reader slow its writer, and nothing else.

The reader says up to which number it takes items, and says more when half of that is used up; the
writer waits for it.  Results of a method go that way, and arguments in the other direction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

import msgspec
import trio
from msgspec import Raw
from outcome import Error, Outcome, Value

from .backlog import Backlog
from .codes import RpcCode, RpcError

if TYPE_CHECKING:
    from tunnelkit.stream import Stream

__all__ = ["ITEMS_AHEAD", "Credit", "Feed", "ending", "send_items"]

ITEMS_AHEAD: Final = 32
"""Items of one stream that may be under way.  Stops: a slow reader filling the memory."""

FIRST_ITEMS: Final = 2
"""How many at first, while nobody knows how large they are."""

ITEM_BYTES_AHEAD: Final = 1024 * 1024
"""Bytes of items of one stream that may be under way, but for one item, by the largest so far.
Stops: few items that fill the memory because they are large."""

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
    """What the writer may send: so many items, or bytes, or whatever a stream takes.

    Attributes:
        allowed: how many items, or bytes, the reader takes in all.
        takes_binary: whether bytes may go as binary messages.
        stream: where bytes go instead, if they have a stream of their own.
    """

    __slots__ = ("_news", "allowed", "stream", "takes_binary")

    def __init__(self) -> None:
        self.allowed = 0
        self.takes_binary = False
        self.stream: Stream | None = None
        self._news: trio.Event | None = None

    def allow(self, upto: int, *, takes_binary: bool = False) -> None:
        """The reader takes so much in all; less than before changes nothing."""
        if upto > self.allowed:
            self.allowed = upto
            self.takes_binary |= takes_binary
            self._wake()

    def go_over(self, stream: Stream) -> None:
        """Bytes go over a stream of their own."""
        self.stream = stream
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def wait(self, number: int) -> None:
        """Wait until the item, or the byte, of that number may be sent.

        Cancellation: atomic.
        """
        while number >= self.allowed and self.stream is None:
            if self._news is None:
                self._news = trio.Event()
            await self._news.wait()


async def send_items(
    items: AsyncIterable[Any],
    credit: Credit,
    wait_room: Callable[[], Awaitable[None]],
    put: Callable[[int, Any], None],
) -> int:
    """Send items as far as the reader allows, and return how many there were.

    Args:
        wait_room: waits until little enough waits to be sent.
        put: sends one, with its number.
    """
    count = 0
    async with ending(items) as iterator:
        async for value in iterator:
            await credit.wait(count)
            await wait_room()
            put(count, value)
            count += 1
    return count


class Feed(Generic[T]):
    """What the reader has got and not yet taken.

    Args:
        what: names the items in errors.
        kind: the type of an item.
        allow: tells the writer up to which number items are taken.
        backlog: counts the bytes that wait.
    """

    def __init__(
        self, what: str, kind: Any, allow: Callable[[int], None], backlog: Backlog
    ) -> None:
        self.credit = 0
        """How much the writer may send in all."""
        self.end: Outcome[Any] | None = None
        """How it ends once all items are taken; None: it goes on."""
        self.arrived_count = 0
        """How much has arrived."""
        self.awaits_stream = False
        """Whether it may come over a stream of its own, which is not there yet."""
        self._what = what
        self._kind = kind
        self._allow = allow
        self._backlog = backlog
        self._items: deque[tuple[T, int]] = deque()
        self._largest = 0
        self._taken = 0
        self._news = trio.Event()

    def open(self) -> int:
        """Return how much the writer may send at first."""
        self.credit = FIRST_ITEMS if self._backlog.has_room else 1
        return self.credit

    def shut(self) -> None:
        """The call did not begin: the writer has heard of no leave."""
        self.credit = 0
        self.clear()

    def arrived(self, number: int, value: Raw) -> bool:
        """An item came; return False where it ends the feed: of a wrong type, or too much.

        Raises:
            RpcError: it is not the next one, or more than was allowed: the peer is not to be
                trusted with more.
        """
        self._count(number, 1)
        if self.end is not None:
            return True  # nobody takes it
        try:
            item: T = self._decoded(number, value)
            size = len(value)
            self._backlog.add(size)
        except RpcError as error:
            if error.code == RpcCode.BUSY:
                self.clear()
            self.fail(error)
            return False
        self._largest = max(self._largest, size)
        self._items.append((item, size))
        self._wake()
        return True

    def _count(self, number: int, size: int) -> None:
        if number != self.arrived_count or size < 1 or number + size > self.credit:
            text = f"item {number} of {self._what} was not due"
            raise RpcError(RpcCode.INVALID_REQUEST, text)
        self.arrived_count += size

    def _decoded(self, number: int, value: Raw) -> Any:
        try:
            return msgspec.json.decode(bytes(value), type=self._kind)
        except (msgspec.DecodeError, RecursionError) as error:
            text = f"item {number} of {self._what}: {error}"
            raise RpcError(RpcCode.INVALID_PARAMS, text) from None

    def arrived_whole(self, values: Sequence[T]) -> None:
        """All came at once, from a peer that does not stream; that was the end."""
        if self.end is None:
            self._items.extend((value, 0) for value in values)
            self.finish(Value(None))

    def finish_after(self, count: int) -> None:
        """No more items will come after so many; fewer are an error, not an end."""
        if count == self.arrived_count:
            self.finish(Value(None))
        else:
            text = f"{self._what} ended after {self.arrived_count} of {count}"
            self.fail(RpcError(RpcCode.INVALID_REQUEST, text))

    def finish(self, end: Outcome[Any]) -> None:
        """No more items will come; the first end counts."""
        if self.end is None:
            self.end = end
            self._wake()

    def fail(self, error: Exception) -> None:
        """It ends with *error*, after what has arrived."""
        self.finish(Error(error))

    def clear(self) -> None:
        """Forget what has arrived."""
        self._backlog.change(-sum(size for _, size in self._items))
        self._items.clear()

    def close(self) -> None:
        """Nobody takes any more; a stream of its own is ended by whoever owns it."""
        self.finish(Error(trio.ClosedResourceError("the call was closed")))
        self.clear()

    async def take(self) -> T:
        """Return the next item.

        Raises:
            StopAsyncIteration: there are no more; or whatever it ended with.
        Cancellation: atomic.
        """
        while not self._items and self.end is None:
            await self._news.wait()
        if not self._items:
            self._end_now()
        item, size = self._items.popleft()
        self._backlog.change(-size)
        self._took(1)
        return item

    def _end_now(self) -> NoReturn:
        assert self.end is not None  # nobody asks before
        self.end.unwrap()
        raise StopAsyncIteration

    def _took(self, size: int) -> None:
        """So much was taken: give leave to send more when half of it is used up."""
        self._taken += size
        window = self._window()
        if self.end is None and self.credit - self._taken <= window // 2:
            self.credit = self._taken + window
            self._allow(self.credit)

    def _window(self) -> int:
        """Return how much may be under way now: one item always, so that none stands still."""
        if not self._backlog.has_room:
            return 1
        return max(1, min(ITEMS_AHEAD, ITEM_BYTES_AHEAD // max(1, self._largest)))

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
