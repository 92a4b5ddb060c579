"""What an HTTP request has to be before its body is looked at (no I/O).

method        POST; OPTIONS from a page of an origin that may call        else 405
Content-Type  application/json, which no form of another page can send    else 415
Content-Length  at most the size of a message                             else 413
credentials   Authorization: Bearer, or the cookie                        else 401
Origin        with a cookie: our own, or one that may call                else 403
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from .channels import MAX_MESSAGE_BYTES
from .codes import RpcCode
from .messages import encode_error

__all__ = ["EXTRAS_HEADER", "Credentials", "HttpAnswer", "Rules", "joined", "refusal"]

EXTRAS_HEADER: Final = "tunnelkit-tk"
"""Where a client puts the member ``tk``, as JSON: others leave the header alone."""

_JSON: Final = (("content-type", "application/json"), ("cache-control", "no-store"))

MAX_TOKEN_CHARS: Final = 8192
"""Longest token, characters.  Stops: tokens that keep whoever checks them busy."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller has shown."""

    token: str
    from_cookie: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A response."""

    status: int
    body: bytes = b""
    more: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return all of them; without a body there is no type."""
        length = ("content-length", str(len(self.body)))
        return (*(_JSON if self.body else ()), length, *self.more)


def refusal(status: int, code: RpcCode, text: str, *more: tuple[str, str]) -> HttpAnswer:
    """Return a response that says what is wrong with a request."""
    if status == 401:
        more = (*more, ("www-authenticate", "Bearer"))
    return HttpAnswer(status, encode_error(None, code, text), more)


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name; those that came more than once as one, as RFC 9110 §5.2 has it."""
    found: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        between = "; " if name == "cookie" else ", "
        found[name] = f"{found[name]}{between}{text}" if name in found else text
    return found


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose requests are looked at.

    Attributes:
        cookie: the name of the cookie that holds a token.
        origins: other origins whose pages may call.
    """

    cookie: str
    origins: frozenset[str]

    def check(self, method: str, headers: Mapping[str, str]) -> Credentials | HttpAnswer:
        """Return what the caller shows, or the response that refuses the request.

        Args:
            headers: by their names in lower case.
        """
        if method == "OPTIONS" and self._may_call(headers):
            return HttpAnswer(204, more=_PREFLIGHT)
        if method != "POST":
            text = "calls are POSTs of JSON-RPC 2.0 messages"
            return refusal(405, RpcCode.INVALID_REQUEST, text, ("allow", "POST"))
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            text = "the body is to be JSON: send Content-Type: application/json"
            return refusal(415, RpcCode.INVALID_REQUEST, text)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > MAX_MESSAGE_BYTES:
            text = f"a message has at most {MAX_MESSAGE_BYTES} bytes"
            return refusal(413, RpcCode.TOO_LARGE, text)
        return self._credentials(headers)

    def _credentials(self, headers: Mapping[str, str]) -> Credentials | HttpAnswer:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        shown = Credentials(token.strip())
        if scheme.lower() != "bearer":
            shown = Credentials(self._cookie(headers.get("cookie", "")), from_cookie=True)
        if not 0 < len(shown.token) <= MAX_TOKEN_CHARS:
            text = f"send Authorization: Bearer TOKEN, or the cookie {self.cookie}"
            return refusal(401, RpcCode.UNAUTHENTICATED, text)
        if shown.from_cookie and not (_is_own(headers) or self._may_call(headers)):
            text = "a page of this origin may not call with a cookie"
            return refusal(403, RpcCode.FORBIDDEN, text)
        return shown

    def _cookie(self, header: str) -> str:
        try:
            found = SimpleCookie(header).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def _may_call(self, headers: Mapping[str, str]) -> bool:
        return headers.get("origin") in self.origins

    def shared_with(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return the headers that let a page of another origin see the response."""
        if not self.origins:
            return ()
        vary = ("vary", "Origin")
        if not self._may_call(headers):
            return (vary,)
        return (
            vary,
            ("access-control-allow-origin", headers["origin"]),
            ("access-control-allow-credentials", "true"),
        )


_PREFLIGHT: Final = (
    ("access-control-allow-methods", "POST"),
    ("access-control-allow-headers", "Authorization, Content-Type"),
    ("access-control-max-age", "600"),
)


def _is_own(headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from a page of ours, or from no page at all."""
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin")
    if origin is None:
        return site in ("same-origin", "none")
    return site == "same-origin" and urlsplit(origin).netloc == headers.get("host")
