"""Make HAR 1.2 of records: what the network panel of a browser opens (no I/O).

Headers are texts of ISO-8859-1, so that each byte of theirs has its own character.  A body is text
where its charset reads it and writes the same bytes again, else it is base64.  Names that begin
with ``_`` are ours, as the specification asks; `reading` understands them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias
from urllib.parse import unquote_plus

from tunnelkit._version import __version__
from tunnelkit.http.head import Fields, RequestHead, values_of

from .records import Body, Exchange, Times

__all__ = ["charset_of", "har_entry", "har_of", "text_of", "url_of", "write_har"]

_Item: TypeAlias = dict[str, object]

_VERSIONS: Final = {b"1.0": "HTTP/1.0", b"1.1": "HTTP/1.1", b"2": "HTTP/2"}
_CHARSET: Final = re.compile(r"(?i)charset=\"?([a-z0-9_.:-]{1,40})")
_CODECS: Final = {
    name: codec
    for codec, names in {
        "utf-8": ("utf-8", "utf8"),
        "ascii": ("ascii", "us-ascii"),
        "iso-8859-1": ("iso-8859-1", "latin1", "latin-1"),
        "cp1252": ("windows-1252", "cp1252"),
        "utf-16": ("utf-16",),
        "utf-16-le": ("utf-16le",),
        "utf-16-be": ("utf-16be",),
        "shift_jis": ("shift_jis",),
        "gb18030": ("gb2312", "gbk", "gb18030"),
    }.items()
    for name in names
}
"""Charsets that are believed; any other is read as UTF-8.  Stops: names of codecs that are none of
texts, as Python has them."""


def har_of(exchanges: Iterable[Exchange], *, why_over: str = "") -> _Item:
    """Return a HAR as one value; `write_har` is for large ones.

    Args:
        why_over: why the capture ended.
    """
    made: _Item = json.loads(b"".join(write_har(exchanges, why_over=why_over)))
    return made


def write_har(exchanges: Iterable[Exchange], *, why_over: str = "") -> Iterator[bytes]:
    """Yield a HAR as JSON, entry by entry; the pieces are all ASCII.

    Args:
        why_over: why the capture ended.
    """
    creator = json.dumps({"name": "tunnelkit", "version": __version__})
    comment = json.dumps(f"the capture ended: {why_over}" if why_over else "")
    yield b'{"log": {"version": "1.2", "creator": %s, "comment": %s, "entries": [' % (
        creator.encode(),
        comment.encode(),
    )
    for number, exchange in enumerate(exchanges):
        yield b",\n" if number else b"\n"
        yield json.dumps(har_entry(exchange)).encode()
    yield b"\n]}}\n"


def har_entry(exchange: Exchange) -> _Item:
    """Return one entry of a HAR."""
    timings = _timings(exchange.times)
    host, port = _split(exchange.client)
    server, _ = _split(exchange.server)
    entry: _Item = {
        "startedDateTime": _date(exchange.started_at),
        "time": round(sum(value for value in timings.values() if value >= 0), 3),
        "request": _request(exchange),
        "response": _response(exchange),
        "cache": {},
        "timings": timings,
        "connection": port or exchange.client or str(exchange.number),
        "_client": host,
        "_port": exchange.port,
        "_rule": exchange.rule,
        "_server": exchange.server,
        "_isOver": exchange.is_over,
    }
    if re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", server):
        entry["serverIPAddress"] = server
    if exchange.why:
        entry["_error"] = exchange.why
    elif not exchange.is_over:
        entry["_error"] = "it still went on when this was written"
    if comment := "; ".join(_remarks(exchange)):
        entry["comment"] = comment
    if exchange.sent is not None and exchange.sent != exchange.request:
        entry["_sent"] = {
            "method": _text(exchange.sent.method),
            "target": _text(exchange.sent.target),
            "headers": _pairs(exchange.sent.fields),
        }
    if exchange.interim:
        entry["_interim"] = [
            {"status": head.status, "headers": _pairs(head.fields)} for head in exchange.interim
        ]
        entry["_interimCount"] = exchange.interim_count
    return entry


def _remarks(exchange: Exchange) -> Iterator[str]:
    if exchange.rule:
        yield f"rule {exchange.rule}"
    if exchange.why:
        yield exchange.why
    for name, body in (("request", exchange.request_body), ("response", exchange.answer_body)):
        if body.cut:
            yield f"the body of the {name} is not whole: {body.cut}"


# --- the two messages ---------------------------------------------------------------------------


def _request(exchange: Exchange) -> _Item:
    head, body = exchange.request, exchange.request_body
    url = url_of(head, exchange.scheme)
    made: _Item = {
        "method": _text(head.method),
        "url": url,
        "httpVersion": _version(head.version),
        "cookies": [*_cookies(head.fields)],
        "headers": _pairs(head.fields),
        "queryString": [*_query(url)],
        "headersSize": -1 if head.version == b"2" else exchange.request_head_bytes,
        "bodySize": body.size if body.has_ended or body.size else _known_size(exchange),
    }
    if not url.endswith(_text(head.target)) or b"#" in head.target or head.target == b"*":
        made["_target"] = _text(head.target)
    if exchange.request_trailers:
        made["_trailers"] = _pairs(exchange.request_trailers)
    if body.size or body.data:
        made["postData"] = _post_data(body, _text(_value(head.fields, b"content-type")))
    return made


def _known_size(exchange: Exchange) -> int:
    """Return 0 for a request that can have no body, else -1."""
    is_framed = any(
        name.lower() in (b"content-length", b"transfer-encoding")
        for name, _ in exchange.request.fields
    )
    return -1 if is_framed or exchange.request.version == b"2" else 0


def _post_data(body: Body, kind: str) -> _Item:
    text, is_base64 = text_of(body.data, kind)
    made: _Item = {"mimeType": kind, "text": text}
    if is_base64:
        made["_encoding"] = "base64"
        made["comment"] = "the text is base64"
    elif kind.lower().startswith("application/x-www-form-urlencoded"):
        made["params"] = [*_params(text)]
    return made | _kept(body)


def _response(exchange: Exchange) -> _Item:
    head, body = exchange.answer, exchange.answer_body
    if head is None:
        return _no_response(exchange)
    kind = _text(_value(head.fields, b"content-type"))
    text, is_base64 = text_of(body.data, kind)
    content: _Item = {"size": _content_size(body), "mimeType": kind or "x-unknown"}
    if body.data:
        content["text"] = text
    if is_base64:
        content["encoding"] = "base64"
    if body.decoded and not body.cut:
        content["compression"] = len(body.data) - body.size
    made: _Item = {
        "status": head.status,
        "statusText": _text(head.reason),
        "httpVersion": _version(head.version),
        "cookies": [*_set_cookies(head.fields)],
        "headers": _pairs(head.fields),
        "content": content | _kept(body),
        "redirectURL": _text(_value(head.fields, b"location")),
        "headersSize": -1 if head.version == b"2" else exchange.answer_head_bytes,
        "bodySize": body.size,
    }
    if exchange.answer_trailers:
        made["_trailers"] = _pairs(exchange.answer_trailers)
    return made


def _no_response(exchange: Exchange) -> _Item:
    """Return what browsers write where there was no answer."""
    return {
        "status": 0,
        "statusText": "",
        "httpVersion": _version(exchange.request.version),
        "cookies": [],
        "headers": [],
        "content": {"size": 0, "mimeType": "x-unknown"},
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": -1,
    }


def _content_size(body: Body) -> int:
    return len(body.data) if body.decoded else body.size


def _kept(body: Body) -> _Item:
    """Return what is said of a body that is not all there, or not as it was sent."""
    made: _Item = {}
    if body.decoded:
        made["_decoded"] = list(body.decoded)
    if body.cut:
        made |= {"_truncated": True, "_size": body.size, "comment": body.cut}
    elif not body.has_ended:
        made |= {"_truncated": True, "_size": body.size, "comment": "the end of it was not seen"}
    return made


# --- parts --------------------------------------------------------------------------------------


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _version(version: bytes) -> str:
    return _VERSIONS.get(version) or f"HTTP/{_text(version)}"


def _value(fields: Fields, name: bytes) -> bytes:
    return next(values_of(fields, name), b"")


def _pairs(fields: Fields) -> list[Mapping[str, str]]:
    return [{"name": _text(name), "value": _text(value)} for name, value in fields]


def url_of(head: RequestHead, scheme: str) -> str:
    """Return the URL that a request asks for."""
    target = _text(head.target)
    if re.match(r"(?i)https?://", target):
        return target
    if head.method == b"CONNECT":
        return f"{scheme}://{target}"
    host = _text(_value(head.fields, b"host") or _value(head.fields, b":authority"))
    return f"{scheme}://{host or 'unknown.invalid'}{target if target.startswith('/') else '/'}"


def _query(url: str) -> Iterator[Mapping[str, str]]:
    query = url.partition("#")[0].partition("?")[2]
    return _params(query) if query else iter(())


def _params(text: str) -> Iterator[Mapping[str, str]]:
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        yield {"name": unquote_plus(name), "value": unquote_plus(value)}


def _cookies(fields: Fields) -> Iterator[Mapping[str, str]]:
    for line in values_of(fields, b"cookie"):
        for crumb in _text(line).split(";"):
            name, equals, value = crumb.strip().partition("=")
            if name or equals:
                yield {"name": name, "value": value}


def _set_cookies(fields: Fields) -> Iterator[_Item]:
    for line in values_of(fields, b"set-cookie"):
        crumb, *attributes = _text(line).split(";")
        name, _, value = crumb.strip().partition("=")
        made: _Item = {"name": name, "value": value, "httpOnly": False, "secure": False}
        for attribute in attributes:
            key, _, word = (part.strip() for part in attribute.partition("="))
            made |= _attribute(key.lower(), word)
        yield made


def _attribute(key: str, word: str) -> _Item:
    if key in ("path", "domain"):
        return {key: word}
    if key == "samesite":
        return {"sameSite": word}
    if key in ("httponly", "secure"):
        return {"httpOnly" if key == "httponly" else "secure": True}
    if key == "expires":
        try:
            return {"expires": parsedate_to_datetime(word).astimezone(UTC).isoformat()}
        except (ValueError, TypeError, IndexError, OverflowError):
            pass  # no date: what it said is in the headers
    return {}


def charset_of(kind: str) -> str:
    """Return the codec of a body's text, by its ``Content-Type``."""
    found = _CHARSET.search(kind)
    return _CODECS.get(found[1].lower(), "utf-8") if found else "utf-8"


