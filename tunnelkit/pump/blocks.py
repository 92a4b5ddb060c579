"""Buffers for large reads that may be kept for replay and are used again afterwards.

A large read has to own its bytes, because a frame made of them is kept until the peer acknowledges
it.  Fresh memory for each read costs more than the read itself (the kernel has to map and clear
its pages), so reads take turns on a ring of blocks.  A block may be used again when nobody looks
at it: Python refuses to resize a bytearray that has live views, and that refusal is the test.  So
nothing has to be given back, and nothing can be given back too early.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from tunnelkit import limits

__all__ = ["Block", "BlockRing"]

RING_BLOCKS: Final = 24
"""Most blocks in the ring; with all of them in use, reads take fresh memory."""


LOOKS: Final = 3
"""How many blocks are looked at for a free one.  They become free in the order in which they were
taken, mostly: one that somebody keeps longer must not be what all wait for."""


class Block(bytearray):
    """A buffer that nobody writes to while somebody looks at it."""

    __slots__ = ()

    @property
    def is_free(self) -> bool:
        """Whether no view of it is alive."""
        try:
            self.append(0)
        except BufferError:
            return False
        del self[-1]
        return True


class BlockRing:
    """Blocks that take turns."""

    def __init__(self, block_bytes: int = limits.BULK_FRAME_BYTES) -> None:
        self._block_bytes = block_bytes
        self._blocks: deque[Block] = deque()

    @property
    def held(self) -> int:
        """How many blocks of the ring somebody looks at."""
        return sum(not block.is_free for block in self._blocks)

    def take(self) -> Block:
        """Return a block that is free; it stays so until a view of it is made."""
        blocks = self._blocks
        for _ in range(min(LOOKS, len(blocks))):
            blocks.rotate(-1)
            if blocks[-1].is_free:
                return blocks[-1]
        block = Block(self._block_bytes)
        if len(blocks) < RING_BLOCKS:
            blocks.append(block)
        return block
