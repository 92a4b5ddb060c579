"""The pump for Linux: one Trio task waits on an epoll descriptor that holds every socket.

Three habits keep it correct:

* never an empty event mask: a socket that wants nothing is unregistered, because epoll reports
  hang-ups for any mask, and a half-closed socket that is reset would spin;
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
        before, self.registered = self.registered, mask
        if not before:
            if mask:
                self._pump.poller.register(self.fileno, mask)
                self._pump.watches[self.fileno] = self
        elif mask:
            self._pump.poller.modify(self.fileno, mask)
        else:
            self._pump.poller.unregister(self.fileno)
            del self._pump.watches[self.fileno]

    def close(self) -> None:
        self.wanted = 0
        if self.registered:
            self.apply(0)

    def close_socket(self, sock: socket.socket) -> None:
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
                if watch is None:
                    continue
                mask = (mask | _IN | _OUT if mask & _FAILED else mask) & watch.wanted
                if mask:
                    try:
                        watch.run(mask & _IN != 0, mask & _OUT != 0)
                    except Exception:
                        self.report()
                if watch.wanted != watch.registered and watch.registered:
                    watch.apply(watch.wanted)
                if perf_counter() > until:
                    self._unserved = {number: turn for turn, (number, _) in enumerate(rest)}
                    break
        finally:
            self.leave()
