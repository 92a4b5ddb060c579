"""Sessions that go from link to link while their streams are open, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import (
    Lab,
    address,
    exchange,
    open_lab,
    pattern,
    serve_exchange,
)
from tests.tunnelkit.pairs import open_streams
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ConfigurationError, SessionError
from tunnelkit.events import LinkSuspect, SessionMoved
from tunnelkit.link import Link
from tunnelkit.session import Session

START = 1.0
LATENCY = 0.02
BANDWIDTH = 2_000_000
SIZE = 6_000_000
"""Three seconds each way, at this bandwidth."""


@dataclass
class Stage:
    """Two brokers, and alice and bob, who have a link to each."""

    lab: Lab
    alice: Endpoint
    bob: Endpoint
    session: Session

    def link(self, broker: str, endpoint: Endpoint | None = None) -> Link:
        """Return the link of alice (or another endpoint) to a host."""
        ends = (endpoint or self.alice).links
        (found,) = [link for link in ends if broker in link.pipe.description]
        return found

    @property
    def far(self) -> Session:
        """Bob's side of the session."""
        return self.bob.sessions[self.session.session_id]

    async def watch(self, gaps: list[float], size: int = SIZE) -> None:
        """Exchange *size* bytes each way, all exact; note how long alice waited between pieces.

        The first second does not count: the windows are growing.
        """
        stream = await self.session.open_stream(f"x:{size}")
        before = trio.current_time()
        received = bytearray()
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, pattern("x/up", size))
            while len(received) < size:
                received += await stream.receive_some()
                before, waited = trio.current_time(), trio.current_time() - before
                if before > 1 + START:
                    gaps.append(waited)
        assert received == pattern("x/down", size)


@asynccontextmanager
async def open_stage(*, is_direct: bool = False) -> AsyncGenerator[Stage]:
    """Set the stage; with *is_direct* there is a link to bob himself instead of broker two."""
    async with open_lab(latency=LATENCY, bandwidth=BANDWIDTH) as lab:
        await lab.broker("one")
        await lab.broker("two")
        bob = await lab.endpoint("bob", *("one", "two")[: 2 - is_direct], listen=[address("bob")])
        alice = await lab.endpoint("alice", "one", "bob" if is_direct else "two")
        lab.nursery.start_soon(serve_exchange, bob)
        await trio.sleep(START)
        yield Stage(lab, alice, bob, await alice.open_session("bob"))


@pytest.mark.parametrize("side", ["initiator", "responder"])
async def test_a_move_by_command_makes_no_pause(side: str, autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        gaps: list[float] = []
        nursery.start_soon(stage.watch, gaps)
        await trio.sleep(1)
        if side == "initiator":
            await stage.session.move(stage.link("two"))
        else:
            await stage.far.move(stage.link("two", stage.bob))
        await trio.sleep(0.5)
        assert stage.session.link is stage.link("two")
        assert stage.session.moved_count == stage.far.moved_count == 1
    assert max(gaps) < 8 * LATENCY


async def test_a_move_that_the_peer_commands_is_no_failure(autojump_clock: MockClock) -> None:
    found: list[str] = []
    async with open_stage() as stage:
        stage.alice.events.add(
            lambda e: found.append(e.why) if isinstance(e, SessionMoved) else None
        )
        await stage.far.move(stage.link("two", stage.bob))
        await trio.sleep(5)
    assert found == ["peer"]


async def test_a_move_repeats_almost_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.watch, [])
            for broker in ("two", "one", "two"):
                await trio.sleep(0.7)
                await stage.session.move(stage.link(broker))
        cores = (stage.session.core, stage.far.core)
        assert [core.replayed_bytes for core in cores] == [0, 0]


async def test_nothing_stays_on_the_link_that_was_left(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.session.move(stage.link("two"))
        await trio.sleep(2)
        assert stage.link("one").users == stage.link("one", stage.bob).users == {}
        assert stage.lab.brokers["one"].registry.session_count == 0


@pytest.mark.parametrize("host", ["alice", "bob"])
async def test_fail_over_follows_a_suspicion_within_a_second(
    host: str, autojump_clock: MockClock
) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.watch, [])
        await trio.sleep(1)
        stage.lab.network.stall(host, "one")
        end = stage.alice if host == "alice" else stage.bob
        lost = stage.link("one", end)
        async with end.watch() as events:
            async for event in events:
                if isinstance(event, LinkSuspect) and event.link.address == lost.pipe.description:
                    break
        await trio.sleep(1)
        assert stage.session.link is stage.link("two")
        assert stage.session.state == "open"


