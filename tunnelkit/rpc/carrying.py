"""Carrying a call out: through middleware to its method, and what answers it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Final, cast

import trio
from msgspec import UNSET

from tunnelkit.errors import TunnelError

from .channels import fitting
from .codes import RpcCode, RpcError
from .context import enter_call
from .dispatch import Bound, Handler, Middleware, Registry
from .flow import ending
from .messages import Request, encode_error, encode_result
from .payload import is_payload
from .spec import MethodSpec

__all__ = [
    "MAX_COLLECTED",
    "MAX_COLLECTED_BYTES",
    "answer_to",
    "chained",
    "collected",
    "with_whole",
]

_log = logging.getLogger("tunnelkit.rpc")

MAX_TIMEOUT_SECONDS: Final = 10.0 * 365 * 86400
"""Longer deadlines of a caller are cut to this, seconds.  Stops: numbers that are no time."""

MAX_COLLECTED: Final = 1000
"""Most items of a streamed result for a caller that takes it as one list.  Stops: endless ones."""

MAX_COLLECTED_BYTES: Final = 2 * 1024 * 1024
"""Most bytes of a payload for a caller that takes it as one string.  Stops: endless ones."""


def chained(middleware: Sequence[Middleware]) -> Handler:
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


async def answer_to(
    request: Request,
    bound: Bound,
    registry: Registry,
    carry_out: Callable[[], Awaitable[object]],
    scope: trio.CancelScope,
) -> bytes:
    """Carry a call out, within the time that its caller gave, and return what answers it.

    Args:
        carry_out: calls the method and returns its result.
        scope: is entered here; its deadline is set.

    Cancellation: keeps what the method keeps.
    """
    enter_call(bound)
    timeout = bound.extras.timeout if bound.extras is not None else UNSET
    seconds = min(max(timeout, 0.0), MAX_TIMEOUT_SECONDS) if timeout is not UNSET else inf
    scope.deadline = trio.current_time() + seconds
    with scope:
        return await _outcome(request, bound, registry, carry_out)
    code, text = RpcCode.DEADLINE_EXCEEDED, f"{bound.spec.wire_name} took too long"
    return encode_error(request.id, code, text)


async def _outcome(
    request: Request,
    bound: Bound,
    registry: Registry,
    carry_out: Callable[[], Awaitable[object]],
) -> bytes:
    try:
        result = await carry_out()
        message = encode_result(request.id, result, registry.extras_for(request))
        return fitting(message, f"the result of {bound.spec.wire_name}")
    except RpcError as error:
        extras = registry.extras_for(request)
        return encode_error(request.id, error.code, error.text, error.data, extras)
    except TunnelError as error:
        return encode_error(request.id, RpcCode.REFUSED, str(error))
    except Exception as error:
        _log.exception("method %s failed", bound.spec.wire_name, exc_info=error)
        text = "internal error: the log of the program that serves it says more"
        return encode_error(request.id, RpcCode.INTERNAL_ERROR, text)


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


async def collected(items: AsyncIterator[Any], spec: MethodSpec) -> list[Any] | bytes:
    """Return all items of a result, for a caller that does not stream.

    Raises:
        RpcError: TOO_LARGE, there are more than fit into one message.
    """
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
