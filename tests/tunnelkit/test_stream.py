"""Streams are ordinary Trio streams, over every carrier and every way between two endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, check_half_closeable_stream, wait_all_tasks_blocked

from tests.tunnelkit.pairs import (
    CARRIERS,
    Pair,
    echo,
    open_pair,
    open_streams,
    open_world,
    receive_all,
)
from tunnelkit import limits
from tunnelkit.errors import ErrorCode, OpenRefused
from tunnelkit.pump import use_pump
from tunnelkit.session import Session
from tunnelkit.stream import Stream, StreamReset
from tunnelkit.testing import Attempt, MemoryNetwork, cancel_at_each_step
from tunnelkit.wire.stream import Buffer, StreamCore

WAYS = ("dialer", "listener", "broker")
CASES = [
    pytest.param(carrier, way, pump, id=f"{carrier}-{way}-{pump}")
    for carrier in CARRIERS
    for way in WAYS
    for pump in (("epoll", "tasks") if carrier != "memory" else ("auto",))
]


async def clog(stream: Stream) -> None:
    """Send until the peer's credit is used up; it does not read."""

    async def send() -> None:
        while True:
            await stream.send_all(bytes(16_384))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("carrier", "way", "pump"), CASES)
async def test_contract_of_trio(carrier: str, way: str, pump: str) -> None:
    with use_pump(pump):
        async with open_world(carrier) as world, open_pair(world, way=way) as pair:

            async def make() -> tuple[Stream, Stream]:
                return await open_streams(pair.session, pair.bob)

            async def make_clogged() -> tuple[Stream, Stream]:
                left, right = await make()
                await clog(left)
                await clog(right)
                return left, right

            await check_half_closeable_stream(make, make_clogged)


# --- cancellation --------------------------------------------------------------------------


@asynccontextmanager
async def joined(latency: float = 0.0) -> AsyncGenerator[Pair]:
    """Two endpoints over memory; afterwards a new stream works, and no stream is left."""
    network = MemoryNetwork(latency=latency)
    async with open_world("memory", network) as world, open_pair(world) as pair:
        yield pair
        await assert_works(pair)
        await trio.sleep(1)
        assert not pair.session.core.streams
        assert not pair.peer_session.core.streams


async def assert_works(pair: Pair) -> None:
    stream, peer = await open_streams(pair.session, pair.bob)
    async with stream, peer:
        await stream.send_all(b"ping")
        assert await peer.receive_some() == b"ping"
        await peer.send_all(b"pong")
        assert await stream.receive_some() == b"pong"


async def close(*streams: Stream) -> None:
    for stream in streams:
        await stream.aclose()


async def test_open_stream_is_atomic(autojump_clock: MockClock) -> None:
    async with joined() as pair:

        def accept(session: Session, core: StreamCore) -> None:
            stream = Stream(core, session, pair.bob.pump)
            if core.accept():
                stream.reset()

        pair.bob.on_stream = accept

        async def check(attempt: Attempt[Stream]) -> None:
            if attempt.value is not None:
                attempt.value.reset()
            await wait_all_tasks_blocked()
            assert not pair.session.core.streams

        assert await cancel_at_each_step(lambda: pair.session.open_stream("x"), check=check) > 1


async def test_receive_keeps_what_it_has_not_returned(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        received = bytearray()

        async def exchange() -> bytes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send_all, b"0123456789")
                return bytes(await stream.receive_some(4))

        cancelled = 0
        for delay in (0, 1, 2, 3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, delay)
                    received += await stream.receive_some(4)
            cancelled += scope.cancelled_caught
        assert cancelled
        received += await exchange()
        while len(received) < 10:
            received += await stream.receive_some(3)
        assert received == b"0123456789"
        await close(stream, peer)


