"""The header that a proxy puts before a connection, to say who its client is (no I/O).

The PROXY protocol, versions 1 and 2: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

__all__ = ["NoProxy", "ProxyHeader", "read_proxy_header"]

MAX_V1_BYTES: Final = 107
"""Longest header of version 1, bytes (§2.1)."""

MAX_V2_BYTES: Final = 4096
"""Longest header of version 2 that is read, bytes.  Stops: one that fills the memory."""

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who the client is, as a proxy says."""

    size: int
    """How many bytes the header has."""
    source: str = ""
    """``host:port``; "": the proxy does not say, or speaks for itself."""
    destination: str = ""
    """Where the client connected to."""
    more: dict[int, bytes] = field(default_factory=dict)
    """Version 2: its other values, by type."""


@dataclass(frozen=True, slots=True)
class NoProxy:
    """The connection does not begin with such a header."""


def read_proxy_header(data: bytes) -> ProxyHeader | NoProxy | None:
    """Return the header that *data* begins with; None: more bytes are needed to tell."""
    if _V1.startswith(data[: len(_V1)]) or data.startswith(_V1):
        return _read_v1(data)
    if _V2.startswith(data[: len(_V2)]) or data.startswith(_V2):
        return _read_v2(data)
    return NoProxy()


def _read_v1(data: bytes) -> ProxyHeader | NoProxy | None:
    line, end, _ = data[:MAX_V1_BYTES].partition(b"\r\n")
    if not end:
        return None if len(data) < MAX_V1_BYTES else NoProxy()
    size = len(line) + 2
    words = line.decode("latin-1").split(" ")
    if words[1:2] == ["UNKNOWN"]:
        return ProxyHeader(size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        return NoProxy()
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        source = _address(kind(words[2]), _port(words[4]))
        return ProxyHeader(size, source, _address(kind(words[3]), _port(words[5])))
    except ValueError:
        return NoProxy()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or int(text) > 65535:
        raise ValueError
    return int(text)


def _address(host: IPv4Address | IPv6Address, port: int) -> str:
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"


def _read_v2(data: bytes) -> ProxyHeader | NoProxy | None:
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    size = 16 + int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or size > MAX_V2_BYTES:
        return NoProxy()
    if len(data) < size:
        return None
    rest = data[16:size]
    width = {1: 4, 2: 16}.get(data[13] >> 4, 0)
    if command == 0 or data[13] & 15 != 1 or not width:
        return ProxyHeader(size)  # the proxy itself, or nothing that we know
    if len(rest) < 2 * width + 4:
        return NoProxy()
    kind = IPv4Address if width == 4 else IPv6Address
    hosts = kind(rest[:width]), kind(rest[width : 2 * width])
    ports = (int.from_bytes(rest[2 * width + n : 2 * width + n + 2], "big") for n in (0, 2))
    source, destination = map(_address, hosts, ports)
    more = _values(rest[2 * width + 4 :])
    return NoProxy() if more is None else ProxyHeader(size, source, destination, more)


def _values(data: bytes) -> dict[int, bytes] | None:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 + size > len(data):
            return None
        found[data[at]] = data[at + 3 : at + 3 + size]
        at += 3 + size
    return found
