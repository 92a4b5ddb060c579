"""What the gateway writes anew in requests and in answers (no I/O).

Of a request: whatever says who the client is, where it came from, and to which environment it
belongs is taken out, and what the gateway knows is put in; the login cookie, and a bearer token
that the gateway itself has accepted, go no further.  Everything else stays as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tunnelkit.http.head import Fields, RequestHead, ResponseHead, values_of

from .sites import Site

__all__ = [
    "Arrival",
    "answer_for",
    "credentials_in",
    "origin_of",
    "request_for",
    "without_login",
]

_SAID_BY_PROXIES: Final = frozenset(
    {
        *(b"forwarded", b"x-forwarded", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip"),
        *(b"true-client-ip", b"x-rewrite-url", b"http2-settings"),
    }
)
"""Fields that servers believe of their proxies: a client that sends one pretends to be one.  And
what goes with an upgrade that is not passed on."""

_BEGIN_OF_PROXIES: Final = (b"x-forwarded-", b"x-original-")
"""What the names of more of them begin with."""

_ON_CONNECTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})
"""What a client may say of its connection.  Stops: `Connection: X-Forwarded-For`, by which the next
proxy would take out what this one has put in."""

_HTTP_UPGRADE: Final = (b"h2c", b"http/", b"tls/")
"""Protocols in which more requests would follow, which nobody here would look at."""

_CACHING: Final = frozenset(
    {b"cache-control", b"expires", b"pragma", b"surrogate-control", b"cdn-cache-control", b"age"}
)
_NO_STORE: Final = (b"Cache-Control", b"no-store")
_COOKIE_PATH: Final = re.compile(rb"(;[ \t]*path[ \t]*=[ \t]*)(/[^;]*)", re.IGNORECASE)
_BEARER: Final = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a request came to the gateway."""

    address: str
    """Of the client: an IP address; "": it has none."""
    scheme: str
    """``http`` or ``https``."""
    environment_key: str = "env"
    """The member of `tracestate` and `baggage` that names an environment."""
    login_cookie: str = ""
    """The name of the cookie that is the gateway's own; "": there is none."""


# --- who asks -----------------------------------------------------------------------------------


def credentials_in(head: RequestHead, login_cookie: str) -> tuple[str, str]:
    """Return the value of the login cookie and the bearer token; "": there is none."""
    cookie = ""
    for pair in _cookies(head.fields):
        name, _, value = pair.partition(b"=")
        if login_cookie and name.strip() == login_cookie.encode():
            cookie = value.strip().strip(b'"').decode("latin-1")
            break
    found = _BEARER.fullmatch(next(values_of(head.fields, b"authorization"), b""))
    return cookie, found[1].decode("ascii") if found is not None else ""


