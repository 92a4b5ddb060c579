"""The pump itself: batches, ready-queue, timers, and how long it lives."""

from __future__ import annotations

import os
import select
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tunnelkit.addresses import Address
from tunnelkit.carriers import SYSTEM_NETWORK, connect
from tunnelkit.errors import ConfigurationError, LocalProtocolError
from tunnelkit.pump import (
    Deadlines,
    Pump,
    acquire_pump,
    current_pump,
    release_pump,
    use_pump,
)
from tunnelkit.pump.epoll import MAX_EVENTS
from tunnelkit.testing import no_leaks

# --- life ----------------------------------------------------------------------------------


async def test_there_is_one_pump_per_run() -> None:
    first, second = acquire_pump(), acquire_pump()
    assert first is second is current_pump()
    await release_pump(first)
    assert current_pump() is first
    await release_pump(second)
    assert current_pump() is None


@pytest.mark.parametrize("kind", ["epoll", "tasks"])
async def test_last_release_leaves_nothing(kind: str) -> None:
    with use_pump(kind):
        async with no_leaks():
            for _ in range(3):
                await release_pump(acquire_pump())


async def test_release_happens_when_it_is_cancelled() -> None:
    async with no_leaks():
        pump = acquire_pump()
        with trio.CancelScope() as scope:
            scope.cancel()
            await release_pump(pump)
    assert current_pump() is None


async def test_pump_outlives_the_nursery_of_its_first_user(pump: Pump) -> None:
    called = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        assert acquire_pump() is pump
        nursery.cancel_scope.cancel()
    pump.call_soon(called.set)
    await called.wait()
    await release_pump(pump)


@pytest.mark.parametrize("kind", ["epoll", "tasks"])
async def test_kind_is_chosen_in_code(kind: str) -> None:
    with use_pump(kind):
        pump = acquire_pump()
    assert pump.kind == kind
    await release_pump(pump)


async def test_kind_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNELKIT_PUMP", "tasks")
    pump = acquire_pump()
    assert pump.kind == "tasks"
    await release_pump(pump)


async def test_unknown_kind_is_refused() -> None:
    with use_pump("magic"), pytest.raises(ConfigurationError, match="no pump 'magic' here; choose"):
        acquire_pump()
    assert current_pump() is None


async def test_portable_pump_is_taken_where_there_is_no_epoll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(select, "epoll")
    pump = acquire_pump()
    assert pump.kind == "tasks"
    await release_pump(pump)


# --- virtual time --------------------------------------------------------------------------


async def test_sockets_refuse_a_clock_that_jumps(autojump_clock: MockClock, pump: Pump) -> None:
    address = Address("tcp", "127.0.0.1", 0)
    with pytest.raises(LocalProtocolError, match="MemoryNetwork"):
        await SYSTEM_NETWORK.listen(address, pump, lambda pipe: None)
    with pytest.raises(LocalProtocolError, match="MemoryNetwork"):
        await connect(SYSTEM_NETWORK, address, pump)


async def test_sockets_accept_a_clock_that_stands(mock_clock: MockClock, pump: Pump) -> None:
    address = Address("tcp", "127.0.0.1", 0)
    listener = await SYSTEM_NETWORK.listen(address, pump, lambda pipe: pipe.close())
    pipe = await connect(SYSTEM_NETWORK, listener.address, pump)
    pipe.close()
    listener.close()


# --- batches -------------------------------------------------------------------------------


async def test_deferred_calls_come_at_the_end_of_the_outermost_batch(pump: Pump) -> None:
    trace: list[str] = []
    with pump.batch():
        with pump.batch():
            pump.defer(lambda: trace.append("deferred"))
        trace.append("work")
    assert trace == ["work", "deferred"]


async def test_calls_deferred_while_deferred_run_too(pump: Pump) -> None:
    trace: list[int] = []
    with pump.batch():
        pump.defer(lambda: pump.defer(lambda: trace.append(2)))
        pump.defer(lambda: trace.append(1))
    assert trace == [1, 2]


async def test_batch_that_raises_still_runs_what_was_deferred(pump: Pump) -> None:
    trace: list[int] = []
    with pytest.raises(ZeroDivisionError), pump.batch():
        pump.defer(lambda: trace.append(1))
        raise ZeroDivisionError
    assert trace == [1]


