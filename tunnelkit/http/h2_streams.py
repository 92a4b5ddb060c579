"""One stream of HTTP/2: what each side may still say on it (no I/O).

A stream is known from its first HEADERS until both sides have ended it, or one has reset it.  What
each side may do is two facts, `can_send` and `can_receive`, which are the states of RFC 9113 §5.1:
both (open), one (half-closed), none (closed: it is forgotten).
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from .h2_events import Headers
from .h2_frames import ErrorCodes

__all__ = ["MALFORMED", "Recent", "Stream", "body_bytes_of_answer", "length_of"]

MALFORMED: Final = -1
"""Instead of a length: `content-length` cannot be read, or is there twice."""

_LENGTH: Final = re.compile(rb"\d{1,18}")
_BODILESS: Final = (b"204", b"304")


class Recent:
    """Which numbers came lately.

    Args:
        most: how many are remembered.
    """

    __slots__ = ("_known", "_order", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: set[int] = set()
        self._order: deque[int] = deque()

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def add(self, number: int) -> None:
        """Remember a number, and forget the oldest one for it."""
        if number not in self._known:
            self._known.add(number)
            self._order.append(number)
            if len(self._order) > self.most:
                self._known.discard(self._order.popleft())


class Stream:
    """One stream.

    Args:
        stream_id: its number.
        send_window: what may be sent on it now, bytes.
        receive_window: what the peer may send on it now, bytes.
        method: of the request; its answer's length depends on it.
    """

    __slots__ = (
        "can_receive",
        "can_send",
        "has_head",
        "left_bytes",
        "method",
        "receive_window",
        "send_window",
        "stream_id",
        "taken_bytes",
    )

    def __init__(
        self, stream_id: int, send_window: int, receive_window: int, method: bytes = b""
    ) -> None:
        self.stream_id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window
        self.method = method
        self.can_send = True
        self.can_receive = True
        self.has_head = False
        """Whether the peer's request, or final answer, has begun: what follows is data."""
        self.left_bytes: int | None = None
        """How much of the body is still to come; None: it does not say."""
        self.taken_bytes = 0
        """What was acknowledged, and the peer was not told yet."""

    def begin(self, left_bytes: int | None, *, ends: bool) -> ErrorCodes | None:
        """The head has come; return what is wrong with it."""
        self.has_head = True
        self.left_bytes = left_bytes
        if left_bytes == MALFORMED:
            return ErrorCodes.PROTOCOL_ERROR
        return self.end() if ends else None

    def take(self, data_bytes: int, flow_bytes: int, *, ends: bool) -> ErrorCodes | None:
        """Bytes have come; return what is wrong with that.

        Args:
            flow_bytes: the bytes with their padding.
        """
        if not self.can_receive:
            return ErrorCodes.STREAM_CLOSED
        self.receive_window -= flow_bytes
        if self.receive_window < 0:
            return ErrorCodes.FLOW_CONTROL_ERROR
        if not self.has_head:
            return ErrorCodes.PROTOCOL_ERROR
        if self.left_bytes is not None:
            self.left_bytes -= data_bytes
            if self.left_bytes < 0:
                return ErrorCodes.PROTOCOL_ERROR
        return self.end() if ends else None

    def end(self) -> ErrorCodes | None:
        """The peer says no more; return what is wrong with that (RFC 9113 §8.1.1)."""
        self.can_receive = False
        return ErrorCodes.PROTOCOL_ERROR if self.left_bytes else None


def length_of(headers: Headers) -> int | None:
    """Return what fields say of the length of a body, in bytes.

    Returns:
        `MALFORMED` if it cannot be read, or is said twice, as in HTTP/1; None: they do not say.
    """
    found: int | None = None
    for name, value in headers:
        if name == b"content-length":
            if found is not None or _LENGTH.fullmatch(value) is None:
                return MALFORMED
            found = int(value)
    return found


def body_bytes_of_answer(method: bytes, status: bytes, headers: Headers) -> int | None:
    """Return how long the body of an answer is (RFC 9110 §6.4.1 and §8.6); None: nobody knows.

    Answers to HEAD, and 304, say the length of a body that does not follow.
    """
    if method == b"HEAD" or status in _BODILESS:
        return 0
    if method == b"CONNECT" and status[:1] == b"2":
        return None
    return length_of(headers)
