"""Make up the packets of a conversation: IP and TCP headers for bytes that had others (no I/O).

Who only sees the bytes of a connection does not know its packets.  So these are made: a handshake,
segments of at most `SEGMENT_BYTES`, an acknowledgement now and then, a FIN for each direction or
one RST.  Checksums are right, and sequence numbers wrap at 2**32 as they should, so that Wireshark
has nothing to complain about.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

from tunnelkit.wire.stream import Buffer

__all__ = ["ACK_EVERY_BYTES", "SEGMENT_BYTES", "Flow", "IpAddress", "Place", "Tcp"]

IpAddress: TypeAlias = IPv4Address | IPv6Address

SEGMENT_BYTES: Final = 16 * 1024
"""Most bytes of a segment.  Larger than on a wire, for fewer headers; IP allows four times that."""

ACK_EVERY_BYTES: Final = 1024 * 1024
"""Unacknowledged bytes after which the other side acknowledges: far within its window."""

_WRAP: Final = 1 << 32
_TTL: Final = 64
_TCP: Final = 6
_WINDOW: Final = 0xFFFF
_SYN_OPTIONS: Final = struct.pack("!BBHBBBB", 2, 4, SEGMENT_BYTES, 3, 3, 14, 0)
"""Maximum segment size; window scale 14, so that a window is 1 GiB; the end."""


class Tcp(IntFlag):
    """Flags of TCP."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16


@dataclass(frozen=True, slots=True)
class Place:
    """An address and a port."""

    address: IpAddress
    port: int


@dataclass(slots=True)
class _Side:
    place: Place
    seq: int
    """The next byte's number."""
    unacked: int = 0
    has_ended: bool = False


@dataclass(slots=True)
class Flow:
    """A conversation as packets, which its methods yield; both places are of one family.

    Args:
        first_seq: the number of each side's SYN.
    """

    client: Place
    server: Place
    first_seq: int = 0
    _sides: tuple[_Side, _Side] = field(init=False)
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._sides = (_Side(self.client, self.first_seq), _Side(self.server, self.first_seq))

    def begin(self) -> Iterator[bytes]:
        """Yield the handshake."""
        client, server = self._sides
        yield self._packet(client, server, Tcp.SYN, options=_SYN_OPTIONS)
        client.seq = (client.seq + 1) % _WRAP
        yield self._packet(server, client, Tcp.SYN | Tcp.ACK, options=_SYN_OPTIONS)
        server.seq = (server.seq + 1) % _WRAP
        yield self._packet(client, server, Tcp.ACK)

    def say(self, from_client: bool, data: Buffer) -> Iterator[bytes]:
        """Yield the segments of what one side says; none once it has ended."""
        sender, receiver = self._sides if from_client else self._sides[::-1]
        if sender.has_ended:
            return
        with memoryview(data).cast("B") as view:
            for begin in range(0, len(view), SEGMENT_BYTES):
                piece = bytes(view[begin : begin + SEGMENT_BYTES])
                yield self._packet(sender, receiver, Tcp.PSH | Tcp.ACK, piece)
                sender.seq = (sender.seq + len(piece)) % _WRAP
                sender.unacked += len(piece)
                receiver.unacked = 0
                if sender.unacked >= ACK_EVERY_BYTES:
                    sender.unacked = 0
                    yield self._packet(receiver, sender, Tcp.ACK)

    def finish(self, from_client: bool) -> Iterator[bytes]:
        """Yield the end of one direction, and that the other side has seen it."""
        sender, receiver = self._sides if from_client else self._sides[::-1]
        if sender.has_ended:
            return
        sender.has_ended = True
        yield self._packet(sender, receiver, Tcp.FIN | Tcp.ACK)
        sender.seq = (sender.seq + 1) % _WRAP
        yield self._packet(receiver, sender, Tcp.ACK)

    def reset(self, from_client: bool) -> Iterator[bytes]:
        """Yield the end of both directions, with bytes missing."""
        sender, receiver = self._sides if from_client else self._sides[::-1]
        if not (sender.has_ended and receiver.has_ended):
            sender.has_ended = receiver.has_ended = True
            yield self._packet(sender, receiver, Tcp.RST | Tcp.ACK)

    def _packet(
        self, sender: _Side, receiver: _Side, flags: Tcp, data: bytes = b"", options: bytes = b""
    ) -> bytes:
        ack = receiver.seq if Tcp.ACK in flags else 0
        self._count += 1
        return _ip_packet(
            sender.place,
            receiver.place,
            _segment(sender, receiver, ack, flags, options) + data,
            self._count,
        )


def _segment(sender: _Side, receiver: _Side, ack: int, flags: Tcp, options: bytes) -> bytes:
    """Return a TCP header, without its checksum."""
    options += bytes(-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    ports = sender.place.port, receiver.place.port
    return (
        struct.pack("!HHIIBBHHH", *ports, sender.seq, ack, offset, flags, _WINDOW, 0, 0) + options
    )


def _ip_packet(source: Place, target: Place, segment: bytes, number: int) -> bytes:
    """Return an IP packet around a TCP segment, with the checksums of both."""
    addresses = source.address.packed + target.address.packed
    pseudo = addresses + struct.pack("!II", len(segment), _TCP)
    summed = struct.pack("!H", checksum(pseudo + segment))
    segment = segment[:16] + summed + segment[18:]
    if source.address.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(segment), _TCP, _TTL) + addresses + segment
    size, dont_fragment = 20 + len(segment), 0x4000
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, number & 0xFFFF, dont_fragment, _TTL, _TCP, 0)
    summed = struct.pack("!H", checksum(head + addresses))
    return head[:10] + summed + addresses + segment


def checksum(data: bytes) -> int:
    """Return the checksum of the internet (RFC 1071): one remainder, as 2**16 is 1 modulo 65535."""
    if len(data) % 2:
        data += b"\0"
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)
