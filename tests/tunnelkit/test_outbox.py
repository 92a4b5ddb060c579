"""The drain rate of a link, and what follows from it: frames, the cork, what may be unsent."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tunnelkit import limits
from tunnelkit.carriers import Pipe, PipeBroken
from tunnelkit.outbox import (
    FIRST_BYTES,
    FRAME_SECONDS,
    LEAST_FRAME_BYTES,
    MOST_UNSENT_BYTES,
    UNSENT_SECONDS,
    Outbox,
)
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair

MEGABIT = 1e6 / 8


class Bulk(Outbox):
    """Writes frames as long as the link takes them."""

    def __init__(self, pipe: Pipe, *, pause: float = 0.0) -> None:
        super().__init__(pipe)
        self.limits_set: list[int] = []
        self.pause = pause
        self.is_over = False
        pipe.start(self._ready)
        self.limit_unsent(FIRST_BYTES)

    def limit_unsent(self, count: int) -> None:
        self.limits_set.append(count)
        super().limit_unsent(count)

    def _ready(self, readable: bool, writable: bool) -> None:
        if writable and self.pause:
            self.pipe.want(readable=True, writable=False)
            self.pump.call_later(self.pause, self._come_late)
        elif writable:
            self.drain()

    def _come_late(self) -> None:
        if not self.is_over:
            self.drain()
            self.pipe.want(readable=True, writable=not self.is_clear)

    def send_failed(self, error: PipeBroken) -> None:
        raise AssertionError from error

    def flushed(self) -> None:
        pass

    def resume_users(self) -> None:
        while self.is_clear and not self.is_over:
            self.write(bytes(self.frame_bytes))


async def run_bulk(
    pump: Pump, bandwidth: float | None, seconds: float = 0.5, *, pause: float = 0.0
) -> Bulk:
    """Return an outbox that had plenty to send for a while over such a path."""
    network = MemoryNetwork(bandwidth=bandwidth, capacity_bytes=8 * limits.MIB)
    near, far = memory_pipe_pair(pump, network)
    block = memoryview(bytearray(limits.MIB))

    def read(readable: bool, writable: bool) -> None:
        far.try_receive_into(block)

    far.start(read)
    far.want(readable=True, writable=False)
    outbox = Bulk(near, pause=pause)
    with pump.batch():
        outbox.resume_users()
    await trio.sleep(seconds)
    outbox.is_over = True
    near.close()
    return outbox


@pytest.mark.parametrize("megabits", [2, 10, 100, 1000])
async def test_frames_follow_the_rate(megabits: int, autojump_clock: MockClock, pump: Pump) -> None:
    outbox = await run_bulk(pump, megabits * MEGABIT)
    assert outbox.drain_rate == pytest.approx(megabits * MEGABIT, rel=0.1)
    size = outbox.drain_rate * FRAME_SECONDS
    clamped = max(LEAST_FRAME_BYTES, min(size, limits.BULK_FRAME_BYTES))
    assert outbox.frame_bytes == pytest.approx(clamped, rel=0.01)


@pytest.mark.parametrize("megabits", [10, 100])
async def test_unsent_bytes_follow_the_rate(
    megabits: int, autojump_clock: MockClock, pump: Pump
) -> None:
    outbox = await run_bulk(pump, megabits * MEGABIT)
    wanted = megabits * MEGABIT * UNSENT_SECONDS
    assert wanted / 2 <= outbox.limits_set[-1] <= 2 * wanted
    assert len(outbox.limits_set) <= 3, "a system call for every little change"


async def test_unsent_bytes_of_a_fast_link_are_left_to_the_system(
    autojump_clock: MockClock, pump: Pump
) -> None:
    outbox = await run_bulk(pump, 2 * MOST_UNSENT_BYTES / UNSENT_SECONDS, 0.2)
    assert outbox.limits_set[-1] == 0


async def test_frames_grow_on_a_link_that_is_never_full(
    autojump_clock: MockClock, pump: Pump
) -> None:
    near, far = memory_pipe_pair(pump, MemoryNetwork(capacity_bytes=64 * limits.MIB))
    outbox = Bulk(near)
    for _ in range(8):
        outbox.write(bytes(outbox.frame_bytes))
    assert outbox.frame_bytes == limits.BULK_FRAME_BYTES
    far.close()


async def test_what_left_a_pipe_that_ran_dry_is_no_rate(
    autojump_clock: MockClock, pump: Pump
) -> None:
    near, far = memory_pipe_pair(pump, MemoryNetwork(bandwidth=100 * MEGABIT))
    outbox = Bulk(near)
    for _ in range(5):
        with pump.batch():
            outbox.write(bytes(FIRST_BYTES))
        await trio.sleep(0.1)
    assert (outbox.drain_rate, outbox.frame_bytes >= FIRST_BYTES) == (0.0, True)
    far.close()


async def test_small_writes_do_not_grow_frames(autojump_clock: MockClock, pump: Pump) -> None:
    near, far = memory_pipe_pair(pump, MemoryNetwork(capacity_bytes=limits.MIB))
    outbox = Bulk(near)
    for _ in range(100):
        with pump.batch():
            outbox.write(bytes(100))
    assert outbox.frame_bytes == FIRST_BYTES
    far.close()


@pytest.mark.parametrize("pause", [0.01, 0.03])
async def test_a_program_that_comes_too_late_keeps_more_in_the_pipe(
    pause: float, autojump_clock: MockClock, pump: Pump
) -> None:
    outbox = await run_bulk(pump, 100 * MEGABIT, 2.0, pause=pause)
    assert outbox.bytes_out / 2.0 >= 0.5 * 100 * MEGABIT
