"""Streams as a whole, for a peer that does not stream: results collected, arguments gathered.

A list has bounds here that a stream has not: who has more than that needs a peer that streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import trio
from msgspec import UNSET, Raw

from .channels import MAX_MESSAGE_BYTES
from .codes import RpcCode, RpcError
from .dispatch import Bound
from .flow import ending
from .payload import is_payload
from .spec import MethodSpec

__all__ = ["MAX_COLLECTED", "MAX_COLLECTED_BYTES", "collected", "gathered", "with_whole"]

MAX_COLLECTED: Final = 1000
"""Most items that go as one list.  Stops: endless streams."""

MAX_COLLECTED_BYTES: Final = 2 * 1024 * 1024
"""Most bytes of a payload that goes as one string, whose base64 still fits into a message.  Stops:
endless ones."""


async def collected(items: AsyncIterator[Any], spec: MethodSpec) -> list[Raw] | bytes:
    """Return all items of a result, for a caller that does not stream.

    Raises:
        RpcError: TOO_LARGE, there are more than fit into one message.
    """
    return await _whole(items, spec.result, "the result", "take it as a stream")


async def gathered(
    spec: MethodSpec, params: msgspec.Struct, values: AsyncIterable[Any]
) -> msgspec.Struct:
    """Return the record of arguments with all of a streamed one, for a peer that does not stream.

    Raises:
        RpcError: TOO_LARGE, there are more than fit into one message: nothing was sent.
    """
    what = f"the argument {spec.streamed} of {spec.wire_name}"
    why = "the peer does not stream, so send less, or in several calls"
    whole = await _whole(values, spec.item, what, why)
    return msgspec.structs.replace(params, **{spec.streamed: whole})


async def _whole(items: AsyncIterable[Any], kind: Any, what: str, advice: str) -> list[Raw] | bytes:
    """Return all items, encoded one by one, so that their bytes are bounded as they come."""
    if is_payload(kind):
        data = bytearray()
        async with ending(items) as pieces:
            async for piece in pieces:
                data += piece
                _check(len(data), MAX_COLLECTED_BYTES, "bytes", what, advice)
        return bytes(data)
    found: list[Raw] = []
    size = 0
    async with ending(items) as iterator:
        async for value in iterator:
            found.append(Raw(msgspec.json.encode(value)))
            size += len(found[-1]) + 1
            _check(len(found), MAX_COLLECTED, "items", what, advice)
            _check(size, MAX_MESSAGE_BYTES, "bytes", what, advice)
    return found


def _check(count: int, most: int, unit: str, what: str, advice: str) -> None:
    if count > most:
        raise RpcError(RpcCode.TOO_LARGE, f"{what} has more than {most} {unit}: {advice}")


def with_whole(bound: Bound) -> Bound:
    """Return a call whose streamed argument, if it takes one, came as a whole.

    One where it did not come at all has the error INVALID_PARAMS.
    """
    name = bound.spec.streamed
    if not name or bound.error is not None:
        return bound
    whole = bound.arguments[name]
    if whole is UNSET:
        text = f"{bound.spec.wire_name}: Object missing required field `{name}`"
        return replace(bound, error=RpcError(RpcCode.INVALID_PARAMS, text))
    values = _listed([whole] if is_payload(bound.spec.item) else whole)
    return replace(bound, arguments={**bound.arguments, name: values})


async def _listed(values: Sequence[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value
        await trio.lowlevel.checkpoint()
