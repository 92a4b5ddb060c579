"""A WebSocket as a pipe, around any other pipe.

How it works.  The HTTP handshake is over when a `WebSocketPipe` is made (`upgrade` does it).  Each
call of `try_send_many` is one binary message: its header and the caller's buffers go to the inner
pipe in one call, from a server without a copy.  A client masks into a buffer that all WebSockets
of the pump share: fresh memory for every message would cost more than the mask itself.

A message once begun has to be finished before anything else can be said, and the inner pipe may
take only a part of it.  The pipe then reports the bytes of payload that have really gone, and
takes the rest from the caller's next call: as with any pipe, who was told that 5 of 12 bytes were
sent goes on with the other 7.  What is kept inside is a header that has not gone whole, and the
place in the mask; so the caller's account of what waits stays right, and closing the pipe forgets
nothing that it had taken.

Receiving happens in the caller's buffer: the decoder removes headers and masks in place.  Of
pings only the last is answered, between two messages, so a peer that pings and does not read
grows nothing.

Ending.  A close frame is answered with one.  It is a clean end of file only with a code that says
so (1000, 1001) and between two messages; all other ends break the pipe, so that nothing that was
cut short looks complete.  WebSockets have no half-close: a peer that is another program answers our
close frame at once and sends nothing more; ours goes on until it closes.  After `close` the pipe
inside stays open until the peer's close frame has come, for `CLOSE_SECONDS` at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from tunnelkit.pump import Pump
from tunnelkit.wire.stream import Buffer
from tunnelkit.wire.websocket import (
    CloseCode,
    FrameDecoder,
    Opcode,
    WebSocketError,
    apply_mask,
    encode_close,
    encode_control,
    encode_header,
    mask_into,
    rotate_mask,
)

from .farewell import REFUSAL_SECONDS, Farewell
from .pipe import Pipe, PipeBroken

__all__ = ["WebSocketPipe"]

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Largest message that is sent, bytes.  Bounds how long the answer to a ping waits behind one."""

_SMALL_BYTES: Final = 16 * 1024
"""Up to this size header and payload are joined: one copy is cheaper than two buffers."""

CLOSE_SECONDS: Final = 5.0
"""Time for the answer to a close frame, seconds.  Stops: peers that never answer, and would hold a
descriptor for ever."""

SCRATCH_BYTES: Final = 320 * 1024
"""Where what is sent gets its mask, bytes; all WebSockets of a pump share it.  A default: the
largest frame of the tunnel fits, so that it goes with one system call."""

_scratch: Final[WeakKeyDictionary[Pump, memoryview]] = WeakKeyDictionary()
_CLEAN: Final = (CloseCode.NORMAL, CloseCode.GOING_AWAY)
_MEANINGS: Final[dict[int, str]] = {
    CloseCode.PROTOCOL_ERROR: "it found a protocol error; is everything between a WebSocket?",
    CloseCode.NONE: "it gave none, so it may not have said everything",
    CloseCode.UNSUPPORTED_DATA: "it does not take binary messages; is it a tunnel endpoint?",
    CloseCode.POLICY: "its policy does not allow this connection",
    CloseCode.TOO_BIG: "a message was too big for it",
    CloseCode.INTERNAL_ERROR: "it had an internal error; look at its log",
}
_CLOSED_TEXT: Final = "the peer closed the WebSocket"
_CUT_TEXT: Final = "the connection ended without a WebSocket close"
_HALF_TEXT: Final = "the peer closed the WebSocket in the middle of a message"


