"""Frames of HTTP/2 as bytes: their numbers, and how those that we send are written (no I/O)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "HEADER",
    "MAX_FRAME_BYTES",
    "MAX_WINDOW_BYTES",
    "PREFACE",
    "ErrorCodes",
    "Flag",
    "Kind",
    "Setting",
    "Violation",
    "check_connection",
    "check_dependency",
    "check_size",
    "check_stream",
    "header_frames",
    "settings_frame",
    "unpadded",
    "word_frame",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says before its first frame (RFC 9113 §3.4)."""

HEADER: Final = struct.Struct(">HBBBI")
"""Of a frame: its length in two parts, kind, flags, stream."""

MAX_FRAME_BYTES: Final = 16_384
"""Longest payload of a frame that is taken, bytes: what is allowed before anybody asks for more.
Stops: frames of which 16 MiB are kept before anybody can look at them."""

MAX_WINDOW_BYTES: Final = 2**31 - 1
"""Most that a window may be open, bytes (RFC 9113 §6.9.1)."""


class ErrorCodes(IntEnum):
    """Why a stream or a connection ends (RFC 9113 §7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Kind(IntEnum):
    """What a frame is (RFC 9113 §6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntFlag):
    """What is said of a frame; the same bit means different things in different kinds."""

    ACK = 0x1
    END_STREAM = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    """What a side says of itself (RFC 9113 §6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Violation(Exception):
    """The peer breaks HTTP/2 in a way that ends the connection.

    Args:
        code: what it is told.
    """

    def __init__(self, code: ErrorCodes, text: str) -> None:
        super().__init__(text)
        self.code = code


_END_STREAM: Final = int(Flag.END_STREAM)
_END_HEADERS: Final = int(Flag.END_HEADERS)
_HEADERS: Final = int(Kind.HEADERS)
_CONTINUATION: Final = int(Kind.CONTINUATION)


def settings_frame(settings: dict[Setting, int]) -> bytes:
    """Return what we say of ourselves."""
    payload = b"".join(struct.pack(">HI", key, value) for key, value in settings.items())
    return HEADER.pack(0, len(payload), Kind.SETTINGS, 0, 0) + payload


def word_frame(kind: int, stream_id: int, word: int) -> bytes:
    """Return a frame that says one number: RST_STREAM or WINDOW_UPDATE."""
    return HEADER.pack(0, 4, kind, 0, stream_id) + word.to_bytes(4, "big")


def header_frames(stream_id: int, block: bytes, max_bytes: int, *, ends: bool) -> bytes:
    """Return a block of fields in as many frames as it takes.

    Args:
        max_bytes: longest payload that the peer takes.
    """
    flags = _END_STREAM if ends else 0
    size = len(block)
    if size <= max_bytes:
        flags |= _END_HEADERS
        return HEADER.pack(size >> 8, size & 0xFF, _HEADERS, flags, stream_id) + block
    pieces: list[bytes] = []
    kind = _HEADERS
    for at in range(0, size, max_bytes):
        piece = block[at : at + max_bytes]
        if at + max_bytes >= size:
            flags |= _END_HEADERS
        pieces += [HEADER.pack(len(piece) >> 8, len(piece) & 0xFF, kind, flags, stream_id), piece]
        kind, flags = _CONTINUATION, 0
    return b"".join(pieces)


def unpadded(payload: bytes) -> bytes:
    """Return what is between the length of the padding and the padding (RFC 9113 §6.1).

    Raises:
        Violation: there is more padding than frame.
    """
    if not payload:
        raise Violation(ErrorCodes.FRAME_SIZE_ERROR, "a frame without the length of its padding")
    if payload[0] >= len(payload):
        raise Violation(ErrorCodes.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def check_stream(stream_id: int) -> None:
    """Refuse a frame that has to be of a stream; this and what follows raise `Violation`."""
    if not stream_id:
        raise Violation(ErrorCodes.PROTOCOL_ERROR, "a frame of a stream, without one")


def check_connection(stream_id: int) -> None:
    """Refuse a frame that has to be of the connection."""
    if stream_id:
        raise Violation(ErrorCodes.PROTOCOL_ERROR, "a frame of the connection, with a stream")


def check_size(payload: bytes, size: int) -> None:
    """Refuse a payload of another size (RFC 9113 §4.2)."""
    if len(payload) != size:
        raise Violation(ErrorCodes.FRAME_SIZE_ERROR, f"{len(payload)} bytes instead of {size}")


def check_dependency(stream_id: int, payload: bytes) -> None:
    """Refuse a priority that is cut, or of a stream that depends on itself (RFC 7540 §5.3.1)."""
    if len(payload) < 5:
        raise Violation(ErrorCodes.FRAME_SIZE_ERROR, "a frame without the priority that it has")
    if int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF == stream_id:
        raise Violation(ErrorCodes.PROTOCOL_ERROR, "a stream that depends on itself")
