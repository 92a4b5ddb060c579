"""One end of a two-way connection: it serves calls and makes them, at the same time.

Tasks: one reads, one writes, one serves each call under way.  The reader never waits: what it
finds is handed on or answered at once, and answers go to a queue.  What fills the queue is bounded:
a served call holds its place among the calls under way until there was room for its answer, and a
caller waits for room before it calls.  A peer that makes the queue grow all the same, because it
sends what is wrong and reads nothing, loses the connection.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any, Final, TypeVar, cast

import msgspec
import trio
from msgspec import UNSET, Raw

from tunnelkit.errors import TunnelError
from tunnelkit.services import open_service_nursery

from .calls import Batch, Items, Served, Waiting
from .channels import Channel
from .codes import PeerGone, RpcCode, RpcError
from .dispatch import Bound, Caller, Handler, Middleware, Registry, Stateful
from .inflight import Incoming, Outgoing
from .messages import (
    Extras,
    Fault,
    Reply,
    Request,
    encode_error,
    encode_request,
    encode_result,
    parse,
)
from .proxy import make_proxy
from .service import MethodSpec, Service

__all__ = ["Peer", "open_peer"]

_log = logging.getLogger("tunnelkit.rpc")

T = TypeVar("T", bound=Service)

HIGH_BYTES: Final = 256 * 1024
"""With more than that waiting to be sent, who wants to send waits, bytes."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""With more than that the connection ends, bytes.  Stops: peers that send and never read."""

MAX_NOTIFICATIONS: Final = 1000
"""Most notifications of a peer that are carried out at once.  Stops: floods of them."""

MAX_TIMEOUT_SECONDS: Final = 10.0 * 365 * 86400
"""Longer deadlines of a caller are cut to this, seconds.  Stops: numbers that are no time."""

MAX_COLLECTED: Final = 1000
"""Most items of a streamed result for a caller that takes it as one list.  Stops: endless ones."""

CLOSE_SECONDS: Final = 1.0
"""How long closing the connection may take, seconds."""

FINISH_SECONDS: Final = 5.0
"""How long calls under way may go on after the peer has ended its side, seconds."""


