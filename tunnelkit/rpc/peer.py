"""One end of a two-way connection: it serves calls and makes them, at the same time.

Tasks: one reads, one writes (`sending`), one serves each call under way (`serving`).  The reader
never waits: what it finds is handed on or answered at once, and answers go to a queue.  What fills
the queue is bounded by bounding what may cause it; a peer that makes it grow all the same, because
it sends what is wrong and reads nothing, loses the connection.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import trio
from msgspec import UNSET, Raw

from tunnelkit.services import open_service_nursery

from .calls import Batch, Items, Results, Waiting
from .channels import Channel, fitting
from .codes import PeerGone, RpcError
from .context import extras_to_send
from .dispatch import Caller, Middleware, Registry
from .flow import Credit, send_items
from .inflight import Outgoing
from .messages import Extras, Id, Reply, Request, encode_error, encode_request, parse
from .payload import Binary, Piece, decode_piece, encode_piece, is_payload, send_bytes
from .proxy import make_proxy
from .sending import Sending
from .service import MethodSpec, Service
from .serving import Serving

__all__ = ["Peer", "open_peer"]

T = TypeVar("T", bound=Service)

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
        self._nursery = nursery
        self._sending = Sending(channel, self.end)
        self._serving = Serving(registry, middleware, caller, nursery, channel, self._sending)
        self._calls: Outgoing[Waiting | Items[Any]] = Outgoing()
        self._epochs: dict[str, int] = {}
        self._over = trio.Event()

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
        finally:
            self._give_up(number, waiting)

    async def call_with_values(
        self, spec: MethodSpec, params: msgspec.Struct, values: AsyncIterable[Any]
    ) -> Any:
        """Call a method that takes a streamed argument; as `call`.

        What *values* raises ends the call, and is raised.
        """
        waiting = Waiting(spec)
        number = await self._begin(spec, params, waiting)
        try:
            async with open_service_nursery() as nursery:
                nursery.start_soon(self._send_values, number, waiting, values)
                return await waiting.wait()
        finally:
            self._give_up(number, waiting)

    async def _send_values(
        self, number: int, waiting: Waiting | Items[Any], values: AsyncIterable[Any]
    ) -> None:
        credit, room = waiting.sends, self._sending.wait_room
        assert credit is not None  # the method takes a streamed argument
        if is_payload(waiting.spec.item):
            put = partial(self._put_bytes, number, credit)
            try:
                count = await send_bytes(values, credit, room, put)
            except trio.BrokenResourceError:
                return  # the method has had enough: its answer says more
        else:
            count = await send_items(values, credit, room, partial(self._put_value, number))
        self._sending.put(encode_request("rpc.value_end", {"id": number, "count": count}, UNSET))

    def _put_value(self, number: int, count: int, value: Any) -> None:
        told = {"id": number, "n": count, "value": value}
        self._sending.put(fitting(encode_request("rpc.value", told, UNSET), "an item"))

    def _put_bytes(self, number: int, credit: Credit, offset: int, data: memoryview) -> None:
        if credit.takes_binary and self._channel.carries_binary:
            piece = encode_piece(is_argument=True, call_id=number, offset=offset, data=data)
            self._sending.put(piece)
        else:
            self._put_value(number, offset, data)

    def stream(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        values: AsyncIterable[Any] | None = None,
    ) -> AsyncIterator[Any]:
        """Call a method whose result is streamed; the call begins with the first item asked for.

        Args:
            values: the argument that is streamed, if one is.  It is sent while the result comes,
                by a task of the peer; what it raises ends the call, and is raised.
        """
        begin = partial(self._begin_items, spec, params, values)
        return Results(Items(spec, begin, self._allow, self._give_up))

    async def _begin_items(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        values: AsyncIterable[Any] | None,
        items: Items[Any],
    ) -> int:
        number = await self._begin(spec, params, items)
        if values is not None:
            self._nursery.start_soon(self._send_beside, number, items, values)
        return number

    async def _send_beside(
        self, number: int, items: Items[Any], values: AsyncIterable[Any]
    ) -> None:
        with items.sending:
            try:
                await self._send_values(number, items, values)
            except Exception as error:
                items.failed(error)
                self._give_up(number, items)

    async def _begin(
        self, spec: MethodSpec, params: msgspec.Struct, waiting: Waiting | Items[Any]
    ) -> int:
        await self._sending.wait_room()
        extras = extras_to_send(self._epochs.get(spec.service))
        if isinstance(waiting, Items):
            extras.items = waiting.credit
        if waiting.sends is not None:
            extras.values = True
        number = self._calls.begin(waiting)
        if spec.has_payload:
            self._prepare_payload(number, waiting, extras)
        try:
            message = encode_request(spec.wire_name, params, number, extras)
            self._sending.put(fitting(message, f"the call of {spec.wire_name}"))
        except BaseException:
            self._calls.end(number)  # the peer has heard nothing of it
            self._forget_stream(number, waiting)
            raise
        return number

    def _prepare_payload(self, number: int, waiting: Waiting | Items[Any], extras: Extras) -> None:
        """Say which ways the payload of a call can go."""
        if self._channel.carries_binary and isinstance(waiting, Items):
            extras.binary = True
        streams = self._channel.streams
        if streams is not None:
            extras.stream = True
            if not streams.opens:
                waiting.await_stream()
                streams.want(number, waiting.go_over, is_ours=True)

    def _give_up(self, number: int, waiting: Waiting | Items[Any]) -> None:
        """Nobody waits any more: tell the peer, unless its answer has come."""
        if self._calls.end(number) is not None:
            self._sending.put(encode_request("rpc.cancel", {"id": number}, UNSET))
        self._forget_stream(number, waiting)

    def _forget_stream(self, number: int, waiting: Waiting | Items[Any]) -> None:
        if waiting.spec.has_payload and (streams := self._channel.streams) is not None:
            streams.forget(number, is_ours=True)
            if waiting.stream is not None:
                waiting.stream.reset()
                streams.release(waiting.stream)

    def _allow(self, number: int, upto: int) -> None:
        self._sending.put(encode_request("rpc.credit", {"id": number, "upto": upto}, UNSET))

    async def wait_closed(self) -> None:
        """Wait until the connection has ended.

        Cancellation: atomic.
        """
        await self._over.wait()

    async def flush(self) -> None:
        """Wait until all that was to be sent has gone to the channel, or the connection is gone.

        Cancellation: atomic.
        """
        await self._sending.flush()

    # --- receiving --------------------------------------------------------------------------

    async def run(self) -> None:
        """Take what arrives until the connection ends; `open_peer` calls it."""
        self._nursery.start_soon(self._sending.run)
        why = "the peer closed the connection"
        try:
            while (data := await self._channel.receive()) is not None:
                self._receive(data)
        except PeerGone as error:
            why = str(error)
        except RpcError as error:
            self._sending.put(encode_error(None, error.code, error.text))
            why = error.text
        self._end_calls(why)
        with trio.move_on_after(FINISH_SECONDS):
            while (len(self._serving) or self._sending.is_busy) and self._sending.gone is None:
                await self._sending.wait_progress()
        self.end(why)

    def _receive(self, data: bytes) -> None:
        if isinstance(data, Binary) and (piece := decode_piece(data)) is not None:
            self._receive_piece(piece)
            return
        messages, is_batch = parse(data)
        batch = Batch(len(messages), self._sending.put) if is_batch else None
        for message in messages:
            if isinstance(message, Request):
                if not (message.is_notification and message.method.startswith("rpc.")):
                    self._serving.begin(message, batch)
                    continue
                self._control(message)
            elif isinstance(message, Reply):
                self._receive_reply(message)
            else:
                text = encode_error(message.id, message.code, message.text)
                self._serving.answer(text, batch, message.id)
                continue
            if batch is not None:
                batch.skip()

    def _receive_piece(self, piece: Piece) -> None:
        """Hand bytes on to the call that they belong to, if it is not over."""
        try:
            if piece.is_argument:
                self._serving.value_bytes(piece.call_id, piece.offset, piece.data)
            elif isinstance(waiting := self._calls.get(piece.call_id), Items):
                waiting.arrived_bytes(piece.offset, piece.data)
        except RpcError as error:
            self.end(error.text)

    def _receive_reply(self, reply: Reply) -> None:
        waiting = self._calls.end(reply.id)
        if waiting is None:
            self.stray_replies += 1
            return
        epoch = reply.extras.epoch if reply.extras is not None else UNSET
        if epoch is not UNSET:
            self._epochs[waiting.spec.service] = epoch
        waiting.answered(reply)

    def _control(self, request: Request) -> None:
        """A notification of the protocol itself; what is wrong in it is ignored."""
        try:
            values = msgspec.json.decode(bytes(request.params), type=dict[str, Raw])
            request_id = msgspec.json.decode(values["id"], type=str | int | float | None)
            if request.method == "rpc.cancel":
                self._serving.cancel(request_id)
            elif request.method == "rpc.credit":
                self._serving.allow(request_id, msgspec.json.decode(values["upto"], type=int))
            elif request.method == "rpc.value":
                number = msgspec.json.decode(values["n"], type=int)
                self._serving.value(request_id, number, values["value"])
            elif request.method == "rpc.value_end":
                count = msgspec.json.decode(values["count"], type=int)
                self._serving.values_end(request_id, count)
            else:
                self._control_call(request.method, request_id, values)
        except (msgspec.DecodeError, KeyError, RecursionError):
            pass
        except RpcError as error:
            self.end(error.text)

    def _control_call(self, method: str, number: Id, values: Mapping[str, Raw]) -> None:
        """A notification about a call of this side."""
        waiting = self._calls.get(number)
        if method == "rpc.item" and isinstance(waiting, Items):
            waiting.arrived(msgspec.json.decode(values["n"], type=int), values["value"])
        elif method == "rpc.value_credit" and waiting is not None and waiting.sends is not None:
            upto = msgspec.json.decode(values["upto"], type=int)
            waiting.sends.allow(upto, takes_binary="binary" in values)
        elif method == "rpc.stream" and waiting is not None and waiting.stream is None:
            streams = self._channel.streams
            if streams is not None and streams.opens and waiting.spec.has_payload:
                assert type(number) is int  # it is one of ours
                waiting.await_stream()
                streams.want(number, waiting.go_over, is_ours=True)

    # --- the end ----------------------------------------------------------------------------

    def _end_calls(self, why: str) -> None:
        for waiting in self._calls.end_all():
            waiting.failed(PeerGone(why))

    def end(self, why: str) -> None:
        """End the connection here and now: every call ends."""
        if self._sending.gone is not None:
            return
        self._sending.end(why)
        self._end_calls(why)
        self._serving.end()
        self._over.set()
        self._nursery.cancel_scope.cancel()


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
    try:
        registry = Registry(serve)
    except BaseException:
        await channel.aclose()
        raise
    async with open_service_nursery() as nursery:
        run = partial(_run, channel, registry, middleware, caller or Caller(""))
        peer: Peer = await nursery.start(run)
        yield peer
        with trio.move_on_after(CLOSE_SECONDS):
            await peer.flush()


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
            tasks.start_soon(peer.run)
            task_status.started(peer)
    finally:
        if peer is not None:
            peer.end("the connection was closed here")
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
            await channel.aclose()
