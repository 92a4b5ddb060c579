"""Bulk over long and fast paths in virtual time: the rate, a small echo beside it, the budget.

Each case is one run of real endpoints over a memory network with that round trip and bandwidth:
streams that always have something to send, and after ten round trips a stream that echoes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.pairs import Pair, World, echo, open_pair, open_streams
from tunnelkit import limits
from tunnelkit.errors import ErrorCode
from tunnelkit.stream import Stream, StreamReset
from tunnelkit.testing import MemoryNetwork

ROUND_TRIPS = (0.001, 0.02, 0.06, 0.2)
MEGABITS = (10, 100, 1000)
BLOCK = bytes(1 << 20)
WITHIN_TRIPS = 10
"""Round trips from the first byte until the path has to be used."""
LEAST_PART = 0.9
"""How much of the path has to be used."""
QUEUE_SECONDS = 0.02
"""What an echo may wait on each link beside its round trips."""


@dataclass
class Course:
    """A path that is being used by bulk streams."""

    pair: Pair
    round_trip: float
    bandwidth: float
    received: int = 0

    async def send(self, stream: Stream) -> None:
        with suppress(StreamReset):
            while True:
                await stream.send_all(BLOCK)

    async def receive(self, stream: Stream) -> None:
        with suppress(StreamReset):
            while True:
                count = len(await stream.receive_some(len(BLOCK)))
                self.received += count

    async def used(self, seconds: float) -> float:
        """Return the part of the path that is used during so many seconds."""
        before = self.received
        await trio.sleep(seconds)
        return (self.received - before) / (self.bandwidth * seconds)

    async def slowest_echo(self, tries: int) -> float:
        """Return the longest time in which 64 bytes came back."""
        near, far = await open_streams(self.pair.session, self.pair.bob)
        longest = 0.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, far)
            for _ in range(tries):
                await trio.sleep(0.31 * self.round_trip + 0.0047)
                began = trio.current_time()
                await near.send_all(bytes(64))
                assert len(await near.receive_some()) == 64
                longest = max(longest, trio.current_time() - began)
            nursery.cancel_scope.cancel()
        return longest

    def held(self) -> int:
        """What bob has granted above the initial windows, in all streams of all sessions."""
        windows = [
            stream.window
            for session in self.pair.bob.sessions.values()
            for stream in session.core.streams.values()
        ]
        credits = [window.granted - window.consumed for window in windows]
        return sum(max(0, credit - limits.INITIAL_STREAM_WINDOW_BYTES) for credit in credits)

    async def most_held(self, seconds: float) -> int:
        """Return the most that bob has granted at any of many moments."""
        most = 0
        for _ in range(100):
            await trio.sleep(seconds / 100)
            most = max(most, self.held())
        return most


@asynccontextmanager
async def open_course(
    round_trip: float, megabits: float, *, streams: int = 1, way: str = "dialer", **options: int
) -> AsyncGenerator[Course]:
    """Let *streams* bulk streams run from alice to bob."""
    bandwidth = megabits * 1e6 / 8
    links = 2 if way == "broker" else 1
    network = MemoryNetwork(
        latency=round_trip / 2 / links,
        bandwidth=bandwidth,
        capacity_bytes=int(2 * bandwidth * round_trip) + 4 * limits.MIB,
    )
    async with open_pair(World(network=network), way=way, **options) as pair:
        ends = [await open_streams(pair.session, pair.bob) for _ in range(streams)]
        course = Course(pair, round_trip, bandwidth)
        async with trio.open_nursery() as nursery:
            for near, far in ends:
                nursery.start_soon(course.send, near)
                nursery.start_soon(course.receive, far)
            yield course
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("streams", [1, 8])
@pytest.mark.parametrize("megabits", MEGABITS)
@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
async def test_bulk_uses_its_path_and_lets_an_echo_pass(
    round_trip: float, megabits: int, streams: int, autojump_clock: MockClock
) -> None:
    async with open_course(round_trip, megabits, streams=streams) as course:
        await trio.sleep((WITHIN_TRIPS - 1) * round_trip)
        assert await course.used(max(round_trip, 0.1)) >= LEAST_PART
        assert await course.slowest_echo(3) <= 3 * round_trip + QUEUE_SECONDS


@pytest.mark.parametrize(
    ("round_trip", "megabits", "streams"),
    [(0.001, 10, 8), (0.02, 100, 1), (0.06, 1000, 1), (0.2, 1000, 1)],
)
async def test_the_same_through_a_broker(
    round_trip: float, megabits: int, streams: int, autojump_clock: MockClock
) -> None:
    async with open_course(round_trip, megabits, streams=streams, way="broker") as course:
        await trio.sleep(WITHIN_TRIPS * round_trip)
        assert await course.used(max(round_trip, 0.1)) >= LEAST_PART
        assert await course.slowest_echo(3) <= 3 * round_trip + 2 * QUEUE_SECONDS


BUDGET = 4 * limits.MIB


@pytest.mark.parametrize("streams", [1, 8])
async def test_windows_keep_within_the_budget(streams: int, autojump_clock: MockClock) -> None:
    course_of = open_course(0.2, 1000, streams=streams, stream_budget_bytes=BUDGET)
    async with course_of as course:
        assert limits.MIB // 2 < await course.most_held(3.0) <= BUDGET // 2


async def test_sessions_share_the_budget_of_the_endpoint(autojump_clock: MockClock) -> None:
    async with open_course(0.1, 1000, stream_budget_bytes=BUDGET) as course:
        await trio.sleep(1.0)
        second = await course.pair.alice.open_session("bob")
        near, far = await open_streams(second, course.pair.bob)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(course.send, near)
            nursery.start_soon(course.receive, far)
            assert await course.most_held(1.0) <= BUDGET
            assert far._core.window.size > limits.INITIAL_STREAM_WINDOW_BYTES
            nursery.cancel_scope.cancel()


async def test_a_session_that_is_over_gives_its_budgets_back(autojump_clock: MockClock) -> None:
    async with open_course(0.1, 1000) as course:
        await trio.sleep(1.5)
        shared = [course.pair.alice.budgets.replay, course.pair.bob.budgets.streams]
        assert all(budget.free_bytes < budget.total_bytes for budget in shared)
        course.pair.session.end(ErrorCode.NONE, "over")
        await trio.sleep(1)
        assert all(budget.free_bytes == budget.total_bytes for budget in shared)
