"""The last moments of a pipe: say what is left to say, hear the other side out, close.

A socket that is closed while bytes of the peer wait in it answers with a reset, and a reset can
overtake the last words that were sent.  So who has last words waits until the peer has ended too.
How long that may take is bounded, and it costs one timer: nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .pipe import Pipe, PipeBroken

__all__ = ["REFUSAL_SECONDS", "Farewell"]

REFUSAL_SECONDS: Final = 1.0
"""How long who was refused may take to read why, seconds.  Stops: strangers that stay."""


class Farewell:
    """Takes over *pipe* and closes it: when the peer has ended, is gone, or took too long.

    Args:
        seconds: how long the peer may take.
        rest: what is still to be sent.
        ends: looks at what arrives, and says whether that was the peer's end; the bytes are
            dropped.  None: only the end of the pipe is.
        half_close: whether sending ends once *rest* has gone.
        is_last: whether nothing more is expected: the pipe is closed once *rest* has gone.
    """

    def __init__(
        self,
        pipe: Pipe,
        seconds: float,
        *,
        rest: bytes = b"",
        ends: Callable[[memoryview], bool] | None = None,
        half_close: bool = False,
        is_last: bool = False,
    ) -> None:
        self._pipe = pipe
        self._rest = rest
        self._ends = ends
        self._half_close = half_close
        self._is_last = is_last
        self._is_over = False
        self._timer = pipe.pump.call_later(seconds, self.end)
        pipe.pump.at_stop.add(self.end)
        pipe.start(self._ready)
        try:
            self._flush()
        except PipeBroken:
            self.end()

    def _flush(self) -> None:
        """Send what is left.

        Raises:
            PipeBroken: nobody is there.
        """
        if self._rest:
            self._rest = self._rest[self._pipe.try_send(self._rest) :]
        if not self._rest and self._is_last:
            self.end()
            return
        if not self._rest and self._half_close:
            self._half_close = False
            self._pipe.send_eof()
        self._pipe.want(True, bool(self._rest))

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            if writable:
                self._flush()
            if readable and not self._is_over:
                self._receive()
        except PipeBroken:
            self.end()

    def _receive(self) -> None:
        view = self._pipe.pump.edge_view
        count = self._pipe.try_receive_into(view)
        if not count or (count > 0 and self._ends is not None and self._ends(view[:count])):
            self.end()

    def end(self) -> None:
        """Close the pipe now."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            self._pipe.pump.at_stop.discard(self.end)
            self._pipe.close()
