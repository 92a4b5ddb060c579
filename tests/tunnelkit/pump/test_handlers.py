"""What both pumps promise to the sockets that they drive."""

from __future__ import annotations

import contextvars
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from time import perf_counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tunnelkit.pump import Pump, acquire_pump, release_pump, use_pump
from tunnelkit.pump.core import SLICE_SECONDS
from tunnelkit.testing import no_leaks

Pairs = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture(params=["epoll", "tasks"])
async def pump(request: pytest.FixtureRequest) -> AsyncGenerator[Pump]:
    with use_pump(request.param):
        pump = acquire_pump()
        yield pump
        await release_pump(pump)


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
            made.append(sock)
        return pair

    yield make
    for sock in made:
        sock.close()


class Seen:
    """A handler that counts its calls, and drains the socket if it is told to."""

    def __init__(self, sock: socket.socket, *, drain: bool = True) -> None:
        self.sock = sock
        self.calls: list[tuple[bool, bool]] = []
        self.data = b""
        self._drain = drain
        self._called = trio.Event()

    def __call__(self, readable: bool, writable: bool) -> None:
        self.calls.append((readable, writable))
        if readable and self._drain:
            self.data += self.sock.recv(65_536)
        self._called.set()

    async def wait(self, count: int = 1) -> None:
        while len(self.calls) < count:
            self._called = trio.Event()
            await self._called.wait()


async def test_readable_socket_calls_its_handler(pump: Pump, pairs: Pairs) -> None:
    left, right = pairs()
    seen = Seen(right)
    watch = pump.watch(right.fileno(), seen)
    watch.want(True, False)
    left.send(b"hello")
    await seen.wait()
    assert seen.data == b"hello"
    assert seen.calls == [(True, False)]
    watch.close()


async def test_what_is_not_wanted_is_not_reported(pump: Pump, pairs: Pairs) -> None:
    left, right = pairs()
    seen, other = Seen(right), Seen(left)
    watch, twin = pump.watch(right.fileno(), seen), pump.watch(left.fileno(), other)
    twin.want(True, False)
    watch.want(False, False)
    left.send(b"hello")
    right.send(b"world")
    await other.wait()
    await wait_all_tasks_blocked()
    assert not seen.calls
    watch.close()
    twin.close()


async def test_interest_can_come_back(pump: Pump, pairs: Pairs) -> None:
    left, right = pairs()
    seen = Seen(right)
    watch = pump.watch(right.fileno(), seen)
    for round_number in range(1, 4):
        watch.want(True, False)
        left.send(b"x")
        await seen.wait(round_number)
        watch.want(False, False)
    assert seen.data == b"xxx"
    watch.close()


async def test_interest_that_changes_its_mind_at_once(pump: Pump, pairs: Pairs) -> None:
    left, right = pairs()
    seen = Seen(right)
    watch = pump.watch(right.fileno(), seen)
    for _ in range(3):
        watch.want(True, False)
        watch.want(False, False)
    watch.want(True, False)
    left.send(b"x")
    await seen.wait()
    assert seen.data == b"x"
    watch.close()


async def test_both_directions_at_once(pump: Pump, pairs: Pairs) -> None:
    left, right = pairs()
    seen = Seen(right)
    watch = pump.watch(right.fileno(), seen)
    left.send(b"x")
    watch.want(True, True)
    await seen.wait(1)
    while not seen.data:
        await trio.lowlevel.checkpoint()
    watch.close()
    assert any(writable for _, writable in seen.calls)


async def test_error_in_a_handler_stops_no_other(
    pump: Pump, pairs: Pairs, caplog: pytest.LogCaptureFixture
) -> None:
    (left, right), (other_left, other_right) = pairs(), pairs()

    def fail(readable: bool, writable: bool) -> None:
        right.recv(10)
        raise ZeroDivisionError("a bug")

    seen = Seen(other_right)
    watches = [pump.watch(right.fileno(), fail), pump.watch(other_right.fileno(), seen)]
    for watch in watches:
        watch.want(True, False)
    for _ in range(2):
        left.send(b"x")
        other_left.send(b"x")
    await seen.wait()
    await wait_all_tasks_blocked(0.01)
    assert seen.data == b"xx"
    assert caplog.records[0].levelno == logging.ERROR
    for watch in watches:
        watch.close()


