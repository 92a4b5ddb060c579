"""Sessions outlive their links: nothing is lost, nothing comes twice, and no end is a lie."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, Literal

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.pairs import (
    Pair,
    World,
    make_identity,
    open_pair,
    open_streams,
    open_world,
    receive_all,
    wait_until,
)
from tunnelkit import limits
from tunnelkit.dialer import next_delay
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ErrorCode, LinkLost, OpenRefused, SessionError
from tunnelkit.link import Health
from tunnelkit.session import Session
from tunnelkit.stream import Stream, StreamReset
from tunnelkit.testing import MemoryNetwork

How = Literal["reset", "eof", "silent"]
HOWS: tuple[How, ...] = ("reset", "eof", "silent")


async def send_pieces(stream: Stream, data: bytes, chance: Random) -> None:
    at = 0
    while at < len(data):
        size = chance.choice([1, 23, 24, 25, 700, 16_384, 40_000])
        await stream.send_all(data[at : at + size])
        at += size
    await stream.send_eof()


async def transfer(pair: Pair, size: int, seed: int = 0) -> None:
    """Send *size* bytes each way over a new stream; all must arrive, once, in order."""
    chance = Random(seed)
    there, back = chance.randbytes(size), chance.randbytes(size)
    stream, peer = await open_streams(pair.session, pair.bob)
    received: dict[str, bytes] = {}

    async def receive(name: str, source: Stream) -> None:
        received[name] = await receive_all(source)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_pieces, stream, there, Random(seed + 1))
        nursery.start_soon(send_pieces, peer, back, Random(seed + 2))
        nursery.start_soon(receive, "there", peer)
        nursery.start_soon(receive, "back", stream)
    assert received["there"] == there
    assert received["back"] == back


def hops(way: str) -> list[tuple[str, str]]:
    """Return the ways between hosts, each with its two ends."""
    return [("alice", "broker"), ("broker", "bob")] if way == "broker" else [("alice", "bob")]


@asynccontextmanager
async def pair_on(
    network: MemoryNetwork, way: str = "dialer", **options: Any
) -> AsyncGenerator[Pair]:
    async with open_pair(World("memory", network), way=way, **options) as pair:
        yield pair


# --- cuts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", ["dialer", "listener", "broker"])
@pytest.mark.parametrize("seed", range(4))
async def test_cuts_at_random_bytes(
    way: str, how: How, seed: int, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork(seed, latency=0.01, bandwidth=1e6, fragment=True)
    chance = Random(f"{way} {how} {seed}")
    async with pair_on(network, way) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(transfer, pair, 200_000, seed)
        for _ in range(4):
            ends = list(chance.choice(hops(way)))
            chance.shuffle(ends)
            cut = network.cut(*ends, after_bytes=chance.randrange(60_000), how=how)
            with trio.move_on_after(60):
                await wait_until(partial(getattr, cut, "happened"), step=0.05)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("start", range(0, 100, 20))
async def test_cuts_at_each_byte(how: How, start: int, autojump_clock: MockClock) -> None:
    """From byte to byte through headers and payloads; each cut hits a session that resumed."""
    network = MemoryNetwork(start, latency=0.001)
    async with pair_on(network) as pair:
        for offset in range(start, start + 20, 1 if how == "reset" else 5):
            ends = ("alice", "bob") if offset % 2 else ("bob", "alice")
            network.cut(*ends, after_bytes=offset, how=how)
            await transfer(pair, 300, offset)
        assert pair.session.resumed_count >= 3


@pytest.mark.parametrize("way", ["dialer", "broker"])
async def test_resumed_session_replays_and_drops_duplicates(
    way: str, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork(latency=0.05, bandwidth=1e6)
    async with pair_on(network, way) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(transfer, pair, 400_000)
        await trio.sleep(0.3)
        network.cut(*hops(way)[0], how="reset")
        await trio.sleep(2)
        assert pair.session.core.replayed_bytes > 0


async def test_large_frame_is_replayed_after_its_send_returned(autojump_clock: MockClock) -> None:
    """Frames of this size are kept by reference: what they refer to must still be there."""
    network, block = MemoryNetwork(latency=0.01), bytes(limits.KEEP_BY_REFERENCE_BYTES)
    async with pair_on(network) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await stream.send_all(block)
        network.cut("alice", "bob", how="reset")
        await stream.send_eof()
        assert await receive_all(peer) == block


async def test_session_resumes_within_the_back_off(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair:
        await trio.sleep(5)
        network.cut("alice", "bob", how="reset")
        await trio.sleep(next_delay(1, 1.0) + 10 * network.latency)
        assert pair.session.state == "open"
        assert pair.session.resumed_count == 1


async def test_session_moves_to_another_broker(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    world = World("memory", network)
    async with world.broker("one") as one, world.broker("two") as two:
        async with world.endpoint("bob", dial=[one, two]) as bob:
            async with world.endpoint("alice", dial=[one, two]) as alice:
                session = await alice.open_session("bob")
                stream, peer = await open_streams(session, bob)
                network.host("one").crash()
                await stream.send_all(b"over the other one")
                assert await peer.receive_some() == b"over the other one"


async def test_half_open_link_is_replaced_within_10_s(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await trio.sleep(2)
        network.cut("alice", "bob", how="silent")
        began = trio.current_time()
        await stream.send_all(b"hello")
        assert await peer.receive_some() == b"hello"
        assert trio.current_time() - began < 10


async def test_endpoint_tells_that_a_link_is_suspect(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair:
        healths: list[Health] = []
        (link,) = pair.alice.links
        pair.alice.events.add(lambda event: healths.append(link.health))
        network.cut("alice", "bob", how="silent")
        await trio.sleep(2 * limits.DEFAULT_PING_SECONDS)
        assert set(healths) == {Health.SUSPECT}
        assert pair.session.is_suspect
        await trio.sleep(limits.DEFAULT_PING_SECONDS)
        assert Health.DOWN in healths


# --- endings that must not look clean ------------------------------------------------------


async def broken_by(stream: Stream) -> int:
    """Return the code with which *stream* was reset; a clean end fails."""
    with pytest.raises(StreamReset) as info:
        pytest.fail(f"received {await stream.receive_some()!r}")
    with pytest.raises(StreamReset):
        await stream.send_all(b"x")
    return info.value.code


@pytest.mark.parametrize("way", ["dialer", "listener", "broker"])
async def test_grace_expiry_resets_streams_on_both_sides(
    way: str, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network, way, grace_seconds=20) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await stream.send_all(b"before")
        peer_session = pair.peer_session
        assert await peer.receive_some() == b"before"
        network.partition(["alice"], [name for name in network.hosts if name != "alice"])
        began = trio.current_time()
        assert await broken_by(stream) == ErrorCode.GRACE_EXPIRED
        assert await broken_by(peer) == ErrorCode.GRACE_EXPIRED
        assert 20 <= trio.current_time() - began < 20 + 10 + 2
        assert (await peer_session.wait_ended()).code == ErrorCode.GRACE_EXPIRED
        assert "did not come back within 20 s" in str(pair.session.ended)


async def test_grace_expiry_leaves_received_bytes_readable(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network, grace_seconds=20) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await stream.send_all(b"before")
        await trio.sleep(1)
        network.partition(["alice"], ["bob"])
        await trio.sleep(60)
        assert await peer.receive_some() == b"before"
        assert await broken_by(peer) == ErrorCode.GRACE_EXPIRED


async def test_return_within_the_grace_time_is_no_loss(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(transfer, pair, 300_000)
        await trio.sleep(0.05)
        network.partition(["alice"], ["bob"])
        await trio.sleep(50)
        network.heal()
    assert pair.session.resumed_count == 1


@pytest.mark.parametrize("way", ["dialer", "listener", "broker"])
@pytest.mark.parametrize("victim", ["alice", "bob"])
async def test_restart_of_the_peer_ends_the_session_with_state_lost(
    way: str, victim: str, autojump_clock: MockClock
) -> None:
    network = MemoryNetwork(latency=0.01)
    async with Restartable(network, way, victim) as test:
        stream, peer = await open_streams(test.session, test.bob)
        survivor = peer if victim == "alice" else stream
        await trio.sleep(2)
        began = trio.current_time()
        await test.restart()
        assert await broken_by(survivor) == ErrorCode.STATE_LOST
        assert trio.current_time() - began < 10


class Restartable:
    """Alice and bob, one of whom can be killed and started again."""

    def __init__(self, network: MemoryNetwork, way: str, victim: str) -> None:
        self.world = World("memory", network)
        self.way = way
        self.victim = victim
        self.endpoints: dict[str, Endpoint] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self._scopes: dict[str, trio.CancelScope] = {}

    async def __aenter__(self) -> Restartable:
        self._nursery_manager = trio.open_nursery()
        self.nursery = await self._nursery_manager.__aenter__()
        address = self.world.address
        if self.way == "broker":
            await self.nursery.start(self._run_broker)
            self.options = {name: {"dial": [address("broker", 1)]} for name in ("alice", "bob")}
        elif self.way == "dialer":
            self.options = {"bob": {"port": 1}, "alice": {"dial": [address("bob", 1)]}}
        else:
            self.options = {"alice": {"port": 1}, "bob": {"dial": [address("alice", 1)]}}
        for name in self.options:
            await self.nursery.start(self._run, name)
        self.alice, self.bob = self.endpoints["alice"], self.endpoints["bob"]
        self.session: Session = await self.alice.open_session("bob")
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self.nursery.cancel_scope.cancel()
        await self._nursery_manager.__aexit__(*exc_info)

    async def _run_broker(self, task_status: trio.TaskStatus[None]) -> None:
        async with self.world.broker("broker", listen=self.world.address("broker", 1)):
            task_status.started()
            await trio.sleep_forever()

    async def _run(self, name: str, task_status: trio.TaskStatus[None]) -> None:
        options = dict(self.options[name])
        port = options.pop("port", None)
        async with self.world.endpoint(name, **options) as endpoint:
            if port:
                await endpoint.listen(self.world.address(name, port))
            self.endpoints[name] = endpoint
            with trio.CancelScope() as self._scopes[name]:
                task_status.started()
                await trio.sleep_forever()

    async def restart(self) -> None:
        """Kill the victim without a word to anybody, and start it again."""
        host = self.world.network.host(self.victim)
        host.crash()
        self._scopes[self.victim].cancel()
        await trio.sleep(0.2)
        host.restart()
        await self.nursery.start(self._run, self.victim)


# --- links that replace each other ---------------------------------------------------------


async def test_displaced_endpoint_stops_dialling(autojump_clock: MockClock) -> None:
    world = World("memory", MemoryNetwork(latency=0.01))
    async with world.endpoint("bob", listens=True) as bob:
        dial = [bob.listeners[0].address]
        async with world.endpoint("alice", dial=dial) as first:
            await wait_until(lambda: first.links)
            async with world.endpoint("alice", dial=dial) as second:
                await trio.sleep(60)
                assert not first.links
                assert "displaced" in first.dial_errors[dial[0]]
                assert len(second.links) == len(bob.links) == 1


async def test_new_link_of_the_same_instance_takes_the_session(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair:
        await trio.sleep(1)
        network.stall("alice", "bob")
        pair.alice.links[0].close(LinkLost("the test closes it"))
        network.unstall("alice", "bob")
        await transfer(pair, 1000)
        assert len(pair.bob.links) == 1


async def test_two_addresses_of_one_process_do_not_take_turns(
    autojump_clock: MockClock,
) -> None:
    world = World("memory", MemoryNetwork(latency=0.01))
    async with world.endpoint("bob") as bob:
        dial = [await bob.listen(world.address("bob", port)) for port in (1, 2)]
        async with world.endpoint("alice", dial=dial) as alice:
            session = await alice.open_session("bob")
            await trio.sleep(60)
            assert len(alice.links) == 1
            assert session.resumed_count <= 2
            bob.links[0].close(LinkLost("the test closes it"))
            await trio.sleep(1)
            assert session.state == "open"


# --- closing -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["dialer", "broker"])
async def test_close_delivers_what_was_sent(way: str, autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.1, bandwidth=1e6)
    async with pair_on(network, way) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        peer_session = pair.peer_session
        await stream.send_all(bytes(60_000))
        await stream.send_eof()
        await pair.session.aclose()
        assert len(await receive_all(peer)) == 60_000
        assert (await peer_session.wait_ended()).text == "closed by the peer"


async def test_close_resets_what_is_not_finished(autojump_clock: MockClock) -> None:
    async with pair_on(MemoryNetwork(latency=0.01)) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await stream.send_all(b"part")
        await pair.session.aclose()
        assert await peer.receive_some() == b"part"
        await broken_by(peer)
        await broken_by(stream)


async def test_close_is_bounded_when_the_peer_is_gone(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair:
        stream, _ = await open_streams(pair.session, pair.bob)
        network.partition(["alice"], ["bob"])
        await stream.send_all(b"nobody hears this")
        began = trio.current_time()
        await pair.session.aclose()
        assert trio.current_time() - began <= limits.CLOSE_TIMEOUT_SECONDS + 0.1
        await pair.session.aclose()


async def test_open_of_a_stream_fails_when_the_peer_closes(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.5)
    async with pair_on(network) as pair, trio.open_nursery() as nursery:
        pair.bob.on_stream = lambda session, core: None  # never answered
        nursery.start_soon(pair.peer_session.aclose)
        with pytest.raises(Exception, match="closed by the peer"):
            await pair.session.open_stream("test")


async def test_ended_session_opens_no_stream(autojump_clock: MockClock) -> None:
    async with pair_on(MemoryNetwork()) as pair:
        await pair.session.aclose()
        with pytest.raises(SessionError, match="the session was closed"):
            await pair.session.open_stream("test")
        with pytest.raises(SessionError, match="the session was closed"):
            await pair.session.wait_open()
        assert (await pair.session.wait_ended()).code == ErrorCode.SESSION_CLOSED


@pytest.mark.parametrize("state", ["open", "streams", "detached", "waiting"])
async def test_closed_session_leaves_nothing(state: str, autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.01)
    async with pair_on(network) as pair:
        await trio.sleep(1)
        session = pair.alice.begin_session("nobody" if state == "waiting" else "bob")
        if state != "waiting":
            await session.wait_open()
        if state == "streams":
            await open_streams(session, pair.bob)
        if state == "detached":
            network.cut("alice", "bob", how="reset")
            await trio.sleep(0.001)
        await session.aclose()
        await trio.sleep(1)
        assert list(pair.alice.sessions.values()) == [pair.session]
        timers = [repr(timer.callback) for timer in pair.alice.pump.waiting_timers()]
        assert not [text for text in timers if session.session_id.hex()[:8] in text]


async def test_wrong_peer_is_refused_end_to_end(autojump_clock: MockClock) -> None:
    world = World("memory", MemoryNetwork())
    async with world.endpoint("bob", listens=True) as bob:
        dial = [bob.listeners[0].address]
        stranger = make_identity("alice", peers=["carol"])
        async with world.endpoint("alice", dial=dial, identity=stranger) as alice:
            with pytest.raises(SessionError, match="meet"):
                await alice.open_session("bob")


async def test_opens_that_come_too_fast_are_refused_for_a_moment(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_OPENS_PER_SECOND", 5)
    async with open_world("memory") as world, open_pair(world) as pair:
        for _ in range(5):
            await close_all(*await open_streams(pair.session, pair.bob))
        with pytest.raises(OpenRefused, match="too fast") as caught:
            await pair.session.open_stream("flood")
        assert caught.value.code == ErrorCode.LIMIT_EXCEEDED
        await trio.sleep(1)
        await close_all(*await open_streams(pair.session, pair.bob))


async def close_all(*streams: Stream) -> None:
    for stream in streams:
        await stream.aclose()
