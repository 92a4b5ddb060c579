"""What a call brings along beside its arguments: who made it, and the trace that it is a part of.

Both are set around each call that is served, and are inherited by the tasks that it starts.  The
trace goes on with the calls that it makes in turn, so that a request can be followed through
several programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Final

import trio
from msgspec import UNSET

from .dispatch import Bound, Caller
from .messages import Extras

__all__ = ["current_caller", "current_trace", "enter_call", "extras_to_send", "traced"]

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
"""W3C Trace Context, §3.2: version, trace id, parent id, flags."""

_caller: ContextVar[Caller] = ContextVar("caller")
_trace: ContextVar[str] = ContextVar("trace", default="")


def current_caller() -> Caller:
    """Return who called the method in which this is called.

    Raises:
        LookupError: no method was called from afar.
    """
    return _caller.get()


def current_trace() -> str:
    """Return the trace context, as in the header `traceparent`; "": there is none."""
    return _trace.get()


@contextmanager
def traced(trace: str) -> Iterator[None]:
    """Let the calls that are made in the block be a part of a trace.

    Args:
        trace: as in the header `traceparent` (W3C Trace Context, §3.2).

    Raises:
        ValueError: it is none.
    """
    if not _TRACEPARENT.fullmatch(trace):
        raise ValueError(f"{trace[:80]!r} is no traceparent: 00-TRACE_ID-PARENT_ID-FLAGS")
    token = _trace.set(trace)
    try:
        yield
    finally:
        _trace.reset(token)


def enter_call(bound: Bound) -> None:
    """Set who calls, and the trace, for the task that carries the call out.

    What is no trace context is no reason to refuse a call: then there is none.
    """
    _caller.set(bound.caller)
    trace = bound.extras.trace if bound.extras is not None else UNSET
    is_trace = isinstance(trace, str) and _TRACEPARENT.fullmatch(trace)
    _trace.set(str(trace) if is_trace else "")


def extras_to_send(epoch: int | None) -> Extras:
    """Return what a call that is made now brings along: its trace, its deadline, and the epoch.

    Args:
        epoch: of the service, as far as it is known; None: it is not.
    """
    extras = Extras(trace=_trace.get() or UNSET)
    if epoch is not None:
        extras.epoch = epoch
    left = trio.current_effective_deadline() - trio.current_time()
    if left < inf:
        extras.timeout = max(0.0, left)
    return extras