async def test_killed_broker_is_replaced_at_once(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        gaps: list[float] = []
        nursery.start_soon(stage.watch, gaps)
        await trio.sleep(1)
        stage.lab.kill("one")
        await trio.sleep(10)
        assert stage.session.link is stage.link("two")
        assert max(gaps) < 1


async def test_draining_broker_is_left_without_a_pause(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        gaps: list[float] = []
        nursery.start_soon(stage.watch, gaps)
        await trio.sleep(1)
        await stage.lab.brokers["one"].drain(20)
        assert not stage.lab.brokers["one"].registry.session_count
        await trio.sleep(5)
        assert max(gaps) < 8 * LATENCY


async def test_a_move_nobody_follows_leaves_the_session_where_it_is(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.watch, [])
        stage.lab.network.stall("bob", "two")
        with pytest.raises(SessionError, match="did not follow"):
            await stage.session.move(stage.link("two"), timeout=1)
        assert stage.session.link is stage.link("one")
        assert stage.session.state == "open"


async def test_the_link_is_lost_in_the_middle_of_a_move(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.watch, [])
        await trio.sleep(1)
        stage.session.attach(stage.link("two"))
        stage.lab.network.cut("alice", "one", how="reset")
        await trio.sleep(1)
        assert stage.session.link is stage.link("two")


async def test_a_link_that_once_was_slow_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    """One pong that a broker or a full buffer held back says little of the path."""
    async with open_stage() as stage:
        mine, theirs = await open_streams(stage.session, stage.bob)
        stage.link("one").round_trip_seconds = 20.0
        stage.lab.network.stall("bob", "one")
        await mine.send_all(b"lost on the way")
        await trio.sleep(0.1)
        await stage.session.move(stage.link("two"))
        with trio.fail_after(5):
            assert await theirs.receive_some() == b"lost on the way"


@pytest.mark.parametrize("lost_at", [0.1, 0.2, 0.28])
async def test_an_older_attach_of_the_peer_ends_no_session(
    lost_at: float, autojump_clock: MockClock
) -> None:
    """Bob's attach is still on its way to the broker when alice attaches to him directly; that
    link is lost, and the broker joins her with what he said first."""
    async with open_stage(is_direct=True) as stage:
        stage.lab.network.set_path("bob", "one", latency=0.3)
        with stage.bob.pump.batch():
            stage.far.go_to(stage.link("one", stage.bob))
        await trio.sleep(0.05)
        with stage.alice.pump.batch():
            stage.session.attach(stage.link("bob"))
        await trio.sleep(lost_at - 0.05)
        stage.lab.network.cut("alice", "bob")
        await trio.sleep(5)
        assert stage.session.state == stage.far.state == "open"


async def test_sessions_of_a_peer_are_moved_by_an_address(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        second = await stage.alice.open_session("bob")
        assert await stage.alice.move("bob", address("two")) == 2
        assert {stage.session.link, second.link} == {stage.link("two")}


@pytest.mark.parametrize(("peer", "host"), [("bob", "three"), ("carol", "two")])
async def test_a_move_of_nothing_or_nowhere_is_refused(
    peer: str, host: str, autojump_clock: MockClock
) -> None:
    async with open_stage() as stage:
        with pytest.raises(ConfigurationError, match=r"there (are|is)"):
            await stage.alice.move(peer, address(host))


async def test_two_brokers_that_fail_in_turn_lose_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        for name in ("p", "q"):
            stream = await stage.session.open_stream(f"{name}:{SIZE}")
            mine, theirs = (pattern(f"{name}/{way}", SIZE) for way in ("up", "down"))
            nursery.start_soon(exchange, stream, mine, theirs)
        for broker in ("one", "two", "one", "two"):
            await trio.sleep(1)
            stage.lab.kill(broker)
            await trio.sleep(1)
            await stage.lab.broker(broker)
