"""The switch: whole frames, in order, with the numbers of the other link; queues with bounds."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from trio.testing import MockClock

from tests.tunnelkit.broker.puppet import Puppet, join, open_puppet, settle
from tests.tunnelkit.pairs import RING, World, clock
from tunnelkit import limits
from tunnelkit.broker import Broker, open_broker
from tunnelkit.broker.switch import SwitchLink
from tunnelkit.errors import ErrorCode
from tunnelkit.testing import MemoryNetwork
from tunnelkit.wire.frames import FrameType, Role

KIB = 1024
BUDGET = 4 * 1024 * KIB
CAP = BUDGET
"""What a session of these tests gets while it is the only one."""
PIPE_BYTES = 16 * KIB
"""What the pipes of these tests hold, so that a receiver that sleeps is noticed soon."""


@dataclass
class Stage:
    """A broker with puppets."""

    world: World
    broker: Broker
    stack: AsyncExitStack

    async def puppet(self, subject: str, **options: object) -> Puppet:
        address = self.broker.listeners[0].address
        opened = open_puppet(self.world, subject, address, **options)  # type: ignore[arg-type]
        return await self.stack.enter_async_context(opened)

    @property
    def queued(self) -> int:
        """Bytes that wait in all queues."""
        return sum(leg.queued for link in self.broker.links for leg in link.legs.values())


@asynccontextmanager
async def open_stage(
    network: MemoryNetwork | None = None, budget_bytes: int = BUDGET, **options: object
) -> AsyncGenerator[Stage]:
    """Run a broker that gives caps of 1 MiB and less, and that sends no pings."""
    network = network or MemoryNetwork(capacity_bytes=PIPE_BYTES)
    world = World(network=network)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(
            open_broker(
                RING,
                listen=[world.address("broker")],
                network=world.host("broker"),
                budget_bytes=budget_bytes,
                ping_seconds=1e6,
                clock=clock,
            )
        )
        yield Stage(world, broker, stack)


async def test_frames_arrive_whole_in_order_with_the_number_of_the_link(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        b.attach(Role.RESPONDER, "x", session=b"x" * 16)  # so that the numbers differ
        left, right = await join(a, b)
        payloads = [os.urandom(size) for size in (0, 1, 100, 20_000, 5)]
        a.send(left, *payloads)
        await settle()
        assert (left, right) == (1, 3)
        assert [frame.payload for frame in b.frames[right]] == payloads
        assert [frame.sequence for frame in b.frames[right]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(10))
async def test_frames_of_several_sessions_arrive_at_any_split_of_the_input(
    seed: int, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork(seed, capacity_bytes=PIPE_BYTES, fragment=True)
    async with open_stage(network) as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        pairs = [await join(a, b, bytes([n]) * 16) for n in range(2)]
        sent: list[list[bytes]] = [[], []]
        for step in range(60):
            which = (step // 3 + seed) % 2
            sent[which].append(os.urandom(step * 31 % 997))
            a.send(pairs[which][0], sent[which][-1])
        await settle()
        for (_, right), payloads in zip(pairs, sent, strict=True):
            assert [frame.payload for frame in b.frames[right]] == payloads


async def test_frames_before_the_join_are_dropped(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left = a.attach(Role.INITIATOR, "b")
        a.send(left, b"early")
        await settle()
        right = b.attach(Role.RESPONDER, "a")
        await settle()
        a.send(left, b"in time")
        await settle()
        assert [frame.payload for frame in b.frames[right]] == [b"in time"]


async def test_hop_frames_between_frames_of_a_session_are_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, right = await join(a, b)
        with a.link.pump.batch():
            a.send(left, b"before")
            a.link.probe()
            a.send(left, b"after")
        await settle()
        assert a.link.round_trip_seconds is not None
        assert [frame.payload for frame in b.frames[right]] == [b"before", b"after"]


async def test_a_frame_type_of_a_later_version_passes_unread(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, right = await join(a, b)
        header = bytes([0x60, 1, 0, 0]) + left.to_bytes(4) + bytes(4) + (3).to_bytes(4) + bytes(8)
        a.link.write(header + b"new")
        await settle()
        assert [(f.kind, f.payload) for f in b.frames[right]] == [(0x60, b"new")]


# --- a receiver that does not read ---------------------------------------------------------


async def test_the_broker_reads_on_when_a_receiver_sleeps(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b, c = [await stage.puppet(name) for name in "abc"]
        to_b, _ = await join(a, b, b"b" * 16)
        to_c, at_c = await join(a, c, b"c" * 16)
        b.sleep()
        for _ in range(20):
            a.send(to_b, bytes(8 * KIB))
        a.send(to_c, b"past the sleeper")
        await settle()
        assert [frame.payload for frame in c.frames[at_c]] == [b"past the sleeper"]


async def test_what_was_queued_arrives_when_the_receiver_wakes(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, right = await join(a, b)
        b.sleep()
        payloads = [os.urandom(8 * KIB) for _ in range(24)]
        for payload in payloads:
            a.send(left, payload)
            await settle()
        assert stage.queued > 100 * KIB
        b.wake()
        await settle()
        assert [frame.payload for frame in b.frames[right]] == payloads
        assert stage.queued == 0


async def overrun(stage: Stage, a: Puppet, left: int, b: Puppet) -> None:
    """Send to a sleeping receiver until its queue is over the cap."""
    b.sleep()
    while not stage.broker.overruns:
        a.send(left, bytes(48 * KIB))
        await settle()


async def test_an_overrun_ends_the_attachment_of_the_offender(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, _ = await join(a, b)
        await overrun(stage, a, left, b)
        assert stage.broker.overruns == 1
        assert a.detached(left) == [ErrorCode.OVERRUN]
        assert a.closed is None


async def test_an_overrun_leaves_the_other_sessions_of_both_links_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, _ = await join(a, b, b"1" * 16)
        other, at_b = await join(a, b, b"2" * 16)
        await overrun(stage, a, left, b)
        a.send(other, b"unharmed")
        b.wake()
        await settle()
        assert [frame.payload for frame in b.frames[at_b]] == [b"unharmed"]
        assert a.detached(other) == []


async def test_what_was_queued_is_forgotten_with_the_attachment(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, _ = await join(a, b)
        b.sleep()
        for _ in range(12):
            a.send(left, bytes(8 * KIB))
        await settle()
        assert stage.queued
        a.attach(Role.INITIATOR, "b", generation=2)
        await settle()
        assert stage.queued == 0


async def test_a_frame_that_was_begun_is_finished_after_a_detach(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        left, right = await join(a, b)
        b.sleep()
        a.send(left, bytes(64 * KIB))  # more than the pipe holds: it is half-written
        await settle()
        a.link.write_hop(FrameType.DETACHED, left, code=ErrorCode.PEER_GONE, text="")
        a.link.pump.call_soon(lambda: None)
        await settle()
        b.wake()
        await settle()
        assert [frame.size for frame in b.frames[right]] == [24 + 64 * KIB]
        assert b.detached(right) == [ErrorCode.PEER_GONE]
        assert b.closed is None


async def test_memory_is_bounded_by_caps_and_slack_whatever_is_sent(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        b.sleep()
        most = 0
        for round_ in range(4):
            session = bytes([round_]) * 16
            left = a.attach(Role.INITIATOR, "b", session=session)
            b.attach(Role.RESPONDER, "a", session=session)
            await settle()
            for _ in range(30):
                a.send(left, bytes(60 * KIB))
                await settle()
                most = max(most, stage.queued)
        run = limits.SCRATCH_BYTES  # one run may be queued before it is counted
        assert most <= CAP + limits.BROKER_SLACK_BYTES + run


# --- fairness ------------------------------------------------------------------------------


async def test_a_session_with_small_frames_is_served_beside_one_with_large_ones(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        bulk, at_bulk = await join(a, b, b"1" * 16)
        small, at_small = await join(a, b, b"2" * 16)
        b.sleep()
        for _ in range(4):
            a.send(bulk, bytes(64 * KIB - 24))
            await settle()
        a.send(small, b"small")
        await settle()
        b.wake()
        await settle()
        # One bulk frame was under way, and each turn gives one more at most.
        assert b.order.index(at_small) <= 3
        assert len(b.frames[at_bulk]) == 4


async def test_two_busy_sessions_share_a_link_by_bytes(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        a, b = await stage.puppet("a"), await stage.puppet("b")
        large, at_large = await join(a, b, b"1" * 16)
        small, at_small = await join(a, b, b"2" * 16)
        b.sleep()
        for _ in range(4):
            a.send(large, bytes(64 * KIB - 24))
            for _ in range(16):
                a.send(small, bytes(4 * KIB - 24))
            await settle()
        b.wake()
        await settle()
        half = b.order[: len(b.order) // 2 + 1]
        taken = [sum(f.size for f in b.frames[n][: half.count(n)]) for n in (at_large, at_small)]
        assert abs(taken[0] - taken[1]) <= 3 * 64 * KIB


# --- a peer that sends and never reads ------------------------------------------------------


async def test_pings_of_a_peer_that_never_reads_are_not_all_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        a = await stage.puppet("a")
        (link,) = stage.broker.links
        a.sleep()
        for _ in range(100):
            for _ in range(100):
                a.link.probe()
            await settle()
        assert waiting_bytes(link) <= 64 * KIB


async def test_a_peer_that_asks_for_answers_and_never_reads_loses_its_link(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(limits, "MAX_UNWRITTEN_BYTES", 64 * KIB)
    async with open_stage() as stage:
        a = await stage.puppet("a")
        (link,) = stage.broker.links
        a.sleep()
        for generation in range(8000):
            a.attach(Role.INITIATOR, "b", generation=generation)
            if generation % 100 == 0:
                await settle()
            assert waiting_bytes(link) <= 96 * KIB
        assert "does not read" in str(link.error)
        assert not stage.broker.links


def waiting_bytes(link: SwitchLink) -> int:
    """Return how much waits for the pipe of *link*."""
    return link._cork_bytes + sum(len(item) for item in link._backlog)
