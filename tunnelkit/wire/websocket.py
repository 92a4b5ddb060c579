"""WebSocket frames (RFC 6455 §5) that carry a byte stream (no I/O).

How it works.  A tunnel uses a WebSocket as a byte pipe: binary messages whose boundaries mean
nothing.  So the decoder does not collect messages.  It takes what was received, in the buffer in
which it was received, checks and removes the headers, removes the mask, and closes the gaps: what
is left at the front of the buffer is payload, to be used at once.  A payload of any length costs
no memory here; what is kept between two calls is the beginning of a header or of a control frame,
less than 140 bytes.

The mask is an argument wherever something is encoded: this module has no randomness.  Text
messages are refused, because a tunnel never sends one, and so is everything that RFC 6455 tells
an endpoint to refuse: a wrong mask bit, reserved bits and opcodes, lengths that are longer than
they need to be, control frames that are long or in pieces, close frames that cannot be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final

from tunnelkit.errors import RemoteProtocolError

from .stream import Buffer

__all__ = [
    "CloseCode",
    "FrameDecoder",
    "Opcode",
    "WebSocketError",
    "apply_mask",
    "encode_close",
    "encode_control",
    "encode_header",
    "mask_into",
    "plain_mask",
    "rotate_mask",
]

MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
"""Largest frame that is accepted, bytes; none is collected.  Stops: lengths that nobody means."""

MAX_EMPTY_FRAMES: Final = 1_024
"""Most empty data frames in a row.  Stops: work for a peer that sends nothing."""

PIECE_BYTES: Final = 64 * 1024
"""How much is masked at once, bytes; a multiple of the mask.  The C function returns new memory: so
little of it stays in the cache, and is never given back to the system in between."""

MASK_BYTES: Final = 4
MAX_CONTROL_PAYLOAD: Final = 125
MAX_HEADER_BYTES: Final = 14

_FIN: Final = 0x80
_WHOLE_MESSAGE: Final = 0x82
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_SHORT_HEAD: Final = struct.Struct(">BBH").unpack_from
_LONG_LENGTH: Final = struct.Struct(">Q").unpack_from


class Opcode(IntEnum):
    """What a frame is (§5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Why a connection is closed (§7.4.1): those that are sent or explained here."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NONE = 1005
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011


class WebSocketError(RemoteProtocolError):
    """The peer broke RFC 6455; `close_code` is what to tell it."""

    def __init__(self, text: str, close_code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.close_code = close_code


# --- encoding ------------------------------------------------------------------------------


def encode_header(opcode: Opcode, length: int, mask: bytes = b"", *, fin: bool = True) -> bytes:
    """Return the header of a frame with *length* bytes of payload.

    Args:
        mask: four bytes from a client, nothing from a server.
        fin: whether the frame ends its message.
    """
    first = opcode | (_FIN if fin else 0)
    bit = _MASKED if mask else 0
    if length < _LENGTH_16:
        return bytes((first, bit | length)) + mask
    if length < 1 << 16:
        return struct.pack(">BBH", first, bit | _LENGTH_16, length) + mask
    return struct.pack(">BBQ", first, bit | _LENGTH_64, length) + mask


def encode_control(opcode: Opcode, payload: bytes, mask: bytes = b"") -> bytes:
    """Return a whole control frame; *payload* has at most 125 bytes."""
    body = apply_mask(payload, mask) if mask else payload
    return encode_header(opcode, len(payload), mask) + body


def encode_close(code: CloseCode, reason: str = "", mask: bytes = b"") -> bytes:
    """Return a close frame; a long *reason* is cut where a character ends."""
    text = reason.encode()[: MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore").encode()
    return encode_control(Opcode.CLOSE, struct.pack(">H", code) + text, mask)


# --- the mask ------------------------------------------------------------------------------


def plain_mask(data: Buffer, mask: bytes) -> bytes:
    """Return *data* masked, or unmasked: the operation is its own inverse (§5.3)."""
    size = len(data)
    key = (mask * (size // MASK_BYTES + 1))[:size]
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(key, "little")
    return mixed.to_bytes(size, "little")


apply_mask: Callable[[Buffer, bytes], bytes] = plain_mask
try:
    from websockets.speedups import apply_mask  # the same, a hundred times as fast
except ImportError:
    pass  # that package was built without its C part


def rotate_mask(mask: bytes, count: int) -> bytes:
    """Return the mask for what follows after *count* bytes of a payload."""
    turn = count % MASK_BYTES
    return mask[turn:] + mask[:turn]


def mask_into(target: memoryview, buffers: Sequence[Buffer], skip: int, mask: bytes) -> int:
    """Put the bytes of *buffers* after the first *skip*, masked, into *target* as far as they fit.

    Args:
        mask: that of the first byte.

    Returns:
        How many bytes.
    """
    done, room = 0, len(target)
    for buffer in buffers:
        size = len(buffer)
        if skip >= size:
            skip -= size
            continue
        source = memoryview(buffer) if skip or size > PIECE_BYTES else buffer
        while skip < size and done < room:
            count = min(PIECE_BYTES, size - skip, room - done)
            piece = source if count == size else source[skip : skip + count]
            target[done : done + count] = apply_mask(piece, rotate_mask(mask, done))
            skip += count
            done += count
        skip = 0
    return done


# --- decoding ------------------------------------------------------------------------------


class FrameDecoder:
    """Takes the payload out of frames, in place; the bytes may be hostile.

    Args:
        is_server: whether the frames come from a client, and so must be masked.
        on_control: called with each ping and pong, and its payload.
        max_frame_bytes: largest payload of a data frame.
    """

    __slots__ = (
        *("_empty", "_in_message", "_is_server", "_left", "_mask", "_max", "_need"),
        *("_on_control", "_partial", "close_code", "close_reason", "is_closed"),
    )

    def __init__(
        self,
        *,
        is_server: bool,
        on_control: Callable[[Opcode, bytes], None],
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self._is_server = is_server
        self._on_control = on_control
        self._max = max_frame_bytes
        self._partial = bytearray()
        self._need = 2
        self._left = 0
        self._mask = b""
        self._in_message = False
        self._empty = 0
        self.is_closed = False
        """A close frame has arrived; what comes after it is dropped."""
        self.close_code = CloseCode.NONE.value
        self.close_reason = ""

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished header or control frame are held."""
        return len(self._partial)

    @property
    def is_between_messages(self) -> bool:
        """Whether the stream could end here without cutting a message."""
        return not (self._left or self._partial or self._in_message)

    def decode(self, view: memoryview) -> int:
        """Replace the frames in *view* by their payload; return how many bytes it has.

        Raises:
            WebSocketError: the frames break a rule.  Nothing more may be decoded after it.
        """
        start, end, out = 0, len(view), 0
        while start < end and not self.is_closed:
            if not self._left:
                start = self._quick_header(view, start, end) or self._take_header(view, start, end)
                continue
            stop = min(end, start + self._left)
            count = stop - start
            if self._mask:
                if count <= PIECE_BYTES:
                    view[out : out + count] = apply_mask(view[start:stop], self._mask)
                else:
                    self._unmask(view, start, stop, out)
                if count < self._left:
                    self._mask = rotate_mask(self._mask, count)
            elif out != start:
                view[out : out + count] = view[start:stop]
            self._left -= count
            start, out = stop, out + count
        return out

    def _unmask(self, view: memoryview, start: int, stop: int, out: int) -> None:
        """Remove the mask of much that lies from *start* to *stop*, and move it to *out*."""
        mask, shift = self._mask, start - out
        for begin in range(start, stop, PIECE_BYTES):
            end = min(begin + PIECE_BYTES, stop)
            view[begin - shift : end - shift] = apply_mask(view[begin:end], mask)

    def _quick_header(self, view: memoryview, start: int, end: int) -> int:
        """Take the header of a whole message, which most are; 0: it is something else."""
        if end - start < MAX_HEADER_BYTES or self._partial or self._in_message:
            return 0
        first, second, length = _SHORT_HEAD(view, start)
        if first != _WHOLE_MESSAGE or (second >= _MASKED) is not self._is_server:
            return 0
        short = second & 0x7F
        if short == _LENGTH_16:
            stop, least = start + 4, _LENGTH_16
        elif short == _LENGTH_64:
            stop, least = start + 10, 1 << 16
            length = _LONG_LENGTH(view, start + 2)[0]
        else:
            stop, least, length = start + 2, 1, short
        if not least <= length <= self._max:
            return 0
        if self._is_server:
            self._mask = bytes(view[stop : stop + MASK_BYTES])
            stop += MASK_BYTES
        self._left = length
        self._empty = 0
        return stop

    def _take_header(self, view: memoryview, start: int, end: int) -> int:
        """Take the next bytes of a header, or of a whole control frame; return where it stopped."""
        partial = self._partial
        stop = min(end, start + self._need - len(partial))
        partial += view[start:stop]
        if len(partial) == 2 == self._need:
            self._need = self._begin(partial[0], partial[1])
        if len(partial) == self._need:
            self._partial, self._need = bytearray(), 2
            self._finish(bytes(partial))
        return stop

    def _begin(self, first: int, second: int) -> int:
        """Check the first two bytes; return how long the header is, or the control frame."""
        if first & _RESERVED:
            raise WebSocketError("a reserved bit is set: no extension was agreed on")
        if bool(second & _MASKED) is not self._is_server:
            who = "client is not" if self._is_server else "server is"
            raise WebSocketError(f"a frame from the {who} masked")
        length = second & 0x7F
        mask = MASK_BYTES if self._is_server else 0
        opcode = first & 0x0F
        if opcode >= Opcode.CLOSE:
            self._check_control(opcode, length, fin=bool(first & _FIN))
            return 2 + mask + length
        self._check_data(opcode)
        self._in_message = not first & _FIN
        return 2 + mask + (2 if length == _LENGTH_16 else 8 if length == _LENGTH_64 else 0)

    def _check_control(self, opcode: int, length: int, *, fin: bool) -> None:
        if opcode > Opcode.PONG:
            raise WebSocketError(f"reserved opcode {opcode:#x}")
        if not fin:
            raise WebSocketError("a control frame in pieces")
        if length > MAX_CONTROL_PAYLOAD:
            raise WebSocketError(f"a control frame of more than {MAX_CONTROL_PAYLOAD} bytes")

    def _check_data(self, opcode: int) -> None:
        if opcode > Opcode.BINARY:
            raise WebSocketError(f"reserved opcode {opcode:#x}")
        if opcode == Opcode.CONTINUATION and not self._in_message:
            raise WebSocketError("a continuation without a message")
        if opcode != Opcode.CONTINUATION and self._in_message:
            raise WebSocketError("a new message inside an unfinished one")
        if opcode == Opcode.TEXT:
            text = "a text message: a tunnel has binary ones only"
            raise WebSocketError(text, CloseCode.UNSUPPORTED_DATA)

    def _finish(self, head: bytes) -> None:
        """Act on a whole header, or on a whole control frame."""
        opcode = head[0] & 0x0F
        if opcode >= Opcode.CLOSE:
            self._control(Opcode(opcode), head)
            return
        length = _length(head)
        if length > self._max:
            text = f"a frame of {length} bytes is over the limit of {self._max}"
            raise WebSocketError(text, CloseCode.TOO_BIG)
        self._empty = 0 if length else self._empty + 1
        if self._empty > MAX_EMPTY_FRAMES:
            raise WebSocketError("too many empty frames in a row", CloseCode.POLICY)
        self._left = length
        self._mask = head[-MASK_BYTES:] if self._is_server else b""

    def _control(self, opcode: Opcode, frame: bytes) -> None:
        payload = frame[2:]
        if self._is_server:
            payload = apply_mask(frame[2 + MASK_BYTES :], frame[2 : 2 + MASK_BYTES])
        if opcode is Opcode.CLOSE:
            self.close_code, self.close_reason = _decode_close(payload)
            self.is_closed = True
        else:
            self._on_control(opcode, payload)


def _length(head: bytes) -> int:
    """Return the payload's length, which must be written as short as it can be (§5.2)."""
    short = head[1] & 0x7F
    if short < _LENGTH_16:
        return short
    if short == _LENGTH_16:
        length = int.from_bytes(head[2:4], "big")
        if length < _LENGTH_16:
            raise WebSocketError("a length that is written longer than it needs to be")
        return length
    length = int.from_bytes(head[2:10], "big")
    if length < 1 << 16:
        raise WebSocketError("a length that is written longer than it needs to be")
    if length >= 1 << 63:
        raise WebSocketError("a length with its highest bit set")
    return length


def _decode_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame (§5.5.1, §7.4)."""
    if not payload:
        return CloseCode.NONE.value, ""
    if len(payload) == 1:
        raise WebSocketError("a close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise WebSocketError(f"close code {code}, which no one may send")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        text = "the reason in a close frame is not UTF-8"
        raise WebSocketError(text, CloseCode.INVALID_DATA) from None
