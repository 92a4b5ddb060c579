"""JSON-RPC 2.0 messages: from bytes to records and back (no I/O).

https://www.jsonrpc.org/specification, strictly: what is not allowed is a `Fault` with the code
that the specification gives, and with the id of the request where that can be read.  Parameters,
results and errors stay undecoded (`msgspec.Raw`) until somebody knows their types, so that a
message is decoded once.

What goes beyond the specification stands in one member, ``tk``, which peers that do not know it
leave alone.  A reply has it only where the request had, because a strict client may refuse
members it does not know:

    epoch     the epoch of the service that the caller knows; in a reply, the one it has now
    timeout   seconds that are left for the call; a duration, because clocks disagree
    trace     W3C trace context, as in the header `traceparent`
    items     the caller takes numbered items of the result, at first so many; bytes of a payload
    values    the caller sends numbered items of an argument
    binary    the caller takes the bytes of a payload as binary messages
    stream    the caller is ready for a stream of its own for the payload
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .codes import RpcCode, name_of_code

__all__ = [
    "MAX_BATCH",
    "Extras",
    "Fault",
    "Id",
    "Message",
    "Reply",
    "Request",
    "encode_error",
    "encode_request",
    "encode_result",
    "parse",
]

MAX_BATCH: Final = 64
"""Most messages in a batch.  Stops: one message that keeps the program busy."""

MAX_ERROR_BYTES: Final = 64 * 1024
"""Longest text of an error, characters, and longest data, bytes: it has to fit into a message."""

MAX_METHOD_CHARS: Final = 200
"""Longest name of a method, characters.  Stops: names that fill logs and tables."""

MAX_ID_CHARS: Final = 200
"""Longest id, characters.  Stops: ids that fill the table of calls."""

Id: TypeAlias = str | int | float | None
"""A string, a number or null; null is allowed, and tells nobody apart."""

_NO_PARAMS: Final = Raw(b"{}")


class Extras(msgspec.Struct, omit_defaults=True):
    """The member ``tk`` of a request or a reply."""

    epoch: int | UnsetType = UNSET
    timeout: float | UnsetType = UNSET
    trace: str | UnsetType = UNSET
    items: int | UnsetType = UNSET
    values: bool | UnsetType = UNSET
    binary: bool | UnsetType = UNSET
    stream: bool | UnsetType = UNSET


class _Error(msgspec.Struct):
    code: int
    message: str
    data: Raw | UnsetType = UNSET


class _Any(msgspec.Struct):
    """Whatever a message may be: what is missing tells which of the kinds it is."""

    jsonrpc: str
    id: str | int | float | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: _Error | UnsetType = UNSET
    tk: Extras | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Request:
    """A call, or a notification: one that is not answered."""

    method: str
    params: Raw
    id: Id = None
    is_notification: bool = False
    extras: Extras | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call: a result, or an error."""

    id: Id
    result: Raw | None = None
    code: int = 0
    """Of the error; 0: there is none."""
    text: str = ""
    data: Raw | None = None
    extras: Extras | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is no message, and what to answer."""

    code: RpcCode
    text: str
    id: Id = None


Message: TypeAlias = Request | Reply | Fault

_decode = msgspec.json.Decoder(_Any).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_anything = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def parse(data: bytes) -> tuple[list[Message], bool]:
    """Return the messages in *data*, and whether it is a batch, whose answers go together.

    Never raises: hostile bytes become one `Fault`.
    """
    try:
        return [_message(_decode(data))], False  # nearly all are well-formed and alone
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    if data.lstrip()[:1] != b"[":
        return [_fault_of(data)], False
    try:
        parts = _decode_list(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return [Fault(RpcCode.PARSE_ERROR, "this is no JSON")], False
    if not 1 <= len(parts) <= MAX_BATCH:
        return [Fault(RpcCode.INVALID_REQUEST, f"a batch has 1 to {MAX_BATCH} messages")], False
    return [_part(bytes(part)) for part in parts], True


def _part(data: bytes) -> Message:
    try:
        return _message(_decode(data))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _fault_of(data)


def _message(found: _Any) -> Message:
    if found.jsonrpc != "2.0":
        return _invalid('member "jsonrpc" is not "2.0"', found.id)
    if isinstance(found.id, str) and len(found.id) > MAX_ID_CHARS:
        return _invalid(f"an id has at most {MAX_ID_CHARS} characters", None)
    extras = None if found.tk is UNSET else found.tk
    if found.method is UNSET:
        return _reply(found, extras)
    if found.result is not UNSET or found.error is not UNSET:
        return _invalid('a message has "method", or "result" or "error", not both', found.id)
    if len(found.method) > MAX_METHOD_CHARS:
        return _invalid(f"a method's name has at most {MAX_METHOD_CHARS} characters", found.id)
    params = _NO_PARAMS if found.params is UNSET else found.params
    if bytes(params)[:1] not in (b"{", b"["):
        return _invalid('member "params" is neither an object nor an array', found.id)
    if found.id is UNSET:
        return Request(found.method, params, is_notification=True, extras=extras)
    return Request(found.method, params, found.id, extras=extras)


def _reply(found: _Any, extras: Extras | None) -> Message:
    if found.id is UNSET:
        return _invalid('a message has "method", or an answer\'s "id"', UNSET)
    if (found.result is UNSET) == (found.error is UNSET):
        return _invalid('an answer has either "result" or "error"', found.id)
    if found.error is UNSET:
        assert found.result is not UNSET  # one of them is there
        return Reply(found.id, result=found.result, extras=extras)
    error = found.error
    data = None if error.data is UNSET else error.data
    return Reply(found.id, code=error.code, text=error.message, data=data, extras=extras)


def _invalid(text: str, found: Id | UnsetType) -> Fault:
    return Fault(RpcCode.INVALID_REQUEST, text, None if found is UNSET else found)


def _fault_of(data: bytes) -> Fault:
    """Say what is wrong with *data*, which is no message."""
    try:
        found = _decode_anything(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Fault(RpcCode.PARSE_ERROR, "this is no JSON")
    if not isinstance(found, dict):
        return Fault(RpcCode.INVALID_REQUEST, "a message is an object")
    known = found.get("id")
    is_id = isinstance(known, (str, int, float)) and not isinstance(known, bool)
    try:
        _decode(data)
    except msgspec.ValidationError as error:
        # It names types and places of the message, and none of its values.
        return Fault(RpcCode.INVALID_REQUEST, str(error), known if is_id else None)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    return Fault(RpcCode.PARSE_ERROR, "this is no JSON")


# --- encoding ---------------------------------------------------------------------------------


def encode_request(
    method: str, params: object, request_id: Id | UnsetType, extras: Extras | None = None
) -> bytes:
    """Return a call, or with UNSET for an id a notification.

    Args:
        params: a mapping, a list or a record; encoded by msgspec.

    Raises:
        TypeError: *params* hold what JSON has no form for.
    """
    return _encode(_Any("2.0", request_id, method, Raw(_encode(params)), tk=extras or UNSET))


def encode_result(request_id: Id, result: object, extras: Extras | None = None) -> bytes:
    """Return the answer to a call.

    Raises:
        TypeError: *result* holds what JSON has no form for.
    """
    return _encode(_Any("2.0", request_id, result=Raw(_encode(result)), tk=extras or UNSET))


def encode_error(
    request_id: Id,
    code: int,
    text: str,
    data: dict[str, object] | None = None,
    extras: Extras | None = None,
) -> bytes:
    """Return the error that answers a call; its data name the code in words.

    Never raises: data that JSON has no form for, or that are too long, are left out, and so is what
    is no text in *text*.
    """
    named = {"code": name_of_code(code)}
    try:
        told = Raw(_encode({**(data or {}), **named}))
    except (TypeError, ValueError, RecursionError):
        told = Raw(_encode(named))
    if len(bytes(told)) > MAX_ERROR_BYTES:
        told = Raw(_encode(named))
    text = text[:MAX_ERROR_BYTES].encode("utf-8", "replace").decode()
    return _encode(_Any("2.0", request_id, error=_Error(code, text, told), tk=extras or UNSET))
