"""The ring of blocks: used again when nobody looks, never before."""

from __future__ import annotations

from tunnelkit.pump.blocks import RING_BLOCKS, BlockRing


def test_block_is_used_again_when_nobody_looks() -> None:
    ring = BlockRing(100)
    assert len({id(ring.take()) for _ in range(50)}) == 1


def test_block_with_a_view_is_not_used() -> None:
    ring = BlockRing(100)
    view = memoryview(ring.take())[:10]
    assert all(ring.take() is not view.obj for _ in range(50))


def test_one_block_that_is_kept_long_does_not_hold_up_the_others() -> None:
    ring = BlockRing(100)
    views = [memoryview(ring.take()) for _ in range(RING_BLOCKS)]
    kept = views.pop(0)
    views.clear()
    assert ring.held == 1
    taken = {id(ring.take()) for _ in range(10 * RING_BLOCKS)}
    assert len(taken) < RING_BLOCKS
    assert id(kept.obj) not in taken


def test_fresh_memory_where_all_are_looked_at() -> None:
    ring = BlockRing(100)
    views = [memoryview(ring.take()) for _ in range(RING_BLOCKS + 5)]
    assert len({id(view.obj) for view in views}) == RING_BLOCKS + 5
    assert ring.held == RING_BLOCKS
