"""A peer that comes back: registration runs again, calls wait for the connection."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.rpc.test_peer import Clock, Moment, RealClock
from tunnelkit.dialer import GOOD_LINK_SECONDS
from tunnelkit.rpc.channels import Channel, LineChannel
from tunnelkit.rpc.codes import PeerGone, RpcCode, RpcError
from tunnelkit.rpc.flow import ending
from tunnelkit.rpc.keeping import keep_peer
from tunnelkit.rpc.peer import Peer, open_peer


@dataclass
class Server:
    """Accepts connections in memory while it is up."""

    nursery: trio.Nursery
    is_up: bool = True
    attempts: list[float] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    clock: RealClock = field(default_factory=RealClock)

    async def connect(self) -> Channel:
        self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if not self.is_up:
            raise OSError("connection refused")
        left, right = memory_stream_pair()
        await self.nursery.start(self._serve, right)
        return LineChannel(left)

    async def _serve(self, stream: trio.abc.Stream, task_status: trio.TaskStatus[None]) -> None:
        async with open_peer(LineChannel(stream), serve=[self.clock]) as peer:
            self.peers.append(peer)
            task_status.started()
            await peer.wait_closed()

    def cut(self) -> None:
        self.peers[-1].end("cut")


async def test_call_goes_over_the_next_connection(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        async with keep_peer(server.connect) as kept:
            clock = kept.proxy(Clock)
            assert await clock.now() == Moment("UTC", 1.5)
            server.cut()
            await trio.sleep(0.01)
            assert await clock.now("CET") == Moment("CET", 1.5)
            assert kept.connects == 2


async def test_call_waits_while_nobody_is_there(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery, is_up=False)
        async with keep_peer(server.connect) as kept, trio.open_nursery() as calls:
            calls.start_soon(kept.proxy(Clock).now)
            await trio.sleep(30)
            assert "connection refused" in kept.last_error
            server.is_up = True


async def test_waiting_call_ends_with_its_deadline(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with keep_peer(Server(nursery, is_up=False).connect) as kept:
            with pytest.raises(trio.TooSlowError), trio.fail_after(2):
                await kept.proxy(Clock).now()


async def test_delays_grow_while_it_fails(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery, is_up=False)
        async with keep_peer(server.connect):
            await trio.sleep(60)
        pauses = [b - a for a, b in zip(server.attempts, server.attempts[1:], strict=False)]
        assert max(pauses[:2]) < 0.2
        assert min(pauses[-3:]) > 2.4


async def test_registration_runs_over_each_connection(autojump_clock: MockClock) -> None:
    seen: list[Moment] = []

    async def register(peer: Peer) -> None:
        seen.append(await peer.proxy(Clock).now(f"{len(seen)}"))

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        async with keep_peer(server.connect, register=register) as kept:
            await kept.wait_open()
            server.cut()
            await trio.sleep(1)
    assert [moment.zone for moment in seen] == ["0", "1"]


async def test_registration_that_fails_is_tried_again(autojump_clock: MockClock) -> None:
    tries: list[int] = []

    async def register(_: Peer) -> None:
        await trio.lowlevel.checkpoint()
        tries.append(1)
        if len(tries) < 3:
            raise RpcError(RpcCode.BUSY, "not yet")

    async with trio.open_nursery() as nursery:
        async with keep_peer(Server(nursery).connect, register=register) as kept:
            assert await kept.proxy(Clock).now() == Moment("UTC", 1.5)
    assert len(tries) == 3


async def test_conflict_that_stays_is_seen_and_tried_again_ever_later(
    autojump_clock: MockClock,
) -> None:
    is_taken = True

    async def register(_: Peer) -> None:
        await trio.lowlevel.checkpoint()
        if is_taken:
            raise RpcError(RpcCode.CONFLICT, "somebody else has that name")

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        async with keep_peer(server.connect, register=register) as kept:
            await trio.sleep(600)
            assert kept.refusal is not None
            assert (kept.refusal.code, kept.connects) == (RpcCode.CONFLICT, 0)
            assert "somebody else has that name" in kept.last_error
            assert server.attempts[-1] - server.attempts[-2] > 2.4
            is_taken = False
            assert await kept.proxy(Clock).now() == Moment("UTC", 1.5)
            assert kept.refusal is None


async def test_delays_grow_though_a_registration_takes_long_to_fail(
    autojump_clock: MockClock,
) -> None:
    async def register(_: Peer) -> None:
        await trio.sleep(GOOD_LINK_SECONDS + 1)
        raise RpcError(RpcCode.CONFLICT, "somebody else has that name")

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        async with keep_peer(server.connect, register=register):
            await trio.sleep(20 * (GOOD_LINK_SECONDS + 10))
    assert server.attempts[-1] - server.attempts[-2] > GOOD_LINK_SECONDS + 3.4


async def test_error_that_is_not_of_the_connection_ends_the_block() -> None:
    async def register(_: Peer) -> None:
        raise ValueError("there is no use in trying again")

    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="no use"):
            async with keep_peer(Server(nursery).connect, register=register):
                await trio.sleep_forever()


async def test_services_with_one_name_are_told_at_once() -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        with pytest.raises(RpcError, match="served already"):
            async with keep_peer(server.connect, serve=[RealClock(), RealClock()]):
                await trio.sleep_forever()
    assert server.attempts == []


async def test_call_under_way_is_not_made_again(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        async with keep_peer(server.connect) as kept:
            await kept.wait_open()
            async with trio.open_nursery() as calls:
                calls.start_soon(_expect_gone, kept.proxy(Clock))
                await trio.sleep(1)
                server.cut()


async def test_stream_that_is_left_ends_at_the_peer(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        async with keep_peer(server.connect) as kept:
            ticks = await _left_early(kept.proxy(Clock))
            await trio.sleep(1)
            assert (ticks, server.clock.closed) == ([0, 1], 1)


async def _left_early(clock: Clock) -> list[float]:
    ticks: list[float] = []
    async with ending(clock.ticks(1_000_000)) as moments:
        async for moment in moments:
            ticks.append(moment.seconds)
            if len(ticks) == 2:
                break
    return ticks


async def _expect_gone(clock: Clock) -> None:
    with pytest.raises(PeerGone):
        await clock.wait(100)
