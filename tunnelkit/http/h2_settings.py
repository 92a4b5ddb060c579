"""What the peer says that it takes (RFC 9113 §6.5), checked and kept (no I/O)."""

from __future__ import annotations

import struct
from typing import Final

from .h2_frames import MAX_FRAME_BYTES, MAX_WINDOW_BYTES, ErrorCodes, Setting, Violation

__all__ = ["PeerSettings"]

DEFAULT_WINDOW_BYTES: Final = 65_535
"""How much may be sent before the peer has said anything else, bytes (RFC 9113 §6.9.2)."""

_MAX_STREAMS: Final = 2**32 - 1
_MAX_FRAME_SIZE: Final = 2**24 - 1
_PAIR: Final = struct.Struct(">HI")


class PeerSettings:
    """What one peer takes.

    Args:
        is_client: whether the peer asks.
    """

    __slots__ = ("_is_client", "max_frame_bytes", "max_streams", "table_bytes", "window_bytes")

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self.max_streams = _MAX_STREAMS
        """How many streams of ours at once."""
        self.max_frame_bytes = MAX_FRAME_BYTES
        """Longest payload of a frame, bytes."""
        self.window_bytes = DEFAULT_WINDOW_BYTES
        """With what the window of a stream begins, bytes."""
        self.table_bytes = 4096
        """How large the table of fields that we send may be, bytes."""

    def take(self, payload: bytes) -> None:
        """Keep what a frame says, of each thing the last value.

        Raises:
            Violation: that cannot be said.
        """
        if len(payload) % _PAIR.size:
            raise Violation(ErrorCodes.FRAME_SIZE_ERROR, "SETTINGS of a length that is none")
        for key, value in _PAIR.iter_unpack(payload):
            if key == Setting.HEADER_TABLE_SIZE:
                self.table_bytes = value
            elif key == Setting.ENABLE_PUSH:
                if value > (1 if self._is_client else 0):
                    raise Violation(ErrorCodes.PROTOCOL_ERROR, "ENABLE_PUSH of a wrong value")
            elif key == Setting.MAX_CONCURRENT_STREAMS:
                self.max_streams = value
            elif key == Setting.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW_BYTES:
                    raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "a window that is too large")
                self.window_bytes = value
            elif key == Setting.MAX_FRAME_SIZE:
                if not MAX_FRAME_BYTES <= value <= _MAX_FRAME_SIZE:
                    raise Violation(ErrorCodes.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of its bounds")
                self.max_frame_bytes = value
