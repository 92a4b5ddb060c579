"""HAR 1.2 as a table: the members of each object, their types, and whether they have to be there.

From the specification, w3c.github.io/web-performance/specs/HAR/Overview.html.  Members that begin
with ``_`` are anybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

__all__ = ["faults_of"]

# name: kind; a "?" at the end: it may be missing.  "[x]" is a list of x.
SPEC: Final[dict[str, dict[str, str]]] = {
    "file": {"log": "log"},
    "log": {
        "version": "text",
        "creator": "creator",
        "browser": "creator?",
        "pages": "[page]?",
        "entries": "[entry]",
        "comment": "text?",
    },
    "creator": {"name": "text", "version": "text", "comment": "text?"},
    "page": {
        "startedDateTime": "date",
        "id": "text",
        "title": "text",
        "pageTimings": "pageTimings",
        "comment": "text?",
    },
    "pageTimings": {"onContentLoad": "number?", "onLoad": "number?", "comment": "text?"},
    "entry": {
        "pageref": "text?",
        "startedDateTime": "date",
        "time": "number",
        "request": "request",
        "response": "response",
        "cache": "cache",
        "timings": "timings",
        "serverIPAddress": "text?",
        "connection": "text?",
        "comment": "text?",
    },
    "request": {
        "method": "text",
        "url": "text",
        "httpVersion": "text",
        "cookies": "[cookie]",
        "headers": "[pair]",
        "queryString": "[pair]",
        "postData": "postData?",
        "headersSize": "number",
        "bodySize": "number",
        "comment": "text?",
    },
    "response": {
        "status": "number",
        "statusText": "text",
        "httpVersion": "text",
        "cookies": "[cookie]",
        "headers": "[pair]",
        "content": "content",
        "redirectURL": "text",
        "headersSize": "number",
        "bodySize": "number",
        "comment": "text?",
    },
    "cookie": {
        "name": "text",
        "value": "text",
        "path": "text?",
        "domain": "text?",
        "expires": "date?",
        "httpOnly": "bool?",
        "secure": "bool?",
        "sameSite": "text?",  # not in the specification, but in the files of all browsers
        "comment": "text?",
    },
    "pair": {"name": "text", "value": "text", "comment": "text?"},
    "postData": {"mimeType": "text", "params": "[param]?", "text": "text?", "comment": "text?"},
    "param": {
        "name": "text",
        "value": "text?",
        "fileName": "text?",
        "contentType": "text?",
        "comment": "text?",
    },
    "content": {
        "size": "number",
        "compression": "number?",
        "mimeType": "text",
        "text": "text?",
        "encoding": "text?",
        "comment": "text?",
    },
    "cache": {"beforeRequest": "cached?", "afterRequest": "cached?", "comment": "text?"},
    "cached": {"expires": "date?", "lastAccess": "date", "eTag": "text", "hitCount": "number"},
    "timings": {
        "blocked": "time?",
        "dns": "time?",
        "connect": "time?",
        "send": "duration",
        "wait": "duration",
        "receive": "duration",
        "ssl": "time?",
        "comment": "text?",
    },
}


def faults_of(value: object, kind: str = "file", where: str = "$") -> Iterator[str]:
    """Yield what of a HAR is against the specification."""
    if kind.startswith("["):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for number, item in enumerate(value):
            yield from faults_of(item, kind[1:-1], f"{where}[{number}]")
    elif kind not in SPEC:
        if not _is(value, kind):
            yield f"{where} is no {kind}: {value!r}"
    elif not isinstance(value, dict):
        yield f"{where} is no object"
    else:
        yield from _faults_of_object(value, kind, where)


def _faults_of_object(value: dict[str, object], kind: str, where: str) -> Iterator[str]:
    members = SPEC[kind]
    for name in value.keys() - members.keys():
        if not name.startswith("_"):
            yield f"{where}.{name} is not in the specification"
    for name, inner in members.items():
        if name in value:
            yield from faults_of(value[name], inner.removesuffix("?"), f"{where}.{name}")
        elif not inner.endswith("?"):
            yield f"{where}.{name} is missing"


def _is(value: object, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("number", "time", "duration"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not isinstance(value, int | float) or kind == "number":
            return is_number
        return value >= 0 or (kind == "time" and value == -1)
    if not isinstance(value, str):
        return False
    return kind == "text" or datetime.fromisoformat(value).tzinfo is not None
