"""The portable pump: a Trio task waits for each socket and direction that is wanted.

It calls the same handlers as the epoll pump, one socket at a time, and is what runs where there
is no epoll.  It is slower, because every wake-up is a task switch of its own.
"""

from __future__ import annotations

import contextvars
import socket
from collections.abc import Awaitable, Callable

import trio

from .core import Pump

__all__ = ["TaskPump"]


class _Watch:
    def __init__(self, pump: TaskPump, fileno: int, handler: Callable[[bool, bool], None]) -> None:
        self._pump = pump
        self._fileno = fileno
        self._handler = handler
        self._context = contextvars.copy_context()
        self._wanted = [False, False]
        self._scopes: list[trio.CancelScope | None] = [None, None]

    def want(self, readable: bool, writable: bool) -> None:
        self._wanted = [readable, writable]
        for side in (0, 1):
            scope = self._scopes[side]
            if self._wanted[side] and scope is None:
                self._scopes[side] = scope = trio.CancelScope()
                self._pump.spawn_waiter(self, side, scope)
            elif scope is not None and not self._wanted[side]:
                scope.cancel()
                self._scopes[side] = None

    def close(self) -> None:
        self.want(False, False)

    def close_socket(self, sock: socket.SocketType) -> None:
        self.close()
        self._pump.close_socket(sock)

    async def wait(self, side: int, scope: trio.CancelScope) -> None:
        """Wait and call the handler for as long as *scope* is that of this side."""
        wait: Callable[[int], Awaitable[None]]
        wait = trio.lowlevel.wait_writable if side else trio.lowlevel.wait_readable
        try:
            with scope:
                while self._scopes[side] is scope:
                    await wait(self._fileno)
                    if self._scopes[side] is scope:
                        with self._pump.batch():
                            try:
                                self._context.run(self._handler, not side, bool(side))
                            except Exception:
                                self._pump.report()
        except trio.ClosedResourceError:
            return


class TaskPump(Pump):
    """Drives sockets by one waiting task each."""

    kind = "tasks"

    def watch(self, fileno: int, handler: Callable[[bool, bool], None]) -> _Watch:
        return _Watch(self, fileno, handler)

    def spawn_waiter(self, watch: _Watch, side: int, scope: trio.CancelScope) -> None:
        """Start the waiting task of one direction of a watch."""

        async def wait() -> None:
            await watch.wait(side, scope)

        self._spawn(wait, "socket")
