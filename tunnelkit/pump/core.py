"""What every pump has: batches, the ready-queue, and timers.

A pump runs handlers synchronously, in *batches*.  Work that is better done once than often (the
flush of a link) is deferred to the end of the batch.  A user's call that sends something is a
batch of its own (`with pump.batch():`), so that what it wrote has gone out when it returns.

`Pump` itself drives what has no file descriptor: the ready-queue (memory pipes, work cut by the
slice) and the timers, from one system task that sleeps until there is something to do.  The
subclasses in `epoll` and `tasks` add sockets.
"""

from __future__ import annotations

import contextvars
import heapq
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from itertools import count
from time import perf_counter
from typing import Final, Protocol

import trio
from outcome import Value

from tunnelkit import limits
from tunnelkit.errors import LocalProtocolError
from tunnelkit.wire.reader import Scratch

from .blocks import BlockRing

__all__ = ["Pump", "Timer", "Watch"]

SLICE_SECONDS: Final = 0.002
"""A batch ends after this time, so that other Trio tasks get their turn."""

_NEVER: Final = float("inf")

MIN_TIMERS: Final = 1024
"""With fewer timers, cancelled ones are kept until their time comes.  Stops: a deadline of an hour
for each of many short requests, which would fill the memory."""

_log = logging.getLogger(__name__)


