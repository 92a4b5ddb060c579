"""The half of a peer that serves: each call of the other end is a task, and its answer a message.

An answer waits until there is room for it, and its call holds a place among those under way until
then: so a peer that calls and does not read soon has no places left, and one that reads gets all
answers, however many and large they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
import trio
from msgspec import UNSET, Raw

from .backlog import Backlog
from .carrying import answer_to, chained
from .channels import Channel, fitting
from .codes import PeerGone, RpcCode, RpcError
from .dispatch import Bound, Caller, Middleware, Registry
from .flow import send_items
from .inflight import Incoming
from .messages import Extras, Id, Request, encode_error, encode_request
from .payload import ByteFeed, encode_piece, feed_of, is_binary_id, is_payload, send_bytes
from .sending import Sending
from .served import Batch, Served, Values
from .wholes import collected, with_whole

__all__ = ["Serving"]

MAX_NOTIFICATIONS: Final = 1000
"""Most notifications of a peer that are carried out at once.  Stops: floods of them."""


class Serving:
    """Carries out what the other end asks for.

    Args:
        registry: what can be called.
        middleware: functions around each call, the first outermost.
        caller: who is at the other end.
        nursery: where calls run.
        channel: what payloads of calls may use beside messages.
        sending: where answers go.
        backlog: counts what the other end has sent and waits here.
    """

    CONTROLS: Final = frozenset({"rpc.cancel", "rpc.credit", "rpc.value", "rpc.value_end"})
    """Notifications that tell of a call that is carried out here."""

    def __init__(
        self,
        registry: Registry,
        middleware: Sequence[Middleware],
        caller: Caller,
        nursery: trio.Nursery,
        channel: Channel,
        sending: Sending,
        backlog: Backlog,
    ) -> None:
        self.caller = caller
        self._registry = registry
        self._handler = chained(middleware)
        self._nursery = nursery
        self._channel = channel
        self._sending = sending
        self._backlog = backlog
        self._calls: Incoming[Served] = Incoming()
        self._notifications = 0

    def __len__(self) -> int:
        return len(self._calls)

    def answer(self, message: bytes, batch: Batch | None, request_id: Id) -> None:
        """Send an answer, alone or with the others of its batch."""
        if batch is not None:
            batch.add(message, request_id)
        else:
            self._sending.put(message)

    def begin(self, request: Request, batch: Batch | None) -> None:
        """Begin to carry out a call or a notification, or answer why not."""
        if request.is_notification and batch is not None:
            batch.skip()
        served = Served(request, None if request.is_notification else batch)
        try:
            self._enter(served)
        except RpcError as error:
            if not request.is_notification:
                extras = self._registry.extras_for(request)
                message = encode_error(request.id, error.code, error.text, error.data, extras)
                self.answer(message, batch, request.id)
            return
        bound = self._with_values(self._registry.bind(request, self.caller), served)
        served.result = bound.spec.result
        self._use_stream(bound, served)
        if served.values is not None and not served.values.awaits_stream:
            self._allow_values(served, served.values.open())
        self._nursery.start_soon(self._serve, bound, served)

    def _enter(self, served: Served) -> None:
        """Give a call its place; only then is the id that of this call.

        Raises:
            RpcError: INVALID_REQUEST, its id is that of another one; BUSY, there is no room.
        """
        if served.request.is_notification:
            if self._notifications >= MAX_NOTIFICATIONS:
                raise RpcError(RpcCode.BUSY, "too many notifications are under way")
            self._backlog.add(served.size)
            self._notifications += 1
            return
        self._calls.begin(served.request.id, served)
        try:
            self._backlog.add(served.size)
        except RpcError:
            self._calls.end(served.request.id, served)
            raise

    def _leave(self, served: Served) -> None:
        """The call is over, and nothing of it runs any more."""
        self._backlog.change(-served.size)
        if served.values is not None:
            served.values.close()
        if served.request.is_notification:
            self._notifications -= 1
            return
        self._calls.end(served.request.id, served)
        self._sending.wake()

    def _with_values(self, bound: Bound, served: Served) -> Bound:
        """Return the call with its streamed argument: what comes later, or came as a whole."""
        name = bound.spec.streamed
        if not name or bound.error is not None:
            return bound
        is_later = bound.arguments[name] is UNSET and _sends_values(bound.extras)
        if not is_later or served.request.is_notification:
            return with_whole(bound)
        what = f"{name} of {bound.spec.wire_name}"
        allow = partial(self._allow_values, served)
        served.values = feed_of(what, bound.spec.item, allow, self._backlog)
        return replace(bound, arguments={**bound.arguments, name: Values(served.values)})

    def _use_stream(self, bound: Bound, served: Served) -> None:
        """Give the payload of a call a stream of its own, where both sides can."""
        request_id, streams = served.request.id, self._channel.streams
        asked = bound.extras is not None and bound.extras.stream is True
        if streams is None or not asked or not bound.spec.has_payload:
            return
        if type(request_id) is not int or served.request.is_notification:
            return
        served.has_stream = True
        if isinstance(served.values, ByteFeed):
            served.values.awaits_stream = True
        streams.want(request_id, served.go_over, is_ours=False)
        if not streams.opens:
            self._sending.put(encode_request("rpc.stream", {"id": request_id}, UNSET))

    def _leave_stream(self, served: Served) -> None:
        """The call is over; what was sent to its end is still delivered."""
        streams = self._channel.streams
        if streams is None or not served.has_stream:
            return
        assert type(served.request.id) is int  # otherwise it has none
        streams.forget(served.request.id, is_ours=False)
        if served.stream is not None:
            if served.is_done:
                served.stream.close()
            else:
                served.stream.reset()
            streams.release(served.stream)

    def _allow_values(self, served: Served, upto: int) -> None:
        told: dict[str, object] = {"id": served.request.id, "upto": upto}
        if isinstance(served.values, ByteFeed) and self._channel.carries_binary:
            told["binary"] = True
        self._sending.put(encode_request("rpc.value_credit", told, UNSET))

    def control(self, method: str, request_id: Id, values: Mapping[str, Raw]) -> None:
        """A notification about a call came, one of `CONTROLS`.

        Raises:
            msgspec.DecodeError, KeyError: it does not say what it has to.
            RpcError: an item was not due.
        """
        served = self._calls.get(request_id)
        if served is None:
            return
        if method == "rpc.cancel":
            served.cancel()
        elif method == "rpc.credit":
            served.credit.allow(msgspec.json.decode(values["upto"], type=int))
        elif served.values is None:
            pass
        elif method == "rpc.value":
            served.values.arrived(msgspec.json.decode(values["n"], type=int), values["value"])
        else:
            served.values.finish_after(msgspec.json.decode(values["count"], type=int))

    def arrived_bytes(self, request_id: Id, offset: int, data: bytes) -> None:
        """Some bytes of a payload came.

        Raises:
            RpcError: they were not due.
        """
        served = self._calls.get(request_id)
        if served is not None and isinstance(served.values, ByteFeed):
            served.values.arrived_bytes(offset, data)

    def end(self) -> None:
        """Nobody is there any more: cancel everything."""
        for served in self._calls.end_all():
            served.cancel()

    async def _serve(self, bound: Bound, served: Served) -> None:
        request = served.request
        carry_out = partial(self._carry_out, bound, served)
        try:
            message = await answer_to(request, bound, self._registry, carry_out, served.scope)
        finally:
            self._leave_stream(served)
        try:
            if not request.is_notification:
                await self._answer_when_due(message, served)
        finally:
            self._leave(served)

    async def _answer_when_due(self, message: bytes, served: Served) -> None:
        """Answer once there is room, unless nobody waits for it any more."""
        counted = len(message) if served.batch is None else 0  # a batch counts its own
        try:
            self._backlog.add(counted)
        except RpcError as error:  # whoever lets so much wait does not read it
            message = encode_error(served.request.id, error.code, error.text)
            counted = 0
        try:
            if not served.is_cancelled:
                await self._sending.wait_room()
        except PeerGone:
            pass
        finally:
            self._backlog.change(-counted)
        if not served.is_cancelled:
            self.answer(message, served.batch, served.request.id)
        elif served.batch is not None:
            served.batch.skip()

    async def _carry_out(self, bound: Bound, served: Served) -> object:
        result = await self._handler(bound)
        if bound.spec.is_streamed:
            result = await self._send_result(result, bound, served)
        served.is_done = True
        return result

    async def _send_result(self, items: AsyncIterator[Any], bound: Bound, served: Served) -> object:
        """Send items as far as the caller allows; return what answers the call after them."""
        wanted = bound.extras.items if bound.extras is not None else UNSET
        if served.has_stream and is_payload(bound.spec.result):
            wanted = 0
        if wanted is UNSET:
            return await collected(items, bound.spec)
        served.credit.allow(wanted)
        room = self._sending.wait_room
        if is_payload(bound.spec.result):
            put = self._put_binary if self._takes_binary(served.request) else self._put_item
            return await send_bytes(items, served.credit, room, partial(put, served))
        return await send_items(items, served.credit, room, partial(self._put_item, served))

    def _takes_binary(self, request: Request) -> bool:
        is_told = request.extras is not None and request.extras.binary is True
        return is_told and self._channel.carries_binary and is_binary_id(request.id)

    def _put_item(self, served: Served, number: int, value: Any) -> None:
        told = {"id": served.request.id, "n": number, "value": value}
        self._sending.put(fitting(encode_request("rpc.item", told, UNSET), "an item"))

    def _put_binary(self, served: Served, offset: int, data: memoryview) -> None:
        assert type(served.request.id) is int  # otherwise it has no binary messages
        piece = encode_piece(is_argument=False, call_id=served.request.id, offset=offset, data=data)
        self._sending.put(piece)


def _sends_values(extras: Extras | None) -> bool:
    return extras is not None and extras.values is True
