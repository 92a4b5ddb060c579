"""What the TLS pipes of a pump share: a buffer, turns for handshakes, and the cut of records."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Final
from weakref import WeakKeyDictionary, proxy

from tunnelkit import limits
from tunnelkit.pump import Pump
from tunnelkit.wire.stream import Buffer

__all__ = ["CHUNK_BYTES", "HANDSHAKES_PER_SLICE", "TlsShared", "chunks_of", "shared_of"]

HANDSHAKES_PER_SLICE: Final = 2
"""Steps of handshakes in one batch of the pump.  Stops: a flood of handshakes, each of them up to a
millisecond of signing and checking, delaying the links that are up."""

CHUNK_BYTES: Final = 128 * 1024
"""Bytes encrypted before the pipe inside is asked whether it takes more.  A default."""

SCRATCH_BYTES: Final = 256 * 1024
"""The receive buffer that all TLS pipes of a pump share, bytes.  A default."""


class TlsShared:
    """What all TLS pipes of a pump share: a buffer, and the turns of handshakes."""

    def __init__(self, pump: Pump) -> None:
        self.view = memoryview(bytearray(SCRATCH_BYTES))
        self._pump: Pump = proxy(pump)  # a reference would keep both for ever
        self._left = HANDSHAKES_PER_SLICE
        self._waiting: deque[Callable[[], None]] = deque()
        pump.at_stop.add(self._waiting.clear)

    def take_turn(self, step: Callable[[], None]) -> bool:
        """Say whether *step* may be made now; if not, it is called later, in its turn."""
        if self._left and not self._waiting:
            if self._left == HANDSHAKES_PER_SLICE:
                self._pump.defer(self._batch_over)
            self._left -= 1
            return True
        if not self._waiting:
            self._pump.call_soon(self._serve)
        self._waiting.append(step)
        return False

    def _batch_over(self) -> None:
        self._left = HANDSHAKES_PER_SLICE

    def _serve(self) -> None:
        for _ in range(min(HANDSHAKES_PER_SLICE, len(self._waiting))):
            self._pump.guard(self._waiting.popleft())
        if self._waiting:
            self._pump.call_soon(self._serve)


_shared: Final[WeakKeyDictionary[Pump, TlsShared]] = WeakKeyDictionary()


def shared_of(pump: Pump) -> TlsShared:
    """Return what the TLS pipes of *pump* share."""
    found = _shared.get(pump)
    if found is None:
        found = _shared[pump] = TlsShared(pump)
    return found


def chunks_of(buffers: Sequence[Buffer]) -> Generator[Buffer]:
    """Give the bytes of *buffers* in pieces: small buffers joined, large ones cut, as records."""
    small: list[Buffer] = []
    size = 0
    for buffer in buffers:
        if len(buffer) < limits.KEEP_BY_REFERENCE_BYTES:
            small.append(buffer)
            size += len(buffer)
            if size < CHUNK_BYTES:
                continue
        if small:
            yield b"".join(small)
            small, size = [], 0
        if len(buffer) >= limits.KEEP_BY_REFERENCE_BYTES:
            view = memoryview(buffer)
            for start in range(0, len(view), CHUNK_BYTES):
                yield view[start : start + CHUNK_BYTES]
    if small:
        yield b"".join(small)