class Peer:
    """One end of a connection; made by `open_peer`."""

    def __init__(
        self,
        channel: Channel,
        registry: Registry,
        middleware: Sequence[Middleware],
        caller: Caller,
        nursery: trio.Nursery,
    ) -> None:
        self.caller = caller
        """Who is at the other end."""
        self.stray_replies = 0
        """Answers that nobody waited for."""
        self._channel = channel
        self._registry = registry
        self._handler = _chained(middleware)
        self._nursery = nursery
        self._outgoing: Outgoing[Waiting | Items[Any]] = Outgoing()
        self._incoming: Incoming[Served] = Incoming()
        self._notifications = 0
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._something = trio.Event()
        self._is_sending = False
        self._progress = trio.Event()
        self._gone: PeerGone | None = None
        self._epochs: dict[str, int] = {}
        self._over = trio.Event()
        channel.on_output = self._something_to_send

    # --- for callers ------------------------------------------------------------------------

    def proxy(self, interface: type[T]) -> T:
        """Return an object whose methods call those of the peer."""
        return make_proxy(interface, self)

    async def call(self, spec: MethodSpec, params: msgspec.Struct) -> Any:
        """Call a method of the peer and return its result; what a proxy does.

        Raises:
            RpcError: the peer answered with an error, or its result is not of the right type.
            PeerGone: the connection ended before the answer came.
        Cancellation: the handler is cancelled, and may have finished all the same.
        """
        waiting = Waiting(spec)
        number = await self._begin(spec, params, waiting)
        try:
            return await waiting.wait()
        except trio.Cancelled:
            self._give_up(number)
            raise

    def stream(self, spec: MethodSpec, params: msgspec.Struct) -> AsyncIterator[Any]:
        """Call a method whose result is streamed; the call begins with the first item asked for."""
        return Items(spec, partial(self._begin_items, spec, params), self._credit, self._give_up)

    async def _begin_items(
        self, spec: MethodSpec, params: msgspec.Struct, items: Items[Any]
    ) -> int:
        return await self._begin(spec, params, items, items=items.credit)

    async def _begin(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        waiting: Waiting | Items[Any],
        items: int | None = None,
    ) -> int:
        await self._wait_room()
        extras = Extras()
        if (epoch := self._epochs.get(spec.service)) is not None:
            extras.epoch = epoch
        left = trio.current_effective_deadline() - trio.current_time()
        if left < inf:
            extras.timeout = max(0.0, left)
        if items is not None:
            extras.items = items
        number = self._outgoing.begin(waiting)
        self._send(encode_request(spec.wire_name, params, number, extras))
        return number

    def _give_up(self, number: int) -> None:
        """Nobody waits for the answer any more: tell the peer."""
        if self._outgoing.end(number) is not None:
            self._send(encode_request("rpc.cancel", {"id": number}, UNSET))

    def _credit(self, number: int, upto: int) -> None:
        self._send(encode_request("rpc.credit", {"id": number, "upto": upto}, UNSET))

    async def wait_closed(self) -> None:
        """Wait until the connection has ended.

        Cancellation: atomic.
        """
        await self._over.wait()

    async def flush(self) -> None:
        """Wait until all that was to be sent has gone to the channel, or the connection is gone.

        Cancellation: atomic.
        """
        while self._is_sending and self._gone is None:
            await self._progress.wait()

    # --- sending ----------------------------------------------------------------------------

    def _send(self, message: bytes) -> None:
        """Queue a message; a no-op where the connection is gone."""
        if self._gone is not None:
            return
        self._queue.append(message)
        self._queued_bytes += len(message)
        self._something_to_send()
        if self._queued_bytes > MOST_BYTES:
            self.end("the peer sends and does not read")

    def _something_to_send(self) -> None:
        self._is_sending = True
        self._something.set()

    async def _wait_room(self) -> None:
        """Wait until little enough waits to be sent.

        Raises:
            PeerGone: the connection is gone.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._gone is None and self._queued_bytes > HIGH_BYTES:
            await self._progress.wait()
        if self._gone is not None:
            raise PeerGone(str(self._gone))

    async def write(self) -> None:
        """Send what is queued until the connection ends; `open_peer` runs it."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            messages, self._queue = self._queue, []
            self._queued_bytes = 0
            self._wake()
            try:
                await self._channel.send(messages)
            except PeerGone as error:
                self.end(str(error))
                return
            if not self._queue:
                self._is_sending = False
                self._wake()

    def _wake(self) -> None:
        """Something was sent, or a call that was served is over."""
        self._progress.set()
        self._progress = trio.Event()

    # --- receiving --------------------------------------------------------------------------

    async def read(self) -> None:
        """Take what arrives until the connection ends; `open_peer` runs it."""
        why = "the peer closed the connection"
        try:
            while (data := await self._channel.receive()) is not None:
                self._receive(data)
        except PeerGone as error:
            why = str(error)
        except RpcError as error:
            self._send(encode_error(None, error.code, error.text))
            why = error.text
        self._end_outgoing(why)
        with trio.move_on_after(FINISH_SECONDS):
            while (len(self._incoming) or self._is_sending) and self._gone is None:
                await self._progress.wait()
        self.end(why)

    def _receive(self, data: bytes) -> None:
        messages, is_batch = parse(data)
        batch = Batch(len(messages), self._send) if is_batch else None
        for message in messages:
            if isinstance(message, Request):
                self._receive_request(message, batch)
            elif isinstance(message, Reply):
                self._receive_reply(message)
                if batch is not None:
                    batch.skip()
            else:
                self._answer_fault(message, batch)

    def _answer_fault(self, fault: Fault, batch: Batch | None) -> None:
        self._answer(encode_error(fault.id, fault.code, fault.text), batch)

    def _answer(self, message: bytes, batch: Batch | None) -> None:
        if batch is not None:
            batch.add(message)
        else:
            self._send(message)

    def _receive_reply(self, reply: Reply) -> None:
        waiting = self._outgoing.end(reply.id)
        if waiting is None:
            self.stray_replies += 1
            return
        if reply.extras is not None and reply.extras.epoch is not UNSET:
            self._epochs[waiting.spec.service] = reply.extras.epoch
        waiting.answered(reply)

    # --- serving ----------------------------------------------------------------------------

    def _receive_request(self, request: Request, batch: Batch | None) -> None:
        if request.method.startswith("rpc.") and request.is_notification:
            self._control(request)
            if batch is not None:
                batch.skip()
            return
        if request.is_notification and batch is not None:
            batch.skip()
        served = Served(request, None if request.is_notification else batch)
        try:
            bound = self._registry.bind(request, self.caller)
            if request.is_notification:
                self._begin_notification()
            else:
                self._incoming.begin(request.id, served)
        except RpcError as error:
            if not request.is_notification:
                self._answer(encode_error(request.id, error.code, error.text, error.data), batch)
            return
        self._nursery.start_soon(self._serve, bound, served)

    def _begin_notification(self) -> None:
        if self._notifications >= MAX_NOTIFICATIONS:
            raise RpcError(RpcCode.BUSY, "too many notifications are under way")
        self._notifications += 1

    def _control(self, request: Request) -> None:
        """A notification of the protocol itself; what is wrong in it is ignored."""
        try:
            values = msgspec.json.decode(bytes(request.params), type=dict[str, Raw])
            name = request.method
            request_id = msgspec.json.decode(values["id"], type=str | int | float | None)
            if name == "rpc.cancel":
                served = self._incoming.cancel(request_id)
                if served is not None:
                    served.cancel()
            elif name == "rpc.credit":
                served = self._incoming.get(request_id)
                if served is not None:
                    served.allow(msgspec.json.decode(values["upto"], type=int))
            elif name == "rpc.item":
                waiting = self._outgoing.get(request_id)
                if isinstance(waiting, Items):
                    waiting.arrived(msgspec.json.decode(values["n"], type=int), values["value"])
        except (msgspec.DecodeError, KeyError, RecursionError):
            pass
        except RpcError as error:
            self.end(error.text)

    async def _serve(self, bound: Bound, served: Served) -> None:
        request = served.request
        timeout = bound.extras.timeout if bound.extras is not None else UNSET
        seconds = min(max(timeout, 0.0), MAX_TIMEOUT_SECONDS) if timeout is not UNSET else inf
        deadline = trio.current_time() + seconds
        with trio.CancelScope(deadline=deadline) as served.scope:
            message = await self._outcome(bound, served)
        if served.scope.cancelled_caught:
            code, text = RpcCode.DEADLINE_EXCEEDED, f"{bound.spec.wire_name} took too long"
            message = encode_error(request.id, code, text)
        if request.is_notification:
            self._notifications -= 1
            return
        if not served.is_cancelled:
            self._answer(message, served.batch)
        elif served.batch is not None:
            served.batch.skip()
        try:
            await self._wait_room()
        except PeerGone:
            pass
        self._incoming.end(request.id, served)
        self._wake()

    async def _outcome(self, bound: Bound, served: Served) -> bytes:
        """Carry a call out and return what answers it."""
        request_id = served.request.id
        try:
            result = await self._handler(bound) if not bound.spec.is_streamed else None
            if bound.spec.is_streamed:
                result = await self._send_items(bound, served)
            return encode_result(request_id, result, _extras_for(bound))
        except RpcError as error:
            return encode_error(request_id, error.code, error.text, error.data, _extras_for(bound))
        except TunnelError as error:
            return encode_error(request_id, RpcCode.REFUSED, str(error))
        except Exception as error:
            _log.exception("method %s failed", bound.spec.wire_name, exc_info=error)
            text = "internal error: the log of the program that serves it says more"
            return encode_error(request_id, RpcCode.INTERNAL_ERROR, text)

    async def _send_items(self, bound: Bound, served: Served) -> object:
        """Send the items of a streamed result as far as the caller allows; return what follows."""
        wanted = bound.extras.items if bound.extras is not None else UNSET
        items = await self._handler(bound)
        try:
            if wanted is UNSET:
                return await _collected(items)
            served.allow(wanted)
            count = 0
            async for value in items:
                await served.wait_credit(count)
                await self._wait_room()
                told = {"id": served.request.id, "n": count, "value": value}
                self._send(encode_request("rpc.item", told, UNSET))
                count += 1
            return count
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await close()

    # --- the end ----------------------------------------------------------------------------

    def _end_outgoing(self, why: str) -> None:
        for waiting in self._outgoing.end_all():
            waiting.failed(PeerGone(why))

    def end(self, why: str) -> None:
        """The connection is over: every call ends."""
        if self._gone is not None:
            return
        self._gone = PeerGone(why)
        self._end_outgoing(why)
        for served in self._incoming.end_all():
            served.cancel()
        self._wake()
        self._over.set()
        self._nursery.cancel_scope.cancel()


