"""What of HTTP/2 is looked at before the machine sees it: floods, and the end of a connection.

The `h2` library takes a GOAWAY as the end of everything, although streams that are under way may
go on (RFC 9113 §6.8).  So frames are told apart here: GOAWAY is taken out, and what costs its
sender nothing and us something is counted (no I/O).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from h2.errors import ErrorCodes

from tunnelkit.bucket import Bucket

__all__ = ["Flood", "FrameGate", "GoAway"]

MAX_RESETS: Final = 200
MAX_RESETS_PER_SECOND: Final = 50
"""Streams that a peer may reset: so many at once, and so many a second.  Stops: opening and
resetting streams faster than anybody can serve them (CVE-2023-44487)."""

MAX_CONTROL_FRAMES: Final = 1_000
MAX_CONTROL_FRAMES_PER_SECOND: Final = 200
"""PING, SETTINGS, PRIORITY and empty DATA frames.  Stops: floods that cost their sender nothing
(CVE-2019-9511 to 9518)."""

MAX_FRAME_BYTES: Final = 16_384
"""Longest payload of a frame, bytes: what is allowed before anybody asks for more.  Stops: frames
of which 16 MiB are kept before the machine looks at them."""

_HEADER: Final = 9
_PREFACE: Final = 24
_DATA, _PRIORITY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 2, 3, 4, 6, 7


class Flood(Exception):
    """The peer sends more of something than anybody needs.

    Args:
        code: what it is told.
    """

    def __init__(self, text: str, code: ErrorCodes = ErrorCodes.ENHANCE_YOUR_CALM) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer opens no more streams, or takes no more."""

    last_stream_id: int
    code: int


class FrameGate:
    """Looks at the frames of one peer.

    Args:
        has_preface: whether the client's preface comes first.
    """

    __slots__ = ("_controls", "_left", "_resets", "_seen")

    def __init__(self, *, has_preface: bool) -> None:
        self._seen = b""
        """A header, or a GOAWAY, of which not all has come."""
        self._left = _PREFACE if has_preface else 0
        """How much of the frame under way is still to come."""
        self._resets = Bucket(MAX_RESETS, MAX_RESETS_PER_SECOND)
        self._controls = Bucket(MAX_CONTROL_FRAMES, MAX_CONTROL_FRAMES_PER_SECOND)

    def take(self, data: bytes, now: float) -> tuple[bytes, list[GoAway]]:
        """Return what is for the machine, and the GOAWAYs that were taken out.

        Raises:
            Flood: there is too much of something.
        """
        data = self._seen + data
        self._seen = b""
        parts: list[bytes] = []
        found: list[GoAway] = []
        kept_from, at = 0, min(self._left, len(data))
        self._left -= at
        while at < len(data):
            header = data[at : at + _HEADER]
            size = int.from_bytes(header[:3], "big")
            kind = header[3] if len(header) == _HEADER else -1
            end = at + _HEADER + size
            is_taken = kind == _GOAWAY and 8 <= size <= MAX_FRAME_BYTES
            if kind < 0 or (is_taken and end > len(data)):
                self._seen = data[at:]
                break
            self._count(kind, size, now)
            if is_taken:
                found.append(_goaway(data[at + _HEADER : at + _HEADER + 8]))
                parts.append(data[kept_from:at])
                kept_from = end
            self._left = max(0, end - len(data))
            at = min(end, len(data))
        parts.append(data[kept_from:at])
        return b"".join(parts), found

    def _count(self, kind: int, size: int, now: float) -> None:
        if size > MAX_FRAME_BYTES:
            raise Flood(f"a frame of {size} bytes", ErrorCodes.FRAME_SIZE_ERROR)
        if kind == _RST_STREAM and not self._resets.take(now):
            raise Flood(f"more than {MAX_RESETS_PER_SECOND} streams reset a second")
        is_control = kind in (_PRIORITY, _SETTINGS, _PING) or (kind == _DATA and not size)
        if is_control and not self._controls.take(now):
            raise Flood(f"more than {MAX_CONTROL_FRAMES_PER_SECOND} control frames a second")


def _goaway(payload: bytes) -> GoAway:
    last = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
    return GoAway(last, int.from_bytes(payload[4:8], "big"))
