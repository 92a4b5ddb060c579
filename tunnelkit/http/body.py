"""Where a message of HTTP/1.x ends: by its length, its chunks, its connection, or at once (no I/O).

RFC 9112 §6 and §7.  `framing_of_request` and `framing_of_response` decide; `BodyReader` is fed
what follows the head and gives what is to be sent on: the same bytes, but for the frames around
chunks, which are written anew from what was understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tunnelkit.wire.stream import Buffer

from .errors import HttpRefused, Rule
from .head import (
    MAX_HEAD_BYTES,
    Fields,
    RequestHead,
    ResponseHead,
    read_fields,
    values_of,
    write_fields,
)

__all__ = [
    "BodyReader",
    "Frame",
    "Framing",
    "framing_of_request",
    "framing_of_response",
    "keeps_connection",
]

MAX_CHUNK_LINE_BYTES: Final = 512
"""Longest line before a chunk, bytes, extensions included.  Stops: lines that never end."""

MAX_LENGTH_DIGITS: Final = 18
"""Most digits of a length: all programs agree on such numbers.  Stops: numbers that overflow."""

MAX_CHUNK_DIGITS: Final = 15
"""Most hexadecimal digits of a chunk's size, for the same reason."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t\x20-\x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*"'
_EXTENSIONS = rb"(?:;%s(?:=(?:%s|%s))?)*" % (_TOKEN, _TOKEN, _QUOTED)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,%d})(%s)" % (MAX_CHUNK_DIGITS, _EXTENSIONS))

NOT_IN_TRAILERS: Final = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"trailer", b"host", b"connection", b"upgrade"),
        *(b"content-encoding", b"content-type", b"content-range", b"te", b"expect"),
        *(b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"cache-control"),
    }
)
"""Fields that frame or route a message, or say who sent it (RFC 9110 §6.5.1)."""


class Frame(Enum):
    """By what a body ends."""

    NOTHING = "there is none"
    LENGTH = "its length"
    CHUNKS = "its last chunk"
    CLOSE = "the end of the connection"
    TUNNEL = "never: the connection is something else from here on"


@dataclass(frozen=True, slots=True)
class Framing:
    """By what a body ends, and how long it is where that is known."""

    frame: Frame
    length: int = 0


_NOTHING: Final = Framing(Frame.NOTHING)


def framing_of_request(head: RequestHead) -> Framing:
    """Return where a request ends.

    Raises:
        HttpRefused: it says two things, or something that nobody understands alike.
    """
    framing = _framing(head.fields, head.version, 400)
    return _NOTHING if framing is None else framing


def framing_of_response(head: ResponseHead, method: bytes) -> Framing:
    """Return where a response ends.

    Args:
        method: of the request that it answers.

    Raises:
        HttpRefused: as `framing_of_request`.
    """
    status = head.status
    if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
        return Framing(Frame.TUNNEL)
    framing = _framing(head.fields, head.version, 502)
    if method == b"HEAD" or status < 200 or status in (204, 304):
        return _NOTHING
    return Framing(Frame.CLOSE) if framing is None else framing


def _framing(fields: Fields, version: bytes, status: int) -> Framing | None:
    """Return what the fields say; None: nothing."""
    lengths = list(values_of(fields, b"content-length"))
    encodings = list(values_of(fields, b"transfer-encoding"))
    if encodings:
        if lengths:
            raise HttpRefused(status, Rule.BOTH)
        if version != b"1.1" or [one.lower() for one in encodings] != [b"chunked"]:
            raise HttpRefused(501 if status == 400 else status, Rule.ENCODING)
        return Framing(Frame.CHUNKS)
    if not lengths:
        return None
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise HttpRefused(status, Rule.LENGTH)
    return Framing(Frame.LENGTH, int(lengths[0])) if int(lengths[0]) else _NOTHING


def keeps_connection(fields: Fields, version: bytes) -> bool:
    """Return whether the connection goes on after a message (RFC 9112 §9.3)."""
    words = [
        word.strip().lower()
        for value in values_of(fields, b"connection")
        for word in value.split(b",")
    ]
    return b"close" not in words and (version == b"1.1" or b"keep-alive" in words)


