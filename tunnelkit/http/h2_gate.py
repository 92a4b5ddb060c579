"""What of HTTP/2 is counted, because it costs its sender nothing and us something (no I/O)."""

from __future__ import annotations

from typing import Final

from tunnelkit.bucket import Bucket

from .h2_frames import ErrorCodes, Violation

__all__ = ["Gate"]

MAX_RESETS: Final = 200
MAX_RESETS_PER_SECOND: Final = 50
"""Streams that a client may reset, or may make us reset: so many at once, and so many a second.
Stops: opening and resetting streams faster than anybody can serve them (CVE-2023-44487), and the
same by way of broken rules (CVE-2025-8671)."""

MAX_CONTROL_FRAMES: Final = 1_000
MAX_CONTROL_FRAMES_PER_SECOND: Final = 200
"""PING, SETTINGS, PRIORITY, unknown ones, streams that are too many, and DATA that says nothing.
Stops: floods that cost their sender nothing (CVE-2019-9511 to 9518)."""


class Gate:
    """Counts what one peer does.

    Args:
        is_client: whether the peer asks; a server may reset as many streams as it is asked for.
    """

    __slots__ = ("_controls", "_resets")

    def __init__(self, *, is_client: bool) -> None:
        self._resets = Bucket(MAX_RESETS, MAX_RESETS_PER_SECOND) if is_client else None
        self._controls = Bucket(MAX_CONTROL_FRAMES, MAX_CONTROL_FRAMES_PER_SECOND)

    def count_reset(self, now: float) -> None:
        """Count a stream that the peer has reset, or has made us reset.

        Raises:
            Violation: there are too many.
        """
        if self._resets is not None and not self._resets.take(now):
            text = f"more than {MAX_RESETS_PER_SECOND} streams reset a second"
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, text)

    def count_control(self, now: float) -> None:
        """Count a frame that says nothing of a stream.

        Raises:
            Violation: there are too many.
        """
        if not self._controls.take(now):
            text = f"more than {MAX_CONTROL_FRAMES_PER_SECOND} control frames a second"
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, text)
