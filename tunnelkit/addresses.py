"""Addresses of carriers, such as ``tcp://host:port`` and ``unix:///path`` (no I/O).

``tls://host:port`` is TCP with TLS in it, ``ws://host:port/path`` is a WebSocket on TCP and
``wss://`` one on TLS; ``memory://host:port`` is for tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from .errors import ConfigurationError

__all__ = [
    "Address",
    "Destination",
    "as_addresses",
    "parse_address",
    "parse_destination",
    "parse_host_port",
]

_HOST_PORT_SCHEMES = ("tcp", "tls", "memory")
_WEBSOCKET_SCHEMES = ("ws", "wss")
_LOCAL_SCHEMES = ("unix", "memory")
_TARGET = re.compile(r"[!-?A-~]{1,255}")
"""Visible ASCII without "@", no longer than what a token can allow."""
_PEER = re.compile(r"[A-Za-z0-9._/:@+-]{1,255}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a carrier leads: a scheme with host and port, or with a path."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    looked_up: str = field(default="", compare=False)
    """The name that `host` was before it was looked up; "": it was an address already."""

    @property
    def name(self) -> str:
        """The host as the user wrote it: what a certificate has to be for."""
        return self.looked_up or self.host

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        return f"{self.scheme}://{self.host_port}{self.path}"

    @property
    def host_port(self) -> str:
        """Host and port as a person writes them; an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.scheme in _LOCAL_SCHEMES or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name can lead anywhere


def as_addresses(given: Iterable[Address | str]) -> list[Address]:
    """Return *given* as addresses: texts are parsed.

    Raises:
        ConfigurationError: a text is no address.
    """
    return [parse_address(one) if isinstance(one, str) else one for one in given]


def parse_address(text: str, *, what: str = "address") -> Address:
    """Return the address that *text* names.

    Args:
        text: for example ``tcp://127.0.0.1:7000`` or ``unix:///run/tunnel.sock``.
        what: the setting that *text* comes from, for the error.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parts = urlsplit(text)
    except ValueError:  # a bracket without its twin
        parts = urlsplit("")
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        return Address("unix", path=parts.path)
    if parts.scheme in _HOST_PORT_SCHEMES and not parts.path and not parts.query:
        host, port = _split(parts.netloc, text, what)
        return Address(parts.scheme, host, port)
    plain = not parts.query and not parts.fragment and parts.path.isascii()
    if parts.scheme in _WEBSOCKET_SCHEMES and plain and parts.path.isprintable():
        host, port = _split(parts.netloc, text, what)
        path = "" if parts.path == "/" else parts.path
        if " " not in path and "@" not in host:
            return Address(parts.scheme, host, port, path)
    raise ConfigurationError(
        f"{what} {text!r} is not an address; write tcp://HOST:PORT, tls://HOST:PORT, "
        "ws://HOST:PORT/PATH, wss://HOST:PORT/PATH or unix:///PATH"
    )


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a stream leads: a target, and the subject of the peer that opens it."""

    target: str
    """A name that the peer serves, or ``HOST:PORT``."""
    peer: str

    @property
    def is_address(self) -> bool:
        """Whether the target is ``HOST:PORT``, for peers that allow addresses."""
        return ":" in self.target

    def __str__(self) -> str:
        return f"{self.target}@{self.peer}"


def parse_destination(
    text: str, *, peer: str | None = None, what: str = "destination"
) -> Destination:
    """Return what ``TARGET@PEER`` names.

    The first "@" divides: a target has none, while a subject may be ``devbox/alice@laptop``.

    Args:
        peer: who is meant where *text* is only ``TARGET``; None: *text* has to say it.

    Raises:
        ConfigurationError: a part is missing or cannot be what it should be.
    """
    target, at, named = text.partition("@")
    chosen = named if at else peer
    if chosen is None:
        raise ConfigurationError(f"{what} {text!r} names no peer; write TARGET@PEER")
    if not _TARGET.fullmatch(target):
        raise ConfigurationError(
            f"{what} {text!r} has no target that a peer could serve; write NAME@PEER or "
            "HOST:PORT@PEER, the target in visible ASCII"
        )
    if not _PEER.fullmatch(chosen):
        raise ConfigurationError(
            f"{what} {text!r} names the peer {chosen!r}, which is no subject; write TARGET@PEER, "
            "the peer with letters, digits and . _ - / : @ +"
        )
    if ":" in target:
        _split(target, target, what)
    return Destination(target, chosen)


def parse_host_port(text: str, *, what: str = "address") -> Address:
    """Return the TCP address that ``HOST:PORT`` names; also accepts a full address.

    Raises:
        ConfigurationError: it is none.
    """
    if "://" in text:
        return parse_address(text, what=what)
    host, port = _split(text, text, what)
    return Address("tcp", host, port)


def _split(netloc: str, text: str, what: str) -> tuple[str, int]:
    host, colon, port = netloc.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(
            f"{what} {text!r} needs a host and a port from 0 to 65535, such as 127.0.0.1:7000"
        )
    return host, int(port)