class BodyReader:
    """What follows a head, as far as the message goes.

    Args:
        framing: where it ends; `TUNNEL` never does.
        status: with which it is refused.
    """

    __slots__ = (
        *("_left", "_partial", "_state", "_status"),
        *("framing", "is_over", "on_data", "size", "trailers"),
    )

    def __init__(self, framing: Framing, status: int = 400) -> None:
        self.framing = framing
        self.on_data: Callable[[Buffer], None] | None = None
        """Told of the bytes of the body, without what frames them."""
        self.is_over = framing.frame is Frame.NOTHING
        """Whether the message has ended."""
        self.size = 0
        """How many bytes of the body have come, without what frames them."""
        self.trailers: Fields = ()
        """Fields behind the last chunk."""
        self._left = framing.length
        self._partial = b""
        """A line of which not all has come."""
        self._state = _CHUNK_LINE
        self._status = status

    def take(self, data: Buffer) -> tuple[list[Buffer], int]:
        """Return what is to be sent on, and how many bytes of *data* belong to the body.

        Those are all of them, but where the message ends in their middle.

        Raises:
            HttpRefused: it is no such body.
        """
        frame = self.framing.frame
        if self.is_over:
            return [], 0
        if frame is Frame.CHUNKS:
            return self._take_chunks(data)
        part = data if frame is not Frame.LENGTH else data[: self._left]
        self.size += len(part)
        if self.on_data is not None:
            self.on_data(part)
        if frame is Frame.LENGTH:
            self._left -= len(part)
            self.is_over = not self._left
        return [part], len(part)

    def ended(self) -> bool:
        """The connection has ended; return whether that is where the message ends."""
        if self.framing.frame in (Frame.CLOSE, Frame.TUNNEL):
            self.is_over = True
        return self.is_over

    def _take_chunks(self, data: Buffer) -> tuple[list[Buffer], int]:
        kept = len(self._partial)
        if kept:
            data = self._partial + data
        found, at = self._read_chunks(data)
        self._partial = b"" if self.is_over else bytes(data[at:])
        return found, (at if self.is_over else len(data)) - kept

    def _read_chunks(self, data: Buffer) -> tuple[list[Buffer], int]:
        """Return what is to be sent on, and how far *data* was understood: a line is, or is not."""
        found: list[Buffer] = []
        at = 0
        while at < len(data) and not self.is_over:
            if self._state is _CHUNK_DATA:
                part = data[at : at + self._left]
                self.size += len(part)
                if self.on_data is not None:
                    self.on_data(part)
                found.append(part)
                at += len(part)
                self._left -= len(part)
                if self._left:
                    break
                self._state = _CHUNK_END
            else:
                most = _MOST_BYTES[self._state]
                used, written = self._take_line(bytes(data[at : at + most]))
                if not used:
                    break
                at += used
                found.append(written)
        return found, at

    def _take_line(self, data: bytes) -> tuple[int, bytes]:
        """Return how many bytes a line has, or all trailers, and what is sent on; 0: not all."""
        if self._state is _CHUNK_END:
            if not b"\r\n".startswith(data[:2]):
                raise HttpRefused(self._status, Rule.CHUNK, "no line end behind a chunk")
            if len(data) < 2:
                return 0, b""
            self._state = _CHUNK_LINE
            return 2, b"\r\n"
        if self._state is _TRAILERS:
            return self._take_trailers(data)
        end = data.find(b"\r\n", 0, MAX_CHUNK_LINE_BYTES + 2)
        if end < 0:
            if len(data) > MAX_CHUNK_LINE_BYTES + 1 or b"\n" in data:
                raise HttpRefused(self._status, Rule.CHUNK)
            return 0, b""
        match = _CHUNK.fullmatch(data, 0, end)
        if match is None:
            raise HttpRefused(self._status, Rule.CHUNK)
        self._left = int(match[1], 16)
        self._state = _CHUNK_DATA if self._left else _TRAILERS
        return end + 2, b"%x%s\r\n" % (self._left, match[2])

    def _take_trailers(self, data: bytes) -> tuple[int, bytes]:
        if data.startswith(b"\r\n"):
            self.is_over = True
            return 2, b"\r\n"
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4)
        if end < 0:
            if len(data) > MAX_HEAD_BYTES:
                raise HttpRefused(self._status, Rule.HEAD_SIZE, "trailers")
            return 0, b""
        try:
            self.trailers = read_fields(data[: end + 2])
        except HttpRefused as error:
            raise HttpRefused(self._status, error.rule, "trailers") from None
        if any(name.lower() in NOT_IN_TRAILERS for name, _ in self.trailers):
            raise HttpRefused(self._status, Rule.TRAILER)
        self.is_over = True
        return end + 4, write_fields(self.trailers) + b"\r\n"


class _State(Enum):
    """What comes next in a chunked body."""

    LINE = 1
    DATA = 2
    END = 3
    TRAILERS = 4


_CHUNK_LINE, _CHUNK_DATA, _CHUNK_END, _TRAILERS = _State
_MOST_BYTES: Final = {
    _CHUNK_LINE: MAX_CHUNK_LINE_BYTES + 2,
    _CHUNK_END: 2,
    _TRAILERS: MAX_HEAD_BYTES + 4,
}
"""How many bytes have to be looked at, at most."""
