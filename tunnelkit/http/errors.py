"""What a message of HTTP is refused for (no I/O)."""

from __future__ import annotations

from enum import Enum

from tunnelkit.errors import TunnelError

__all__ = ["HttpRefused", "Rule"]


class Rule(Enum):
    """Why a message is refused: one line each in the list that users see."""

    LINE_END = "a line ends with something else than CRLF"
    REQUEST_LINE = "the request line is not METHOD TARGET HTTP/1.x, with single spaces"
    STATUS_LINE = "the status line is not HTTP/1.x STATUS REASON"
    VERSION = "the version is neither HTTP/1.1 nor HTTP/1.0"
    FIELD = "a field is not NAME: VALUE, or holds control characters"
    FOLD = "a field goes on in the next line"
    HOST = "there is not exactly one Host, or it is no host"
    LENGTH = "Content-Length is not one number"
    BOTH = "there are both Content-Length and Transfer-Encoding"
    ENCODING = "Transfer-Encoding is something else than chunked"
    CHUNK = "a chunk is not SIZE in hexadecimal digits, CRLF, its bytes, CRLF"
    BODY_SIZE = "the body is too long"
    TRAILER = "a trailer says how the message is framed or where it goes"
    TARGET = "the target is no path, no URL, no * of OPTIONS, and no host and port of CONNECT"
    TARGET_SIZE = "the target is too long"
    HEAD_SIZE = "the head is too long"
    FIELD_COUNT = "there are too many fields"
    SLOW_HEAD = "the head took too long"


class HttpRefused(TunnelError):
    """A message that is not carried on.

    Args:
        status: what a client is answered; what a server is told nothing of is 502 to its client.
        rule: what it breaks.
        detail: where, without any value that it holds.
    """

    def __init__(self, status: int, rule: Rule, detail: str = "") -> None:
        super().__init__(f"{rule.value}{f' ({detail})' if detail else ''}")
        self.status = status
        self.rule = rule
        self.detail = detail
