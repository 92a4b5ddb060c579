"""Understand HAR files: ours, those of browsers, and those of other proxies (no I/O).

A file comes from anywhere, so nothing of it is believed: what is no HAR raises one error that says
where.  What is one, but cannot be sent again, is marked with the reason (`Call.why_not`).

Variants: pseudo fields of HTTP/2 among the headers, ``Set-Cookie`` lines in one value, forms that
have parameters and no text, texts of bodies that were left out, status 0, and a byte order mark.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from tunnelkit.errors import ConfigurationError
from tunnelkit.http.head import Fields, values_of

from .decode import MAX_ENCODINGS, can_encode, decode, encode, encodings_of
from .har import charset_of
from .redact import MARK

__all__ = ["MAX_ENTRIES", "MAX_HAR_BYTES", "Answer", "Call", "read_har"]

MAX_HAR_BYTES: Final = 512 * 1024 * 1024
"""Largest file, bytes.  Stops: one that fills the memory, where it takes several times that."""

MAX_ENTRIES: Final = 100_000
"""Most entries of a file.  Stops: millions of tiny ones, each of which would be a connection."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE: Final = re.compile(r"[\x00\r\n]")
_URL: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*):(?://([^/?#]*))?([^#]*)")
_TARGET_SAFE: Final = "#!$&'()*+,/:;=?@[]~%\"<>\\^`{|}"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as it was or as it is now."""

    status: int
    fields: Fields
    body: bytes | None
    """Without encodings; None: not known."""
    is_whole: bool = True

    @property
    def kind(self) -> str:
        """Its ``Content-Type``."""
        return next(values_of(self.fields, b"content-type"), b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a file, and what answered it."""

    number: int
    """Counted from 1."""
    method: str
    url: str
    target: bytes
    """As it is sent, without what was redacted."""
    fields: Fields
    """Likewise."""
    body: bytes
    answer: Answer | None
    left_out: tuple[str, ...] = ()
    """What was redacted, and is not sent."""
    why_not: str = ""
    """Why it cannot be sent again."""
    comment: str = ""
    milliseconds: float = 0.0

    @property
    def path(self) -> str:
        """The target as text."""
        return self.target.decode("ascii", "replace")


def read_har(data: bytes, name: str = "the file") -> list[Call]:
    """Return the requests of a HAR file, with their answers.

    Args:
        name: of the file, for errors.

    Raises:
        ConfigurationError: it is no HAR; the text says where and why.
    """
    if len(data) > MAX_HAR_BYTES:
        raise ConfigurationError(f"{name} has more than {MAX_HAR_BYTES} bytes")
    try:
        # Bytes are read as UTF-8, or UTF-16, with a byte order mark or without.
        found: object = json.loads(data)
    except RecursionError:
        raise ConfigurationError(f"{name} is no HAR: it is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{name} is no JSON: {str(error)[:200]}") from None
    try:
        return list(_calls(found))
    except _NotHar as error:
        raise ConfigurationError(f"{name} is no HAR: {error}") from None


class _NotHar(Exception):
    """Says which member is wrong, and what it would have to be."""


_KINDS: Final = {dict: "an object", list: "a list", str: "a text", float: "a number", int: "an int"}


def _get(item: dict[str, object], name: str, kind: type[T], where: str) -> T:
    """Return a member that has to be there."""
    found = _find(item, name, kind, where)
    if found is None:
        raise _NotHar(f"{where} has no {name!r}")
    return found


def _find(item: dict[str, object], name: str, kind: type[T], where: str) -> T | None:
    """Return a member; None: it is not there, or null."""
    found = item.get(name)
    if found is None or (isinstance(found, kind) and not isinstance(found, bool)):
        return found
    raise _NotHar(f"{where}: {name!r} is not {_KINDS[kind]}")


def _number(item: dict[str, object], name: str, where: str, default: float) -> float:
    found = item.get(name)
    if found is None:
        return default
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _NotHar(f"{where}: {name!r} is not a number")
    # An int can be too large for a float, and a float can be no number.
    return float(found) if -(2**62) < found < 2**62 else default


def _calls(found: object) -> Iterator[Call]:
    if not isinstance(found, dict):
        raise _NotHar("it is not an object")
    log = _get(found, "log", dict, "the file")
    entries = _get(log, "entries", list, "log")
    if len(entries) > MAX_ENTRIES:
        raise _NotHar(f"it has more than {MAX_ENTRIES} entries")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise _NotHar(f"entry {number} is not an object")
        yield _call(entry, number)


def _call(entry: dict[str, object], number: int) -> Call:
    where = f"entry {number}"
    request = _get(entry, "request", dict, where)
    method = _get(request, "method", str, where)
    url = _get(request, "url", str, where)
    fields, left_out = _sendable(_pairs(request, where))
    target, scheme, authority, dropped = _target(url, _find(request, "_target", str, where))
    if authority and not any(values_of(fields, b"host")):
        fields = ((b"Host", authority), *fields)
    body, why_no_body = _request_body(request, fields, where)
    if MARK.search(body.decode("latin-1")):
        left_out += ("values in the body",)
    answer = _answer(entry, method, where)
    return Call(
        number=number,
        method=method,
        url=url,
        target=target,
        fields=fields,
        body=body,
        answer=answer,
        left_out=(*left_out, *dropped),
        why_not=_why_not(method, scheme, answer) or why_no_body,
        comment=_find(entry, "comment", str, where) or "",
        milliseconds=_number(entry, "time", where, 0.0),
    )


def _why_not(method: str, scheme: str, answer: Answer | None) -> str:
    if _TOKEN.fullmatch(method) is None:
        return "its method is none"
    if method == "CONNECT":
        return "it asks a proxy for a connection"
    if scheme not in ("http", "https"):
        return f"{scheme[:20] or 'its URL'} is no http"
    return "" if answer is not None else "it had no answer"


# --- heads --------------------------------------------------------------------------------------


def _pairs(message: dict[str, object], where: str) -> Iterator[tuple[str, str]]:
    for item in _find(message, "headers", list, where) or []:
        if not isinstance(item, dict):
            raise _NotHar(f"{where}: a header is not an object")
        name = _get(item, "name", str, f"{where}: a header")
        yield name, _find(item, "value", str, f"{where}: header {name[:40]!r}") or ""


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _sendable(pairs: Iterator[tuple[str, str]]) -> tuple[Fields, tuple[str, ...]]:
    """Return the fields that can be sent, and the names of those that cannot."""
    fields, left_out = [], []
    for name, value in pairs:
        value = value.strip(" \t")
        if name.startswith(":"):
            continue  # of HTTP/2: the URL says the same
        if _TOKEN.fullmatch(name) is None or _NO_VALUE.search(value) or MARK.search(value):
            left_out.append(name)
        else:
            fields.append((name.encode(), _bytes(value)))
    return tuple(fields), tuple(left_out)


def _target(url: str, given: str | None) -> tuple[bytes, str, bytes, tuple[str, ...]]:
    """Return the target, the scheme and the authority of a URL, and what was redacted in it."""
    found = _URL.match(url)
    if found is None:
        return b"/", "", b"", ()
    target = given if given is not None else found[3]
    path, question, query = target.partition("?")
    pairs = query.split("&")
    kept = [pair for pair in pairs if not MARK.search(pair)]
    dropped = [f"{pair.partition('=')[0]} in the query" for pair in pairs if MARK.search(pair)]
    target = path + (question if kept else "") + "&".join(kept)
    if not target.startswith("/") and target != "*":
        target = target if _URL.match(target) else f"/{target}"
    authority = (found[2] or "").rpartition("@")[2]
    safe = quote(target, safe=_TARGET_SAFE, errors="replace").encode("ascii")
    is_host = re.fullmatch(r"[\x21-\x7e]+", authority) is not None
    return safe, found[1].lower(), authority.encode() if is_host else b"", tuple(dropped)


# --- bodies -------------------------------------------------------------------------------------


def _request_body(request: dict[str, object], fields: Fields, where: str) -> tuple[bytes, str]:
    """Return a request's body, and why it cannot be sent."""
    post = _find(request, "postData", dict, where)
    size = _number(request, "bodySize", where, -1)
    if post is None:
        return b"", "its body is not in the file" if size > 0 else ""
    where = f"{where}: postData"
    kind = _find(post, "mimeType", str, where) or ""
    text = _find(post, "text", str, where)
    if text is None or (not text and post.get("params")):
        return _form(post, kind, where)
    encoding = _find(post, "_encoding", str, where) or _find(post, "encoding", str, where)
    body = _decoded_text(text, encoding, kind, where)
    if post.get("_truncated"):
        return body, "only a part of its body is in the file"
    if post.get("_decoded") is not None:
        return encode(body, _known_layers(post, where)), ""
    if not body and size > 0:
        return b"", "its body is not in the file"
    return (body, "") if encoding else _as_encoded(body, encodings_of(fields))


def _known_layers(post: dict[str, object], where: str) -> list[str]:
    layers = [str(layer) for layer in _find(post, "_decoded", list, where) or []]
    if len(layers) > MAX_ENCODINGS or not can_encode(layers):
        raise _NotHar(f"{where}: '_decoded' has encodings that are not known")
    return layers


def _as_encoded(body: bytes, layers: tuple[str, ...]) -> tuple[bytes, str]:
    """Return a body as its head says it is encoded; other programs show it decoded."""
    if not layers or not body or decode(body, layers, len(body)) is not None:
        return body, ""
    if len(layers) > MAX_ENCODINGS or not can_encode(layers):
        return body, f"it cannot be encoded as {', '.join(layers)[:40]}"
    return encode(body, layers), ""


def _form(post: dict[str, object], kind: str, where: str) -> tuple[bytes, str]:
    """Return a form of which there are only the parameters."""
    pairs = []
    for item in _find(post, "params", list, where) or []:
        if not isinstance(item, dict):
            raise _NotHar(f"{where}: a parameter is not an object")
        name = _get(item, "name", str, f"{where}: a parameter")
        pairs.append((name, _find(item, "value", str, f"{where}: a parameter") or ""))
    if not pairs:
        return b"", ""
    if "urlencoded" not in kind.lower():
        return b"", "of its form there are only the names in the file"
    return urlencode(pairs, errors="replace").encode(), ""


def _decoded_text(text: str, encoding: str | None, kind: str, where: str) -> bytes:
    if (encoding or "").lower() == "base64":
        try:
            return base64.b64decode(text, validate=False)
        except (binascii.Error, ValueError):
            raise _NotHar(f"{where}: the text is no base64") from None
    try:
        return text.encode(charset_of(kind))
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _answer(entry: dict[str, object], method: str, where: str) -> Answer | None:
    response = _find(entry, "response", dict, where)
    if response is None:
        return None
    status = int(_number(response, "status", where, 0))
    if not 100 <= status <= 999:
        return None
    lines = ((name, line) for name, value in _pairs(response, where) for line in value.split("\n"))
    fields = tuple(
        (_bytes(name), _bytes(value.strip(" \t\r")))
        for name, value in lines
        if not name.startswith(":")
    )
    content = _find(response, "content", dict, where) or {}
    body = _content(content, f"{where}: content")
    if method == "HEAD" or status in (101, 204, 304):
        body = b""
    return Answer(status, fields, body, is_whole=not content.get("_truncated"))


def _content(content: dict[str, object], where: str) -> bytes | None:
    """Return the body of an answer; None: it is not in the file."""
    text = _find(content, "text", str, where)
    if text is None:
        return b"" if _number(content, "size", where, -1) == 0 else None
    kind = _find(content, "mimeType", str, where) or ""
    body = _decoded_text(text, _find(content, "encoding", str, where), kind, where)
    return None if not body and _number(content, "size", where, 0) > 0 else body
