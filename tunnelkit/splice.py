"""Splice: join two ends so that what one delivers the other sends, until both are through.

How it works.  `End` (`tunnelkit.wire.stream`) is the interface of everything that bytes can be
offered to and that pushes bytes into something else.  A stream core is an end; `PipeEnd` makes one
of a pipe: a socket, or a memory pipe in a test.  `splice(pipe_end, other)` joins them, and from
then on no task is involved:

* the pipe is readable: read once, offer to the other end.  What that does not take is kept, and
  the pipe is not read again until the other end calls `resume`.  So the bytes in between are at
  most one read, and a slow reader stops its sender through TCP itself;
* an end of file travels as `finish`, and the opposite direction goes on;
* a reset travels as `reset`, behind the bytes that were read before it.

Interest in a pipe is dropped lazily (`tunnelkit.pump`), because most pauses are shorter than a
system call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from . import limits
from .carriers import Pipe, PipeBroken
from .errors import ErrorCode
from .wire.states import Half
from .wire.stream import NULL_END, Buffer, End, StreamCore

__all__ = ["PipeEnd", "splice_pipes", "splice_stream"]

_log = logging.getLogger(__name__)

READ_BYTES: Final = limits.BULK_FRAME_BYTES
"""Most bytes read from a pipe at once."""


class PipeEnd:
    """A pipe as an end of a splice.

    Args:
        pipe: the pipe; the end owns it and closes it.
        on_over: called once, when both directions are over and the pipe is closed.
    """

    __slots__ = (
        "_has_ended",
        "_is_over",
        "_on_over",
        "_pending",
        "_read_over",
        "_want_write",
        "_write_over",
        "bytes_in",
        "bytes_out",
        "other",
        "pipe",
    )

    def __init__(self, pipe: Pipe, on_over: Callable[[PipeEnd], None] | None = None) -> None:
        self.pipe = pipe
        self.other: End = NULL_END
        self.bytes_in = 0
        self.bytes_out = 0
        self._on_over = on_over
        self._pending: Buffer = b""
        self._has_ended = False
        self._read_over = False
        self._write_over = False
        self._want_write = False
        self._is_over = False

    def join(self, other: End, first: bytes = b"") -> None:
        """Begin to push into *other*: *first*, then what nobody has taken yet, and what comes.

        A pipe that has ended in the meantime ends *other* too, once it has taken all of that.
        """
        self.other = other
        if first:
            self._pending = first + bytes(self._pending)
        if self._has_ended:
            self._read_over = False  # until *other* has been told
        self.pipe.start(self._ready)
        if self._pending:
            self.resume()
        elif self._has_ended:
            self._end_of_file()
        else:
            self._want(readable=True)

    def _want(self, *, readable: bool) -> None:
        self.pipe.want(readable and not self._read_over, self._want_write)

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            if not writable and not self._pending and not self._read_over:
                self._receive()  # the short way, which most go
                return
            if writable and self._want_write:
                self._want_write = False
                self._want(readable=not self._pending)
                self.other.resume()
            if readable and not self._is_over:
                self._read()
        except Exception:
            # A bug.  It costs this splice, and not everybody who uses the pump.
            _log.exception("unexpected error in the splice of %s", self.pipe.description)
            self._broken("internal error")

    def _read(self) -> None:
        """Read once and offer; the pipe is asked again only when all of that was taken."""
        if self._pending:
            self._want(readable=False)
        elif self._read_over:
            self._look_for_reset()
        else:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self.pipe.try_receive(READ_BYTES)
        except PipeBroken as error:
            self._break(str(error))
            return
        if not data:
            if data is None:
                self._want(readable=True)
            else:
                self._end_of_file()
            return
        size = len(data)
        self.bytes_in += size
        taken = self.other.offer(data)
        if taken < size and not self._read_over:
            rest = data[taken:]
            may_keep = isinstance(rest, memoryview) and rest.readonly
            self._pending = rest if may_keep else bytes(rest)
            self._want(readable=False)

    def _look_for_reset(self) -> None:
        """The pipe has something to say although its bytes are over: that it broke, perhaps."""
        self._want(readable=False)
        try:
            self.pipe.check()
        except PipeBroken as error:
            self._broken(str(error))

    def _end_of_file(self) -> None:
        self._has_ended = self._read_over = True
        self.other.finish()
        if self._write_over:
            self._close_if_over()
        else:
            self._want(readable=False)

    def _break(self, why: str) -> None:
        """The pipe is broken; what its peer said before it left is still to be heard."""
        room = not self._pending and not self._read_over
        while room and not self._is_over and (data := self.pipe.take_rest(READ_BYTES)):
            self.bytes_in += len(data)
            room = self.other.offer(data) == len(data)
        self._broken(why)

    def _broken(self, why: str) -> None:
        """The pipe is gone: both directions end with bytes missing."""
        if not self._is_over:
            self._finish_over().reset(ErrorCode.CONNECTION_RESET, why)

    # --- the End interface ------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        if self._want_write or self._is_over:
            return 0
        try:
            taken = self.pipe.try_send(data)
        except PipeBroken as error:
            why = str(error)
            self.pipe.pump.call_soon(lambda: self._break(why))
            self._want_write = True
            return 0
        self.bytes_out += taken
        if taken < len(data):
            self._want_write = True
            self._want(readable=not self._pending)
        return taken

    def finish(self) -> None:
        if self._write_over or self._is_over:
            return
        self._write_over = True
        if self._read_over:
            self._finish_over()
        else:
            self.pipe.send_eof()

    def abort(self, code: int, text: str) -> None:
        """The peer's bytes stop with some missing: a pipe can only say so by a reset of both."""
        if not self._is_over:
            self.pipe.reset()
            other = self._finish_over()
            other.reset(ErrorCode.CONNECTION_RESET, "the other direction was reset")

    def stop(self, code: int, text: str) -> None:
        self._pending = b""
        self._read_over = True
        self._want(readable=False)
        self._close_if_over()

    def reset(self, code: int, text: str) -> None:
        if not self._is_over:
            self.pipe.reset()
            self._finish_over()

    def resume(self) -> None:
        if self._is_over:
            return
        if self._pending:
            taken = self.other.offer(self._pending)
            if taken < len(self._pending):
                self._pending = self._pending[taken:]
                return
            self._pending = b""  # and no empty view, which would keep a block of the pump in use
            if self._has_ended:
                self._end_of_file()
                return
        self._want(readable=True)
        self._read()

    def _close_if_over(self) -> None:
        if self._read_over and self._write_over and not self._is_over:
            self._finish_over()

    def _finish_over(self) -> End:
        """Close the pipe; return the other end, and let go of it: two ends are a cycle."""
        other, self.other = self.other, NULL_END
        self._is_over = True
        self._read_over = self._write_over = True
        self._pending = b""
        self.pipe.close()
        if self._on_over is not None:
            self._on_over(self)
        return other


def splice_stream(end: PipeEnd, stream: StreamCore, first: bytes = b"") -> None:
    """Join a pipe and a stream; *first* was read from the pipe already."""
    stream.sink = end
    end.join(stream, first)
    stream.resume()
    if stream.outgoing is not Half.OPEN:
        # The peer left before there was a sink that could be told.
        end.stop(ErrorCode.NOT_READING, "")


def splice_pipes(left: PipeEnd, right: PipeEnd, first: bytes = b"") -> None:
    """Join two pipes; *first* was read from the left one already."""
    left.other = right
    right.join(left)
    left.join(right, first)
