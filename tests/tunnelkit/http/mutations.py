"""Messages that are nearly right: where two readers would part, if they part at all."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["REQUESTS", "mutated"]

_HOST = b"Host: a\r\n"
_START = b"POST /a HTTP/1.1\r\n" + _HOST
_CHUNKED = _START + b"Transfer-Encoding: chunked\r\n\r\n"

REQUESTS = (
    b"GET / HTTP/1.1\r\n" + _HOST + b"Accept: */*\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    _START + b"Content-Length: 5\r\n\r\nhello",
    _START + b"Content-Length: 5\r\nConnection: close\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
    _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    _START
    + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nGET",
    b"POST /a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    _START + b"X-Long: a b  c\r\nx-other:\r\nContent-Length: 0\r\n\r\n",
)

_PIECES = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b"\x7f", b"\x80", b"\xff"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 3\r\n", b"content-length:0\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n"),
    *(b"chunked", b", ", b";", b"=", b'"', b":", b"+", b"-", b"0", b"5", b"0x", b"a", b"_"),
    *(b" folded\r\n", b"Host: b\r\n", b"HTTP/1.0", b"0\r\n\r\n", b"5\r\nhello\r\n", b""),
)


@st.composite
def mutated(draw: st.DrawFn, messages: Sequence[bytes] = REQUESTS) -> bytes:
    """Draw a message with up to two places in which something is put in, or put in its place."""
    data = draw(st.sampled_from(messages))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from([0, 0, 1, 2, 5]))
        data = data[:at] + draw(st.sampled_from(_PIECES)) + data[at + cut :]
    return data
