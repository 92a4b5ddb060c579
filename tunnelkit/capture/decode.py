"""Take the encoding off a body, within a bound (no I/O).

Only what the standard library reads: gzip and deflate.  A body can decode to a thousand times its
size, and be encoded twice to become a million times; so decoding stops at the bound of its caller.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tunnelkit.http.head import Fields, values_of

__all__ = ["MAX_ENCODINGS", "Decoded", "can_encode", "decode", "encode", "encodings_of"]

MAX_ENCODINGS: Final = 3
"""Most encodings that are taken off a body.  Stops: a field that costs a pass for each word."""

MAX_MEMBERS: Final = 64
"""Most members of a gzip body.  Stops: thousands of empty ones, each of which costs a
copy of what follows."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_WINDOWS: Final = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (zlib.MAX_WBITS, _RAW)}
"""How zlib reads an encoding; some servers send ``deflate`` without the frame that it needs."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a body said."""

    data: bytes
    is_whole: bool
    """Whether that is all of it."""


def encodings_of(fields: Fields) -> tuple[str, ...]:
    """Return the encodings of a body, in the order in which they were put on."""
    words = b",".join(values_of(fields, b"content-encoding")).decode("latin-1").lower().split(",")
    found = (word.strip(" \t") for word in words)
    return tuple(word for word in found if word not in ("", "identity"))


def decode(data: bytes, encodings: Iterable[str], max_bytes: int) -> Decoded | None:
    """Return what *data* says; None: there is an encoding that cannot be read, or it is broken.

    Args:
        encodings: in the order in which they were put on.
        max_bytes: most bytes that are returned, and held on the way.
    """
    layers = list(encodings)
    if len(layers) > MAX_ENCODINGS or not can_encode(layers):
        return None
    is_whole = True
    for layer in reversed(layers):
        found = next(filter(None, (_inflate(data, w, max_bytes) for w in _WINDOWS[layer])), None)
        if found is None:
            return None
        data, is_whole = found.data, is_whole and found.is_whole
    return Decoded(data, is_whole)


def _inflate(data: bytes, window: int, max_bytes: int) -> Decoded | None:
    """Return what one layer says: all of its members, as gzip may have several."""
    made = bytearray()
    for _ in range(MAX_MEMBERS):
        if not data:
            return Decoded(bytes(made), is_whole=True)
        machine = zlib.decompressobj(window)
        try:
            # One byte more than wanted, so that what fits exactly is seen to be whole.
            made += machine.decompress(data, max_bytes + 1 - len(made))
        except zlib.error:
            return None
        if len(made) > max_bytes or not machine.eof:
            return Decoded(bytes(made[:max_bytes]), is_whole=False)
        data = machine.unused_data if window == _GZIP else b""
    return Decoded(bytes(made), is_whole=not data)


def can_encode(encodings: Iterable[str]) -> bool:
    """Whether all of these can be taken off, and put on."""
    return _WINDOWS.keys() >= set(encodings)


def encode(data: bytes, encodings: Iterable[str]) -> bytes:
    """Put encodings on again, which `decode` has taken off; the bytes may be other ones."""
    for layer in encodings:
        machine = zlib.compressobj(wbits=_WINDOWS[layer][0])
        data = machine.compress(data) + machine.flush()
    return data
