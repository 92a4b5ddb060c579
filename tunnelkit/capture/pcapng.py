"""Write the blocks of a pcapng file (no I/O).

The format is that of the IETF draft "PCAP Now Generic": a section header, one interface with raw IP
packets and times in nanoseconds, a packet in each enhanced packet block.  Comments are options.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["interface_block", "packet_block", "section_block", "statistics_block"]

MAX_COMMENT_BYTES: Final = 1024
"""Longest comment, bytes of UTF-8.  Stops: names of peers that do not fit an option."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC: Final = 0x1A2B3C4D
_RAW_IP: Final = 101
"""LINKTYPE_RAW: the first byte says which version of IP it is."""

_COMMENT, _NAME, _USER_PROGRAM, _RESOLUTION, _DESCRIPTION = 1, 2, 4, 9, 3
_NANOSECONDS: Final = b"\x09"


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _options(options: dict[int, bytes]) -> bytes:
    """Return the options of a block, the end of which is one too."""
    given = [_option(code, value) for code, value in options.items() if value]
    return b"".join([*given, _option(0, b"")]) if given else b""


def _words(text: str) -> bytes:
    """Return a text as an option has it, cut between two characters."""
    data = text.encode("utf-8", "replace")[:MAX_COMMENT_BYTES]
    return data.decode("utf-8", "ignore").encode()


def section_block(program: str) -> bytes:
    """Return the beginning of a file."""
    body = struct.pack("<IHHq", _MAGIC, 1, 0, -1)
    return _block(_SECTION, body + _options({_USER_PROGRAM: _words(program)}))


def interface_block(name: str, description: str) -> bytes:
    """Return the description of the interface that packets come from."""
    options = {_NAME: _words(name), _DESCRIPTION: _words(description), _RESOLUTION: _NANOSECONDS}
    return _block(_INTERFACE, struct.pack("<HHI", _RAW_IP, 0, 0) + _options(options))


def _moment(nanoseconds: int) -> bytes:
    return struct.pack("<II", nanoseconds >> 32, nanoseconds & 0xFFFFFFFF)


def packet_block(packet: bytes, nanoseconds: int, comment: str = "") -> bytes:
    """Return a packet that was seen so many nanoseconds after 1970."""
    size = struct.pack("<II", len(packet), len(packet))
    body = struct.pack("<I", 0) + _moment(nanoseconds) + size + packet + bytes(-len(packet) % 4)
    return _block(_PACKET, body + _options({_COMMENT: _words(comment)}))


def statistics_block(nanoseconds: int, comment: str) -> bytes:
    """Return what is said of the interface at the end."""
    body = struct.pack("<I", 0) + _moment(nanoseconds)
    return _block(_STATISTICS, body + _options({_COMMENT: _words(comment)}))
