"""What both ends of gRPC share: method names, and the records that its messages are.

The records go as JSON, encoded and checked by msgspec, as ours do: that is no slower than protobuf
in Python, and the difference that is left is gRPC's own.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec

__all__ = ["ADD", "OPTIONS", "PAYLOAD", "SUMS", "Add", "Sum", "as_is", "reader", "write"]

ADD: Final = "/adder.Adder/add"
SUMS: Final = "/adder.Adder/sums"
PAYLOAD: Final = "/adder.Adder/payload"

OPTIONS: Final = (("grpc.so_reuseport", 0),)


@attrs.frozen
class Add:
    """Two numbers."""

    a: int
    b: int = 0


@attrs.frozen
class Sum:
    """What an addition gives."""

    total: int


write = msgspec.json.Encoder().encode


def reader(kind: type) -> Any:
    """Return what reads a record of that type."""
    return msgspec.json.Decoder(kind).decode


def as_is(data: bytes) -> bytes:
    """Return bytes that are no record."""
    return data
