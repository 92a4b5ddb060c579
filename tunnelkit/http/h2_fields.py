"""Fields of HTTP/2: whether they are right (RFC 9113 §8.2 and §8.3), in one pass (no I/O).

The machine would ask six questions of every field, one pass each; this is half of what a small
request costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from .head import Fields, RequestHead, ResponseHead, is_host, values_of

__all__ = [
    "answer_of",
    "head_of",
    "headers_of",
    "headers_of_answer",
    "is_answer",
    "is_trailers",
    "trailers_of",
]

_HTTP2: Final = b"2"
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")
_VALUE: Final = re.compile(
    rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_OF_CONNECTIONS: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_OF_REQUESTS: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_OF_ANSWERS: Final = frozenset((b":status",))
_STATUS: Final = re.compile(rb"[1-9]\d\d")

Pairs = Iterable[tuple[bytes, bytes]]


def _pseudo_of(headers: Pairs, allowed: frozenset[bytes]) -> dict[bytes, bytes] | None:
    """Return the pseudo fields, which come first; None: something is wrong."""
    pseudo: dict[bytes, bytes] = {}
    is_first = True
    for name, value in headers:
        if _VALUE.fullmatch(value) is None:
            return None
        if name[:1] == b":":
            if not is_first or name in pseudo or name not in allowed:
                return None
            pseudo[name] = value
            continue
        is_first = False
        if _NAME.fullmatch(name) is None or name in _OF_CONNECTIONS:
            return None
        if name == b"te" and value.lower() != b"trailers":
            return None
    return pseudo


def is_answer(headers: Pairs) -> bool:
    """Return whether that is the head of an answer."""
    pseudo = _pseudo_of(headers, _OF_ANSWERS)
    return pseudo is not None and _STATUS.fullmatch(pseudo.get(b":status", b"")) is not None


def is_trailers(headers: Pairs) -> bool:
    """Return whether those can come behind a body."""
    return _pseudo_of(headers, frozenset()) is not None


def head_of(headers: Pairs) -> RequestHead | None:
    """Return a request as rules see it; None: it is none."""
    pseudo = _pseudo_of(headers, _OF_REQUESTS)
    if pseudo is None or _METHOD.fullmatch(pseudo.get(b":method", b"")) is None:
        return None
    method, authority = pseudo[b":method"], pseudo.get(b":authority")
    is_connect = method == b"CONNECT"
    if is_connect is not (b":path" not in pseudo and b":scheme" not in pseudo):
        return None
    target = authority if is_connect else pseudo.get(b":path")
    if target is None or _TARGET.fullmatch(target) is None:
        return None
    if not is_connect and (b":scheme" not in pseudo or not (target[:1] == b"/" or target == b"*")):
        return None
    fields: Fields = tuple(field for field in headers if field[0][:1] != b":")
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0] != authority):
        return None  # whose request it is could be read in two ways
    if authority is not None and not hosts:
        hosts = [authority]
        fields = ((b"host", authority), *fields)
    if hosts and not is_host(hosts[0]):
        return None
    return RequestHead(method, target, _HTTP2, fields)


def headers_of(head: RequestHead, came: Pairs) -> list[tuple[bytes, bytes]]:
    """Return a request that was written anew as HTTP/2 says it.

    Args:
        came: the fields of the request as it came, of which it keeps the scheme.
    """
    scheme = next((value for name, value in came if name == b":scheme"), b"http")
    pseudo = [(b":method", head.method), (b":scheme", scheme)]
    pseudo += [(b":authority", value) for value in values_of(head.fields, b"host")]
    return [*pseudo, (b":path", head.target), *_lowered(head.fields, without=b"host")]


def answer_of(headers: Pairs) -> ResponseHead:
    """Return the head of an answer as HTTP/1.1 says it, without a reason."""
    pseudo = next(value for name, value in headers if name == b":status")
    fields = tuple(field for field in headers if field[0][:1] != b":")
    return ResponseHead(int(pseudo), b"", _HTTP2, fields)


def headers_of_answer(head: ResponseHead) -> list[tuple[bytes, bytes]]:
    """Return the head of an answer of HTTP/1.x as HTTP/2 says it (RFC 9113 §8.2.2)."""
    return [(b":status", b"%d" % head.status), *_lowered(head.fields)]


def trailers_of(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return trailers of HTTP/1.x as HTTP/2 says them."""
    return _lowered(fields)


def _lowered(fields: Fields, without: bytes = b"") -> list[tuple[bytes, bytes]]:
    """Return fields with names in lower case, without those about one connection."""
    named = {
        word.strip().lower()
        for value in values_of(fields, b"connection")
        for word in value.split(b",")
    }
    pairs = ((name.lower(), value) for name, value in fields)
    return [
        (name, value)
        for name, value in pairs
        if name not in _OF_CONNECTIONS and name not in named and name != without
    ]
