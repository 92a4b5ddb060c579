"""Frames of HTTP/2 by hand, and a peer that sends them to our machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.tunnelkit.http.h2_talkers import LIMITS
from tests.tunnelkit.http.test_h2_proxy import frame
from tunnelkit.http.h2_events import Event
from tunnelkit.http.h2_frames import PREFACE
from tunnelkit.http.h2_machine import Machine

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x4, 0x8, 0x20
ALL = END_STREAM | END_HEADERS

GET = b"\x82\x84\x86"  # :method GET, :path /, :scheme http
HEAD = [(b":method", b"HEAD"), (b":scheme", b"http"), (b":path", b"/")]
ASK = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")]
OK = b"\x88"
NOT_MODIFIED = b"\x8b"
TRAILER = b"\0\1x\1y"
GOT = [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http")]


def length(value: bytes) -> bytes:
    """Return the field `content-length`, packed."""
    return b"\x0f\x0d" + bytes([len(value)]) + value


def word(number: int) -> bytes:
    """Return what RST_STREAM and WINDOW_UPDATE hold."""
    return struct.pack(">I", number)


def setting(key: int, value: int) -> bytes:
    """Return one pair of SETTINGS."""
    return struct.pack(">HI", key, value)


def headers(stream_id: int, block: bytes = GET, flags: int = END_HEADERS) -> bytes:
    """Return a frame with fields."""
    return frame(HEADERS, block, stream_id, flags)


@dataclass
class Peer:
    """What sends frames to a machine, and reads those of it."""

    is_client: bool = True
    machine: Machine = field(init=False)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.machine = Machine(is_client=not self.is_client, limits=LIMITS)
        self.send((PREFACE if self.is_client else b"") + frame(SETTINGS))
        self.said()

    def send(self, *frames: bytes) -> list[Event]:
        """Return what the machine tells of frames."""
        return self.machine.receive(b"".join(frames), self.now)

    def said(self) -> list[tuple[int, int, int, bytes]]:
        """Return the frames of the machine: kind, flags, stream, payload."""
        out, found = self.machine.take_output(), []
        out = out.removeprefix(PREFACE)
        while out:
            size, kind, flags = int.from_bytes(out[:3], "big"), out[3], out[4]
            stream_id = int.from_bytes(out[5:9], "big")
            found.append((kind, flags, stream_id, out[9 : 9 + size]))
            out = out[9 + size :]
        return found


OPEN = headers(1)
POST = GET + length(b"5")
