"""Addresses of carriers, such as ``tcp://host:port`` and ``unix:///path`` (no I/O).

``tls://host:port`` is TCP with TLS in it, ``ws://host:port/path`` is a WebSocket on TCP and
``wss://`` one on TLS; ``memory://host:port`` is for tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from .errors import ConfigurationError

__all__ = ["Address", "parse_address", "parse_host_port"]

_HOST_PORT_SCHEMES = ("tcp", "tls", "memory")
_WEBSOCKET_SCHEMES = ("ws", "wss")
_LOCAL_SCHEMES = ("unix", "memory")


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
