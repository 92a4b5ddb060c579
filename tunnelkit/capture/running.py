"""The capture of a program: begun and ended by command, at most one at a time.

A capture of HTTP is kept in memory, within the bounds of its recorder, and written when it is
stopped; one of bytes is written as it goes.  The file is made at once, for its owner alone, so that
a path that cannot be written is told before anything is recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import trio

from tunnelkit.errors import ConfigurationError

from .conversations import ByteBounds, ByteRecorder
from .har import write_har
from .recorder import Recorder

__all__ = ["Captures", "Place"]


class Place(Protocol):
    """Where requests or bytes go by, and can be recorded."""

    recorder: Recorder | None
    byte_recorder: ByteRecorder | None


@dataclass(slots=True)
class _Running:
    """A capture that was begun, and not stopped yet."""

    place: Place
    name: str
    path: str
    file: BinaryIO
    recorder: Recorder | ByteRecorder


class Captures:
    """The captures of one program.

    Args:
        places: returns where something can be recorded, by name.
    """

    def __init__(self, places: Callable[[], Mapping[str, Place]]) -> None:
        self._places = places
        self._running: _Running | None = None

    def start_http(self, name: str, path: str, recorder: Recorder) -> None:
        """Begin to record exchanges at a place.

        Raises:
            ConfigurationError: there is no such place, the file cannot be made, or a capture runs.
        """
        place, file = self._place(name), _made(path)
        place.recorder = recorder
        self._running = _Running(place, name, path, file, recorder)

    def start_bytes(self, name: str, path: str, bounds: ByteBounds) -> None:
        """Begin to record the bytes of new connections at a place.

        Raises:
            ConfigurationError: as `start_http`.
        """
        place, file = self._place(name), _made(path)
        recorder = ByteRecorder(file, time.time, trio.current_time, bounds=bounds)
        place.byte_recorder = recorder
        self._running = _Running(place, name, path, file, recorder)

    def status(self) -> dict[str, object]:
        """Describe the capture that runs."""
        found = self._running
        if found is None:
            return {"running": False}
        recorder = found.recorder
        status: dict[str, object] = {"running": True, "port": found.name, "file": found.path}
        if isinstance(recorder, Recorder):
            return {
                **status,
                "kind": "har",
                "exchanges": recorder.count,
                "bytes": recorder.used_bytes,
                "why_over": recorder.why_over,
            }
        over = recorder.is_over()
        return {
            **status,
            "kind": "pcapng",
            "connections": recorder.open_count,
            "bytes": recorder.written_bytes,
            "why_over": recorder.why_over if over else "",
        }

    async def stop(self) -> dict[str, object]:
        """End the capture, and write what there is; return what it was.

        Raises:
            ConfigurationError: none runs, or the file cannot be written.
        Cancellation: the file may be incomplete.
        """
        found, self._running = self._running, None
        if found is None:
            raise ConfigurationError("no capture runs")
        recorder = found.recorder
        if isinstance(recorder, Recorder):
            recorder.stop()
            found.place.recorder = None
            exchanges, why = recorder.exchanges(), recorder.why_over

            def write() -> int:
                with found.file:
                    found.file.writelines(write_har(exchanges, why_over=why))
                    return found.file.tell()

            try:
                # A capture may be large, and its text is made while it is written.
                size = await trio.to_thread.run_sync(write)
            except OSError as error:
                text = f"cannot write {found.path}: {(error.strerror or str(error)).lower()}"
                raise ConfigurationError(text) from error
            return {"file": found.path, "exchanges": len(exchanges), "bytes": size, "why": why}
        recorder.close()
        found.place.byte_recorder = None
        try:
            found.file.close()
        except OSError as error:  # the disk is full: what was to be written last is missing
            text = f"cannot write {found.path}: {(error.strerror or str(error)).lower()}"
            raise ConfigurationError(text) from error
        size = recorder.written_bytes
        return {"file": found.path, "bytes": size, "why": recorder.why_over}

    def _place(self, name: str) -> Place:
        if self._running is not None:
            raise ConfigurationError(
                f"a capture runs already, to {self._running.path}: stop it first"
            )
        places = self._places()
        if name not in places:
            names = ", ".join(places) or "none"
            raise ConfigurationError(f"there is no port {name!r}; the ports are: {names}")
        return places[name]


def _made(path: str) -> BinaryIO:
    """Make a file that its owner alone can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists: give another file") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"cannot make {path}: {why}") from error
