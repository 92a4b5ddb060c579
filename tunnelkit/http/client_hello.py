"""The first message of a TLS client: which name and which protocols it asks for (no I/O).

RFC 8446 §4.1.2 and §5.1; RFC 6066 §3 (server_name); RFC 7301 (application_layer_protocol_
negotiation).  The message may be cut into several records, and a record anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_HELLO_BYTES", "ClientHello", "NoHello", "read_client_hello"]

MAX_HELLO_BYTES: Final = 32 * 1024
"""Longest hello, bytes, with its records.  Stops: one that never ends filling the memory."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a TLS client asks for."""

    server_name: str = ""
    """In lower case; "": none, or none that is a name."""
    protocols: tuple[str, ...] = ()
    """By ALPN, in the client's order."""


@dataclass(frozen=True, slots=True)
class NoHello:
    """The bytes are no hello."""


class _Cut(Exception):
    """A field is longer than what holds it."""


class _Fields:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Cut
        found = self._data[self._at : end]
        self._at = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Fields:
        """Take a vector whose length is a number of *size* bytes."""
        return _Fields(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    @property
    def is_over(self) -> bool:
        return self._at == len(self._data)


def read_client_hello(data: bytes) -> ClientHello | NoHello | None:
    """Return the hello that *data* begins with; None: more bytes are needed to tell."""
    message = _joined(data[:MAX_HELLO_BYTES])
    if message is None:
        return None if len(data) < MAX_HELLO_BYTES else NoHello()
    try:
        return _parsed(_Fields(message[4:])) if message else NoHello()
    except (_Cut, UnicodeDecodeError):
        return NoHello()


def _joined(data: bytes) -> bytes | None:
    """Return the message that the records hold; None: not all of it has come; empty: it is none."""
    message = bytearray()
    at = 0
    while at < len(data):
        header = data[at : at + 5]
        if header[0] != _HANDSHAKE or header[1:2] not in (b"", b"\x03"):
            return b""
        if len(header) < 5:
            return None
        size = int.from_bytes(header[3:], "big")
        if not 0 < size <= 2**14:
            return b""
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message[:1] not in (b"", bytes([_CLIENT_HELLO])):
            return b""
        if len(message) >= 4:
            wanted = 4 + int.from_bytes(message[1:4], "big")
            if wanted > MAX_HELLO_BYTES:
                return b""
            if len(message) >= wanted:
                return bytes(message[:wanted])
    return None


def _parsed(fields: _Fields) -> ClientHello:
    fields.take(2 + 32)  # version and random
    fields.vector(1)  # session id
    fields.vector(2)  # cipher suites
    fields.vector(1)  # compression methods
    name = ""
    protocols: tuple[str, ...] = ()
    extensions = _Fields(b"") if fields.is_over else fields.vector(2)
    while not extensions.is_over:
        kind, value = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            name = _server_name(value.vector(2))
        elif kind == _ALPN:
            protocols = _protocols(value.vector(2))
    return ClientHello(name, protocols)


def _server_name(names: _Fields) -> str:
    while not names.is_over:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return name.rest().decode("ascii").lower()
    return ""


def _protocols(names: _Fields) -> tuple[str, ...]:
    found = []
    while not names.is_over:
        found.append(names.vector(1).rest().decode("latin-1"))
    return tuple(found)
