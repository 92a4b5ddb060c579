"""JSON-RPC 2.0 messages: from bytes to records and back (no I/O).

https://www.jsonrpc.org/specification, strictly: what is not allowed is a `Fault` with the code
that the specification gives, and with the id of the request where that can be read.  Parameters,
results and errors stay undecoded (`msgspec.Raw`) until somebody knows their types, so that a
message is decoded once.

What goes beyond the specification stands in one member, ``tk``.  It goes only to those who have
shown that they know it (`greeting`), and a reply has it only where the request had: a strict peer
may refuse members that it does not know.  Unknown members of it are left alone.  A known one of a
wrong type refuses the request, because a caller that asks for a check or a deadline and gets none
is worse off than one that is told; in a reply, which nobody can answer, it is left out.

    epoch     the epoch of the service that the caller knows; in a reply, the one it has now
    timeout   seconds that are left for the call; a duration, because clocks disagree
    trace     W3C trace context, as in the header `traceparent`
    items     the caller takes numbered items of the result, at first so many; bytes of a payload
    values    the caller sends numbered items of an argument
    binary    the caller takes the bytes of a payload as binary messages
    stream    the caller is ready for a stream of its own for the payload
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .codes import RpcCode, RpcError, name_of_code

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
    "read_extras",
]

MAX_BATCH: Final = 64
"""Most messages in a batch.  Stops: one message that keeps the program busy."""

MAX_ERROR_BYTES: Final = 64 * 1024
"""Longest text of an error, characters, and longest data, bytes: it has to fit into a message."""

MAX_METHOD_CHARS: Final = 200
"""Longest name of a method, characters.  Stops: names that fill logs and tables."""

MAX_ID_CHARS: Final = 200
"""Longest id, characters.  Stops: ids that fill the table of calls."""

MAX_BESIDE_BYTES: Final = 4096
"""Most bytes beside the parameters that are kept with them.  Stops: large members that nobody
knows, which would be kept with the call and not be counted."""

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


class _Bare(msgspec.Struct):
    """Whatever a message may be: what is missing tells which of the kinds it is."""

    jsonrpc: str
    id: str | int | float | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: _Error | UnsetType = UNSET


class _Any(_Bare):
    """The same, and what goes beyond the specification."""

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
    is_reply: bool = False
    """Whether it was meant as the answer to a call: then it is not answered, because the id is one
    of this side, and an answer would end a call of the other."""


Message: TypeAlias = Request | Reply | Fault

_decode = msgspec.json.Decoder(_Any).decode
_decode_bare = msgspec.json.Decoder(_Bare).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_anything = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def parse(data: bytes) -> tuple[list[Message], bool]:
    """Return the messages in *data*, and whether it is a batch, whose answers go together.

    Never raises: hostile bytes become one `Fault`.
    """
    try:
        return [_message(_decode(data), len(data))], False  # nearly all are well-formed and alone
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


def read_extras(text: str) -> Extras | None:
    """Return the member ``tk`` that stands somewhere else than in a message.

    Raises:
        RpcError: INVALID_REQUEST, with the path to what is wrong.
    """
    try:
        return msgspec.json.decode(text, type=Extras | None)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        what = str(error) if isinstance(error, msgspec.ValidationError) else "this is no JSON"
        raise RpcError(RpcCode.INVALID_REQUEST, what) from None


def _part(data: bytes) -> Message:
    try:
        return _message(_decode(data), len(data))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _fault_of(data)


def _message(found: _Any, size: int) -> Message:
    if (wrong := _wrong_head(found)) is not None:
        return wrong
    extras = None if found.tk is UNSET else found.tk
    if found.method is UNSET:
        return _reply(found, extras)
    if found.result is not UNSET or found.error is not UNSET:
        return _invalid(found, 'a message has "method", or "result" or "error", not both')
    if len(found.method) > MAX_METHOD_CHARS:
        return _invalid(found, f"a method's name has at most {MAX_METHOD_CHARS} characters")
    params = _NO_PARAMS if found.params is UNSET else found.params
    if bytes(params)[:1] not in (b"{", b"["):
        return _invalid(found, 'member "params" is neither an object nor an array')
    if size > len(params) + MAX_BESIDE_BYTES:
        params = params.copy()  # it would keep the whole message in the memory
    if found.id is UNSET:
        return Request(found.method, params, is_notification=True, extras=extras)
    return Request(found.method, params, found.id, extras=extras)


def _wrong_head(found: _Bare) -> Fault | None:
    if found.jsonrpc != "2.0":
        return _invalid(found, 'member "jsonrpc" is not "2.0"')
    if isinstance(found.id, str) and len(found.id) > MAX_ID_CHARS:
        return replace(_invalid(found, f"an id has at most {MAX_ID_CHARS} characters"), id=None)
    return None


def _reply(found: _Bare, extras: Extras | None) -> Reply | Fault:
    is_reply = found.result is not UNSET or found.error is not UNSET
    if found.id is UNSET or not is_reply:
        text = 'a message has "method", or "id" and either "result" or "error"'
        return Fault(RpcCode.INVALID_REQUEST, text, is_reply=is_reply)
    if found.result is not UNSET and found.error is not UNSET:
        text = 'an answer has either "result" or "error"'
        return Fault(RpcCode.INVALID_REQUEST, text, found.id, is_reply=True)
    if found.error is UNSET:
        assert found.result is not UNSET  # one of them is there
        return Reply(found.id, result=found.result, extras=extras)
    error = found.error
    data = None if error.data is UNSET else error.data
    return Reply(found.id, code=error.code, text=error.message, data=data, extras=extras)


def _invalid(found: _Bare, text: str) -> Fault:
    has_end = found.result is not UNSET or found.error is not UNSET
    is_reply = found.method is UNSET and has_end
    known = None if found.id is UNSET or (found.method is UNSET and not is_reply) else found.id
    return Fault(RpcCode.INVALID_REQUEST, text, known, is_reply)


def _fault_of(data: bytes) -> Reply | Fault:
    """Say what is wrong with *data*; a reply may be one without its extras."""
    try:
        found = _decode_anything(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Fault(RpcCode.PARSE_ERROR, "this is no JSON")
    if not isinstance(found, dict):
        return Fault(RpcCode.INVALID_REQUEST, "a message is an object")
    is_reply = "method" not in found and ("result" in found or "error" in found)
    known = found.get("id") if is_reply or "method" in found else None
    is_id = isinstance(known, (str, int, float)) and not isinstance(known, bool)
    is_id = is_id and len(str(known)) <= MAX_ID_CHARS
    try:
        if is_reply:
            bare = _decode_bare(data)
            return _wrong_head(bare) or _reply(bare, None)
        _decode(data)
    except msgspec.ValidationError as error:
        # It names types and places of the message, and none of its values.
        text = str(error)
        return Fault(RpcCode.INVALID_REQUEST, text, known if is_id else None, is_reply)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    return Fault(RpcCode.PARSE_ERROR, "this is no JSON", is_reply=is_reply)


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
