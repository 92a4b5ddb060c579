"""The download of the demo: bytes that are cheap to make and whose checksum is known beforehand.

Blocks of 1 MiB, each with its own number in front: a block that is lost, repeated or out of place
changes the checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache

BLOCK_BYTES = 1024 * 1024
_NUMBER_BYTES = 8


@cache
def _pattern() -> bytes:
    rounds = (BLOCK_BYTES - _NUMBER_BYTES + 31) // 32
    text = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(rounds))
    return text[: BLOCK_BYTES - _NUMBER_BYTES]


def blocks(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield *count* blocks, each in two pieces."""
    pattern = _pattern()
    for number in range(count):
        yield number.to_bytes(_NUMBER_BYTES), pattern


@cache
def checksum(count: int) -> str:
    """Return the SHA-256 of *count* blocks, in hex."""
    total = hashlib.sha256()
    for number, pattern in blocks(count):
        total.update(number)
        total.update(pattern)
    return total.hexdigest()
