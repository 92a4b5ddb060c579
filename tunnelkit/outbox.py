"""What a link sends: a cork, a backlog, and whether there is room.

Sending is try-first.  Frames are put on the *cork*, which is written with one system call at the
end of the pump's batch, or when it holds 64 KiB.  What the pipe does not take is the *backlog*;
until that is written the outbox is not *clear*, and nobody numbers new frames.  Because no step
waits, a cancelled user cannot leave half a frame behind.

How much may be on its way into the pipe follows the *drain rate*: what left the pipe while it was
busy, which it is from when something waits for it until it runs dry.  On a slow link frames and the
cork are small, and the system is told to keep little that it has not yet sent, so that a small
frame does not wait behind a large one.  Where the pipe ran dry although something waited, this
program came too late: the pipe is to hold more than the rate asks for.

`Outbox` is the `Outlet` of the sessions that are attached over its link.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Final

import trio

from . import limits
from .carriers import Pipe, PipeBroken
from .wire.sending import Sender
from .wire.stream import Buffer

__all__ = ["Outbox"]

JOIN_BYTES: Final = 16 * 1024
"""Corked frames up to this size in all are joined: one copy is cheaper than many buffers."""

FRAME_SECONDS: Final = 0.003
"""A frame, and what is corked, take the link this long at most, seconds."""

UNSENT_SECONDS: Final = 0.006
"""What the system has not sent yet takes the link this long at most, seconds."""

LEAST_FRAME_BYTES: Final = 4096
"""Smaller frames would cost more than they help, bytes: below 11 Mbit/s they take longer."""

FIRST_BYTES: Final = 16 * 1024
"""Largest frame, and what the system may hold unsent, before anything is known, bytes.  Both grow
as long as the pipe takes all it is given."""

MOST_UNSENT_BYTES: Final = 1024 * 1024
"""Links that would need more than this are left to the system, bytes."""

FAST_RATE: Final = MOST_UNSENT_BYTES / UNSENT_SECONDS
"""The rate from which that is so, bytes a second."""

SAMPLE_SECONDS: Final = 0.01
"""The rate is measured over at least this time, seconds..."""

SMOOTH_SECONDS: Final = 0.1
"""... and is that of about the last so many seconds."""

MOST_SPARE: Final = 64
"""How many times what the rate asks for the pipe may hold, where this program often is late."""

SPARE_DECAY: Final = 0.9
"""What is left of that with each measurement during which the pipe did not run dry."""

LOOK_BYTES: Final = 16 * 1024
"""From this size, or that of a frame, a write to a pipe with a limit is followed, bytes."""


class Outbox(ABC):
    """The sending half of a link; `Link` is the whole."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.pump = pipe.pump
        self.is_clear = True
        self.is_closed = False
        self.bytes_out = 0
        self.frame_bytes: int = FIRST_BYTES
        """Largest data frame for this link, by its rate."""
        self.drain_rate = 0.0
        """Bytes a second that left while something waited; 0 while unknown."""
        self._cork_limit: int = FIRST_BYTES
        self._unsent_limit = 0
        self._spare = 1.0
        self._is_busy = False
        self._ran_dry = False
        self._looked_at = 0.0
        self._left_bytes = 0
        self._cork: list[Buffer] = []
        self._cork_bytes = 0
        self._backlog: deque[Buffer] = deque()
        self._dirty: list[Sender] = []
        self._is_deferred = False

    @abstractmethod
    def send_failed(self, error: PipeBroken) -> None:
        """The pipe is gone."""

    @abstractmethod
    def flushed(self) -> None:
        """Everything that was written has gone to the pipe."""

    @abstractmethod
    def resume_users(self) -> None:
        """There is room again: let everybody who waits write."""

    def close_outbox(self) -> None:
        """Forget what has not been written, and take no more."""
        self.is_closed = True
        self.is_clear = False
        self._cork.clear()
        self._backlog.clear()
        self._dirty.clear()

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for a pipe that takes no more."""
        return 0 if self.is_clear else self._cork_bytes

    def write(self, first: Buffer, second: Buffer | None = None) -> None:
        """Put one whole frame on the cork."""
        if self.is_closed:
            return
        self._cork.append(first)
        self._cork_bytes += len(first)
        if second is not None:
            self._cork.append(second)
            self._cork_bytes += len(second)
        if not self._is_deferred:
            self._is_deferred = True
            self.pump.defer(self._flush)
        if self._cork_bytes >= self._cork_limit and self.is_clear:
            self._write_cork()

    def write_now(self, frames: Buffer) -> None:
        """Write whole frames that cannot be kept, after what is corked; the link must be clear."""
        if self._cork:
            self._write_cork()
        if self.is_clear:
            self._send([frames], len(frames))
        elif not self.is_closed:
            self._backlog.append(bytes(frames))

    def want_state(self, session: Sender) -> None:
        """Let *session* write its acks and windows before the next flush."""
        dirty = self._dirty
        if not dirty or dirty[-1] is not session:
            dirty.append(session)
            self.want_flush()

    def want_flush(self) -> None:
        if not self._is_deferred:
            self._is_deferred = True
            self.pump.defer(self._flush)

    def _flush(self) -> None:
        """Write what is corked; the end of a batch."""
        self._is_deferred = True
        if self._dirty and self.is_clear:
            now = trio.current_time()
            dirty, self._dirty = self._dirty, []
            for session in dirty:
                if session.outlet is self:
                    session.write_state(now)
        self._is_deferred = False
        if self._cork and self.is_clear:
            self._write_cork()
        if not self._backlog and not self._cork:
            self.flushed()

    def _write_cork(self) -> None:
        cork, self._cork = self._cork, []
        size, self._cork_bytes = self._cork_bytes, 0
        buffers: list[Buffer] = [b"".join(cork)] if size <= JOIN_BYTES and len(cork) > 1 else cork
        self._send(buffers, size)

    def send_last(self, frame: bytes) -> None:
        """Send what is corked and *frame* as far as the pipe takes them, and end sending."""
        if self.is_clear:
            self._send([*self._cork, frame], self._cork_bytes + len(frame))
            self.pipe.send_eof()

    def _send(self, buffers: list[Buffer], size: int) -> None:
        """Give whole frames to the pipe; what it does not take becomes the backlog."""
        if self._is_busy:
            self._look()
        elif size >= min(LOOK_BYTES, self.frame_bytes) and self._unsent_limit:
            self._begin_looking()
        try:
            if len(buffers) == 1:
                sent = self.pipe.try_send(buffers[0])
            else:
                sent = self.pipe.try_send_many(buffers)
        except PipeBroken as error:
            failed = error
            self.pump.call_soon(lambda: self.send_failed(failed))
            self.is_clear = False
            return
        self.bytes_out += sent
        if sent == size:
            if size >= self.frame_bytes < limits.BULK_FRAME_BYTES and not self.drain_rate:
                self._size_frames(2 * self.frame_bytes)
        else:
            self._backlog.extend(_after(buffers, sent))
            self.is_clear = False
            if not self._is_busy:
                self._begin_looking()
            self.pipe.want(readable=True, writable=True)

    def drain(self) -> None:
        """The pipe is writable: write the backlog, then let the users go on."""
        backlog = self._backlog
        if self._is_busy:
            self._look()
        while backlog:
            try:
                sent = self.pipe.try_send_many(list(backlog))
            except PipeBroken as error:
                self.send_failed(error)
                return
            if not sent:
                return
            self.bytes_out += sent
            _drop(backlog, sent)
        self.is_clear = True
        self._flush()
        self.resume_users()
        if self.is_clear:
            self.pipe.want(readable=True, writable=False)

    # --- the drain rate ---------------------------------------------------------------------

    def limit_unsent(self, count: int) -> None:
        """Have the system hold at most so many unsent bytes; 0 leaves it to the system."""
        self._unsent_limit = count
        self.pipe.limit_unsent(count)

    def _size_frames(self, count: int) -> None:
        self.frame_bytes = max(LEAST_FRAME_BYTES, min(count, limits.BULK_FRAME_BYTES))
        self._cork_limit = min(limits.CORK_BYTES, self.frame_bytes)

    def _begin_looking(self) -> None:
        """Something goes into the pipe that will take a while: see how fast it leaves."""
        unsent = self.pipe.unsent_bytes()
        if unsent is not None:
            self._is_busy, self._ran_dry = True, False
            self._looked_at = trio.current_time()
            self._left_bytes = self.bytes_out - unsent

    def _look(self) -> None:
        """The pipe was busy until now, or until it ran dry."""
        unsent = self.pipe.unsent_bytes() or 0
        if not unsent:
            self._ran_dry = True
            if self._unsent_limit and not self.is_clear:
                self._spare = min(2 * self._spare, MOST_SPARE)
                self._limit_by_rate()
        now, left = trio.current_time(), self.bytes_out - unsent
        seconds = now - self._looked_at
        if seconds >= SAMPLE_SECONDS:
            self._measured((left - self._left_bytes) / seconds, seconds)
            self._looked_at, self._left_bytes, self._ran_dry = now, left, False
            self._is_busy = unsent > 0 or not self.is_clear

    def _measured(self, rate: float, seconds: float) -> None:
        before = self.drain_rate
        if self._ran_dry and rate <= (before or FAST_RATE):
            return  # it would have taken more
        if not self._ran_dry:
            self._spare = max(1.0, self._spare * SPARE_DECAY)
        weight = min(1.0, seconds / SMOOTH_SECONDS) if before else 1.0
        self.drain_rate = before + (rate - before) * weight
        self._size_frames(int(self.drain_rate * FRAME_SECONDS))
        self._limit_by_rate()

    def _limit_by_rate(self) -> None:
        wanted = self.drain_rate * UNSENT_SECONDS or FIRST_BYTES
        unsent = int(max(LEAST_FRAME_BYTES, wanted) * self._spare)
        if unsent >= MOST_UNSENT_BYTES:
            unsent = 0
        # Only what is twice or half of what is set is worth a system call.
        now_set = self._unsent_limit
        if unsent != now_set and not unsent < 2 * now_set < 4 * unsent:
            self.limit_unsent(unsent)


def _after(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """Return what is left of *buffers* after *sent* bytes; what may change is copied."""
    rest: deque[Buffer] = deque(buffers)
    _drop(rest, sent)
    return [_kept(item) for item in rest]


def _kept(buffer: Buffer) -> Buffer:
    """Return a buffer that stays as it is: a copy of anything that its owner may change."""
    if isinstance(buffer, memoryview) and buffer.readonly:
        return buffer
    return bytes(buffer)


def _drop(buffers: deque[Buffer], sent: int) -> None:
    while sent:
        first = buffers[0]
        if len(first) <= sent:
            sent -= len(first)
            buffers.popleft()
        else:
            buffers[0] = memoryview(first)[sent:]
            return
