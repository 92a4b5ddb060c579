"""Tasks that serve the body of a context manager."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_service_nursery"]


@asynccontextmanager
async def open_service_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery for tasks that exist for the body's sake.

    When the body ends, the tasks are cancelled.  An exception of the body comes out as it is, not
    in a group of one, so that ``except SessionError`` around the block works; only if a task
    fails as well, there is a group.

    Cancellation: as in any nursery.
    """
    alone: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        alone = group.exceptions[0]
    if alone is not None:
        raise alone
