"""`no_leaks` names what a block leaves behind, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair, no_leaks


async def test_clean_block_passes() -> None:
    async with no_leaks():
        pump = acquire_pump()
        pump.call_later(60, print).cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
        await release_pump(pump)


async def test_connections_in_memory_leave_nothing(autojump_clock: MockClock, pump: Pump) -> None:
    async with no_leaks():
        for end in memory_pipe_pair(pump, MemoryNetwork(latency=60)):
            end.try_send(b"never to arrive")
            end.close()


async def test_task_left_is_named_with_its_place(autojump_clock: MockClock) -> None:
    async def linger() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match=r"task .*linger, waiting in .*linger \(line"):
            async with no_leaks():
                nursery.start_soon(linger)
        nursery.cancel_scope.cancel()


async def test_system_task_left_is_named() -> None:
    scope = trio.CancelScope()

    async def linger() -> None:
        with scope:
            await trio.sleep_forever()

    with pytest.raises(AssertionError, match="linger"):
        async with no_leaks():
            trio.lowlevel.spawn_system_task(linger)
    scope.cancel()


async def test_cancelled_task_has_time_to_end() -> None:
    scope = trio.CancelScope()

    async def end_slowly() -> None:
        with scope:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with no_leaks():
            nursery.start_soon(end_slowly)
            scope.cancel()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system lists no descriptors")
async def test_descriptor_left_is_named() -> None:
    with pytest.raises(AssertionError, match="descriptor .*pipe"):
        async with no_leaks():
            ends = os.pipe()
    for end in ends:
        os.close(end)


async def test_timer_left_is_named(autojump_clock: MockClock, pump: Pump) -> None:
    with pytest.raises(AssertionError, match="timer: .*print"):
        async with no_leaks():
            timer = pump.call_later(60, print)
    timer.cancel()


async def test_reference_to_the_pump_left_is_named(autojump_clock: MockClock, pump: Pump) -> None:
    with pytest.raises(AssertionError, match="1 reference.* to the pump"):
        async with no_leaks():
            acquire_pump()
    await release_pump(pump)


async def test_what_was_there_before_may_stay(autojump_clock: MockClock, pump: Pump) -> None:
    timer = pump.call_later(60, print)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        async with no_leaks():
            pass
        nursery.cancel_scope.cancel()
    timer.cancel()


async def test_error_of_the_block_goes_on() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with no_leaks():
            raise ValueError("mine")
