"""Middleware that most servers want: each returns a function to be put around calls.

    open_peer(channel, serve=[...], middleware=[counted(count), audited(note), authenticated,
                                                rate_limited(50, burst=100)])

The first one is outermost, so that what counts and notes calls also sees those that are refused by
the ones after it.  Connections that share a limit are given the same function.  One of your own is
as short: an async function of the call and of the rest.  It finds the arguments decoded and of the
right types, and can check them; a call whose arguments are wrong has the reason in `Bound.error`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import trio

from tunnelkit.bucket import Bucket
from tunnelkit.errors import TunnelError

from .codes import RpcCode, RpcError, name_of_code
from .dispatch import Bound, Caller, Handler, Middleware
from .flow import ending

__all__ = ["Outcome", "audited", "authenticated", "counted", "rate_limited"]

MAX_CALLERS: Final = 10_000
"""Most callers whose rates are remembered.  Stops: names without end filling the memory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call."""

    caller: Caller
    method: str
    """As on the wire."""
    code: str
    """``OK``, or the name of the error's code; ``CANCELLED``: its caller left."""
    seconds: float
    """How long it took; of a streamed result, until its last item had gone."""


async def authenticated(bound: Bound, rest: Handler) -> Any:
    """Refuse callers that have not proven who they are.

    Raises:
        RpcError: UNAUTHENTICATED.
    """
    if not bound.caller.subject:
        text = f"{bound.spec.wire_name} is for callers who have proven who they are"
        raise RpcError(RpcCode.UNAUTHENTICATED, text)
    return await rest(bound)


def rate_limited(per_second: float, *, burst: float) -> Middleware:
    """Return what refuses callers that call too often.

    Args:
        per_second: how many calls of one caller are carried out in the long run.
        burst: how many at once, after a rest.

    A call beyond that is answered with RATE_LIMITED, and nothing is done.
    """
    buckets: dict[tuple[str, str], Bucket] = {}

    async def limit(bound: Bound, rest: Handler) -> Any:
        who = bound.caller.subject, bound.caller.name
        bucket = buckets.pop(who, None) or Bucket(burst, per_second)
        buckets[who] = bucket  # the last one that called is the last one to be forgotten
        if len(buckets) > MAX_CALLERS:
            del buckets[next(iter(buckets))]
        if not bucket.take(trio.current_time()):
            raise RpcError(RpcCode.RATE_LIMITED, f"more than {per_second:g} calls a second")
        return await rest(bound)

    return limit


def audited(note: Callable[[Outcome], object]) -> Middleware:
    """Return what tells *note* of each call when it is over, whatever became of it.

    *note* must not wait; arguments and results are not told, because they may hold secrets.
    """

    async def audit(bound: Bound, rest: Handler) -> Any:
        began = trio.current_time()

        def tell(code: str) -> None:
            seconds = trio.current_time() - began
            note(Outcome(bound.caller, bound.spec.wire_name, code, seconds))

        try:
            result = await rest(bound)
            if bound.spec.is_streamed:
                return _told_at_the_end(result, tell)
        except BaseException as error:
            tell(_code_of(error))
            raise
        tell("OK")
        return result

    return audit


async def _told_at_the_end(items: AsyncIterator[Any], tell: Callable[[str], None]) -> Any:
    """Yield items, and tell what became of them once they are over."""
    code = "CANCELLED"
    try:
        async with ending(items) as iterator:
            async for item in iterator:
                yield item
        code = "OK"
    except BaseException as error:
        code = _code_of(error)
        raise
    finally:
        tell(code)


def _code_of(error: BaseException) -> str:
    if isinstance(error, RpcError):
        return name_of_code(error.code)
    if isinstance(error, TunnelError):
        return RpcCode.REFUSED.name
    return RpcCode.INTERNAL_ERROR.name if isinstance(error, Exception) else "CANCELLED"


def counted(count: Callable[[str, str, float], object]) -> Middleware:
    """Return what gives *count* the method, the code and the seconds of each call.

    These are the labels and the value of a metric: no name of a caller is among them.
    """
    return audited(lambda outcome: count(outcome.method, outcome.code, outcome.seconds))