class Timer:
    """A call at a later time; `cancel` forgets it.  Made by `Pump.call_later`."""

    __slots__ = ("callback", "context", "deadline")

    def __init__(self, deadline: float, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self.callback: Callable[[], None] | None = callback
        self.context = contextvars.copy_context()

    def cancel(self) -> None:
        """Forget the call; a no-op if it was made already."""
        self.callback = None


class Watch(Protocol):
    """A socket that a pump drives; made by `Pump.watch`."""

    def want(self, readable: bool, writable: bool) -> None:
        """Say what to be called for; neither is allowed."""

    def close(self) -> None:
        """Forget the socket, which lives on."""

    def close_socket(self, sock: socket.SocketType) -> None:
        """Forget the socket and close it, at the end of this batch."""


class Pump:
    """Batches, ready-queue and timers.  Get the run's pump with `acquire_pump`."""

    kind = "memory"

    def __init__(self) -> None:
        self.scratch = Scratch(limits.SCRATCH_BYTES)
        """Where links receive."""
        self.edge_view = memoryview(bytearray(limits.BULK_FRAME_BYTES))
        """Where spliced sockets receive; valid within one handler call."""
        self.blocks = BlockRing()
        """Where spliced sockets receive when much comes; views may be kept."""
        self.at_stop: set[Callable[[], None]] = set()
        """Called when the pump stops; for what lingers without an owner."""
        self.references = 0
        self.wakeups = 0
        self._depth = 0
        self._deferred: list[Callable[[], None]] = []
        self._closing: list[socket.SocketType] = []
        self._ready: deque[tuple[contextvars.Context, Callable[[], None]]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._most_timers = MIN_TIMERS
        """With how many timers, cancelled ones included, those are looked for."""
        self._order = count()
        self._scopes: set[trio.CancelScope] = set()
        self._sleeper: trio.lowlevel.Task | None = None
        self._sleep_scope: trio.CancelScope | None = None
        self._stopped = trio.Event()
        self._is_virtual: bool | None = None

    # --- batches ----------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Generator[None]:
        """Do what is in the block as one batch: deferred work runs at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Begin a batch; for hot paths that cannot pay for a context manager."""
        self._depth += 1

    def leave(self) -> None:
        """End a batch begun with `enter`."""
        if self._depth == 1:
            deferred = self._deferred
            while deferred:
                self._deferred = []
                for call in deferred:
                    self.guard(call)
                deferred = self._deferred
            if self._closing:
                for sock in self._closing:
                    sock.close()
                self._closing.clear()
        self._depth -= 1

    def close_socket(self, sock: socket.SocketType) -> None:
        """Close a socket at the end of this batch, when no event for its number is left in it."""
        if self._depth:
            self._closing.append(sock)
        else:
            sock.close()

    def defer(self, call: Callable[[], None]) -> None:
        """Call once at the end of this batch; outside of one, as soon as the pump runs."""
        if self._depth:
            self._deferred.append(call)
        else:
            self.call_soon(call)

    def guard(self, call: Callable[[], None]) -> None:
        """Call and survive: an error of one handler must not stop the others.

        Handlers deal with the errors of their own link or stream; what arrives here is a bug.
        """
        try:
            call()
        except Exception:
            self.report()

    def report(self) -> None:
        """Log the error that a handler let out; call it where that was caught."""
        _log.exception("unexpected error in a pump handler")

    # --- ready-queue and timers -------------------------------------------------------------

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call from the pump's task, in the caller's context."""
        self._ready.append((contextvars.copy_context(), call))
        self._wake()

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Call after *delay* seconds of Trio's clock, in the caller's context."""
        if len(self._timers) >= self._most_timers:
            self._forget_cancelled()
        timer = Timer(trio.current_time() + delay, call)
        heapq.heappush(self._timers, (timer.deadline, next(self._order), timer))
        if self._sleep_scope is not None and timer.deadline < self._sleep_scope.deadline:
            self._sleep_scope.deadline = timer.deadline
        return timer

    def _forget_cancelled(self) -> None:
        """Drop timers that were cancelled long before their time, as most deadlines are."""
        self._timers[:] = [entry for entry in self._timers if entry[2].callback is not None]
        heapq.heapify(self._timers)
        self._most_timers = max(MIN_TIMERS, 2 * len(self._timers))

    @property
    def live_timers(self) -> int:
        """How many timers are waiting."""
        return len(self.waiting_timers())

    def waiting_timers(self) -> list[Timer]:
        """Return the timers that have neither been called nor cancelled."""
        return [timer for _, _, timer in self._timers if timer.callback is not None]

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper, Value(None))

    def _run_ready(self) -> None:
        """Run what was ready at the start; what becomes ready meanwhile waits for its turn."""
        until = perf_counter() + SLICE_SECONDS
        self.wakeups += 1
        self.enter()
        try:
            self._run_timers()
            for _ in range(len(self._ready)):
                context, call = self._ready.popleft()
                context.run(self.guard, call)
                if perf_counter() > until:
                    break
        finally:
            self.leave()

    def _run_timers(self) -> None:
        now = trio.current_time()
        timers = self._timers
        while timers and (timers[0][0] <= now or timers[0][2].callback is None):
            timer = heapq.heappop(timers)[2]
            call, timer.callback = timer.callback, None
            if call is not None:
                timer.context.run(self.guard, call)

    async def _ready_task(self) -> None:
        while True:
            self._run_ready()
            if self._ready:
                await trio.lowlevel.checkpoint()
            else:
                await self._sleep()

    async def _sleep(self) -> None:
        deadline = self._timers[0][0] if self._timers else float("inf")
        with trio.CancelScope(deadline=deadline) as self._sleep_scope:
            self._sleeper = trio.lowlevel.current_task()

            def abort(_: object) -> trio.lowlevel.Abort:
                self._sleeper = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        self._sleep_scope = None

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the system tasks."""
        self._spawn(self._ready_task, "ready queue")

    def _spawn(self, function: Callable[[], Awaitable[object]], name: str) -> None:
        """Start a system task that lasts until `stop`, also when that comes at once."""
        scope = trio.CancelScope()
        self._scopes.add(scope)

        async def run() -> None:
            try:
                with scope:
                    await function()
            finally:
                self._scopes.discard(scope)
                if not self._scopes:
                    self.closed()
                    self._stopped.set()

        trio.lowlevel.spawn_system_task(
            run, name=f"tunnelkit pump: {name}", context=contextvars.copy_context()
        )

    async def stop(self) -> None:
        """End the system tasks and wait until they are gone."""
        for call in list(self.at_stop):
            self.guard(call)
        for scope in self._scopes:
            scope.cancel()
        with trio.CancelScope(shield=True):
            await self._stopped.wait()

    def closed(self) -> None:
        """Release what the subclass holds; called when the last task has ended."""

    # --- sockets ----------------------------------------------------------------------------

    def refuse_virtual_time(self) -> None:
        """Raise LocalProtocolError where Trio's clock jumps by itself: sockets would starve."""
        if self._is_virtual is None:
            clock = trio.lowlevel.current_clock()
            self._is_virtual = getattr(clock, "autojump_threshold", _NEVER) != _NEVER
        if self._is_virtual:
            raise LocalProtocolError(
                "sockets do not work under a mock clock that jumps by itself; "
                "use tunnelkit.testing.MemoryNetwork there"
            )

    def watch(self, fileno: int, handler: Callable[[bool, bool], None]) -> Watch:
        """Call ``handler(readable, writable)`` when the socket is ready for what is wanted."""
        raise NotImplementedError("this pump drives memory pipes only")
