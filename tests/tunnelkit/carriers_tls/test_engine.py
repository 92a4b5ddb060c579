"""Links, sessions and splices over TLS, in virtual time: the engine is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.carriers_tls.ends import make_pair, up
from tests.tunnelkit.certificates import tls_settings
from tests.tunnelkit.pairs import World, open_pair, open_streams
from tests.tunnelkit.strangers import settle
from tests.tunnelkit.test_carriers import read, ready
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Listener, Network, Pending, Pipe, PipeBroken
from tunnelkit.carriers.pipe import Connected
from tunnelkit.carriers.tls import tls_client, tls_server
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.splice import PipeEnd, splice_pipes
from tunnelkit.testing import no_leaks


@dataclass
class TlsHost(Network):
    """A host of a memory network whose connections are all TLS."""

    inner: Network

    async def resolve(self, address: Address) -> Address:
        return await self.inner.resolve(address)

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        def wrap(result: Pipe | ConnectFailed) -> None:
            if isinstance(result, Pipe):
                result = tls_client(result, tls_settings(), "right")
            done(result)

        return self.inner.connect_nowait(address, pump, wrap)

    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        def wrap(pipe: Pipe) -> None:
            accept(tls_server(pipe, tls_settings()))

        return await self.inner.listen(address, pump, wrap)


class TlsWorld(World):
    """A world in memory, with TLS on every connection."""

    def host(self, name: str) -> Network:
        return TlsHost(super().host(name))


async def transfer(world: World, size: int, **options: object) -> bytes:
    """Send *size* bytes from alice to bob; return what arrives."""
    async with open_pair(world, **options) as pair:  # type: ignore[arg-type] # by name
        left, right = await open_streams(pair.session, pair.bob)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await left.send_all(bytes(size))
                await left.send_eof()

            nursery.start_soon(send)
            return b"".join([bytes(chunk) async for chunk in right])


@pytest.mark.parametrize("way", ["dialer", "listener", "broker"])
@pytest.mark.parametrize("after_bytes", [0, 1, 100_000, 300_000])
async def test_transfer_survives_a_cut(
    autojump_clock: MockClock, way: str, after_bytes: int
) -> None:
    async with no_leaks():
        world = TlsWorld()
        world.network.latency = 0.01
        for name in ("alice", "bob", "broker"):
            world.network.host(name)
        peer = "broker" if way == "broker" else "bob"
        world.network.cut("alice", peer, after_bytes=after_bytes)
        assert await transfer(world, 1_000_000, way=way, timeout=60) == bytes(1_000_000)


async def test_fragments_and_little_room(autojump_clock: MockClock) -> None:
    world = TlsWorld()
    world.network.capacity_bytes, world.network.fragment = 3000, True
    assert await transfer(world, 300_000) == bytes(300_000)


# --- splices ---------------------------------------------------------------------------------


async def test_splice_carries_bytes_and_ends(autojump_clock: MockClock) -> None:
    pump = acquire_pump()
    first, second = make_pair(pump), make_pair(pump)
    await up(first.left, first.right, second.left, second.right)
    over: list[PipeEnd] = []
    splice_pipes(PipeEnd(first.right, over.append), PipeEnd(second.left, over.append))
    assert first.left.try_send(b"question") == 8
    assert await read(second.right) == b"question"
    first.left.send_eof()
    assert await read(second.right) == b""
    second.right.try_send(b"answer")
    assert await read(first.left) == b"answer"
    second.right.close()
    assert await read(first.left) == b""
    await settle()
    assert len(over) == 2
    first.left.close()
    await release_pump(pump)


async def test_truncation_goes_through_a_splice_as_a_reset(autojump_clock: MockClock) -> None:
    pump = acquire_pump()
    first, second = make_pair(pump), make_pair(pump)
    await up(first.left, first.right, second.left, second.right)
    splice_pipes(PipeEnd(first.right), PipeEnd(second.left))
    first.wire[0].close()
    await ready(second.right)
    with pytest.raises(PipeBroken, match="reset"):
        second.right.try_receive(10)
    await release_pump(pump)


async def test_refusal_is_read_before_the_end(autojump_clock: MockClock) -> None:
    """The last frame of a link goes out before close_notify, and is not lost."""
    world = TlsWorld()
    async with (
        world.endpoint("bob", listens=True, clock=lambda: 4e9) as bob,
        world.endpoint("alice", dial=[bob.listeners[0].address]) as alice,
    ):
        await trio.sleep(1)
        (error,) = alice.dial_errors.values()
    assert "the token of alice has expired" in error
