"""What rules can look at in a request, and how it is called (no I/O).

A *subject* is what a condition is about:

    method            the method
    path              the path of the target, as it was sent, without the query
    host              the host that is asked for, in lower case, without a port
    sni               the server name of TLS
    header:NAME       the value of a header; of one that came more than once, all joined by ", "
    tracestate:KEY    a member of `tracestate` (W3C Trace Context §3.3)
    baggage:KEY       a member of `baggage` (W3C Baggage §3)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from tunnelkit.http.body import framing_of_request
from tunnelkit.http.errors import HttpRefused, Rule
from tunnelkit.http.head import Fields, RequestHead, read_request, values_of, write_fields

__all__ = ["PROBE_AGENT", "RequestFacts", "facts_of", "is_probe", "octets_of", "refusal_of"]

PROBE_AGENT: Final = "kube-probe/"
"""How the `User-Agent` of a kubelet's probes begins."""

_AUTHORITY: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request, as rules see it."""

    method: str = "GET"
    target: str = "/"
    fields: Fields = ()
    server_name: str = ""
    """Of TLS; "": there was none."""

    @property
    def path(self) -> str:
        """The path of the target; of CONNECT and of ``*``, all of it."""
        target = self.target
        if "://" in target[:12] and not target.startswith("/"):
            _, slash, rest = target.partition("://")[2].partition("/")
            target = slash + rest or "/"
        return target.partition("?")[0]

    @property
    def host(self) -> str:
        """The host that is asked for: that of the target if it has one (RFC 9112 §3.2.2)."""
        if "://" in self.target[:12] and not self.target.startswith("/"):
            authority = re.split(r"[/?#]", self.target.partition("://")[2], maxsplit=1)[0]
        else:
            authority = self.header("host") or ""
        found = _AUTHORITY.fullmatch(authority)
        return (found[1] if found else authority).lower()

    def header(self, name: str) -> str | None:
        """Return the value of a header, whose name is in lower case; None: there is none."""
        values = [value.decode("latin-1") for value in values_of(self.fields, name.encode())]
        # One Cookie may come as several fields in HTTP/2 (RFC 9113 §8.2.3).
        return ("; " if name == "cookie" else ", ").join(values) if values else None

    def member(self, header: str, key: str) -> str | None:
        """Return the first member of that key in `tracestate` or `baggage`; None: there is none."""
        for found, value in _members(self.header(header) or ""):
            if found == key:
                return unquote(value, "latin-1") if header == "baggage" else value
        return None

    def value_of(self, subject: str) -> str | None:
        """Return what a condition is about; None: the request has nothing of it."""
        kind, _, name = subject.partition(":")
        if kind == "header":
            return self.header(name)
        if kind in ("tracestate", "baggage"):
            return self.member(kind, name)
        if kind == "sni":
            return self.server_name or None
        return {"method": self.method, "path": self.path, "host": self.host}[kind]


def _members(value: str) -> Iterator[tuple[str, str]]:
    for member in value.split(","):
        key, equals, rest = member.strip(" \t").partition("=")
        if equals:
            yield key.strip(" \t"), rest.partition(";")[0].strip(" \t")


def facts_of(head: RequestHead, server_name: str = "") -> RequestFacts:
    """Return what rules see of a request."""
    method, target = head.method.decode("ascii"), head.target.decode("ascii")
    return RequestFacts(method, target, head.fields, server_name)


def octets_of(text: str) -> bytes:
    """Return a text as UTF-8; bytes that were none, and came escaped (PEP 383), as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, as JSON can say it
        return text.encode("utf-8", "surrogatepass")


def refusal_of(facts: RequestFacts) -> HttpRefused | None:
    """Return why a port that reads requests carries this one on to nobody; None: it does."""
    fields = facts.fields
    if not any(values_of(fields, b"host")):
        fields = ((b"Host", b"shop"), *fields)
    line = octets_of(f"{facts.method} {facts.target} HTTP/1.1\r\n")
    if any(set(b"\r\n") & set(name + value) for name, value in fields):
        return HttpRefused(400, Rule.LINE_END)
    try:
        found = read_request(line + write_fields(fields) + b"\r\n")
        if found is not None:
            framing_of_request(found[0])
    except HttpRefused as error:
        return error
    return None


def is_probe(facts: RequestFacts) -> bool:
    """Return whether a kubelet asks: how the workload is, which nobody else can answer."""
    return (facts.header("user-agent") or "").startswith(PROBE_AGENT)