async def cancel_after(scope: trio.CancelScope, checkpoints: int) -> None:
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_receive_is_atomic_at_each_step(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        got: list[bytes] = []
        sent = 0

        async def receive() -> None:
            nonlocal sent
            with pair.bob.pump.batch():
                assert peer._core.offer(bytes([sent])) == 1
            sent += 1
            got.append(await stream.receive_some(1))

        await cancel_at_each_step(receive)
        while len(got) < sent:
            got.append(await stream.receive_some(1))
        assert b"".join(got) == bytes(range(sent))
        await close(stream, peer)


async def test_cancelled_send_breaks_its_stream_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    async with joined() as pair:

        async def send() -> None:
            stream, peer = await open_streams(pair.session, pair.bob)
            try:
                await stream.send_all(bytes(70_000))
            finally:
                stream.reset()
                peer.reset()

        with trio.move_on_after(1):
            await cancel_at_each_step(send, limit=20)
        await assert_works(pair)


async def test_waiting_to_send_is_atomic(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await clog(stream)
        with trio.move_on_after(5) as scope:
            await stream.wait_send_all_might_not_block()
        assert scope.cancelled_caught
        while len(peer._core.inbox):
            await peer.receive_some()
        await stream.wait_send_all_might_not_block()
        await cancel_at_each_step(stream.wait_send_all_might_not_block)
        await stream.send_all(b"end")
        assert await peer.receive_some() == b"end"
        await close(stream, peer)


async def test_end_is_atomic(autojump_clock: MockClock) -> None:
    async with joined() as pair:

        async def check(attempt: Attempt[None]) -> None:
            ended = attempt.cancelled is False
            await wait_all_tasks_blocked()
            if not ended:
                await stream.send_all(b"x")
                assert await peer.receive_some() == b"x"
            else:
                assert await peer.receive_some() == b""

        stream, peer = await open_streams(pair.session, pair.bob)
        await cancel_at_each_step(stream.send_eof, check=check)
        await close(stream, peer)


async def test_cancelled_close_resets(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        ends: list[bool] = []

        async def make_and_close() -> None:
            stream, peer = await open_streams(pair.session, pair.bob)
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.aclose()
            with pytest.raises(StreamReset) as info:
                await peer.receive_some()
            assert info.value.code == ErrorCode.CANCELLED
            await close(stream, peer)
            ends.append(True)

        await make_and_close()
        assert ends


# --- endings -------------------------------------------------------------------------------


async def test_leaving_by_an_exception_resets(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        with pytest.raises(ZeroDivisionError):
            async with stream:
                await stream.send_all(b"part")
                raise ZeroDivisionError
        assert await peer.receive_some() == b"part"
        with pytest.raises(StreamReset):
            await peer.receive_some()
        with pytest.raises(StreamReset):
            await peer.send_all(b"x")
        await close(peer)


async def test_leaving_normally_ends_both_directions(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        async with stream:
            await stream.send_all(b"all")
        assert await receive_all(peer) == b"all"
        with pytest.raises(StreamReset) as info:
            await peer.send_all(b"x")
        assert info.value.code == ErrorCode.NOT_READING
        await close(peer)


async def test_reset_carries_code_and_text(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        stream.reset(200, "the disk is full")
        with pytest.raises(StreamReset, match=r"the disk is full \[code-200\]") as info:
            await peer.receive_some()
        assert (info.value.code, info.value.text) == (200, "the disk is full")
        await close(peer)


async def test_reset_wakes_whoever_waits(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        async with trio.open_nursery() as nursery:
            for call in (stream.receive_some, peer.receive_some):
                nursery.start_soon(expect_broken, call)
            await wait_all_tasks_blocked()
            peer.reset()
        await close(stream, peer)


async def expect_broken(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await call()


async def test_received_bytes_outlive_the_end(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        await stream.send_all(b"abc")
        await stream.aclose()
        await trio.sleep(1)
        assert [await peer.receive_some(1) for _ in range(4)] == [b"a", b"b", b"c", b""]
        await close(peer)


# --- opening -------------------------------------------------------------------------------


async def test_refusal_carries_code_and_text(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        pair.bob.on_stream = lambda session, core: core.refuse(77, "not today")
        with pytest.raises(OpenRefused, match="not today") as info:
            await pair.session.open_stream("test")
        assert info.value.code == 77


async def test_refusal_without_a_code_is_a_refusal(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        pair.bob.on_stream = lambda session, core: core.refuse(0, "no")
        with pytest.raises(OpenRefused):
            await pair.session.open_stream("test")


async def test_endpoint_that_serves_nothing_says_so(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        with pytest.raises(OpenRefused, match="serves no streams") as info:
            await pair.session.open_stream("test")
        assert info.value.code == ErrorCode.UNKNOWN_TARGET


async def test_first_bytes_can_travel_with_the_open(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.1)
    async with open_world("memory", network) as world, open_pair(world) as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.bob.serve, echo)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            stream = await pair.session.open_stream("test", wait_opened=False)
            await stream.send_all(b"early")
            assert await stream.receive_some() == b"early"
            assert trio.current_time() - began < 0.21
            await stream.aclose()
            nursery.cancel_scope.cancel()


async def test_metadata_and_target_arrive(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        seen: list[tuple[str, dict[int, bytes]]] = []

        def accept(session: Session, core: StreamCore) -> None:
            seen.append((core.target, dict(core.metadata)))
            core.refuse(1, "")

        pair.bob.on_stream = accept
        with pytest.raises(OpenRefused):
            await pair.session.open_stream("db:5432", metadata={1: b"http", 200: b"x"})
        assert seen == [("db:5432", {1: b"http", 200: b"x"})]


async def test_two_of_a_kind_are_refused(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="another task is receiving"):
                await stream.receive_some()
            nursery.cancel_scope.cancel()
        await close(stream, peer)


async def test_unread_stream_stops_its_sender_and_no_other(autojump_clock: MockClock) -> None:
    async with joined() as pair:
        stuck, unread = await open_streams(pair.session, pair.bob)
        await clog(stuck)
        await assert_works(pair)
        assert len(unread._core.inbox) <= limits.INITIAL_STREAM_WINDOW_BYTES
        await close(stuck, unread)


# --- interrupts ----------------------------------------------------------------------------


async def test_an_interrupt_does_not_cut_a_send_in_two(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with joined() as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        protected: list[bool] = []
        offer = StreamCore.offer

        def watched(core: StreamCore, data: Buffer) -> int:
            protected.append(trio.lowlevel.currently_ki_protected())
            return offer(core, data)

        monkeypatch.setattr(StreamCore, "offer", watched)
        await stream.send_all(b"whole")
        assert protected == [True]
        await close(stream, peer)