def text_of(data: bytes, kind: str) -> tuple[str, bool]:
    """Return a body as text, and whether that is base64.

    Args:
        kind: its ``Content-Type``.
    """
    codec = charset_of(kind)
    try:
        text = data.decode(codec)
        if text.encode(codec) == data:
            return text, False
    except ValueError:
        pass
    return base64.b64encode(data).decode("ascii"), True


def _date(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00.000+00:00"  # no clock says that


def _split(address: str) -> tuple[str, str]:
    """Return host and port of a client or a server; "": it has none."""
    bare = re.sub(r"^[a-z]+://", "", address)
    host, colon, port = bare.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        return bare.strip("[]"), ""
    return host.strip("[]"), port


def _timings(times: Times) -> dict[str, float]:
    """Return the phases in milliseconds; -1: not known.  A clock that goes back makes them 0."""
    last = times.answer_ended if times.answer_ended is not None else times.over
    # A small request has come whole before it is sent, and some servers answer before all has come.
    asked = max((at for at in (times.sent, times.request_ended) if at is not None), default=None)
    if asked is not None and times.answer_begun is not None:
        asked = min(asked, times.answer_begun)
    return {
        "blocked": _span(times.begun, times.sent, -1),
        "dns": -1,
        "connect": -1,
        "ssl": -1,
        "send": _span(times.sent if times.sent is not None else times.begun, asked, 0),
        "wait": _span(asked if asked is not None else times.begun, times.answer_begun, 0),
        "receive": _span(times.answer_begun, last, 0),
    }


def _span(begin: float | None, end: float | None, unknown: float) -> float:
    if begin is None or end is None:
        return unknown
    return round(max(0.0, end - begin) * 1000, 3)
