"""What both ends of gRPC share: method names, and the records that its messages are.

The records go as JSON, encoded and checked by msgspec, as ours do: that is no slower than protobuf
in Python, and the difference that is left is gRPC's own.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import grpc
import msgspec

__all__ = [
    "ADD",
    "OPTIONS",
    "PAYLOAD",
    "SUMS",
    "Add",
    "Handlers",
    "Sum",
    "as_is",
    "reader",
    "write",
]

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


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # it has no types
    """Serves three functions by the names of their methods; threads and asyncio alike."""

    def __init__(self, add: Any, sums: Any, payload: Any) -> None:
        self._found = {
            ADD: grpc.unary_unary_rpc_method_handler(add, reader(Add), write),
            SUMS: grpc.unary_stream_rpc_method_handler(sums, reader(Add), write),
            PAYLOAD: grpc.unary_stream_rpc_method_handler(payload, reader(Add), as_is),
        }

    def service(self, details: Any) -> Any:
        return self._found.get(details.method)


def as_is(data: bytes) -> bytes:
    """Return bytes that are no record."""
    return data
