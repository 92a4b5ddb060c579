"""Memory pipes: two ends, and between them one lane of bounded capacity in each direction.

What a lane holds counts against its capacity from `try_send` until the receiver takes it, in
flight and unread together: that is the backpressure.  In flight are bytes and signals (end of
file, close, reset) in one queue, so that a signal never overtakes bytes; a reset discards them.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Final

from tunnelkit import limits
from tunnelkit.carriers import Pipe, PipeBroken
from tunnelkit.pump import Pump, Timer
from tunnelkit.wire.stream import Buffer

from .paths import How, Path

__all__ = ["DUE_SECONDS", "Lane", "MemoryPipe", "Wire"]

DUE_SECONDS: Final = 1e-9
"""What arrives this soon arrives now: sums of times are rounded, and a timer must make progress."""

PIECE_BYTES: Final = 16 * 1024
"""With a bandwidth, bytes arrive in pieces of this size rather than all at the end..."""

PIECE_SECONDS: Final = 0.001
"""... or in pieces that take the path this long, seconds, where that is more."""

RESET_TEXT: Final = "connection reset by peer"


class Signal(Enum):
    """What travels beside bytes."""

    EOF = "eof"
    CLOSED = "closed"
    RESET = "reset"


class Lane:
    """One direction of a connection."""

    sender: MemoryPipe
    receiver: MemoryPipe

    def __init__(self, wire: Wire, chance: Random | None) -> None:
        self.wire = wire
        self.path = wire.path
        self.unread = bytearray()
        self._chance = chance
        self._flying: deque[tuple[float, bytes | Signal]] = deque()
        self._flying_bytes = 0
        self._owed_bytes = 0
        self._last_arrival = 0.0
        self._timer: Timer | None = None
        self.unsent_limit = 0
        self._departs_at = 0.0
        self._room_timer: Timer | None = None

    @property
    def free_bytes(self) -> int:
        """How much the sender may hand over now."""
        used = self._flying_bytes + len(self.unread) + self._owed_bytes
        free = self.path.capacity_bytes - used
        if self.unsent_limit and self.path.bandwidth:
            free = min(free, self.unsent_limit - self.unsent_bytes)
        return max(0, free)

    @property
    def unsent_bytes(self) -> int:
        """What was handed over and has not begun its way, because the path is not that fast."""
        waits = self._departs_at - self.path.now()
        return min(self._flying_bytes, max(0, round(waits * (self.path.bandwidth or 0))))

    @property
    def has_room(self) -> bool:
        """Whether the sender is to be woken: half of what may be unsent has left, as on Linux."""
        if self.unsent_limit and self.unsent_bytes * 2 > self.unsent_limit:
            return False
        return self._flying_bytes + len(self.unread) + self._owed_bytes < self.path.capacity_bytes

    # --- the sender's side ------------------------------------------------------------------

    def send(self, data: Buffer) -> int:
        """Take as much of *data* as there is space for; return how many bytes."""
        taken = bytes(memoryview(data)[: self.free_bytes])
        fast = int((self.path.bandwidth or 0) * PIECE_SECONDS)
        piece = max(PIECE_BYTES, fast) if self.path.bandwidth else len(taken)
        for start in range(0, len(taken), piece or 1):
            item = taken[start : start + piece]
            self._flying_bytes += len(item)
            self._depart(item, len(item))
        self.advance()
        return len(taken)

    def signal(self, signal: Signal) -> None:
        """Send a signal after the bytes; a reset goes instead of them."""
        if signal is Signal.RESET:
            self.clear()
        self._depart(signal, 0)
        self.advance()

    def _depart(self, item: bytes | Signal, count: int) -> None:
        path, source = self.path, self.sender.host
        now = path.now()
        if path.bandwidth and count:
            path.free_at[source] = max(now, path.free_at[source]) + count / path.bandwidth
            now = self._departs_at = path.free_at[source]
        # A path may become faster, but nothing overtakes what left before.
        self._last_arrival = max(self._last_arrival, now + path.latency)
        self._flying.append((self._last_arrival, item))

    def clear(self) -> None:
        """Forget what is in flight."""
        self._flying.clear()
        self._flying_bytes = 0
        self._last_arrival = 0.0
        self._drop_timer()

    # --- room for the sender ----------------------------------------------------------------

    def await_room(self) -> None:
        """Poke the sender once enough has left; what arrives pokes it in any case."""
        excess = self.unsent_bytes - self.unsent_limit // 2
        bandwidth = self.path.bandwidth
        if self._room_timer is None and bandwidth and self.unsent_limit and excess > 0:
            delay = excess / bandwidth + DUE_SECONDS
            self._room_timer = self.sender.pump.call_later(delay, self._on_room)

    def _on_room(self) -> None:
        self._room_timer = None
        if not self._is_still():
            self.sender.poke()

    def drop_room_timer(self) -> None:
        """The sender is gone."""
        if self._room_timer is not None:
            self._room_timer.cancel()
            self._room_timer = None

    # --- the way ----------------------------------------------------------------------------

    def _is_still(self) -> bool:
        return self.path.held or self.wire.severed

    def advance(self) -> None:
        """Let arrive what is due, and set the timer for the next."""
        if self._is_still():
            self._drop_timer()
            return
        if self._owed_bytes or self.unsent_limit:
            self._owed_bytes = 0
            self.sender.poke()
        while self._flying and self._flying[0][0] <= self.path.now() + DUE_SECONDS:
            self._arrive(self._flying.popleft()[1])
            if self._is_still():
                return
        if not self._flying:
            self._drop_timer()
        elif self._timer is None:
            delay = self._flying[0][0] - self.path.now()
            self._timer = self.receiver.pump.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.advance()

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arrive(self, item: bytes | Signal) -> None:
        if item is Signal.RESET:
            self.receiver.break_off(RESET_TEXT)
        elif isinstance(item, Signal):
            self.receiver.end(peer_closed=item is Signal.CLOSED)
        else:
            self._flying_bytes -= len(item)
            self._arrive_bytes(item)

    def _arrive_bytes(self, data: bytes) -> None:
        if self.receiver.gone:
            self.sender.break_off(RESET_TEXT)  # the host is up again and knows no such connection
            return
        count = self.path.allow(self.sender.host, len(data))
        if self.receiver.closed:
            self.sender.poke()
        else:
            self.unread += data[:count]
            self.receiver.poke()
        self.path.cut_if_due()

    # --- the receiver's side ----------------------------------------------------------------

    def readable_bytes(self, max_bytes: int) -> int:
        """How many bytes the next read gives: with fragmentation not always all there are."""
        count = min(len(self.unread), max_bytes)
        return self._chance.randint(1, count) if self._chance and count else count

    def take(self, count: int) -> None:
        """Drop *count* bytes that were read; their space is free, once the sender can know it."""
        del self.unread[:count]
        if self._is_still():
            self._owed_bytes += count
        else:
            self.sender.poke()

    def abandon(self) -> None:
        """The receiver is gone: what arrived is lost, what is in flight will be."""
        self.unread.clear()


class MemoryPipe(Pipe):
    """One end of a connection.  The counters are the bytes that this end sent and received."""

    def __init__(self, host: str, pump: Pump, description: str) -> None:
        self.host = host
        self.pump = pump
        self.description = description
        self.sent_bytes = 0
        self.received_bytes = 0
        self.broken: str | None = None
        self.closed = False
        self.gone = False
        self._handler: Callable[[bool, bool], object] | None = None
        self._wanted = (False, False)
        self._scheduled = False
        self._large = False
        self._eof_sent = False
        self._eof = False
        self._peer_closed = False
        self._reset: str | None = None

    def join(self, outgoing: Lane, incoming: Lane) -> None:
        """Tie the pipe to its lanes; done once, by `Wire`."""
        self._out, self._in = outgoing, incoming
        outgoing.sender = incoming.receiver = self

    # --- readiness --------------------------------------------------------------------------

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        context = contextvars.copy_context()
        self._handler = lambda readable, writable: context.run(handler, readable, writable)
        self._wanted = (False, False)

    def want(self, readable: bool, writable: bool) -> None:
        self._wanted = (readable, writable)
        self.poke()

    def _readiness(self) -> tuple[bool, bool]:
        failed = self.broken is not None or self._reset is not None
        for_reading, for_writing = self._wanted
        readable = for_reading and (failed or self._eof or bool(self._in.unread))
        writable = for_writing and (
            failed or self._peer_closed or self._eof_sent or self._out.has_room
        )
        return readable, writable

    def poke(self) -> None:
        """Have the handler called if there is something that it wants to know."""
        if self._handler is None or self._scheduled:
            return
        if any(self._readiness()):
            self._scheduled = True
            self.pump.call_soon(self._run)
        elif self._wanted[1]:
            self._out.await_room()

    def _run(self) -> None:
        self._scheduled = False
        ready = self._readiness()
        if self._handler is not None and any(ready):
            try:
                self._handler(*ready)
            finally:
                self.poke()  # level-triggered: what was not used up is reported again

    # --- sending ----------------------------------------------------------------------------

    def _fail(self, text: str) -> PipeBroken:
        """Remember the first error, as a socket's pipe does."""
        if self.broken is None:
            self.broken = text
        return PipeBroken(self.broken)

    def check(self) -> None:
        if self.broken is not None:
            raise PipeBroken(self.broken)

    def try_send(self, data: Buffer) -> int:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        if self.closed:
            raise self._fail("bad file descriptor")
        if self._reset is not None:
            raise self._fail(self._reset)
        if self._eof_sent or self._peer_closed:
            raise self._fail("broken pipe")
        count = self._out.send(data)
        self.sent_bytes += count
        return count

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        room, parts = self._out.free_bytes, list[memoryview]()
        for buffer in buffers:
            if room <= 0:
                break
            parts.append(memoryview(buffer)[:room])
            room -= len(buffer)
        return self.try_send(b"".join(parts))

    def limit_unsent(self, count: int) -> None:
        self._out.unsent_limit = count

    def unsent_bytes(self) -> int | None:
        return self._out.unsent_bytes

    def send_eof(self) -> None:
        if not (self._eof_sent or self.closed or self._reset or self.gone):
            self._eof_sent = True
            self._out.signal(Signal.EOF)

    # --- receiving --------------------------------------------------------------------------

    def _readable_bytes(self, max_bytes: int) -> int:
        """How many bytes to read now; 0: end of file, -1: not now."""
        if self.broken is not None:
            raise PipeBroken(self.broken)
        if self.closed:
            raise self._fail("bad file descriptor")
        count = self._in.readable_bytes(max_bytes)
        if count:
            return count
        if self._reset is not None:
            raise self._fail(self._reset)
        return 0 if self._eof else -1

    def try_receive_into(self, buffer: memoryview) -> int:
        count = self._readable_bytes(len(buffer))
        if count > 0:
            buffer[:count] = self._in.unread[:count]
            self._took(count)
        return count

    def try_receive(self, max_bytes: int) -> Buffer | None:
        # Short reads go into the shared buffer, as with sockets: a caller that keeps such a view
        # for too long is wrong on both.
        scratch = self.pump.edge_view
        limit = max_bytes if self._large else min(max_bytes, len(scratch))
        count = self._readable_bytes(limit)
        if count < 0:
            return None
        fresh, self._large = self._large, count >= limits.KEEP_BY_REFERENCE_BYTES
        data = bytes(self._in.unread[:count])
        self._took(count)
        if fresh:
            return data
        scratch[:count] = data
        return memoryview(scratch)[:count]

    def _took(self, count: int) -> None:
        self.received_bytes += count
        self._in.take(count)

    # --- what arrives from the other end ----------------------------------------------------

    def end(self, *, peer_closed: bool) -> None:
        """An end of file has arrived; with *peer_closed*, nobody will read what we send."""
        self._eof = True
        self._peer_closed = self._peer_closed or peer_closed
        self.poke()

    def break_off(self, text: str) -> None:
        """A reset has arrived: what came before it can still be read, as on Linux."""
        if self._reset is None:
            self._reset = text
        self._out.clear()
        self.poke()

    # --- ending -----------------------------------------------------------------------------

    def close(self) -> None:
        self._leave(Signal.CLOSED)

    def reset(self) -> None:
        self._leave(Signal.RESET)

    def _leave(self, signal: Signal) -> None:
        self._handler = None
        if self.closed:
            return
        self.closed = True
        self._out.drop_room_timer()
        if not self.gone:
            self._in.abandon()
            if self._reset is None:
                self._out.signal(signal)
        self._out.wire.forget_if_over()

    def vanish(self, text: str, *, tell_peer: bool) -> None:
        """The host is gone: this end is broken, and the peer sees a reset or nothing."""
        self.gone = True
        self._out.drop_room_timer()
        self._reset = self._reset or text
        self._in.abandon()
        if tell_peer:
            self._out.signal(Signal.RESET)
        else:
            self._out.clear()
        self.poke()
        self._out.wire.forget_if_over()


class Wire:
    """A connection: two joined pipes on a path."""

    def __init__(
        self, path: Path, first: MemoryPipe, second: MemoryPipe, chances: Sequence[Random | None]
    ) -> None:
        self.path = path
        self.severed = False
        self.ends = (first, second)
        self.lanes = (Lane(self, chances[0]), Lane(self, chances[1]))
        first.join(*self.lanes)
        second.join(*reversed(self.lanes))
        path.users[id(self)] = self

    def advance(self) -> None:
        for lane in self.lanes:
            lane.advance()

    def sever(self, how: How) -> None:
        self.severed = True
        for lane in self.lanes:
            if how == "silent":
                lane.advance()  # only drops the timer: unanswered bytes keep their space
            else:
                lane.clear()
        for end in self.ends:
            if how == "reset":
                end.break_off(RESET_TEXT)
            elif how == "eof":
                end.end(peer_closed=True)

    def forget_if_over(self) -> None:
        """Release the timers once nobody holds either end."""
        if all(end.closed or end.gone for end in self.ends):
            for lane in self.lanes:
                lane.clear()
            self.path.users.pop(id(self), None)