class WebSocketPipe(Pipe):
    """A WebSocket after its handshake.

    Args:
        inner: the pipe that carries the frames; this one owns it.
        is_server: whether the other side asked for the WebSocket.
        early: what arrived together with the end of the handshake.
    """

    def __init__(
        self, inner: Pipe, *, is_server: bool, description: str, early: bytes = b""
    ) -> None:
        self.pump = inner.pump
        self.description = description
        self.broken: str | None = None
        self._inner = inner
        self._is_server = is_server
        self._decoder = FrameDecoder(is_server=is_server, on_control=self._control)
        self._early = early
        self._handler: Callable[[bool, bool], None] | None = None
        self._wants = (False, False)
        self._scheduled = False
        self._is_closed = False
        self._is_gone = False  # nothing more comes from the pipe inside, or goes into it
        self._is_wrong = False  # the peer broke the rules: the decoder takes no more
        self._farewell: Farewell | None = None
        # What is being sent: `_head` goes first, then `_left` bytes of payload.
        self._head = b""
        self._left = 0
        self._is_begun = False  # some byte of it has gone
        self._mask = b""  # for the next byte of it
        self._scratch = memoryview(b"") if is_server else _scratch_of(self.pump)
        self._pong: bytes | None = None
        self._close_sent = False

    # --- readiness --------------------------------------------------------------------------

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        self._handler = handler
        self._wants = (False, False)
        self._inner.start(self._ready)
        self._set_wants()

    def want(self, readable: bool, writable: bool) -> None:
        self._wants = (readable, writable)
        self._set_wants()
        self._poke()

    @property
    def _has_own_bytes(self) -> bool:
        """Whether a control frame waits that no call of the user is going to send."""
        return bool(self._head) and not self._left

    def _set_wants(self) -> None:
        if self._handler is not None:
            readable, writable = self._wants
            self._inner.want(readable, writable or self._has_own_bytes)

    def _ready(self, readable: bool, writable: bool) -> None:
        if writable and self._has_own_bytes:
            self._send_control()
        ready = readable and self._wants[0], writable and self._wants[1] and not self._has_own_bytes
        if any(ready) and self._handler is not None:
            self._handler(*ready)

    def _poke(self) -> None:
        """Call the handler for what the inner pipe cannot see: it is here already."""
        is_pending = self._early or self._decoder.is_closed or self.broken is not None
        if is_pending and self._wants[0] and not self._scheduled and self._handler is not None:
            self._scheduled = True
            self.pump.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        if self._handler is not None and self._wants[0]:
            try:
                self._handler(True, False)
            finally:
                self._poke()

    def _fail(self, text: str) -> PipeBroken:
        """Remember the first error."""
        if self.broken is None:
            self.broken = text
        return PipeBroken(self.broken)

    def check(self) -> None:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        self._inner.check()

    # --- sending ----------------------------------------------------------------------------

    def try_send(self, data: Buffer) -> int:
        size = len(data)
        is_plain = not (self._head or self._left or self._close_sent or self.broken)
        if not (is_plain and 0 < size <= _SMALL_BYTES):
            return self.try_send_many((data,))
        # The short way for the many small ones: one buffer, and nothing to remember.
        mask = self._new_mask()
        head = encode_header(Opcode.BINARY, size, mask)
        body = apply_mask(data, mask) if mask else data
        sent = self._inner.try_send(b"".join((head, body)))
        if sent == len(head) + size:
            return size
        if not sent:
            return 0
        self._head, self._left = head, size
        taken = self._went(sent)
        self._mask = rotate_mask(mask, taken)
        return taken

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        if self._close_sent:
            raise self._fail(_CLOSED_TEXT if self._decoder.is_closed else "broken pipe")
        if self._has_own_bytes and not self._send_control():
            return 0
        size = sum(map(len, buffers))
        is_new = not self._left
        if is_new:
            if not size:
                return 0
            self._begin(min(size, MAX_MESSAGE_BYTES))
        if size > self._left:
            buffers = _first(buffers, self._left)
        taken = self._send_plain(buffers) if self._is_server else self._send_masked(buffers)
        if is_new and not taken and not self._is_begun:
            self._head, self._left = b"", 0
        if not self._left and self._pong is not None:
            self._answer()
        return taken

    def _begin(self, size: int) -> None:
        """Begin a message of *size* bytes."""
        self._mask = self._new_mask()
        self._head = encode_header(Opcode.BINARY, size, self._mask)
        self._left = size
        self._is_begun = False

    def _send_plain(self, buffers: Sequence[Buffer]) -> int:
        """Send what waits of a header, and as much of *buffers* as the pipe inside takes."""
        head = self._head
        return self._went(self._inner.try_send_many((head, *buffers) if head else buffers))

    def _send_masked(self, buffers: Sequence[Buffer]) -> int:
        """The same, masked.  What does not go is masked again when the caller offers it again."""
        scratch = self._scratch
        taken, size = 0, sum(map(len, buffers))
        while True:
            head = len(self._head)
            scratch[:head] = self._head
            end = head + mask_into(scratch[head:], buffers, taken, self._mask)
            count = self._went(self._inner.try_send(scratch[:end]))
            self._mask = rotate_mask(self._mask, count)
            taken += count
            if taken == size or head + count < end:
                return taken

    def _went(self, sent: int) -> int:
        """Take note of *sent* bytes, header first; return how many of them are payload."""
        self._is_begun = self._is_begun or sent > 0
        head = len(self._head)
        if head:
            self._head = self._head[sent:]
        payload = max(0, sent - head)
        self._left -= payload
        return payload

    def _new_mask(self) -> bytes:
        return b"" if self._is_server else os.urandom(4)

    # --- control frames ---------------------------------------------------------------------

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING:
            self._pong = payload

    def _answer(self) -> None:
        """Send the pong that is due, unless something unfinished is in its way."""
        if self._pong is not None and not (self._left or self._head or self._close_sent):
            self._head = encode_control(Opcode.PONG, self._pong, self._new_mask())
            self._pong = None
            self._send_control()

    def _send_control(self) -> bool:
        """Send what can be sent of a control frame; say whether all of it has gone."""
        try:
            sent = self._inner.try_send(self._head)
        except PipeBroken:
            # Who answers a close may find nobody there; any other break the user's calls see.
            self._head, self._pong, sent = b"", None, 0
            self._is_gone = True
        self._head = self._head[sent:]
        if not self._head:
            self._answer()
        self._set_wants()
        return not self._head

    def _send_close(self, code: CloseCode, reason: str = "") -> None:
        """Say that nothing more comes; in the middle of a message that cannot be said."""
        if self._close_sent or self._is_closed or self.broken is not None:
            return
        self._close_sent = True
        if not self._left:
            self._pong = None
            self._head += encode_close(code, reason, self._new_mask())
            self._send_control()

    # --- receiving --------------------------------------------------------------------------

    def try_receive_into(self, buffer: memoryview) -> int:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        if self._decoder.is_closed:
            return self._end()
        if self._early:
            count = min(len(self._early), len(buffer))
            buffer[:count] = self._early[:count]
            self._early = self._early[count:]
        else:
            count = self._inner.try_receive_into(buffer)
        if count < 0:
            return -1
        if not count:
            self._is_gone = True
            raise self._fail(_CUT_TEXT)
        return self._decode(buffer[:count])

    def _decode(self, frames: memoryview) -> int:
        try:
            count = self._decoder.decode(frames)
        except WebSocketError as error:
            self._is_wrong = True
            self._send_close(error.close_code, error.text)
            raise self._fail(f"the peer broke the WebSocket protocol: {error.text}") from error
        if self._pong is not None:
            self._answer()
        if self._decoder.is_closed:
            self._send_close(CloseCode.NORMAL)
            if not count:
                return self._end()
        self._poke()
        return count or -1

    def _end(self) -> int:
        """A close frame has arrived: the end of file, or a complaint of the peer."""
        code = self._decoder.close_code
        if code in _CLEAN:
            if self._decoder.is_between_messages:
                return 0
            raise self._fail(_HALF_TEXT)
        meaning = _MEANINGS.get(code, "see RFC 6455 §7.4")
        raise self._fail(f"the peer closed the WebSocket with code {code}: {meaning}")

    def try_receive(self, max_bytes: int) -> Buffer | None:
        scratch = self.pump.edge_view[:max_bytes]
        count = self.try_receive_into(scratch)
        if count < 0:
            return None
        return scratch[:count] if count else b""

    # --- ending -----------------------------------------------------------------------------

    def limit_unsent(self, count: int) -> None:
        self._inner.limit_unsent(count)

    def unsent_bytes(self) -> int | None:
        return self._inner.unsent_bytes()

    def send_eof(self) -> None:
        self._send_close(CloseCode.NORMAL)

    def close(self) -> None:
        if self._is_closed:
            return
        self._send_close(CloseCode.NORMAL)
        rest, is_cut = self._head, bool(self._left)
        self._leave()
        if self._is_wrong and not is_cut:
            self._farewell = Farewell(self._inner, REFUSAL_SECONDS, rest=rest, half_close=True)
        elif is_cut or self._is_gone or not self._close_sent:
            self._inner.close()
        else:
            is_last = self._ends(memoryview(bytearray(self._early)))
            self._farewell = Farewell(
                self._inner, CLOSE_SECONDS, rest=rest, ends=self._ends, is_last=is_last
            )

    def _ends(self, frames: memoryview) -> bool:
        """Say whether the peer's close frame has arrived; what comes before it is dropped."""
        try:
            self._decoder.decode(frames)
        except WebSocketError:
            return True
        return self._decoder.is_closed

    def reset(self) -> None:
        self._leave()
        self._inner.reset()
        if self._farewell is not None:
            self._farewell.end()

    def _leave(self) -> None:
        self._is_closed = True
        if self.broken is None:
            self.broken = "bad file descriptor"
        self._handler = None
        self._head, self._left = b"", 0


def _first(buffers: Sequence[Buffer], size: int) -> list[Buffer]:
    """Return the first *size* bytes of the buffers."""
    cut = list[Buffer]()
    for buffer in buffers:
        if size <= 0:
            break
        cut.append(buffer if len(buffer) <= size else memoryview(buffer)[:size])
        size -= len(buffer)
    return cut


def _scratch_of(pump: Pump) -> memoryview:
    """Return where the WebSockets of *pump* mask what they send; valid within one call."""
    found = _scratch.get(pump)
    if found is None:
        found = _scratch[pump] = memoryview(bytearray(SCRATCH_BYTES))
    return found
