"""Cut whole frames out of bytes that arrive in any pieces (no I/O).

Many readers can share one large receive buffer (`scratch`), because a reader uses it only
between `space` and the end of `received`, and nothing else runs in between.  What a reader
keeps of its own is the beginning of a frame that has not arrived whole, so an idle link costs
no buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError

from .frames import HEADER, HEADER_BYTES, SESSION_FIELD

__all__ = ["Deliver", "FrameReader", "Run"]

Deliver = Callable[[int, int, int, int, int, memoryview], None]
"""Takes (type, flags, session, stream, sequence, payload); the payload is valid in the call."""


class Run(Protocol):
    """Who takes whole frames of one session."""

    @property
    def out_number(self) -> int:
        """The session number that the frames get."""

    def forward(self, frames: memoryview) -> None:
        """Take whole frames; the view is valid in the call."""


class FrameReader:
    """Reads frames; the bytes may be hostile.

    Args:
        scratch: a buffer that may be shared with other readers, at least twice as large as
            the largest frame.
    """

    __slots__ = ("_left", "_scratch", "_view", "max_payload_bytes")

    def __init__(self, scratch: bytearray) -> None:
        self._scratch = scratch
        self._view = memoryview(scratch)
        self._left = b""
        self.max_payload_bytes = limits.MAX_HELLO_BYTES

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._left)

    def space(self) -> memoryview:
        """Return where the next bytes go; valid until the next call of any method."""
        held = len(self._left)
        if not held:
            return self._view
        self._scratch[:held] = self._left
        return self._view[held:]

    def received(self, count: int, deliver: Callable[..., None]) -> None:
        """Take note of *count* bytes put into `space` and deliver each frame that is whole.

        Raises:
            RemoteProtocolError: a frame is longer than `max_payload_bytes`; also whatever
                *deliver* raises.  Nothing more may be read after an error.
        """
        unpack, scratch, view = HEADER.unpack_from, self._scratch, self._view
        end = len(self._left) + count
        start = 0
        while end - start >= HEADER_BYTES:
            kind, flags, _hop, session, stream, length, sequence = unpack(scratch, start)
            if length > self.max_payload_bytes:
                raise RemoteProtocolError(
                    f"a frame of {length} bytes is over the limit of {self.max_payload_bytes}"
                )
            stop = start + HEADER_BYTES + length
            if stop > end:
                break
            deliver(kind, flags, session, stream, sequence, view[start + HEADER_BYTES : stop])
            start = stop
        self._left = bytes(view[start:end])

    def received_runs(
        self,
        count: int,
        deliver: Callable[..., None],
        find: Callable[[int], Run | None],
    ) -> None:
        """Like `received`, but hand over end-to-end frames undecoded, as runs of one session.

        Args:
            find: returns who takes the frames of a session number; None: they are dropped.  The
                session number in each header is replaced by the taker's in place.
        """
        unpack, scratch, view = HEADER.unpack_from, self._scratch, self._view
        rewrite, limit = SESSION_FIELD.pack_into, self.max_payload_bytes
        end = len(self._left) + count
        start = run_start = 0
        run_session, run, number = -1, None, 0
        while end - start >= HEADER_BYTES:
            kind, flags, _hop, session, stream, length, sequence = unpack(scratch, start)
            if length > limit:
                raise RemoteProtocolError(f"a frame of {length} bytes is over the limit of {limit}")
            stop = start + HEADER_BYTES + length
            if stop > end:
                break
            if session != run_session or kind < 0x20:
                if run is not None:
                    run.forward(view[run_start:start])
                run_session, run, run_start = -1, None, start
                if kind >= 0x20:
                    run_session, run = session, find(session)
                    number = run.out_number if run is not None else 0
                else:
                    deliver(kind, flags, session, stream, sequence, view[stop - length : stop])
            if run is not None:
                rewrite(scratch, start + 4, number)
            start = stop
        if run is not None:
            run.forward(view[run_start:start])
        self._left = bytes(view[start:end])

    def feed(self, data: bytes | bytearray | memoryview, deliver: Callable[..., None]) -> None:
        """Take *data* of any length; for callers that have no buffer to read into."""
        rest = memoryview(data)
        while rest:
            space = self.space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            self.received(count, deliver)
            rest = rest[count:]
