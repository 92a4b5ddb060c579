"""Heads of messages of HTTP/1.x: read strictly, kept as they were, written out again (no I/O).

RFC 9112.  Two programs that read one head differently can be made to disagree about where a
message ends, and so about whose bytes are whose.  So whatever leaves room for that is refused
(`Rule`): bare line ends, folded fields, spaces before a colon, two lengths, a length and chunks.

What is not refused is kept: `fields` has names and values as they came, in their order and case;
only the white space around a value is not a part of it (RFC 9112 §5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from .errors import HttpRefused, Rule

__all__ = [
    "MAX_FIELDS",
    "MAX_HEAD_BYTES",
    "MAX_TARGET_BYTES",
    "REPEATABLE",
    "Fields",
    "RequestHead",
    "ResponseHead",
    "is_host",
    "read_fields",
    "read_request",
    "read_response",
    "values_of",
    "write_fields",
]

MAX_HEAD_BYTES: Final = 64 * 1024
"""Longest head, bytes.  Stops: one that never ends filling the memory."""

MAX_TARGET_BYTES: Final = 16 * 1024
"""Longest target, bytes.  Stops: targets that cost every rule much to match."""

MAX_FIELDS: Final = 200
"""Most fields of a head.  Stops: fields that cost every rule much to match."""

REPEATABLE: Final = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")
"""Methods that may be sent again where a connection ended before the answer (RFC 9110 §9.2.2)."""

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names and values, as they came."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST: Final = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/(\d\.\d)" % _TOKEN)
_STATUS: Final = re.compile(rb"HTTP/(\d\.\d) (\d{3})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD: Final = re.compile(rb"(%s):[ \t]*([\t\x20-\x7e\x80-\xff]*)\r\n" % _TOKEN)
_FIELDS: Final = re.compile(rb"(?:%s:[\t\x20-\x7e\x80-\xff]*\r\n)*" % _TOKEN)
_TABBED: Final = re.compile(rb"(?im)^(?:transfer-encoding|content-length|host):[^\r]*\t")
"""White space that some readers take for a part of the value, where that would be dangerous."""
_IN_NAME = rb"[A-Za-z0-9._~%!$&'()*+,;=-]"
_ADDRESS = rb"\[[0-9A-Fa-f:.vV]+\]"
_HOST: Final = re.compile(rb"(?:%s*|%s)(?::\d{0,5})?" % (_IN_NAME, _ADDRESS))
_AUTHORITY: Final = re.compile(rb"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")
_USER = rb"[A-Za-z0-9._~%!$&'()*+,;=:-]*@"
_URL: Final = re.compile(
    rb"https?://(?:%s)?(?:%s+|%s)(?::\d{0,5})?(?:[/?#]|\Z)" % (_USER, _IN_NAME, _ADDRESS),
    re.IGNORECASE,
)
_END: Final = b"\r\n\r\n"
_VERSIONS: Final = (b"1.1", b"1.0")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request."""

    method: bytes
    target: bytes
    version: bytes
    """``1.1`` or ``1.0``."""
    fields: Fields

    def write(self) -> bytes:
        """Return it as it goes on the wire."""
        line = b"%s %s HTTP/%s\r\n" % (self.method, self.target, self.version)
        return line + write_fields(self.fields) + b"\r\n"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of a response."""

    status: int
    reason: bytes
    version: bytes
    fields: Fields

    def write(self) -> bytes:
        """Return it as it goes on the wire."""
        line = b"HTTP/%s %d %s\r\n" % (self.version, self.status, self.reason)
        return line + write_fields(self.fields) + b"\r\n"


def read_request(data: bytes) -> tuple[RequestHead, int] | None:
    """Return the head that *data* begins with, and its size in bytes; None: more are needed.

    Raises:
        HttpRefused: it is none, or could be read in two ways; what follows cannot be read either.
    """
    head = _head(data)
    if head is None:
        return None
    line, _, rest = head.partition(b"\r\n")
    found = _REQUEST.fullmatch(line)
    if found is None:
        raise HttpRefused(400, Rule.REQUEST_LINE)
    method, target, version = found.groups()
    if version not in _VERSIONS:
        raise HttpRefused(505, Rule.VERSION)
    if not _is_target(method, target):
        raise HttpRefused(400, Rule.TARGET)
    if len(target) > MAX_TARGET_BYTES:
        raise HttpRefused(414, Rule.TARGET_SIZE, f"more than {MAX_TARGET_BYTES} bytes")
    fields = read_fields(rest)
    _check_host(fields, version)
    return RequestHead(method, target, version, fields), len(head) + 2


def _is_target(method: bytes, target: bytes) -> bool:
    """RFC 9112 §3.2: which form a target has, depends on the method."""
    if method == b"CONNECT":
        return _AUTHORITY.fullmatch(target) is not None
    if target.startswith(b"/"):
        return True
    return (method == b"OPTIONS" and target == b"*") or _URL.match(target) is not None


def read_response(data: bytes) -> tuple[ResponseHead, int] | None:
    """Return the head that *data* begins with, and its size in bytes; None: more are needed.

    Raises:
        HttpRefused: as `read_request`.
    """
    head = _head(data)
    if head is None:
        return None
    line, _, rest = head.partition(b"\r\n")
    found = _STATUS.fullmatch(line)
    if found is None or found[2] < b"100":
        raise HttpRefused(502, Rule.STATUS_LINE)
    if found[1] not in _VERSIONS:
        raise HttpRefused(502, Rule.VERSION)
    head_size = len(head) + 2
    return ResponseHead(int(found[2]), found[3] or b"", found[1], read_fields(rest)), head_size


def _head(data: bytes) -> bytes | None:
    """Return the lines of a head, without the empty one at its end."""
    end = data.find(_END, 0, MAX_HEAD_BYTES + len(_END))
    if end >= 0:
        return data[: end + 2]
    if len(data) > MAX_HEAD_BYTES:
        raise HttpRefused(431, Rule.HEAD_SIZE, f"more than {MAX_HEAD_BYTES} bytes")
    _check_line_ends(data)
    return None


def _check_line_ends(lines: bytes) -> None:
    """Refuse a line end that is none at once, and do not wait for an end that never comes."""
    whole = lines.count(b"\r\n")
    if lines.count(b"\n") != whole or lines.count(b"\r") - lines.endswith(b"\r") != whole:
        raise HttpRefused(400, Rule.LINE_END)


def read_fields(lines: bytes) -> Fields:
    """Return the fields in *lines*, each with its line end.

    Raises:
        HttpRefused: one is none, or there are too many.
    """
    if _FIELDS.fullmatch(lines) is None:
        raise _why_no_fields(lines)
    if b"\t" in lines and _TABBED.search(lines):
        raise HttpRefused(400, Rule.FIELD, "a tab in a field that says how the message is framed")
    found = tuple((name, value.rstrip(b" \t")) for name, value in _FIELD.findall(lines))
    if len(found) > MAX_FIELDS:
        raise HttpRefused(431, Rule.FIELD_COUNT, f"more than {MAX_FIELDS}")
    return found


def _why_no_fields(lines: bytes) -> HttpRefused:
    number = 0
    for number, line in enumerate(lines.split(b"\r\n")[:-1], start=1):
        if line[:1] in (b" ", b"\t"):
            return HttpRefused(400, Rule.FOLD, f"field {number}")
        if b"\r" in line or b"\n" in line:
            return HttpRefused(400, Rule.LINE_END, f"field {number}")
        if _FIELD.fullmatch(line + b"\r\n") is None:
            return HttpRefused(400, Rule.FIELD, f"field {number}")
    return HttpRefused(400, Rule.LINE_END, f"field {number}")


def _check_host(fields: Fields, version: bytes) -> None:
    """RFC 9112 §3.2: exactly one, but for HTTP/1.0, which may have none."""
    hosts = list(values_of(fields, b"host"))
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        raise HttpRefused(400, Rule.HOST)
    if hosts and not is_host(hosts[0]):
        raise HttpRefused(400, Rule.HOST)


def is_host(value: bytes) -> bool:
    """Return whether that is a host, with or without a port; it may be empty."""
    return _HOST.fullmatch(value) is not None


def values_of(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> Iterator[bytes]:
    """Yield the values of all fields of a name, which is given in lower case."""
    return (value for found, value in fields if found.lower() == name)


def write_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return fields as they go on the wire."""
    return b"".join([b"%s: %s\r\n" % field for field in fields])
