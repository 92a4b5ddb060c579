"""Carrying a call out: through middleware to its method, and what answers it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
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
from .messages import Request, encode_error, encode_result

__all__ = ["answer_to", "chained"]

_log = logging.getLogger("tunnelkit.rpc")

MAX_TIMEOUT_SECONDS: Final = 10.0 * 365 * 86400
"""Longer deadlines of a caller are cut to this, seconds.  Stops: numbers that are no time."""


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