async def test_error_in_a_deferred_call_stops_no_other(
    pump: Pump, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []
    with pump.batch():
        pump.defer(lambda: [][0])
        pump.defer(lambda: done.append(1))
    assert done == [1]
    assert len(caplog.records) == 1


async def test_error_in_a_timer_stops_no_other(
    pump: Pump, caplog: pytest.LogCaptureFixture
) -> None:
    done = trio.Event()
    pump.call_later(0, lambda: [][0])
    pump.call_later(0.001, done.set)
    await done.wait()
    assert len(caplog.records) == 1


async def test_context_is_that_of_the_registration(pump: Pump, pairs: Pairs) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    left, right = pairs()
    values: list[str] = []
    done = trio.Event()

    def note(readable: bool, writable: bool) -> None:
        values.append(variable.get())
        right.recv(10)
        done.set()

    variable.set("registered")
    watch = pump.watch(right.fileno(), note)
    variable.set("later")
    watch.want(True, False)
    left.send(b"x")
    await done.wait()
    watch.close()
    assert values == ["registered"]


async def test_context_of_timers_and_of_the_ready_queue(pump: Pump) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    values: list[str] = []
    done = trio.Event()
    variable.set("registered")
    pump.call_soon(lambda: values.append(variable.get()))
    pump.call_later(0, lambda: values.append(variable.get()))
    pump.call_later(0, done.set)
    variable.set("later")
    await done.wait()
    await wait_all_tasks_blocked()
    assert values == ["registered", "registered"]


async def test_reused_descriptor_takes_no_stale_event(pump: Pump, pairs: Pairs) -> None:
    (left, right), (other_left, other_right) = pairs(), pairs()
    (third_left, third_right) = pairs()
    stale = Seen(third_right, drain=False)

    def replace(readable: bool, writable: bool) -> None:
        right.recv(10)
        watches[1].close_socket(other_right)
        numbers.append(os.dup(third_right.fileno()))
        watches[1] = pump.watch(numbers[0], stale)
        watches[1].want(True, False)

    numbers: list[int] = []
    seen = Seen(other_right)
    watches = [pump.watch(right.fileno(), replace), pump.watch(other_right.fileno(), seen)]
    for watch in watches:
        watch.want(True, False)
    left.send(b"x")
    other_left.send(b"y")
    await trio.sleep(0.01)
    assert not stale.calls
    third_left.send(b"z")
    await stale.wait()
    for watch in watches:
        watch.close()
    os.close(numbers[0])


async def test_idle_sockets_cost_nothing(pump: Pump, pairs: Pairs) -> None:
    watches = [pump.watch(pairs()[1].fileno(), lambda r, w: None) for _ in range(20)]
    for watch in watches:
        watch.want(True, False)
    await wait_all_tasks_blocked(0.01)
    before = pump.wakeups
    await trio.sleep(0.05)
    assert pump.wakeups == before
    for watch in watches:
        watch.close()


async def test_hang_up_of_an_unwanted_socket_does_not_spin(pump: Pump, pairs: Pairs) -> None:
    left, right = pairs()
    seen = Seen(right)
    watch = pump.watch(right.fileno(), seen)
    watch.want(True, False)
    await wait_all_tasks_blocked(0.01)
    watch.want(False, False)
    left.close()
    await wait_all_tasks_blocked(0.01)
    before = pump.wakeups
    await trio.sleep(0.05)
    assert pump.wakeups - before <= 1
    assert len(seen.calls) <= 2  # told that it broke, but not for ever
    watch.close()


async def test_other_tasks_run_while_sockets_are_busy(pump: Pump, pairs: Pairs) -> None:
    """A batch ends after its slice; so a task gets its turn after about one, not after all."""
    served: list[int] = []

    def slow(readable: bool, writable: bool) -> None:
        until = perf_counter() + SLICE_SECONDS
        while perf_counter() < until:
            pass
        served.append(1)

    made = [pairs() for _ in range(20)]
    watches = [pump.watch(right.fileno(), slow) for _, right in made]
    for watch, (left, _) in zip(watches, made, strict=True):
        watch.want(True, False)
        left.send(b"x")
    while not served:
        await trio.lowlevel.checkpoint()
    assert len(served) < 20 or pump.kind == "tasks"  # where each socket has a turn of its own
    for watch in watches:
        watch.close()


async def test_slice_starves_no_socket(pump: Pump, pairs: Pairs) -> None:
    made = [pairs() for _ in range(5)]

    class Slow(Seen):
        def __call__(self, readable: bool, writable: bool) -> None:
            until = perf_counter() + SLICE_SECONDS
            while perf_counter() < until:
                pass
            super().__call__(readable, writable)

    handlers = [Slow(right, drain=False) for _, right in made]
    watches = [pump.watch(seen.sock.fileno(), seen) for seen in handlers]
    for watch, (left, _) in zip(watches, made, strict=True):
        watch.want(True, False)
        left.send(b"x")
    for seen in handlers:
        await seen.wait(2)
    for watch in watches:
        watch.close()


async def test_watches_leave_nothing(pump: Pump, pairs: Pairs) -> None:
    _, right = pairs()
    async with no_leaks():
        watch = pump.watch(right.fileno(), Seen(right))
        watch.want(True, True)
        await trio.lowlevel.checkpoint()
        watch.want(True, False)
        await wait_all_tasks_blocked()
        watch.close()


async def test_socket_closes_at_the_end_of_the_batch(pump: Pump, pairs: Pairs) -> None:
    _, right = pairs()
    watch = pump.watch(right.fileno(), Seen(right))
    watch.want(True, False)
    with pump.batch():
        watch.close_socket(right)
        assert right.fileno() >= 0
    assert right.fileno() < 0
