"""The pump for Linux: one Trio task waits on an epoll descriptor that holds every socket.

Three habits keep it correct:

* never an empty event mask: epoll reports hang-ups and errors for any mask, and a half-closed
  socket that is reset would spin.  A socket that wants nothing is registered for edges alone:
  that it breaks is reported, once, also in a pause;
* interest is dropped lazily: a handler that cannot read now says so with `want`, and the system
  call is made only if the socket becomes ready nevertheless; most pauses are over before that;
* a watch is closed before its descriptor, and events of the same batch for a closed watch are
  dropped by looking the descriptor up again, so a reused number takes no stale event.
"""

from __future__ import annotations

import contextvars
import select
import socket
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final

import trio

from .core import SLICE_SECONDS, Pump

__all__ = ["EpollPump"]

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_FAILED: Final = select.EPOLLHUP | select.EPOLLERR
_IDLE: Final = select.EPOLLET
"""The mask of a socket that wants nothing for now."""

MAX_EVENTS: Final = 64
"""Events taken in one poll; with the slice it bounds how long a batch lasts."""

FEW_EVENTS: Final = 2
"""After a batch with at most so many events it is likelier that one has to wait than that more
have come, and looking first would cost a pass of the scheduler."""


class _Watch:
    __slots__ = ("_pump", "fileno", "registered", "run", "wanted")

    def __init__(self, pump: EpollPump, fileno: int, handler: Callable[[bool, bool], None]) -> None:
        self._pump = pump
        self.fileno = fileno
        self.run: Callable[[bool, bool], None] = partial(
            contextvars.copy_context().run,
            handler,  # type: ignore[call-arg] # the rest comes later
        )
        self.wanted = 0
        self.registered = 0

    def want(self, readable: bool, writable: bool) -> None:
        self.wanted = wanted = (_IN if readable else 0) | (_OUT if writable else 0)
        if wanted & ~self.registered:
            self.apply(wanted)

    def apply(self, mask: int) -> None:
        """Tell epoll."""
        if self.registered:
            self._pump.poller.modify(self.fileno, mask)
        else:
            self._pump.poller.register(self.fileno, mask)
            self._pump.watches[self.fileno] = self
        self.registered = mask

    def serve(self, mask: int) -> None:
        """Call the handler for what happened, and tell epoll if less is wanted than before."""
        failed = mask & _FAILED
        wanted = self.wanted
        mask = (mask | _IN | _OUT if failed else mask) & wanted
        if mask or (failed and not wanted):
            try:
                self.run(not wanted or mask & _IN != 0, mask & _OUT != 0)
            except Exception:
                self._pump.report()
        wanted = self.wanted or _IDLE
        if wanted != self.registered and self.registered:
            self.apply(wanted)

    def close(self) -> None:
        self.wanted = 0
        if self.registered:
            self.registered = 0
            self._pump.poller.unregister(self.fileno)
            del self._pump.watches[self.fileno]

    def close_socket(self, sock: socket.SocketType) -> None:
        """Closing the last descriptor of a socket takes it out of epoll: no call is needed."""
        self.wanted = 0
        if self.registered:
            self.registered = 0
            del self._pump.watches[self.fileno]
        self._pump.close_socket(sock)


class EpollPump(Pump):
    """Drives sockets by epoll."""

    kind = "epoll"

    def __init__(self) -> None:
        super().__init__()
        self.poller = select.epoll()
        self.watches: dict[int, _Watch] = {}
        self._unserved: dict[int, int] = {}

    def start(self) -> None:
        super().start()
        self._spawn(self._poll_task, "epoll")

    def closed(self) -> None:
        self.poller.close()

    def watch(self, fileno: int, handler: Callable[[bool, bool], None]) -> _Watch:
        return _Watch(self, fileno, handler)

    async def _poll_task(self) -> None:
        poll = self.poller.poll
        while True:
            events = poll(0, MAX_EVENTS)
            if events:
                self._run_batch(events)
            if len(events) > FEW_EVENTS:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self.poller)

    def _run_batch(self, events: list[tuple[int, int]]) -> None:
        """Call the handlers; what the slice cuts off is reported again by the next poll."""
        until = perf_counter() + SLICE_SECONDS
        watches = self.watches
        self.wakeups += 1
        if self._unserved:
            # epoll reports in the same order again: without this, the last would never be served.
            turns, self._unserved = self._unserved, {}
            events.sort(key=lambda event: turns.get(event[0], MAX_EVENTS))
        rest = iter(events)
        self.enter()
        try:
            for fileno, mask in rest:
                watch = watches.get(fileno)
                if watch is not None:
                    if mask == _IN and watch.wanted & _IN:  # by far the most: the short way
                        try:
                            watch.run(True, False)
                        except Exception:
                            self.report()
                    else:
                        watch.serve(mask)
                    if perf_counter() > until:
                        self._leave_unserved(list(rest))
                        break
        finally:
            self.leave()

    def _leave_unserved(self, events: list[tuple[int, int]]) -> None:
        """The slice is over: the next poll reports these again, but for those told only once."""
        for fileno, mask in events:
            watch = self.watches.get(fileno)
            if watch is not None and watch.registered == _IDLE:
                watch.serve(mask)
        self._unserved = {fileno: turn for turn, (fileno, _) in enumerate(events)}
