"""Calls of this side that wait: for an answer, for items, for leave to send more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import trio
from msgspec import Raw
from outcome import Error, Outcome, Value

from .backlog import Backlog
from .codes import RpcCode, RpcError
from .epochs import Epoch
from .flow import Credit, Feed
from .messages import Reply
from .payload import ByteFeed, feed_of, is_payload
from .spec import MethodSpec, whole_of

if TYPE_CHECKING:
    from tunnelkit.stream import Stream

__all__ = ["Items", "Results", "Waiting", "result_of"]

T = TypeVar("T")


def result_of(spec: MethodSpec, reply: Reply, wanted: Any) -> Outcome[Any]:
    """Return what a reply says: the result, or the error."""
    return Error(_error_of(reply)) if reply.result is None else _decoded(spec, reply.result, wanted)


def _decoded(spec: MethodSpec, value: Raw, wanted: Any) -> Outcome[Any]:
    try:
        return Value(msgspec.json.decode(bytes(value), type=wanted))
    except (msgspec.DecodeError, RecursionError) as error:
        text = f"{spec.wire_name}: the peer's result is not of the type that was agreed on: {error}"
        return Error(RpcError(RpcCode.INTERNAL_ERROR, text))


def _error_of(reply: Reply) -> RpcError:
    data: object = None
    if reply.data is not None:
        try:
            data = msgspec.json.decode(bytes(reply.data))
        except (msgspec.DecodeError, RecursionError):
            pass
    return RpcError(reply.code, reply.text, data if isinstance(data, dict) else None)


class Waiting:
    """A call of this side that waits for its answer."""

    __slots__ = ("_outcome", "_task", "carried", "epoch", "sends", "spec")

    def __init__(self, spec: MethodSpec, epoch: Epoch) -> None:
        self.spec = spec
        self.epoch = epoch
        """What the caller knows of the epoch."""
        self.carried: int | None = None
        """The epoch that the call has carried."""
        self.sends: Credit | None = Credit() if spec.streamed else None
        """What may be sent of a streamed argument."""
        self._task: trio.lowlevel.Task | None = None
        self._outcome: Outcome[Any] | None = None

    async def wait(self) -> Any:
        """Wait for the answer, and return or raise it."""
        if self._outcome is None:
            self._task = trio.lowlevel.current_task()

            def abort(_: object) -> trio.lowlevel.Abort:
                self._task = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        else:
            await trio.lowlevel.checkpoint()
        assert self._outcome is not None  # whoever wakes it has set it
        return self._outcome.unwrap()

    def answered(self, reply: Reply) -> None:
        """The answer came."""
        self._finish(result_of(self.spec, reply, self.spec.result))

    def failed(self, error: Exception) -> bool:
        """No answer will come; return False where one has come."""
        return self._finish(Error(error))

    def await_stream(self) -> None:
        """The payload may get a stream of its own; who sends waits for that anyway."""

    def go_over(self, stream: Stream) -> None:
        """The payload has a stream of its own."""
        if self.sends is not None:
            self.sends.go_over(stream)

    @property
    def stream(self) -> Stream | None:
        """That of the payload, once it is there."""
        return self.sends.stream if self.sends is not None else None

    def _finish(self, outcome: Outcome[Any]) -> bool:
        if self._outcome is not None:
            return False
        self._outcome = outcome
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        return True


class Items(AsyncIterator[T], Generic[T]):
    """A streamed result, as the table of calls has it; its caller holds it as `Results`."""

    def __init__(
        self,
        spec: MethodSpec,
        epoch: Epoch,
        begin: Callable[[Items[T]], Awaitable[int]],
        allow: Callable[[int, int], None],
        give_up: Callable[[int, Items[T]], None],
        backlog: Backlog,
    ) -> None:
        self.spec = spec
        self.epoch = epoch
        """What the caller knows of the epoch."""
        self.carried: int | None = None
        """The epoch that the call has carried."""
        self.sends: Credit | None = Credit() if spec.streamed else None
        """What may be sent of a streamed argument."""
        self.sending = trio.CancelScope()
        """Around the task that sends it."""
        self._begin = begin
        self._allow = allow
        self._give_up = give_up
        self._number: int | None = None
        self.is_over = False
        """Whether its caller takes no more."""
        self.stream: Stream | None = None
        """That of the payload, once it is there."""
        what = f"the result of {spec.wire_name}"
        self._feed: Feed[T] = feed_of(what, spec.result, self._allow_more, backlog)

    def open(self) -> int:
        """Return how many items, or bytes, the peer may send at first."""
        return self._feed.open()

    def _allow_more(self, upto: int) -> None:
        assert self._number is not None  # items have arrived
        self._allow(self._number, upto)

    def __aiter__(self) -> Items[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item.

        Raises:
            RpcError: the peer ended the call with an error, after the items before it.
            PeerGone: the connection ended.
        Cancellation: atomic; the call goes on.
        """
        if self._number is None and self._feed.end is None:
            try:
                self._number = await self._begin(self)
            except BaseException:
                self._feed.shut()
                raise
        else:
            await trio.lowlevel.checkpoint()
        try:
            return await self._feed.take()
        except Exception:
            self._over()
            raise

    async def aclose(self) -> None:
        """End the call; what has arrived is forgotten."""
        self.leave()
        await trio.lowlevel.checkpoint()

    def leave(self) -> None:
        """End the call: nobody takes what comes."""
        self._feed.close()
        self._over()

    def _over(self) -> None:
        self.is_over = True
        self.sending.cancel()
        if self._number is not None:
            self._give_up(self._number, self)

    def go_over(self, stream: Stream) -> None:
        """The payload has a stream of its own."""
        self.stream = stream
        if isinstance(self._feed, ByteFeed):
            self._feed.go_over(stream)
        if self.sends is not None and is_payload(self.spec.item):
            self.sends.go_over(stream)

    def await_stream(self) -> None:
        """The payload may come over a stream of its own."""
        if isinstance(self._feed, ByteFeed):
            self._feed.awaits_stream = True

    def arrived(self, number: int, value: Raw) -> None:
        """An item came; one of a wrong type, or too much of them, ends the call.

        Raises:
            RpcError: it was not due: the peer is not to be trusted with more.
        """
        if not self._feed.arrived(number, value):
            self._over()

    def arrived_bytes(self, offset: int, data: bytes) -> None:
        """Some bytes of a payload came.

        Raises:
            RpcError: they were not due.
        """
        if isinstance(self._feed, ByteFeed):
            self._feed.arrived_bytes(offset, data)

    def answered(self, reply: Reply) -> None:
        """The last item was sent before; a peer that does not stream sends all now."""
        self.sending.cancel()
        kind = self.spec.result
        outcome = result_of(self.spec, reply, int | whole_of(kind))
        if isinstance(outcome, Error):
            self._feed.finish(outcome)
            return
        found = outcome.unwrap()
        if isinstance(found, int):
            self._feed.finish_after(found)
        elif self._feed.arrived_count:
            text = f"{self.spec.wire_name}: the peer sent items, and then all of them again"
            self._feed.fail(RpcError(RpcCode.INVALID_REQUEST, text))
        else:
            self._feed.arrived_whole([found] if is_payload(kind) else found)

    def failed(self, error: Exception) -> None:
        """Nothing more will come."""
        self.sending.cancel()
        self._feed.fail(error)


class Results(AsyncIterator[T], Generic[T]):
    """What a caller holds of a streamed result: whoever leaves it ends the call.

    Leaving it by `aclose` (or `contextlib.aclosing`) ends the call at once; so does letting go of
    it, as a loop does that is left by ``break``.
    """

    __slots__ = ("_items", "_token")

    def __init__(self, items: Items[T]) -> None:
        self._items = items
        self._token: trio.lowlevel.TrioToken | None = None

    def __aiter__(self) -> Results[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item; as `Items.__anext__`."""
        if self._token is None:
            self._token = trio.lowlevel.current_trio_token()
        return await self._items.__anext__()

    async def aclose(self) -> None:
        """End the call; what has arrived is forgotten."""
        await self._items.aclose()

    def __del__(self) -> None:
        # Whatever thread collects it: the table of calls is the event loop's.
        if self._token is not None and not self._items.is_over:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._items.leave)
