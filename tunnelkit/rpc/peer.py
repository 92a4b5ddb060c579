"""One end of a two-way connection: it serves calls and makes them, at the same time.

Tasks: one reads, one writes (`sending`), one serves each call under way (`serving`); calls of this
end are made by whoever wants something (`asking`).  The reader never waits: what it finds is handed
on or answered at once, and answers go to a queue.  What fills
the queue is bounded by bounding what may cause it; a peer that makes it grow all the same, because
it sends what is wrong and reads nothing, loses the connection.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import trio
from msgspec import Raw

from tunnelkit.services import open_service_nursery

from .asking import Asking
from .backlog import Backlog
from .channels import Channel
from .codes import PeerGone, RpcError
from .dispatch import Caller, Middleware, Registry
from .epochs import Epoch
from .greeting import HELLO, Greeting, answer_hello
from .messages import Reply, Request, encode_error, parse
from .payload import Binary, Piece, decode_piece
from .proxy import make_proxy
from .sending import Sending
from .served import Batch
from .service import Service
from .serving import Serving
from .spec import MethodSpec

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
        self._channel = channel
        self._nursery = nursery
        self._sending = Sending(channel, self.end)
        self._backlog = Backlog()
        self._serving = Serving(
            registry, middleware, caller, nursery, channel, self._sending, self._backlog
        )
        self._greeting = Greeting(self._sending, is_known=channel.is_greeted)
        self._asking = Asking(nursery, channel, self._sending, self._greeting, self._backlog)
        self._over = trio.Event()

    @property
    def stray_replies(self) -> int:
        """Answers that nobody waited for."""
        return self._asking.stray_replies

    # --- for callers ------------------------------------------------------------------------

    def proxy(self, interface: type[T]) -> T:
        """Return an object whose methods call those of the peer.

        Concurrency: any task may use it; tasks that act on what they have seen of a state take one
        each (`epochs`).
        """
        return make_proxy(interface, self)

    def epoch_of(self, service: str) -> Epoch:
        """Return what is known of the epoch of a service, for a new proxy to keep."""
        return self._asking.epoch_of(service)

    async def call(self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch) -> Any:
        """Call a method of the peer and return its result; what a proxy does.

        Args:
            epoch: what the caller knows of the service; the answer brings it up to date.

        Raises:
            RpcError: the peer answered with an error, or its result is not of the right type.
            PeerGone: the connection ended before the answer came.
        Cancellation: the handler is cancelled, and may have finished all the same.
        """
        return await self._asking.call(spec, params, epoch)

    async def call_with_values(
        self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch, values: AsyncIterable[Any]
    ) -> Any:
        """Call a method that takes a streamed argument; as `call`.

        What *values* raises ends the call, and is raised.
        """
        return await self._asking.call_with_values(spec, params, epoch, values)

    def stream(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        epoch: Epoch,
        values: AsyncIterable[Any] | None = None,
    ) -> AsyncIterator[Any]:
        """Call a method whose result is streamed; the call begins with the first item asked for.

        Args:
            values: the argument that is streamed, if one is.  It is sent while the result comes,
                by a task of the peer; what it raises ends the call, and is raised.
        """
        return self._asking.stream(spec, params, epoch, values)

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
        self._asking.end(why)
        with trio.move_on_after(FINISH_SECONDS):
            while (len(self._serving) or self._sending.is_busy) and self._sending.gone is None:
                await self._sending.wait_progress()
        self.end(why)

    def _receive(self, data: bytes) -> None:
        if isinstance(data, Binary) and (piece := decode_piece(data)) is not None:
            self._receive_piece(piece)
            return
        messages, is_batch = parse(data)
        batch = Batch(len(messages), self._sending.put, self._backlog) if is_batch else None
        for message in messages:
            if isinstance(message, Request):
                if not (message.is_notification and message.method.startswith("rpc.")):
                    self._begin(message, batch)
                    continue
                self._control(message)
            elif isinstance(message, Reply):
                self._asking.answered(message)
            elif message.is_reply:
                self._asking.answered_wrongly(message)
            else:
                text = encode_error(message.id, message.code, message.text)
                self._serving.answer(text, batch, message.id)
                continue
            if batch is not None:
                batch.skip()

    def _begin(self, request: Request, batch: Batch | None) -> None:
        if request.method == HELLO:
            self._greeting.shown()
            self._serving.answer(answer_hello(request.id), batch, request.id)
            return
        if request.extras is not None:
            self._greeting.shown()
        self._serving.begin(request, batch)

    def _receive_piece(self, piece: Piece) -> None:
        """Hand bytes on to the call that they belong to, if it is not over."""
        half = self._serving if piece.is_argument else self._asking
        try:
            half.arrived_bytes(piece.call_id, piece.offset, piece.data)
        except RpcError as error:
            self.end(error.text)

    def _control(self, request: Request) -> None:
        """A notification of the protocol itself; what is wrong in it is ignored."""
        half = self._serving if request.method in Serving.CONTROLS else self._asking
        try:
            values = msgspec.json.decode(bytes(request.params), type=dict[str, Raw])
            request_id = msgspec.json.decode(values["id"], type=str | int | float | None)
            half.control(request.method, request_id, values)
        except (msgspec.DecodeError, KeyError, RecursionError):
            pass
        except RpcError as error:
            self.end(error.text)

    # --- the end ----------------------------------------------------------------------------

    def end(self, why: str) -> None:
        """End the connection here and now: every call ends."""
        if self._sending.gone is not None:
            return
        self._sending.end(why)
        self._asking.end(why)
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