async def test_defer_outside_of_a_batch_runs_soon(pump: Pump) -> None:
    trace: list[int] = []
    pump.defer(lambda: trace.append(1))
    assert not trace
    await wait_all_tasks_blocked()
    assert trace == [1]


# --- ready-queue and timers ----------------------------------------------------------------


async def test_what_becomes_ready_meanwhile_waits_for_its_turn(pump: Pump) -> None:
    runs: list[int] = []

    def again() -> None:
        runs.append(1)
        if len(runs) < 1000:
            pump.call_soon(again)

    pump.call_soon(again)
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    assert len(runs) < 10
    await wait_all_tasks_blocked()
    assert len(runs) == 1000


async def test_timers_run_in_order(autojump_clock: MockClock, pump: Pump) -> None:
    trace: list[tuple[float, str]] = []
    began = trio.current_time()

    def note(name: str) -> None:
        trace.append((trio.current_time() - began, name))

    for delay, name in [(3, "c"), (1, "a"), (2, "b"), (1, "a2")]:
        pump.call_later(delay, partial(note, name))
    await trio.sleep(5)
    assert [name for _, name in trace] == ["a", "a2", "b", "c"]
    assert [when for when, _ in trace] == pytest.approx([1, 1, 2, 3])


async def test_earlier_timer_wakes_the_pump_earlier(autojump_clock: MockClock, pump: Pump) -> None:
    called: list[float] = []
    began = trio.current_time()
    pump.call_later(100, lambda: None)
    await wait_all_tasks_blocked()
    pump.call_later(1, lambda: called.append(trio.current_time() - began))
    await trio.sleep(2)
    assert called == pytest.approx([1])


async def test_cancelled_timer_is_forgotten(autojump_clock: MockClock, pump: Pump) -> None:
    called: list[int] = []
    timer = pump.call_later(1, lambda: called.append(1))
    assert pump.live_timers == 1
    timer.cancel()
    assert pump.live_timers == 0
    await trio.sleep(2)
    assert not called


async def test_cancelled_timers_do_not_pile_up(autojump_clock: MockClock, pump: Pump) -> None:
    for _ in range(100):
        for _ in range(100):
            pump.call_later(60, lambda: None).cancel()
        await trio.sleep(1)
    assert len(pump._timers) < 7000


async def test_wakeups_stand_still_when_there_is_nothing_to_do(
    autojump_clock: MockClock, pump: Pump
) -> None:
    await trio.sleep(1)
    before = pump.wakeups
    await trio.sleep(3600)
    assert pump.wakeups == before


def test_limit_of_a_batch_is_as_documented() -> None:
    assert MAX_EVENTS == 64


# --- deadlines -----------------------------------------------------------------------------


async def test_deadlines_share_a_timer(autojump_clock: MockClock, pump: Pump) -> None:
    deadlines, called = Deadlines(pump, 2.0), list[int]()
    began = trio.current_time()
    for number in range(5):
        deadlines.add(partial(called.append, number))
        await trio.sleep(0.25)
    assert pump.live_timers == 1
    await trio.sleep(began + 2.6 - trio.current_time())
    assert called == [0, 1, 2]
    deadlines.close()
    assert pump.live_timers == 0


async def test_removed_deadline_is_not_called(autojump_clock: MockClock, pump: Pump) -> None:
    deadlines, called = Deadlines(pump, 1.0), list[int]()
    key = deadlines.add(lambda: called.append(1))
    deadlines.add(lambda: called.append(2))
    deadlines.remove(key)
    deadlines.remove(key)
    await trio.sleep(2)
    assert called == [2]


def test_descriptor_of_epoll_is_not_inherited() -> None:
    poller = select.epoll()
    assert not os.get_inheritable(poller.fileno())
    poller.close()


async def test_cancelled_timers_take_no_memory(autojump_clock: MockClock, pump: Pump) -> None:
    called: list[int] = []
    for number in range(20_000):
        timer = pump.call_later(3600, lambda: called.append(0))
        if number % 100:
            timer.cancel()
    assert pump.live_timers == 200
    assert len(pump._timers) < 2_000
    await trio.sleep(3601)
    assert len(called) == 200
