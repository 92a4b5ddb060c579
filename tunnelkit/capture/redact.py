"""Take credentials out of heads, targets and bodies (no I/O).

What is taken out is what the tables below name.  Names are looked at without regard to case.  The
text that stands for a value is ``[redacted]``; with a salt it is ``[redacted:1f2e3d4c]``, where
equal values have equal digits.

Bodies are looked at as bytes, so that one wrong byte, or a body that was cut, hides nothing: JSON
anywhere in a body by its member names, forms and multipart forms by their field names.  What only
looks like a secret, and has no name that says so, stays.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from tunnelkit.http.head import Fields, RequestHead, ResponseHead

from .multipart import redact_parts

__all__ = ["MARK", "NO_REDACTION", "REDACTION", "Redaction"]

MARK: Final = re.compile(r"\[redacted(?::[0-9a-f]{8})?\]")
"""What stands for a value that was taken out."""

DIGEST_DIGITS: Final = 8
"""Hexadecimal digits that tell equal values.  More would help whoever tries values out."""

_FIELDS: Final = frozenset(
    {
        *(b"authorization", b"proxy-authorization"),  # the scheme stays
        *(b"cookie", b"set-cookie", b"set-cookie2"),  # names and attributes stay
        b"x-api-key",
        b"x-auth-token",
        b"x-amz-security-token",
        b"x-forwarded-access-token",
        b"x-forwarded-client-cert",
        b"authentication-info",
        b"proxy-authentication-info",
        b"sec-websocket-protocol",  # pages have no other field for their tokens
        b"x-auth",
        b"x-session-id",
    }
)
"""Fields whose values are credentials."""

_URLS: Final = frozenset({b"referer", b"location", b"content-location", b"refresh", b"link"})
"""Fields whose values are URLs: their queries are looked at."""

_PARAMETERS: Final = frozenset(
    {
        *(b"key", b"pass", b"pwd", b"pw", b"pin", b"otp", b"code", b"assertion", b"jwt"),
        *(b"auth", b"sig", b"sid", b"session", b"session_id", b"sessionid", b"samlresponse"),
    }
)
"""Names in queries and forms, beside `_WORDS`."""

_MEMBERS: Final = frozenset({b"pass", b"pwd", b"pin", b"otp", b"cvv", b"cvc", b"jwt", b"assertion"})
"""Names in JSON, beside `_WORDS`; ``key`` and ``code`` mean too much else there."""

_WORDS: Final = re.compile(
    rb"passw(?:or)?d|passphrase|secret|token|credential|signature|authorization|cookie"
    rb"|(?:api|private|access|client|shared|encryption)[-_. ]?key|x-(?:amz|goog)-",
    re.IGNORECASE,
)
"""A name that has one of these anywhere says that its value is secret."""

_NOT_SECRET: Final = re.compile(rb"x-(?:amz|goog)-(?:algorithm|date|expires|signedheaders)", re.I)

_SCHEMES: Final = re.compile(
    rb"(basic|bearer|digest|negotiate|ntlm|token|dpop|hoba|mutual|scram-sha-\d+"
    rb"|aws4-hmac-sha256|apikey|key)[ \t]+(.+)",
    re.IGNORECASE | re.DOTALL,
)
"""The first word of a credential that may stay; an unknown one could be the secret itself."""

_USER: Final = re.compile(rb"//[^/?#@\s]*@")
_PLAIN_URL: Final = re.compile(rb"[^?#@;]*+")
_SESSION: Final = re.compile(rb"(?i)(;(?:[a-z]*sess(?:ion)?[-_]?id|sid)=)([^;/]+)")

# A key's quote never stands behind a backslash, and a key ends with the first quote that does not:
# so no byte is looked at twice, whatever a body holds.
_MEMBER: Final = re.compile(rb'(?<!\\)"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+:\s*+', re.DOTALL)
_STRING: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
_WORD: Final = re.compile(rb"[^\s,\]\[{}\"]++")
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_PLAIN_WORDS: Final = frozenset({b"true", b"false", b"null"})


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out."""

    names: frozenset[bytes] = frozenset()
    """More names of fields, parameters and members, in lower case."""
    salt: bytes = b""
    """Makes the digits that tell equal values; empty: there are none."""
    is_on: bool = True

    def more(self, names: Iterable[str]) -> Redaction:
        """Return one that takes out the values of more names."""
        return replace(self, names=self.names | {name.lower().encode() for name in names})

    # --- heads ------------------------------------------------------------------------------

    def request(self, head: RequestHead) -> RequestHead:
        """Return a request's head without credentials."""
        if not self.is_on:
            return head
        return replace(head, target=self.url(head.target), fields=self.fields(head.fields))

    def answer(self, head: ResponseHead) -> ResponseHead:
        """Return an answer's head without credentials."""
        return replace(head, fields=self.fields(head.fields)) if self.is_on else head

    def fields(self, fields: Fields) -> Fields:
        """Return fields without credentials."""
        if not self.is_on:
            return fields
        return tuple((name, self._value(name.lower(), value)) for name, value in fields)

    def _value(self, name: bytes, value: bytes) -> bytes:
        if name in _URLS:
            return self.url(value)
        if name in (b"cookie", b"cookie2"):
            return b";".join(self._crumb(crumb) for crumb in value.split(b";"))
        if name in (b"set-cookie", b"set-cookie2"):
            crumb, semicolon, attributes = value.partition(b";")
            return self._crumb(crumb) + semicolon + attributes
        if not value or not (name in _FIELDS or self._is_secret(name, frozenset())):
            return value
        known = _SCHEMES.fullmatch(value)
        return known[1] + b" " + self.mark(known[2]) if known else self.mark(value)

    def _crumb(self, crumb: bytes) -> bytes:
        name, equals, value = crumb.partition(b"=")
        if equals:
            return name + equals + (self.mark(value) if value else b"")
        return self.mark(crumb) if crumb.strip() else crumb  # a cookie without a name

    def url(self, url: bytes) -> bytes:
        """Return a URL, or a target, without credentials."""
        if _PLAIN_URL.fullmatch(url):
            return url
        before, mark, fragment = url.partition(b"#")
        path, question, query = before.partition(b"?")
        path = _USER.sub(lambda found: b"//" + self.mark(found[0][2:-1]) + b"@", path)
        path = _SESSION.sub(lambda found: found[1] + self.mark(found[2]), path)
        return path + question + self.pairs(query) + mark + self.pairs(fragment)

    def pairs(self, text: bytes) -> bytes:
        """Return a query or a form without credentials."""
        return b"&".join(map(self._pair, text.split(b"&")))

    def _pair(self, pair: bytes) -> bytes:
        """Some read ``;`` as another ``&``, and some as a part of the value: so it is both here."""
        done = 0
        for part in pair.split(b";"):
            name, equals, _ = part.partition(b"=")
            begin = done + len(name) + 1
            if equals and begin < len(pair) and self._is_parameter(_unquoted(name)):
                return pair[:begin] + self.mark(pair[begin:])
            done += len(part) + 1
        return pair

    # --- bodies -----------------------------------------------------------------------------

    def body(self, data: bytes, kind: bytes) -> bytes:
        """Return a body without credentials.

        Args:
            data: without encodings; it may be cut.
            kind: its ``Content-Type``.
        """
        if not self.is_on or not data:
            return data
        kind = kind.strip()
        lower = kind.lower()
        if lower.startswith(b"application/x-www-form-urlencoded"):
            return self.pairs(data)
        if lower.startswith(b"multipart/"):
            data = redact_parts(data, kind, self._is_parameter, self.mark)
        return self._members(data)

    def _is_parameter(self, name: bytes) -> bool:
        return self._is_secret(name, _PARAMETERS)

    def _members(self, data: bytes) -> bytes:
        """Return a body without the values of those members of JSON whose names say so."""
        if b'"' not in data:
            return data
        made, done = [], 0
        verdicts: dict[bytes, bool] = {}  # lists repeat the same few names
        found = _MEMBER.search(data)
        while found is not None:
            end, name = found.end(), found[1]
            if name not in verdicts:
                verdicts[name] = self._is_secret(_unescaped(name), _MEMBERS)
            if verdicts[name]:
                value, end = self._member_value(data, end)
                made += [data[done : found.end()], value]
                done = end
            found = _MEMBER.search(data, end)
        return b"".join([*made, data[done:]])

    def _member_value(self, data: bytes, begin: int) -> tuple[bytes, int]:
        """Return what stands for the value that begins there, and where that ends."""
        text = _STRING.match(data, begin)
        if text is not None:
            return b'"%s"' % self.mark(text[1]) if text[1] else b'""', text.end()
        if data[begin : begin + 1] in (b"{", b"["):
            end = _end_of_brackets(data, begin)
            return b'"%s"' % self.mark(data[begin:end]), end
        word = _WORD.match(data, begin)
        if word is None or word[0] in _PLAIN_WORDS:
            return (b"", begin) if word is None else (word[0], word.end())
        return b'"%s"' % self.mark(word[0]), word.end()

    # --- both -------------------------------------------------------------------------------

    def _is_secret(self, name: bytes, exact: frozenset[bytes]) -> bool:
        lower = name.lower()
        if lower in exact or lower in self.names:
            return True
        return _WORDS.search(lower) is not None and _NOT_SECRET.fullmatch(lower) is None

    def mark(self, value: bytes) -> bytes:
        """Return what stands for a value."""
        if not self.salt:
            return b"[redacted]"
        digest = hmac.digest(self.salt, value, "sha256").hex()[:DIGEST_DIGITS]
        return b"[redacted:%s]" % digest.encode()


REDACTION: Final = Redaction()
"""Takes out what the tables name."""

NO_REDACTION: Final = Redaction(is_on=False)
"""Keeps everything."""


def _end_of_brackets(data: bytes, begin: int) -> int:
    """Return where an object or a list of JSON ends; the end of the data, where it was cut."""
    depth = 0
    for found in _BRACKETS.finditer(data, begin):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return len(data)


def _unquoted(name: bytes) -> bytes:
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name


def _unescaped(name: bytes) -> bytes:
    """Return the name of a member without escapes: ``pass\\u0077ord`` is a password too."""
    if b"\\" not in name:
        return name
    try:
        text = json.loads(f'"{name.decode("latin-1")}"', strict=False)
        return str(text).encode("utf-8", "replace")
    except ValueError:
        return name
