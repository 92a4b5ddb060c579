"""What a public host or path leads to, and who may go there (no I/O)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from tunnelkit.addresses import Address, Destination
from tunnelkit.errors import ConfigurationError
from tunnelkit.http.head import is_host

__all__ = [
    "Access",
    "Caller",
    "Credentials",
    "Directory",
    "Entry",
    "Interception",
    "PreviewName",
    "Site",
    "may_enter",
    "read_preview_name",
]

MAX_LABEL: Final = 63
"""Longest label of a host name, characters (RFC 1035 §2.3.4)."""

MAX_ENVIRONMENT: Final = 256
"""Longest id of an environment, characters: that of a value in `tracestate` (W3C Trace Context)."""

_ENVIRONMENT: Final = re.compile(rf"[\x21-\x2b\x2d-\x3a\x3c\x3e-\x7e]{{0,{MAX_ENVIRONMENT}}}")
_LABEL: Final = re.compile(r"([1-9]\d{0,4})-([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)-([a-z0-9]+)")


class Access(Enum):
    """Who may see a site."""

    OWNER = "owner"
    ORGANISATION = "organisation"
    """Everybody in the organisation of the owner."""
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Interception:
    """Somebody who has taken over what a site leads to."""

    whose: str
    """For people, as in "ada's laptop"."""
    detail: str = ""
    """What helps to find the cause when it does not answer, as in "port 8080, since 12:30"."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a host or a path leads to.

    Raises:
        ConfigurationError: its environment or its host cannot be said in a request.
    """

    name: str
    """What people call it; it stands on pages."""
    upstream: Address | Destination
    """An address, or what a peer serves."""
    access: Access = Access.OWNER
    owner: str = ""
    organisation: str = ""
    environment: str = ""
    """The id that its requests carry; "": none, and none that a client sends either."""
    intercept: Interception | None = None
    speaks_http2: bool = False
    """Whether clients of HTTP/2 are passed on as such, as gRPC needs it."""
    host: str = ""
    """The ``Host`` that the server is sent; "": the one that the client asked for."""
    prefix: str = ""
    """The beginning of the path that the server does not see, as in ``/abc``; set for path routes
    by the gateway."""
    rewrites: bool = True
    """Whether a prefix that was taken off is put back into ``Location`` and paths of cookies."""

    def __post_init__(self) -> None:
        if _ENVIRONMENT.fullmatch(self.environment) is None:
            raise ConfigurationError(
                f"environment {self.environment[:40]!r}: at most {MAX_ENVIRONMENT} visible ASCII "
                "characters, without , ; and ="
            )
        if not (self.host.isascii() and is_host(self.host.encode())):
            raise ConfigurationError(f"host {self.host[:40]!r}: write HOST or HOST:PORT")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known."""

    name: str
    organisations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client says to be known; at least one of the two is there."""

    cookie: str = ""
    """The value of the login cookie."""
    bearer: str = ""

    def __repr__(self) -> str:
        return "<Credentials>"  # they are secrets


@dataclass(frozen=True, slots=True)
class PreviewName:
    """A preview host, ``{port}-{service}-{hash}``."""

    port: int
    service: str
    hash: str

    def __str__(self) -> str:
        return f"{self.port}-{self.service}-{self.hash}"


class Directory(Protocol):
    """What the gateway asks of the control plane; each answer is waited for a bounded time."""

    async def preview(self, name: PreviewName) -> Site | None:
        """Return what a preview host leads to; None: there is no such preview."""

    async def path(self, name: str) -> Site | None:
        """Return what paths that begin with ``/<name>/`` lead to; None: there is no such route."""

    async def caller(self, credentials: Credentials) -> Caller | None:
        """Return who that is; None: nobody who is known, or not any more."""


def read_preview_name(label: str) -> PreviewName | None:
    """Return the preview that a host's first label names; None: it is none."""
    found = _LABEL.fullmatch(label) if len(label) <= MAX_LABEL else None
    if found is None or int(found[1]) > 65_535:
        return None
    return PreviewName(int(found[1]), found[2], found[3])


class Entry(Enum):
    """What a caller is told at the door."""

    ENTER = "enter"
    LOGIN = "who are you?"
    FORBIDDEN = "not for you"


def may_enter(site: Site, caller: Caller | None) -> Entry:
    """Decide who sees a site; whoever is not named does not."""
    if site.access is Access.PUBLIC:
        return Entry.ENTER
    if caller is None:
        return Entry.LOGIN
    is_owner = site.owner != "" and caller.name == site.owner
    is_member = site.organisation != "" and site.organisation in caller.organisations
    if is_owner or (site.access is Access.ORGANISATION and is_member):
        return Entry.ENTER
    return Entry.FORBIDDEN
