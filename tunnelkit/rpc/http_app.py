"""Calls over HTTP: a message, or a batch of them, in the body of a POST.

An ASGI application, to be mounted at a path (``/api/rpc``) of any server that runs on Trio.  It
serves the same services as a peer does, to callers that come and go:

* The answer to a message is in the body of the response, whose status is 200 whether it is a
  result or an error; 204 where nothing is to be answered.  Other statuses are about the request
  itself, and have an error without an id in their body (`http_checks`).
* Who calls is found out for each request, from a bearer token or a cookie; methods ask
  `current_caller`.  A cookie is not enough for a page of another origin.
* A streamed result is one list, a payload one string, within the bounds of a message.
* A caller that hangs up cancels its calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import trio
from msgspec import UNSET, structs

from .carrying import answer_to, chained
from .channels import MAX_MESSAGE_BYTES
from .codes import RpcCode, RpcError
from .dispatch import Bound, Caller, Middleware, Registry
from .http_checks import EXTRAS_HEADER, Credentials, HttpAnswer, Rules, joined, refusal
from .messages import Extras, Message, Reply, Request, encode_error, parse, read_extras
from .service import Service
from .wholes import collected, with_whole

__all__ = ["Authenticate", "HttpApp"]

BODY_SECONDS: Final = 30.0
"""How long the body of a request may take, seconds.  Stops: bodies that never end."""

CALL_SECONDS: Final = 120.0
"""How long the calls of one request may take, seconds.  Stops: calls that nobody waits for."""

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

Authenticate = Callable[[Credentials], Awaitable[Caller | None]]
"""Returns who has these credentials, or None: nobody."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """What the messages of one request have in common."""

    caller: Caller
    trace: str
    """The header `traceparent`."""
    extras: Extras | None
    """What the request brings along for calls that have no `tk` of their own."""

    def extended(self, request: Request) -> Request:
        """Return a message with what its request brings along."""
        return request if request.extras is not None else replace(request, extras=self.extras)

    def traced(self, bound: Bound) -> Bound:
        """Return a call with the trace of the request, where it has none of its own."""
        extras = bound.extras or Extras()
        if not self.trace or extras.trace is not UNSET:
            return bound
        return replace(bound, extras=structs.replace(extras, trace=self.trace))


class HttpApp:
    """An ASGI application that serves services.

    Args:
        serve: what can be called.
        authenticate: finds out who calls.
        middleware: functions around each call, the first outermost.
        cookie: the name of the cookie that holds a token.
        origins: other origins (``https://dashboard.example.com``) whose pages may call.
    """

    def __init__(
        self,
        serve: Iterable[Service],
        authenticate: Authenticate,
        *,
        middleware: Sequence[Middleware] = (),
        cookie: str = "tunnelkit_token",
        origins: Iterable[str] = (),
    ) -> None:
        self._registry = Registry(serve)
        self._authenticate = authenticate
        self._handler = chained(middleware)
        self._rules = Rules(cookie, frozenset(origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what ASGI servers call."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "calls are POSTs"})
        else:
            await self._answer_http(scope, receive, send)

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = joined(scope["headers"])
        checked = self._rules.check(scope["method"], headers)
        if isinstance(checked, HttpAnswer):
            answer: HttpAnswer | None = checked
        else:
            answer = await self._answer_caller(checked, headers, receive)
        if answer is None:
            return  # the caller hung up
        fields = [*answer.headers, *self._rules.shared_with(headers)]
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer_caller(
        self, shown: Credentials, headers: Mapping[str, str], receive: Receive
    ) -> HttpAnswer | None:
        caller = await self._authenticate(shown)
        if caller is None:
            return refusal(401, RpcCode.UNAUTHENTICATED, "log in, or send a token that is valid")
        try:
            with trio.fail_after(BODY_SECONDS):
                body = await _body(receive)
        except trio.TooSlowError:
            return refusal(408, RpcCode.DEADLINE_EXCEEDED, "the body took too long")
        if body is None:
            return None
        if len(body) > MAX_MESSAGE_BYTES:
            text = f"a message has at most {MAX_MESSAGE_BYTES} bytes"
            return refusal(413, RpcCode.TOO_LARGE, text)
        try:
            extras = read_extras(headers.get(EXTRAS_HEADER, "null"))
        except RpcError as error:
            return refusal(400, RpcCode.INVALID_REQUEST, f"header {EXTRAS_HEADER}: {error.text}")
        visit = _Visit(caller, headers.get("traceparent", ""), extras)
        return await self._answer_body(body, visit, receive)

    async def _answer_body(self, body: bytes, visit: _Visit, receive: Receive) -> HttpAnswer | None:
        """Carry out what a body asks for, until the caller hangs up."""
        found: HttpAnswer | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
            messages, is_batch = parse(body)
            answers = await self._answer_messages(messages, visit)
            data = b"[" + b",".join(answers) + b"]" if is_batch else b"".join(answers)
            found = HttpAnswer(200, data) if answers else HttpAnswer(204)
            nursery.cancel_scope.cancel()
        return found

    async def _answer_messages(self, messages: Sequence[Message], visit: _Visit) -> list[bytes]:
        """Carry out messages at the same time; return the answers in their order."""
        answers: dict[int, bytes] = {}

        async def carry_out(number: int, message: Message) -> None:
            answer = await self._answer_message(message, visit)
            if answer:
                answers[number] = answer

        async with trio.open_nursery() as nursery:
            for number, message in enumerate(messages):
                nursery.start_soon(carry_out, number, message)
        return [answers[number] for number in sorted(answers)]

    async def _answer_message(self, message: Message, visit: _Visit) -> bytes:
        if isinstance(message, Reply):
            return b""  # nobody was asked
        if not isinstance(message, Request):
            if message.is_reply:
                return b""
            return encode_error(message.id, message.code, message.text)
        message = visit.extended(message)
        bound = visit.traced(with_whole(self._registry.bind(message, visit.caller)))
        text = f"{bound.spec.wire_name} took longer than {CALL_SECONDS:g} s"
        answer = encode_error(message.id, RpcCode.DEADLINE_EXCEEDED, text)
        carry_out, scope = partial(self._carry_out, bound), trio.CancelScope()
        with trio.move_on_after(CALL_SECONDS):
            answer = await answer_to(message, bound, self._registry, carry_out, scope)
        return b"" if message.is_notification else answer

    async def _carry_out(self, bound: Bound) -> object:
        result = await self._handler(bound)
        return await collected(result, bound.spec) if bound.spec.is_streamed else result


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request, or more than is allowed; None: the caller hung up."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        if not event.get("more_body", False) or len(body) > MAX_MESSAGE_BYTES:
            return bytes(body)


async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