def _chained(middleware: Sequence[Middleware]) -> Handler:
    """Return the handler that goes through *middleware*, the first outermost, to the method."""

    async def innermost(bound: Bound) -> Any:
        result = bound.begin()
        return result if bound.spec.is_streamed else await result

    handler: Handler = innermost
    for one in reversed(middleware):
        handler = cast("Callable[[Bound], Any]", partial(_through, one, handler))
    return handler


async def _through(one: Middleware, rest: Handler, bound: Bound) -> Any:
    return await one(bound, rest)


def _extras_for(bound: Bound) -> Extras | None:
    """Return what a reply tells beside the result: the epoch, to who speaks of such things."""
    if bound.extras is None or not isinstance(bound.service, Stateful):
        return None
    return Extras(epoch=bound.service.epoch)


async def _collected(items: AsyncIterator[Any]) -> list[Any]:
    found: list[Any] = []
    async for value in items:
        if len(found) == MAX_COLLECTED:
            text = f"the result has more than {MAX_COLLECTED} items: take it as a stream"
            raise RpcError(RpcCode.TOO_LARGE, text)
        found.append(value)
    return found


@asynccontextmanager
async def open_peer(
    channel: Channel,
    *,
    serve: Iterable[Service] = (),
    middleware: Sequence[Middleware] = (),
    caller: Caller | None = None,
) -> AsyncGenerator[Peer]:
    """Serve and call over *channel*, which is owned by it, until the block is left.

    When the peer ends the connection, calls end with `PeerGone`, and the block goes on.

    Args:
        serve: what the other side can call.
        middleware: functions around each call that is served, the first outermost.
        caller: who the other side is, as far as that is known.

    Raises:
        RpcError: CONFLICT, two services have one name.
    """
    registry = Registry(serve)
    async with open_service_nursery() as nursery:
        run = partial(_run, channel, registry, middleware, caller or Caller(""))
        peer: Peer = await nursery.start(run)
        try:
            yield peer
            with trio.move_on_after(CLOSE_SECONDS):
                await peer.flush()
        finally:
            nursery.cancel_scope.cancel()


async def _run(
    channel: Channel,
    registry: Registry,
    middleware: Sequence[Middleware],
    caller: Caller,
    *,
    task_status: trio.TaskStatus[Peer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Read, write and serve in a nursery of their own, which ends with the connection."""
    peer: Peer | None = None
    try:
        async with trio.open_nursery() as tasks:
            peer = Peer(channel, registry, middleware, caller, tasks)
            tasks.start_soon(peer.read)
            tasks.start_soon(peer.write)
            task_status.started(peer)
    finally:
        if peer is not None:
            peer.end("the connection was closed here")
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
            await channel.aclose()
