"""Cut whole frames out of bytes that arrive in any pieces (no I/O).

Many readers share one large receive buffer (`Scratch`), because a reader uses it only between
`space` and the end of `received`, and nothing else runs in between.  What a reader keeps of its own
is the beginning of a frame that has not arrived whole, so an idle link costs no buffer.

Where that beginning is large, as it mostly is when much arrives, copying it out and in again would
cost more than reading it.  Then the reader keeps the buffer itself, and the rest of the frame goes
behind its beginning; the others get another buffer.  A few may do so at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError

from .frames import HEADER, HEADER_BYTES, SESSION_FIELD
from .session import AttachmentLost

__all__ = ["Deliver", "FrameReader", "Run", "Scratch", "Taker"]

MOST_LENT: Final = 4
"""So many readers may keep a buffer.  Stops: peers that each send half a frame and no more, and so
make the memory grow by a whole buffer for it."""

WORTH_BYTES: Final = 4096
"""A beginning of a frame that is shorter is copied, bytes."""

Deliver = Callable[[int, int, int, int, int, memoryview], None]
"""Takes (type, flags, session, stream, sequence, payload); the payload is valid in the call."""


class Run(Protocol):
    """Who takes whole frames of one session."""

    @property
    def out_number(self) -> int:
        """The session number that the frames get."""

    def forward(self, frames: memoryview) -> None:
        """Take whole frames; the view is valid in the call."""


class Taker(Protocol):
    """Who takes the frames of one session, decoded."""

    @property
    def receive_frame(self) -> Callable[[int, int, int, int, memoryview], None]:
        """Takes (type, flags, stream, sequence, payload) of an end-to-end frame."""

    def frame_failed(self, error: RemoteProtocolError | AttachmentLost) -> None:
        """`receive_frame` raised *error*: the session ends, or its attachment does."""


NOBODY: Final[Mapping[int, Taker]] = MappingProxyType({})


class Scratch:
    """The buffer that readers share.

    Args:
        size_bytes: most bytes that are read at once; at least twice the largest frame.  A buffer
            has twice that: behind what was read there is room for the rest of a frame.
    """

    __slots__ = ("_lent", "_spare", "buffer", "size_bytes", "view")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._spare: list[bytearray] = []
        self._lent = 0
        self._use(bytearray(2 * size_bytes))

    def _use(self, buffer: bytearray) -> None:
        self.buffer = buffer
        self.view = memoryview(buffer)

    def lend(self) -> bool:
        """Leave the buffer in use to its reader and use another; say whether that may be."""
        if self._lent == MOST_LENT:
            return False
        self._lent += 1
        self._use(self._spare.pop() if self._spare else bytearray(2 * self.size_bytes))
        return True

    def give_back(self, buffer: bytearray) -> None:
        """Take a buffer that was lent."""
        self._lent -= 1
        self._spare.append(buffer)


class FrameReader:
    """Reads frames; the bytes may be hostile.

    Args:
        scratch: where to read; may be shared with other readers.
    """

    __slots__ = (
        "_end",
        "_is_closed",
        "_left",
        "_own",
        "_scratch",
        "_start",
        "_view",
        "max_payload_bytes",
    )

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._left = b""
        self._own: bytearray | None = None
        self._is_closed = False
        self._view = scratch.view
        self._start = 0
        self._end = 0
        self.max_payload_bytes = limits.MAX_HELLO_BYTES

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._left) or self._end - self._start

    def space(self) -> memoryview:
        """Return where the next bytes go; valid until the next call of any method."""
        most = self._scratch.size_bytes
        if self._own is not None:
            view = self._view
            if len(view) - self._end < most // 2:  # the rest of the frame might have no room
                held = self._end - self._start
                view[:held] = view[self._start : self._end]
                self._start, self._end = 0, held
            return view[self._end : self._end + most]
        view = self._view = self._scratch.view
        held = len(self._left)
        if held:
            view[:held] = self._left
        return view[held : held + most]

    def close(self) -> None:
        """Let go of what is held, for good; may be called from within a delivery."""
        self._is_closed = True
        self._left = b""
        self._give_back()

    def _give_back(self) -> None:
        self._start = self._end = 0
        if self._own is not None:
            self._scratch.give_back(self._own)
            self._own = None

    def _keep(self, start: int, end: int) -> None:
        """Keep what was not delivered until more arrives."""
        if self._is_closed:
            return
        buffer = self._scratch.buffer
        if end - start >= WORTH_BYTES and (self._own is not None or self._scratch.lend()):
            self._own = self._own or buffer
            self._left, self._start, self._end = b"", start, end
        else:
            self._left = bytes(self._view[start:end])
            self._give_back()

    def received(
        self, count: int, deliver: Callable[..., None], takers: Mapping[int, Taker] = NOBODY
    ) -> None:
        """Take note of *count* bytes put into `space` and hand over each frame that is whole.

        Args:
            deliver: gets the frames that no taker gets.
            takers: who gets the end-to-end frames of a session number.

        Raises:
            RemoteProtocolError: a frame is longer than `max_payload_bytes`; also whatever
                *deliver* raises.  Nothing more may be read after an error.
        """
        unpack, view = HEADER.unpack_from, self._view
        if self._own is not None:
            scratch, start, end = self._own, self._start, self._end + count
        else:
            scratch, start, end = self._scratch.buffer, 0, len(self._left) + count
        while end - start >= HEADER_BYTES:
            kind, flags, _hop, session, stream, length, sequence = unpack(scratch, start)
            if length > self.max_payload_bytes:
                raise RemoteProtocolError(
                    f"a frame of {length} bytes is over the limit of {self.max_payload_bytes}"
                )
            stop = start + HEADER_BYTES + length
            if stop > end:
                break
            if kind >= 0x20 and session in takers:
                taker = takers[session]
                try:
                    taker.receive_frame(
                        kind, flags, stream, sequence, view[start + HEADER_BYTES : stop]
                    )
                except (RemoteProtocolError, AttachmentLost) as error:
                    taker.frame_failed(error)
            else:
                deliver(kind, flags, session, stream, sequence, view[start + HEADER_BYTES : stop])
            start = stop
        if start < end or self._own is not None:
            self._keep(start, end)
        else:
            self._left = b""

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
        unpack, view = HEADER.unpack_from, self._view
        rewrite, limit = SESSION_FIELD.pack_into, self.max_payload_bytes
        if self._own is not None:
            scratch, start, end = self._own, self._start, self._end + count
        else:
            scratch, start, end = self._scratch.buffer, 0, len(self._left) + count
        run_start = start
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
        if start < end or self._own is not None:
            self._keep(start, end)
        else:
            self._left = b""

    def feed(self, data: bytes | bytearray | memoryview, deliver: Callable[..., None]) -> None:
        """Take *data* of any length; for callers that have no buffer to read into."""
        rest = memoryview(data)
        while rest:
            space = self.space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            self.received(count, deliver)
            rest = rest[count:]
