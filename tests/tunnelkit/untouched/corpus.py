"""What is sent straight to a server, and through a sidecar whose rules do not match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ANY", "CORPUS", "NODE", "Case"]

ANY: Final = ("nginx", "apache", "node", "anycorn")
FILES: Final = ("nginx", "apache")
NODE: Final = ("node",)

HOST: Final = b"Host: shop.example.com\r\n"
CLOSE: Final = HOST + b"Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes of a client, in pieces with a pause between them; the server ends the connection."""

    name: str
    pieces: tuple[bytes, ...]
    servers: tuple[str, ...] = ANY
    half_closes: bool = False
    """Whether the client ends its side behind the last piece."""
    is_broken: bool = False
    """Whether the connection breaks instead of ending."""


def _get(path: bytes, more: bytes = b"", *, last: bool = True) -> bytes:
    return b"GET %s HTTP/1.1\r\n%s%s\r\n" % (path, CLOSE if last else HOST, more)


def _post(path: bytes, body: bytes, more: bytes = b"", *, last: bool = True) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    fields = (CLOSE if last else HOST) + length + more
    return b"POST %s HTTP/1.1\r\n%s\r\n%s" % (path, fields, body)


_CHUNKED: Final = b"POST /x HTTP/1.1\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n"
_UPGRADE: Final = b"GET /x HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"


BOTH: Final = ("node", "anycorn")
OLD: Final = ("nginx", "apache", "node")

_LATER: Final = b"If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT\r\n"
_KEPT: Final = b"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n"
_ODD: Final = b"zeta: 1\r\nAlpha:2\r\nALPHA:   3  \r\nx-empty:\r\nX_Under: 4\r\nbytes: \xe4\r\n"
_CONTINUE: Final = _post(b"/x", b"hello", b"Expect: 100-continue\r\n")

FILE_CASES: Final = (
    Case("get", (_get(b"/page"),)),
    Case("head", (b"HEAD /page HTTP/1.1\r\n" + CLOSE + b"\r\n",)),
    Case("old version", (b"GET /page HTTP/1.0\r\n" + HOST + b"\r\n",)),
    Case("old version kept alive", (_KEPT + _get(b"/page"),), OLD),
    Case("nobody there", (_get(b"/nothing"),)),
    Case("moved", (_get(b"/moved"),), FILES),
    Case("range", (_get(b"/page", b"Range: bytes=5-20\r\n"),), FILES),
    Case("ranges", (_get(b"/page", b"Range: bytes=0-1,5-9\r\n"),), FILES),
    Case("not modified", (_get(b"/page", _LATER),), FILES),
    Case("absolute form", (_get(b"http://shop.example.com/page"),)),
    Case("asterisk form", (b"OPTIONS * HTTP/1.1\r\n" + CLOSE + b"\r\n",), OLD),
    Case("made-up method", (b"FROB /x HTTP/1.1\r\n" + CLOSE + b"\r\n",), FILES),
    Case("half-closed file", (_get(b"/page", last=False),), FILES, half_closes=True),
    Case("large body that is refused", (_post(b"/page", b"z" * 2_000_000),), ("nginx",)),
)

REQUEST_CASES: Final = (
    Case("in turn", (_get(b"/a", last=False), _get(b"/b", last=False), _get(b"/c"))),
    Case("at once", (_get(b"/a", last=False) + _get(b"/b", last=False) + _get(b"/c"),)),
    Case(
        "bodies at once",
        (_post(b"/a", b"x" * 1000, last=False) + _post(b"/b", b"y", last=False) + _get(b"/c"),),
        BOTH,
    ),
    Case("order and case of fields", (_get(b"/x", _ODD),)),
    Case("body", (_post(b"/x", b"b" * 100_000),), BOTH),
    Case("body in pieces", (_post(b"/x", b"hello")[:-3], b"l", b"lo"), BOTH),
    Case("body after 100", (_CONTINUE[:-5], b"hello"), BOTH),
    Case("chunks", (_CHUNKED + b"\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",), BOTH),
    Case(
        "chunks in pieces",
        (_CHUNKED + b"\r\n5\r\nhe", b"llo\r\n", b"0", b"\r\n", b"\r\n"),
        BOTH,
    ),
    Case(
        "trailers of a request",
        (_CHUNKED + b"Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",),
        NODE,
    ),
    Case("chunk extensions", (_CHUNKED + b'\r\n3;a=b;c="d;e"\r\nabc\r\n0\r\n\r\n',), NODE),
)

ANSWER_CASES: Final = (
    Case("trailers of an answer", (_get(b"/trailers"),), NODE),
    Case("early hints", (_get(b"/early"),), NODE),
    Case("no content", (_get(b"/empty"),), ("nginx", "node")),
    Case("not modified without a length", (_get(b"/same"),), NODE),
    Case("odd answer", (_get(b"/odd"),), NODE),
    Case("events", (_get(b"/events"),), NODE),
    Case("long polling", (_get(b"/poll"),), NODE),
    Case("half-closed", (_get(b"/poll"),), NODE, half_closes=True),
    Case("upgrade", (_UPGRADE + b"first", b"second", b"\r\n\r\n\x00\xff"), NODE, half_closes=True),
    Case(
        "connect",
        (b"CONNECT a.example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", b"\x16\x03\x01"),
        NODE,
        half_closes=True,
    ),
    Case("server hangs up", (_get(b"/hang-up", last=False),), NODE, is_broken=True),
    Case("answer that is cut", (_get(b"/cut", last=False),), NODE, is_broken=True),
    Case("answer before the body", (_post(b"/eager", b"e" * 300_000),), NODE),
)

CORPUS: Final = (*FILE_CASES, *REQUEST_CASES, *ANSWER_CASES)
