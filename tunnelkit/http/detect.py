"""What a connection speaks, told from the first bytes of its client (no I/O).

`detect` is called with all that has come so far, and answers as soon as that can be told: it never
asks for a byte that would not change its answer.  Where a client speaks second, or not at all,
nobody calls it, and nothing is held back.

HTTP/1 is recognised by a method, a space and what a target begins with (RFC 9112 §3); only methods
that are registered count (RFC 9110 §16.1), so that other protocols whose lines begin with a word
in capitals are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tunnelkit.wire.stream import Buffer

from .client_hello import ClientHello, read_client_hello
from .proxy_header import ProxyHeader, read_proxy_header

__all__ = ["ClientHello", "Detected", "Kind", "ProxyHeader", "begins_http2", "detect"]

HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""With which a client begins HTTP/2 (RFC 9113 §3.4)."""

METHODS: Final = (
    *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"),
    *(b"ACL", b"BASELINE-CONTROL", b"BIND", b"CHECKIN", b"CHECKOUT", b"COPY", b"LABEL", b"LINK"),
    *(b"LOCK", b"MERGE", b"MKACTIVITY", b"MKCALENDAR", b"MKCOL", b"MKREDIRECTREF"),
    *(b"MKWORKSPACE", b"MOVE", b"ORDERPATCH", b"PROPFIND", b"PROPPATCH", b"QUERY", b"REBIND"),
    *(b"REPORT", b"SEARCH", b"UNBIND", b"UNCHECKOUT", b"UNLINK", b"UNLOCK"),
    *(b"UPDATE", b"UPDATEREDIRECTREF", b"VERSION-CONTROL"),
)
"""Methods by which HTTP/1 is recognised."""

_LONGEST_METHOD: Final = max(map(len, METHODS))
_METHODS: Final = frozenset(METHODS)
_PREFIXES: Final = frozenset(method[:n] for method in METHODS for n in range(len(method) + 1))
_TARGET_STARTS: Final = b"/*"
_SCHEMES: Final = (b"http://", b"https://")


class Kind(Enum):
    """What a connection speaks."""

    HTTP1 = "http/1"
    HTTP2 = "http/2"
    TLS = "tls"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Detected:
    """What the first bytes tell."""

    kind: Kind
    hello: ClientHello | None = None
    """What a TLS client asks for."""
    proxy: ProxyHeader | None = None
    """Who the client is, by a proxy before us."""


def detect(data: bytes) -> Detected | None:
    """Return what a client speaks whose first bytes are *data*; None: more are needed to tell.

    Never raises: what is broken, or too long, is OTHER.
    """
    proxy: ProxyHeader | None = None
    found = read_proxy_header(data)
    if found is None:
        return None
    if isinstance(found, ProxyHeader):
        proxy, data = found, data[found.size :]
    kind = _kind_of(data)
    if kind is None:
        return None
    if kind is not Kind.TLS:
        return Detected(kind, proxy=proxy)
    hello = read_client_hello(data)
    if hello is None:
        return None
    if isinstance(hello, ClientHello):
        return Detected(Kind.TLS, hello, proxy)
    return Detected(Kind.OTHER, proxy=proxy)


def begins_http2(data: Buffer) -> bool:
    """Return whether a server that speaks first sends the settings of HTTP/2 (RFC 9113 §3.4)."""
    size = int.from_bytes(data[:3], "big")
    return len(data) >= 9 and size % 6 == 0 and bytes(data[3:9]) == b"\4\0\0\0\0\0"


def _kind_of(data: bytes) -> Kind | None:
    if not data:
        return None
    if data[0] == 0x16:  # a handshake record
        return Kind.TLS
    head = data[: len(HTTP2_PREFACE)]
    if HTTP2_PREFACE.startswith(head):
        return Kind.HTTP2 if len(head) == len(HTTP2_PREFACE) else None
    method, space, _ = data[: _LONGEST_METHOD + 1].partition(b" ")
    if not space:
        return None if method in _PREFIXES else Kind.OTHER
    if method not in _METHODS:
        return Kind.OTHER
    return _kind_of_target(method, data[len(method) + 1 : len(method) + 9])


def _kind_of_target(method: bytes, start: bytes) -> Kind | None:
    """Tell whether that is how a target begins: a path, an asterisk, a URL, or host and port."""
    if not start:
        return None
    if start[0] in _TARGET_STARTS:
        return Kind.HTTP1
    if method == b"CONNECT":
        is_host = start[:1].isalnum() or start[:1] == b"["
        return Kind.HTTP1 if is_host else Kind.OTHER
    lower = start.lower()
    if any(lower.startswith(scheme) for scheme in _SCHEMES):
        return Kind.HTTP1
    return None if any(scheme.startswith(lower) for scheme in _SCHEMES) else Kind.OTHER
