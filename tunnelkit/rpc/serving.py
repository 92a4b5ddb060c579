"""The half of a peer that serves: each call of the other end is a task, and its answer a message.

A call holds its place among those under way until there was room for its answer, so that a peer
that calls and does not read soon has no places left.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Final, cast

import trio
from msgspec import UNSET, Raw

from tunnelkit.errors import TunnelError

from .calls import Batch, Served, Values, listed
from .channels import Channel
from .codes import PeerGone, RpcCode, RpcError
from .dispatch import Bound, Caller, Handler, Middleware, Registry
from .flow import ending, send_items
from .inflight import Incoming
from .messages import Extras, Id, Request, encode_error, encode_request, encode_result
from .payload import ByteFeed, encode_piece, feed_of, is_binary_id, is_payload, send_bytes
from .sending import Sending
from .service import MethodSpec

__all__ = ["MAX_COLLECTED", "Serving"]

_log = logging.getLogger("tunnelkit.rpc")

MAX_NOTIFICATIONS: Final = 1000
"""Most notifications of a peer that are carried out at once.  Stops: floods of them."""

MAX_TIMEOUT_SECONDS: Final = 10.0 * 365 * 86400
"""Longer deadlines of a caller are cut to this, seconds.  Stops: numbers that are no time."""

MAX_COLLECTED: Final = 1000
"""Most items of a streamed result for a caller that takes it as one list.  Stops: endless ones."""

MAX_COLLECTED_BYTES: Final = 2 * 1024 * 1024
"""Most bytes of a payload for a caller that takes it as one string.  Stops: endless ones."""


class Serving:
    """Carries out what the other end asks for.

    Args:
        registry: what can be called.
        middleware: functions around each call, the first outermost.
        caller: who is at the other end.
        nursery: where calls run.
        channel: what payloads of calls may use beside messages.
        sending: where answers go.
    """

    def __init__(
        self,
        registry: Registry,
        middleware: Sequence[Middleware],
        caller: Caller,
        nursery: trio.Nursery,
        channel: Channel,
        sending: Sending,
    ) -> None:
        self.caller = caller
        self._registry = registry
        self._handler = _chained(middleware)
        self._nursery = nursery
        self._channel = channel
        self._sending = sending
        self._calls: Incoming[Served] = Incoming()
        self._notifications = 0

    def __len__(self) -> int:
        return len(self._calls)

    def answer(self, message: bytes, batch: Batch | None) -> None:
        """Send an answer, alone or with the others of its batch."""
        if batch is not None:
            batch.add(message)
        else:
            self._sending.put(message)

    def begin(self, request: Request, batch: Batch | None) -> None:
        """Begin to carry out a call or a notification, or answer why not."""
        if request.is_notification and batch is not None:
            batch.skip()
        served = Served(request, None if request.is_notification else batch)
        try:
            bound = self._registry.bind(request, self.caller)
            served.result = bound.spec.result
            if bound.spec.streamed:
                bound = self._with_values(bound, served)
            if request.is_notification:
                self._begin_notification()
            else:
                self._calls.begin(request.id, served)
            # Only now is the id that of this call.
            self._use_stream(bound, served)
            if served.values is not None and not served.values.awaits_stream:
                self._allow_values(served, served.values.credit)
        except RpcError as error:
            if not request.is_notification:
                extras = self._registry.extras_for(request)
                message = encode_error(request.id, error.code, error.text, error.data, extras)
                self.answer(message, batch)
            return
        self._nursery.start_soon(self._serve, bound, served)

    def _with_values(self, bound: Bound, served: Served) -> Bound:
        """Return the call with its streamed argument: what comes later, or came as a list."""
        name = bound.spec.streamed
        values: AsyncIterator[Any]
        if bound.arguments[name] is not UNSET:
            whole = bound.arguments[name]
            values = listed([whole] if is_payload(bound.spec.item) else whole)
        elif _sends_values(bound.extras) and not served.request.is_notification:
            what = f"{name} of {bound.spec.wire_name}"
            served.values = feed_of(what, bound.spec.item, partial(self._allow_values, served))
            values = Values(served.values)
        else:
            text = f"{bound.spec.wire_name}: Object missing required field `{name}`"
            raise RpcError(RpcCode.INVALID_PARAMS, text)
        return replace(bound, arguments={**bound.arguments, name: values})

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

    def value(self, request_id: Id, number: int, value: Raw) -> None:
        """An item of a streamed argument came.

        Raises:
            RpcError: it was not due.
        """
        served = self._calls.get(request_id)
        if served is not None and served.values is not None:
            try:
                served.values.arrived(number, value)
            except RpcError as error:
                if error.code != RpcCode.INVALID_PARAMS:
                    raise
                served.values.fail(error)

    def value_bytes(self, request_id: Id, offset: int, data: bytes) -> None:
        """Some bytes of a payload came.

        Raises:
            RpcError: they were not due.
        """
        served = self._calls.get(request_id)
        if served is not None and isinstance(served.values, ByteFeed):
            served.values.arrived_bytes(offset, data)

    def values_end(self, request_id: Id, count: int) -> None:
        """The streamed argument of a call has ended, after so many items or bytes."""
        served = self._calls.get(request_id)
        if served is not None and served.values is not None:
            served.values.finish_after(count)

    def _begin_notification(self) -> None:
        if self._notifications >= MAX_NOTIFICATIONS:
            raise RpcError(RpcCode.BUSY, "too many notifications are under way")
        self._notifications += 1

    def cancel(self, request_id: Id) -> None:
        """The caller gave up; a no-op where the call is over."""
        served = self._calls.cancel(request_id)
        if served is not None:
            served.cancel()

    def allow(self, request_id: Id, upto: int) -> None:
        """The caller takes so many items of a result in all."""
        served = self._calls.get(request_id)
        if served is not None:
            served.credit.allow(upto)

    def end(self) -> None:
        """Nobody is there any more: cancel everything."""
        for served in self._calls.end_all():
            served.cancel()

    async def _serve(self, bound: Bound, served: Served) -> None:
        request = served.request
        timeout = bound.extras.timeout if bound.extras is not None else UNSET
        seconds = min(max(timeout, 0.0), MAX_TIMEOUT_SECONDS) if timeout is not UNSET else inf
        served.scope.deadline = trio.current_time() + seconds
        message = b""
        try:
            with served.scope:
                message = await self._outcome(bound, served)
        finally:
            self._leave_stream(served)
        if served.scope.cancelled_caught:
            code, text = RpcCode.DEADLINE_EXCEEDED, f"{bound.spec.wire_name} took too long"
            message = encode_error(request.id, code, text)
        if request.is_notification:
            self._notifications -= 1
            return
        if not served.is_cancelled:
            self.answer(message, served.batch)
        elif served.batch is not None:
            served.batch.skip()
        try:
            await self._sending.wait_room()
        except PeerGone:
            pass
        self._calls.end(request.id, served)
        self._sending.wake()

    async def _outcome(self, bound: Bound, served: Served) -> bytes:
        """Carry a call out and return what answers it."""
        request_id = served.request.id
        try:
            result = await self._handler(bound)
            if bound.spec.is_streamed:
                result = await self._send_result(result, bound, served)
            served.is_done = True
            return encode_result(request_id, result, self._registry.extras_for(served.request))
        except RpcError as error:
            extras = self._registry.extras_for(served.request)
            return encode_error(request_id, error.code, error.text, error.data, extras)
        except TunnelError as error:
            return encode_error(request_id, RpcCode.REFUSED, str(error))
        except Exception as error:
            _log.exception("method %s failed", bound.spec.wire_name, exc_info=error)
            text = "internal error: the log of the program that serves it says more"
            return encode_error(request_id, RpcCode.INTERNAL_ERROR, text)

    async def _send_result(self, items: AsyncIterator[Any], bound: Bound, served: Served) -> object:
        """Send items as far as the caller allows; return what answers the call after them."""
        wanted = bound.extras.items if bound.extras is not None else UNSET
        if served.has_stream and is_payload(bound.spec.result):
            wanted = 0
        if wanted is UNSET:
            return await _collected(items, bound.spec)
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
        self._sending.put(encode_request("rpc.item", told, UNSET))

    def _put_binary(self, served: Served, offset: int, data: memoryview) -> None:
        assert type(served.request.id) is int  # otherwise it has no binary messages
        piece = encode_piece(is_argument=False, call_id=served.request.id, offset=offset, data=data)
        self._sending.put(piece)


def _sends_values(extras: Extras | None) -> bool:
    return extras is not None and extras.values is True


async def _collected(items: AsyncIterator[Any], spec: MethodSpec) -> list[Any] | bytes:
    """Return all items of a result, for a caller that does not stream."""
    found: list[Any] = []
    count, whole = 0, is_payload(spec.result)
    most, unit = (MAX_COLLECTED_BYTES, "bytes") if whole else (MAX_COLLECTED, "items")
    async with ending(items) as iterator:
        async for value in iterator:
            count += len(value) if whole else 1
            if count > most:
                text = f"the result has more than {most} {unit}: take it as a stream"
                raise RpcError(RpcCode.TOO_LARGE, text)
            found.append(value)
    return b"".join(found) if whole else found


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
