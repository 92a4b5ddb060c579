"""The half of a peer that calls: it makes calls and takes their answers, items and credit.

A call begins with a message, for which there is room, and is over with its answer, or when nobody
waits for that any more: then the other end is told.  A streamed argument is sent by a task beside
the one that waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from functools import partial
from typing import Any

import msgspec
import trio
from msgspec import UNSET, Raw

from tunnelkit.services import open_service_nursery

from .backlog import Backlog
from .calls import Items, Results, Waiting
from .channels import Channel, fitting
from .codes import PeerGone, RpcCode, RpcError
from .context import extras_to_send
from .epochs import Epoch
from .flow import Credit, send_items
from .greeting import Greeting
from .inflight import Outgoing
from .messages import Extras, Fault, Id, Reply, encode_request
from .payload import PayloadBroken, encode_piece, is_payload, send_bytes
from .sending import Sending
from .spec import MethodSpec
from .wholes import gathered

__all__ = ["Asking"]


class Asking:
    """Makes the calls of this end.

    Args:
        nursery: where arguments are sent beside results that are streamed.
        channel: what payloads of calls may use beside messages.
        sending: where messages go.
        greeting: what the other end knows of what goes beyond the standard.
        backlog: counts what the other end has sent and waits here.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        channel: Channel,
        sending: Sending,
        greeting: Greeting,
        backlog: Backlog,
    ) -> None:
        self.stray_replies = 0
        """Answers that nobody waited for."""
        self._nursery = nursery
        self._channel = channel
        self._sending = sending
        self._greeting = greeting
        self._backlog = backlog
        self._calls: Outgoing[Waiting | Items[Any]] = Outgoing()
        self._epochs: dict[str, Epoch] = {}
        """The newest of each service, with which proxies begin."""

    # --- calls ------------------------------------------------------------------------------

    def epoch_of(self, service: str) -> Epoch:
        """Return what is known of the epoch of a service, for a new proxy to keep."""
        known = self._epochs.get(service)
        return Epoch(known.known if known is not None else None)

    async def call(self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch) -> Any:
        """Call a method; as `Peer.call`."""
        waiting = Waiting(spec, epoch)
        number = await self._begin(spec, params, waiting)
        try:
            return await waiting.wait()
        finally:
            self._give_up(number, waiting)

    async def call_with_values(
        self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch, values: AsyncIterable[Any]
    ) -> Any:
        """Call a method that takes a streamed argument; as `Peer.call_with_values`."""
        if not await self._greeting.ask():
            return await self.call(spec, await gathered(spec, params, values), epoch)
        waiting = Waiting(spec, epoch)
        number = await self._begin(spec, params, waiting)
        try:
            async with open_service_nursery() as nursery:
                nursery.start_soon(self._send_or_fail, number, waiting, values)
                return await waiting.wait()
        finally:
            self._give_up(number, waiting)

    def stream(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        epoch: Epoch,
        values: AsyncIterable[Any] | None,
    ) -> Results[Any]:
        """Call a method whose result is streamed; as `Peer.stream`."""
        begin = partial(self._begin_items, spec, params, values)
        return Results(Items(spec, epoch, begin, self._allow, self._give_up, self._backlog))

    async def _begin_items(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        values: AsyncIterable[Any] | None,
        items: Items[Any],
    ) -> int:
        if values is not None and not await self._greeting.ask():
            params, values = await gathered(spec, params, values), None
        number = await self._begin(spec, params, items)
        if values is not None:
            self._nursery.start_soon(self._send_beside, number, items, values)
        return number

    async def _begin(
        self, spec: MethodSpec, params: msgspec.Struct, waiting: Waiting | Items[Any]
    ) -> int:
        knows = self._greeting.knows or await self._greeting.ask()
        await self._sending.wait_room()
        number = self._calls.begin(waiting)
        try:
            extras = self._extras(number, params, waiting) if knows else None
            message = encode_request(spec.wire_name, params, number, extras)
            self._sending.put(fitting(message, f"the call of {spec.wire_name}"))
        except BaseException:
            self._calls.end(number)  # the peer has heard nothing of it
            self._forget_stream(number, waiting)
            raise
        return number

    def _extras(self, number: int, params: msgspec.Struct, waiting: Waiting | Items[Any]) -> Extras:
        """Return what goes beside the arguments, to a peer that knows it."""
        spec = waiting.spec
        waiting.carried = waiting.epoch.known
        extras = extras_to_send(waiting.carried)
        if isinstance(waiting, Items):
            extras.items = waiting.open()
        if spec.streamed and getattr(params, spec.streamed) is UNSET:
            extras.values = True
        if spec.has_payload:
            self._prepare_payload(number, waiting, extras)
        return extras

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
        if self._calls.end(number) is not None and self._greeting.knows:
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

    # --- streamed arguments -----------------------------------------------------------------

    async def _send_beside(
        self, number: int, items: Items[Any], values: AsyncIterable[Any]
    ) -> None:
        with items.sending:
            try:
                await self._send_values(number, items, values)
            except Exception as error:
                items.failed(error)
                self._give_up(number, items)

    async def _send_or_fail(
        self, number: int, waiting: Waiting, values: AsyncIterable[Any]
    ) -> None:
        """Send an argument; what goes wrong with it ends the call, which raises one error alone."""
        try:
            await self._send_values(number, waiting, values)
        except Exception as error:
            if not waiting.failed(error):
                raise  # the call was over: that is one more

    async def _send_values(
        self, number: int, waiting: Waiting | Items[Any], values: AsyncIterable[Any]
    ) -> None:
        credit, room = waiting.sends, self._sending.wait_room
        assert credit is not None  # the method takes a streamed argument
        try:
            if is_payload(waiting.spec.item):
                put = partial(self._put_bytes, number, credit)
                count = await send_bytes(values, credit, room, put)
            else:
                count = await send_items(values, credit, room, partial(self._put_value, number))
        except PayloadBroken:
            return  # the method has had enough: its answer says more
        except PeerGone:
            if self._sending.gone is None:
                raise  # of another connection, from which the values come
            return  # all calls end with that
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

    # --- what the other end says ------------------------------------------------------------

    def answered(self, reply: Reply) -> None:
        """The answer to a call came, or to none."""
        if self._greeting.answered(reply):
            return
        waiting = self._calls.end(reply.id)
        if waiting is None:
            self.stray_replies += 1
            return
        told = reply.extras.epoch if reply.extras is not None else UNSET
        if told is not UNSET:
            newest = self._epochs.setdefault(waiting.spec.service, Epoch())
            for epoch in (waiting.epoch, newest):
                epoch.learn(told, waiting.carried)
        waiting.answered(reply)

    def answered_wrongly(self, fault: Fault) -> None:
        """What should be an answer is none: its call ends, and the peer is told nothing."""
        if self._greeting.answered(fault):
            return
        waiting = self._calls.end(fault.id)
        if waiting is None:
            self.stray_replies += 1
            return
        text = f"{waiting.spec.wire_name}: the peer's answer is none: {fault.text}"
        waiting.failed(RpcError(RpcCode.INTERNAL_ERROR, text))

    def arrived_bytes(self, number: int, offset: int, data: bytes) -> None:
        """Some bytes of a result came.

        Raises:
            RpcError: they were not due.
        """
        waiting = self._calls.get(number)
        if isinstance(waiting, Items):
            waiting.arrived_bytes(offset, data)

    def control(self, method: str, number: Id, values: Mapping[str, Raw]) -> None:
        """A notification about a call came.

        Raises:
            msgspec.DecodeError, KeyError: it does not say what it has to.
            RpcError: an item was not due.
        """
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

    def end(self, why: str) -> None:
        """Nobody is there any more: all calls end."""
        self._greeting.end()
        for waiting in self._calls.end_all():
            waiting.failed(PeerGone(why))
