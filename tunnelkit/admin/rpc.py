"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification): from a line to the line that answers it.

Strict: what is not allowed is answered with the code that the specification gives.
"""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import msgspec

from tunnelkit.errors import TunnelError
from tunnelkit.events import Event, Watcher

__all__ = ["Code", "Feed", "Method", "answer", "error_line", "event_line"]

Method: TypeAlias = Callable[..., Awaitable[object]]
"""An async function; its annotations say what its parameters may be."""

MAX_BATCH = 32
"""Most requests in a batch.  Stops: one line that keeps the program busy."""

_log = logging.getLogger("tunnelkit.admin")


@dataclass(frozen=True, slots=True)
class Feed:
    """What a method returns whose news go on after the answer: each event is a notification."""

    watch: Callable[[], Watcher]


Follow: TypeAlias = Callable[[Feed], bool]
"""Takes a feed, to be sent after the answer; returns whether there is room for one more."""


class Code(IntEnum):
    """Error codes: those of the specification, and ours."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    REFUSED = -32000
    """The method says no; the message says why."""
    BUSY = -32001
    """Too many connections, or the answer took too long."""


class _Fault(Exception):
    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


async def answer(
    line: bytes, methods: Mapping[str, Method], follow: Follow | None = None
) -> bytes | None:
    """Return the line that answers *line*, or None where nothing is to be said.

    Args:
        follow: takes the feed that the request asks for; None: there can be none.

    Cancellation: atomic as far as the methods are.
    """
    try:
        message = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return error_line(Code.PARSE_ERROR, "this is not one JSON text on one line")
    if not isinstance(message, list):
        return _line(await _answer_one(message, methods, follow))
    if not 1 <= len(message) <= MAX_BATCH:
        return error_line(Code.INVALID_REQUEST, f"a batch has 1 to {MAX_BATCH} requests")
    answers = [await _answer_one(request, methods) for request in message]
    return _line([one for one in answers if one is not None] or None)


def error_line(code: Code, text: str) -> bytes:
    """Return the line that reports an error of nobody's request in particular."""
    return msgspec.json.encode(_error(None, code, text)) + b"\n"


def event_line(event: Event) -> bytes:
    """Return the notification that tells *event*."""
    message = {"jsonrpc": "2.0", "method": "event", "params": event.as_dict()}
    return msgspec.json.encode(message) + b"\n"


def _line(message: object) -> bytes | None:
    return None if message is None else msgspec.json.encode(message) + b"\n"


def _error(request_id: object, code: Code, text: str) -> dict[str, object]:
    error = {"code": int(code), "message": text}
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


async def _answer_one(
    request: object, methods: Mapping[str, Method], follow: Follow | None = None
) -> dict[str, object] | None:
    fault = _fault_of(request)
    if fault is not None or not isinstance(request, dict):
        request_id = request.get("id") if isinstance(request, dict) else None
        if not _is_id(request_id):
            request_id = None
        return _error(request_id, Code.INVALID_REQUEST, fault or "a request is an object")
    is_notification, request_id = "id" not in request, request.get("id")
    try:
        result = await _call(request["method"], request.get("params", {}), methods)
        if isinstance(result, Feed):
            result = _begin(result, None if is_notification else follow)
    except _Fault as error:
        return None if is_notification else _error(request_id, error.code, str(error))
    return None if is_notification else {"jsonrpc": "2.0", "id": request_id, "result": result}


def _begin(feed: Feed, follow: Follow | None) -> dict[str, object]:
    """Hand a feed to whoever sends it; return what the request is answered with."""
    if follow is None:
        text = "events take a connection of their own: ask for them with an id, not in a batch"
        raise _Fault(Code.INVALID_REQUEST, text)
    if not follow(feed):
        raise _Fault(Code.BUSY, "too many others watch already: end one of them and try again")
    return {"watching": True}


def _fault_of(request: object) -> str | None:
    """Say what makes *request* invalid, or return None."""
    if not isinstance(request, dict):
        return "a request is an object"
    if request.get("jsonrpc") != "2.0":
        return 'member "jsonrpc" is not "2.0"'
    if not isinstance(request.get("method"), str):
        return 'member "method" is not a string'
    if not isinstance(request.get("params", {}), (dict, list)):
        return 'member "params" is neither an object nor an array'
    if not _is_id(request.get("id")):
        return 'member "id" is neither a string nor a number'
    return None


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool))


async def _call(
    name: str, params: dict[str, object] | list[object], methods: Mapping[str, Method]
) -> object:
    method = methods.get(name)
    if method is None:
        text = f"there is no method {name[:100]!r}; there are: {', '.join(sorted(methods))}"
        raise _Fault(Code.METHOD_NOT_FOUND, text)
    arguments = _bind(method, name, params)
    try:
        result = await method(*arguments.args, **arguments.kwargs)
        if not isinstance(result, Feed):
            msgspec.json.encode(result)  # what cannot be written is a bug of the method, found here
    except TunnelError as error:
        raise _Fault(Code.REFUSED, str(error)) from error
    except Exception as error:
        _log.error("admin method %s failed: %r", name, error, exc_info=error)
        raise _Fault(Code.INTERNAL_ERROR, "internal error: the program's log says more") from error
    return result


def _bind(
    method: Method, name: str, params: dict[str, object] | list[object]
) -> inspect.BoundArguments:
    """Match *params* with the parameters of *method*, names and types."""
    signature = inspect.signature(method)
    try:
        if isinstance(params, dict):
            arguments = signature.bind(**params)
        else:
            arguments = signature.bind(*params)
    except TypeError as error:
        raise _Fault(Code.INVALID_PARAMS, f"{name}: {error}") from None
    hints = typing.get_type_hints(method)
    for key, value in arguments.arguments.items():
        try:
            msgspec.convert(value, hints.get(key, object))
        except msgspec.ValidationError as error:
            raise _Fault(Code.INVALID_PARAMS, f"{name}: parameter {key!r}: {error}") from None
    return arguments