def without_login(fields: Fields, login_cookie: str, *, has_bearer: bool) -> Fields:
    """Return the fields without the gateway's cookie, and without a bearer token of its own."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lowered = name.lower()
        if lowered == b"authorization" and has_bearer:
            continue
        if lowered == b"cookie" and login_cookie:
            pairs = [one.strip() for one in value.split(b";")]
            mine = login_cookie.encode()
            left = [one for one in pairs if one.partition(b"=")[0].strip() != mine]
            if len(left) == len(pairs):
                kept.append((name, value))
            elif left:
                kept.append((name, b"; ".join(left)))
            continue
        kept.append((name, value))
    return tuple(kept)


def _cookies(fields: Fields) -> Iterable[bytes]:
    return (pair.strip() for value in values_of(fields, b"cookie") for pair in value.split(b";"))


def origin_of(head: RequestHead) -> tuple[bytes, bytes]:
    """Return the path of a request and the host that it is for, with its port.

    A target that is a whole URL says both, whatever `Host` says (RFC 9112 §3.2.2).
    """
    target, host = head.target, next(values_of(head.fields, b"host"), b"")
    if target[:7].lower() != b"http://" and target[:8].lower() != b"https://":
        return target, host
    rest = target[target.find(b"//") + 2 :]
    end = next((at for at, byte in enumerate(rest) if byte in b"/?#"), len(rest))
    path = rest[end:].partition(b"#")[0]
    return path if path.startswith(b"/") else b"/" + path, rest[:end].rpartition(b"@")[2]


# --- requests -----------------------------------------------------------------------------------


def request_for(
    head: RequestHead, site: Site, arrival: Arrival, *, has_bearer: bool, trace: str
) -> RequestHead:
    """Return a request as the server of a site gets it.

    Args:
        has_bearer: whether the gateway has accepted its bearer token.
        trace: the `traceparent` of a trace that begins here, where the client has begun none.
    """
    target, asked = origin_of(head)
    fields = without_login(head.fields, arrival.login_cookie, has_bearer=has_bearer)
    kept = _of_clients(fields)
    own = site.host.encode() or asked
    kept = [(name, own if name.lower() == b"host" else value) for name, value in kept]
    kept = _in_environment(kept, site.environment, arrival.environment_key, trace)
    kept += _forwarded(asked, site, arrival)
    target = _without_prefix(target, site.prefix)
    return RequestHead(head.method, target, head.version, tuple(kept))


def _of_clients(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return what a client may say for itself."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lowered = name.lower().replace(b"_", b"-")  # as CGI and what came of it take them
        if lowered in _SAID_BY_PROXIES or lowered.startswith(_BEGIN_OF_PROXIES):
            continue
        if lowered == b"connection":
            value = _without(value, lambda word: word not in _ON_CONNECTIONS)
        elif lowered == b"upgrade":
            value = _without(value, lambda word: word.startswith(_HTTP_UPGRADE))
        if value or lowered not in (b"connection", b"upgrade"):
            kept.append((name, value))
    return kept


def _without(value: bytes, is_taken_out: Callable[[bytes], bool]) -> bytes:
    """Return a list without some of its words; one that needs none taken out stays as it came."""
    words = [word.strip() for word in value.split(b",")]
    left = [word for word in words if not is_taken_out(word.lower())]
    return value if left == words else b", ".join(left)


def _in_environment(
    fields: list[tuple[bytes, bytes]], environment: str, key: str, trace: str
) -> list[tuple[bytes, bytes]]:
    """Take out what a client says of environments, and put in the one that it may see."""
    members: list[bytes] = []
    kept: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lowered = name.lower()
        if lowered == b"tracestate":
            members += _without_member(value, key)
        elif lowered == b"baggage":
            left = _without_member(value, key)
            kept += [(name, b",".join(left))] if left else []
        else:
            kept.append((name, value))
    if environment:
        members.insert(0, f"{key}={environment}".encode())
        if not any(values_of(kept, b"traceparent")):
            kept.append((b"traceparent", trace.encode()))  # without it, nobody reads tracestate
    if members:
        kept.append((b"tracestate", b",".join(members)))
    return kept


def _without_member(value: bytes, key: str) -> list[bytes]:
    members = (one.strip() for one in value.split(b","))
    mine = key.encode()
    return [one for one in members if one and one.partition(b"=")[0].strip().lower() != mine]


def _forwarded(asked: bytes, site: Site, arrival: Arrival) -> list[tuple[bytes, bytes]]:
    """RFC 7239, and the fields that came before it."""
    scheme = arrival.scheme.encode()
    found = [(b"X-Forwarded-Proto", scheme), (b"X-Forwarded-Host", asked)]
    parts = []
    if arrival.address:
        found.append((b"X-Forwarded-For", arrival.address.encode()))
        node = f'"[{arrival.address}]"' if ":" in arrival.address else arrival.address
        parts.append(b"for=" + node.encode())
    if site.prefix:
        found.append((b"X-Forwarded-Prefix", site.prefix.encode()))
    parts += [b'host="%s"' % asked.replace(b'"', b""), b"proto=" + scheme]
    return [*found, (b"Forwarded", b";".join(parts))]


def _without_prefix(target: bytes, prefix: str) -> bytes:
    if not prefix or not target.startswith(prefix.encode()):
        return target
    rest = target[len(prefix) :]
    return rest if rest.startswith(b"/") else b"/" + rest


# --- answers ------------------------------------------------------------------------------------


def answer_for(head: ResponseHead, site: Site, asked: str, login_cookie: str = "") -> ResponseHead:
    """Return an answer as the client gets it.

    Args:
        asked: the `Host` that the client asked for.
        login_cookie: the name of the cookie that the site may not set; "": there is none.
    """
    fields = head.fields
    if login_cookie:
        fields = tuple(one for one in fields if not _sets(one, login_cookie.encode()))
    if site.intercept is not None and head.status >= 200:
        # What one developer's laptop says must not be kept by browsers and caches for everybody.
        fields = (*(one for one in fields if one[0].lower() not in _CACHING), _NO_STORE)
    if site.prefix and site.rewrites:
        fields = tuple((name, _prefixed(name, value, site, asked)) for name, value in fields)
    return ResponseHead(head.status, head.reason, head.version, fields)


def _sets(field: tuple[bytes, bytes], cookie: bytes) -> bool:
    """Return whether a field sets a cookie, which a browser would send us for all sites.

    A cookie without a name is sent as its value alone, which may look like one with a name.
    """
    name, value = field
    found = value.lstrip(b" \t=").partition(b";")[0].partition(b"=")[0]
    return name.lower() == b"set-cookie" and found.strip() == cookie


def _prefixed(name: bytes, value: bytes, site: Site, asked: str) -> bytes:
    lowered, prefix = name.lower(), site.prefix.encode()
    if lowered == b"set-cookie":
        return _COOKIE_PATH.sub(lambda found: found[1] + prefix + found[2], value, count=1)
    if lowered not in (b"location", b"content-location"):
        return value
    if value.startswith(b"/") and not value.startswith(b"//"):
        return prefix + value
    try:
        parts = urlsplit(value.decode("latin-1"))
    except ValueError:
        return value
    if parts.scheme in ("http", "https") and parts.netloc.lower() in (asked.lower(), site.host):
        path = f"{site.prefix}{parts.path or '/'}"
        # The scheme and the host that the client asked for: the server knows only its own.
        own = parts._replace(scheme="", netloc="", path=path).geturl()
        return own.encode("latin-1")
    return value
