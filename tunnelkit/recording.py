"""The methods of an admin socket by which captures are begun and ended.

What a capture needs is loaded with the first one: most programs never record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from .admin import Method
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .capture.running import Captures, Place

__all__ = ["capture_methods"]

DEFAULT_SECONDS: Final = 600.0

MAX_SECONDS: Final = 24 * 3600.0
"""Longest capture, seconds.  Stops: one that was forgotten for good."""

KIB: Final = 1024


def capture_methods(places: Callable[[], Mapping[str, Place]]) -> dict[str, Method]:
    """Return the methods ``capture.start``, ``capture.status`` and ``capture.stop``.

    Args:
        places: returns where something can be recorded, by name.
    """
    made: list[Captures] = []

    def captures() -> Captures:
        from .capture.running import Captures

        if not made:
            made.append(Captures(places))
        return made[0]

    async def start(
        port: str,
        file: str,
        as_bytes: bool = False,
        seconds: float = DEFAULT_SECONDS,
        path_prefix: str = "",
        methods: list[str] | None = None,
        headers: dict[str, str] | None = None,
        body_kib: int = 1024,
        exchanges: int = 1000,
        redact: bool = True,
    ) -> dict[str, object]:
        from .capture import NO_REDACTION, REDACTION, Bounds, ByteBounds, Recorder, wanted

        if not 0 < seconds <= MAX_SECONDS:
            raise ConfigurationError(f"a capture runs for up to {MAX_SECONDS:g} s")
        if as_bytes:
            captures().start_bytes(port, file, ByteBounds(seconds=seconds))
            return captures().status()
        recorder = Recorder(
            time.time,
            trio.current_time,
            bounds=Bounds(exchanges=exchanges, body_bytes=body_kib * KIB, seconds=seconds),
            redaction=REDACTION if redact else NO_REDACTION,
            is_wanted=wanted(
                path_prefix=path_prefix, methods=methods or (), fields=(headers or {}).items()
            ),
        )
        captures().start_http(port, file, recorder)
        return captures().status()

    async def status() -> dict[str, object]:
        return captures().status() if made else {"running": False}

    async def stop() -> dict[str, object]:
        return await captures().stop()

    return {"capture.start": start, "capture.status": status, "capture.stop": stop}
