"""Blocks of fields: packed for the peer, and unpacked (RFC 7541), and kept for the next (no I/O).

How it works
------------
Calls of one client repeat nearly the same fields, and HPACK makes nearly the same few bytes of
them.  So what was packed or unpacked once is kept, and used again as long as the table that it was
packed with is the same: every change of the table drops all that is kept.

A field goes into the table when it is sent for the second time.  Values that differ from call to
call (a path, a trace) thus leave the table alone, and all that is kept with it.  A field that is
never to be indexed is packed anew each time, and never looked up: it equals the same field without
that mark, which is packed in another way.
"""

from __future__ import annotations

from typing import Final, TypeVar

from hpack import (
    Decoder,
    HeaderTuple,
    HPACKError,
    NeverIndexedHeaderTuple,
    OversizedHeaderListError,
)
from hpack.table import HeaderTable, table_entry_size

from .h2_events import Headers
from .h2_frames import ErrorCodes, Violation
from .h2_streams import Recent

__all__ = ["Packer", "Unpacker"]

MAX_KEPT: Final = 64
"""Blocks, and fields, that are kept with one table.  Stops: peers that never say the same twice."""

MAX_KEPT_BYTES: Final = 512
"""Longest block that is kept, bytes.  Stops: the same with few but long ones."""

MAX_SEEN: Final = 256
"""Fields that were sent once, and are known to have been."""

MAX_INDEXED_BYTES: Final = 1024
"""Longest field that is put into the table, bytes: a quarter of the table."""

MAX_TABLE_BYTES: Final = 4096
"""Largest table that we pack with, bytes.  Stops: peers that want us to keep much."""

_INDEXED, _KEPT, _PLAIN, _NEVER, _RESIZED = 0x80, 0x40, 0x00, 0x10, 0x20


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Packer:
    """Packs the fields of one connection."""

    __slots__ = ("_blocks", "_fields", "_is_fresh", "_seen", "_sizes", "_table")

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._sizes: list[int] = []
        """Sizes of the table that the peer has to be told: the smallest, and the last."""
        self._seen = Recent(MAX_SEEN)
        self._fields: dict[tuple[bytes, bytes], bytes] = {}
        self._blocks: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
        self._is_fresh = False
        """Whether what is being packed has a field that may be packed shorter the next time."""

    def resize(self, size: int) -> None:
        """Use a table of at most so many bytes: more is not kept by the peer."""
        size = min(size, MAX_TABLE_BYTES)
        if size != self._table.maxsize:
            self._table.maxsize = size
            self._sizes = [min([*self._sizes, size]), size]
            self._forget()

    def pack(self, headers: Headers) -> bytes:
        """Return a block."""
        if NeverIndexedHeaderTuple in map(type, headers):
            return self._pack(headers)
        key = tuple(headers)
        block = self._blocks.get(key)
        if block is None:
            self._is_fresh = bool(self._sizes)
            block = self._pack(headers)
            if not self._is_fresh and len(block) <= MAX_KEPT_BYTES:
                _keep(self._blocks, key, block)
        return block

    def _pack(self, headers: Headers) -> bytes:
        sizes, self._sizes = self._sizes, []
        parts = [_integer(size, 5, _RESIZED) for size in dict.fromkeys(sizes)]
        for field in headers:
            if type(field) is NeverIndexedHeaderTuple:
                parts.append(self._literal(field, 4, _NEVER))
            else:
                parts.append(self._fields.get(field) or self._field(field))
        return b"".join(parts)

    def _field(self, field: tuple[bytes, bytes]) -> bytes:
        name, value = field
        found = self._table.search(name, value)
        if found is not None and found[2] is not None:
            packed = _integer(found[0], 7, _INDEXED)
            _keep(self._fields, field, packed)
            return packed
        size = table_entry_size(name, value)
        if size > MAX_INDEXED_BYTES or size > self._table.maxsize:
            return self._literal(field, 4, _PLAIN)
        self._is_fresh = True
        number = hash(field)
        if number not in self._seen:
            self._seen.add(number)
            return self._literal(field, 4, _PLAIN)
        packed = self._literal(field, 6, _KEPT)
        self._table.add(name, value)
        self._forget()
        return packed

    def _literal(self, field: tuple[bytes, bytes], bits: int, first: int) -> bytes:
        """Return a field with its value as it is: what Huffman would save is not worth its time."""
        name, value = field
        found = self._table.search(name, value)
        size = _integer(len(value), 7, 0)
        if found is not None:
            return _integer(found[0], bits, first) + size + value
        return bytes([first]) + _integer(len(name), 7, 0) + name + size + value

    def _forget(self) -> None:
        self._fields.clear()
        self._blocks.clear()


class Unpacker:
    """Unpacks the fields of one connection.

    Args:
        max_bytes: most bytes of the fields of one block, unpacked.
    """

    __slots__ = ("_blocks", "_decoder")

    def __init__(self, max_bytes: int) -> None:
        self._decoder = Decoder(max_bytes)
        self._blocks: dict[bytes, list[HeaderTuple]] = {}

    def unpack(self, block: bytes) -> Headers:
        """Return the fields of a block.

        Raises:
            Violation: it is none, or too large: the connection cannot be read any more.
        """
        known = self._blocks.get(block)
        if known is not None:
            return [*known]
        table = self._decoder.header_table
        before = (len(table.dynamic_entries), table.maxsize)
        newest = table.dynamic_entries[0] if table.dynamic_entries else None
        try:
            found = list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError as error:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, "fields that unpack to much") from error
        except HPACKError as error:
            text = "fields that cannot be unpacked"
            raise Violation(ErrorCodes.COMPRESSION_ERROR, text) from error
        # What is put into the table is a new object in front, even where an equal one was there.
        entries = table.dynamic_entries
        is_same = newest is (entries[0] if entries else None)
        if not is_same or before != (len(entries), table.maxsize):
            self._blocks.clear()
        elif len(block) <= MAX_KEPT_BYTES:
            _keep(self._blocks, block, found)
        return [*found]


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(kept) >= MAX_KEPT:
        kept.clear()
    kept[key] = value


def _integer(number: int, bits: int, first: int) -> bytes:
    """Return a number behind the first bits of a byte (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([first | number])
    packed = bytearray([first | most])
    number -= most
    while number >= 128:
        packed.append(number & 127 | 128)
        number >>= 7
    packed.append(number)
    return bytes(packed)
