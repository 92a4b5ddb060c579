"""Splices: what one end delivers the other one sends, endings included, and no task is involved."""

from __future__ import annotations

import gc
import select
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.tunnelkit.pairs import Pair, open_pair, open_streams, open_world, wait_until
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import SYSTEM_NETWORK, Pipe
from tunnelkit.errors import ErrorCode
from tunnelkit.pump import Pump, acquire_pump, release_pump, use_pump
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_pipes, splice_stream
from tunnelkit.stream import Stream, StreamReset
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair, no_leaks
from tunnelkit.wire.stream import Buffer, NullEnd, StreamCore

RESET = struct.pack("ii", 1, 0)
KINDS = ("sockets", "stream")
CASES = [(kind, pump) for kind in KINDS for pump in ("epoll", "tasks")]


@dataclass
class Client:
    """A TCP connection of an ordinary program; its other end is spliced."""

    stream: trio.SocketStream

    @property
    def sock(self) -> trio.socket.SocketType:
        return self.stream.socket

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    async def receive_all(self) -> bytes:
        return b"".join([chunk async for chunk in self.stream])


@dataclass
class Spliced:
    """Two clients with a splice between them."""

    left: Client
    right: Client
    pump: Pump
    ends: list[PipeEnd]
    over: list[PipeEnd] = field(default_factory=list)

    async def wait_over(self) -> None:
        await wait_until(lambda: len(self.over) == len(self.ends))


async def socket_pair(pump: Pump) -> tuple[Client, Pipe]:
    """Return a client and the pipe at the other end of its connection."""
    accepted: list[Pipe] = []
    listener = await SYSTEM_NETWORK.listen(Address("tcp", "127.0.0.1", 0), pump, accepted.append)
    client = Client(await trio.open_tcp_stream("127.0.0.1", listener.address.port))
    await wait_until(lambda: accepted, step=0.001)
    listener.close()
    return client, accepted[0]


@asynccontextmanager
async def spliced(kind: str, pump_kind: str) -> AsyncGenerator[Spliced]:
    """Splice two TCP connections, directly or with a stream between them; check what is left."""
    async with no_leaks():
        with use_pump(pump_kind):
            pump = acquire_pump()
            async with open_world("tcp") as world, open_pair(world) as pair:
                with quiet_pump():
                    test = await make_splice(pump, kind, pair)
                    yield test
                    for client in (test.left, test.right):
                        await client.stream.aclose()
                    await test.wait_over()
            await release_pump(pump)


async def make_splice(pump: Pump, kind: str, pair: Pair) -> Spliced:
    (left, left_pipe), (right, right_pipe) = await socket_pair(pump), await socket_pair(pump)
    over: list[PipeEnd] = []
    ends = [PipeEnd(left_pipe, over.append), PipeEnd(right_pipe, over.append)]
    if kind == "sockets":
        splice_pipes(ends[0], ends[1])
    else:

        def accept(session: Session, core: StreamCore) -> None:
            core.accept()
            splice_stream(ends[1], core)

        pair.bob.on_stream = accept
        with pump.batch():
            splice_stream(ends[0], pair.session.offer_stream("test"))
    return Spliced(left, right, pump, ends, over)


# --- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_reset_after_a_half_close_is_a_reset_at_once(kind: str) -> None:
    async with spliced(kind, "epoll") as test:
        await test.left.stream.send_eof()
        assert await test.right.receive_all() == b""
        test.left.reset()
        await test.wait_over()


@pytest.mark.parametrize(("kind", "pump"), CASES)
async def test_big_transfers_both_ways_at_once(kind: str, pump: str) -> None:
    there, back = Random(1).randbytes(3_000_000), Random(2).randbytes(3_000_000)
    received: dict[str, bytes] = {}

    async def send(client: Client, data: bytes) -> None:
        await client.stream.send_all(data)
        await client.stream.send_eof()

    async def receive(name: str, client: Client) -> None:
        received[name] = await client.receive_all()

    async with spliced(kind, pump) as test, trio.open_nursery() as nursery:
        nursery.start_soon(send, test.left, there)
        nursery.start_soon(send, test.right, back)
        nursery.start_soon(receive, "there", test.right)
        nursery.start_soon(receive, "back", test.left)
    assert received["there"] == there
    assert received["back"] == back


@pytest.mark.parametrize(("kind", "pump"), CASES)
async def test_slow_reader_stops_the_sender(kind: str, pump: str) -> None:
    """What fits into kernel buffers and windows is taken, and no more; then all of it arrives."""
    sent = 0
    async with spliced(kind, pump) as test:
        test.left.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        with trio.move_on_after(0.2):
            while True:
                sent += await test.left.sock.send(bytes(65_536))
        assert sent < 20_000_000
        pending = sum(len(end._pending) for end in test.ends)
        assert pending <= 2 * limits.BULK_FRAME_BYTES
        await settle(test.pump)
        await test.left.stream.send_eof()
        assert len(await test.right.receive_all()) == sent


async def settle(pump: Pump) -> None:
    """Wait until the pump has next to nothing to do."""
    before = -100
    while pump.wakeups - before >= 10:
        before = pump.wakeups
        await trio.sleep(0.05)


# --- endings -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "pump"), CASES)
@pytest.mark.parametrize("first", ["left", "right"])
async def test_half_close_both_ways(kind: str, pump: str, first: str) -> None:
    async with spliced(kind, pump) as test:
        one, two = (test.left, test.right)[:: 1 if first == "left" else -1]
        await one.stream.send_all(b"question")
        await one.stream.send_eof()
        assert await two.receive_all() == b"question"
        await two.stream.send_all(b"answer")
        await two.stream.send_eof()
        assert await one.receive_all() == b"answer"
        await test.wait_over()


async def expect_reset(client: Client) -> None:
    with pytest.raises(trio.BrokenResourceError) as info:
        while await client.stream.receive_some():
            pass
    assert isinstance(info.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize(("kind", "pump"), CASES)
@pytest.mark.parametrize("first", ["left", "right"])
async def test_reset_becomes_a_reset(kind: str, pump: str, first: str) -> None:
    async with spliced(kind, pump) as test:
        one, two = (test.left, test.right)[:: 1 if first == "left" else -1]
        await one.stream.send_all(b"hello")
        assert await two.stream.receive_some() == b"hello"
        one.reset()
        await expect_reset(two)


@pytest.mark.parametrize(("kind", "pump"), CASES)
async def test_bytes_before_a_reset_arrive(kind: str, pump: str) -> None:
    async with spliced(kind, pump) as test:
        await test.left.stream.send_all(b"last words")
        assert await test.right.stream.receive_some() == b"last words"
        test.left.reset()
        await expect_reset(test.right)


@pytest.mark.parametrize(("kind", "pump"), CASES)
async def test_reset_after_a_half_close_is_seen_when_bytes_come(kind: str, pump: str) -> None:
    async with spliced(kind, pump) as test:
        await test.left.stream.send_eof()
        assert await test.right.receive_all() == b""
        test.left.reset()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await test.right.stream.send_all(b"anybody there?")
                await trio.sleep(0.001)


@pytest.mark.parametrize(("kind", "pump"), CASES)
async def test_reset_after_a_half_close_does_not_spin(kind: str, pump: str) -> None:
    async with spliced(kind, pump) as test:
        await test.left.stream.send_eof()
        assert await test.right.receive_all() == b""
        test.left.reset()
        await trio.sleep(0.02)
        before = test.pump.wakeups
        await trio.sleep(0.1)
        assert test.pump.wakeups - before < 10


@pytest.mark.parametrize(("kind", "pump"), CASES)
async def test_idle_splice_costs_nothing(kind: str, pump: str) -> None:
    async with spliced(kind, pump) as test:
        await test.left.stream.send_all(b"x")
        await test.right.stream.receive_some()
        await test.left.stream.send_eof()
        await trio.sleep(0.06)
        before = test.pump.wakeups
        await trio.sleep(0.1)
        assert test.pump.wakeups - before < 3


# --- a stream at one end -------------------------------------------------------------------


@dataclass
class Edge:
    """A stream in a program's hands, spliced to a memory pipe at the far side."""

    stream: Stream
    far: Pipe
    end: PipeEnd
    over: list[PipeEnd]


@asynccontextmanager
async def edge(*, before: Callable[[StreamCore], None] | None = None) -> AsyncGenerator[Edge]:
    async with no_leaks():
        pump = acquire_pump()
        network = MemoryNetwork()
        async with open_world("memory", network) as world, open_pair(world) as pair:
            with quiet_pump():
                near, far = memory_pipe_pair(pump)
                over: list[PipeEnd] = []
                end = PipeEnd(near, over.append)

                def accept(session: Session, core: StreamCore) -> None:
                    core.accept()
                    waiting.append(core)

                waiting: list[StreamCore] = []
                pair.bob.on_stream = accept
                stream = await pair.session.open_stream("test")
                yield_to = Edge(stream, far, end, over)
                if before is None:
                    splice_stream(end, waiting[0])
                yield yield_to
                if not over and before is not None:
                    splice_stream(end, waiting[0])
                await wait_all_tasks_blocked()
                stream.reset()
                far.close()
                await wait_all_tasks_blocked()
                assert over == [end]
        await release_pump(pump)


async def test_reset_of_a_stream_resets_the_pipe(autojump_clock: MockClock) -> None:
    async with edge() as test:
        test.stream.reset()
        await wait_all_tasks_blocked()
        with pytest.raises(Exception, match="reset"):
            test.far.try_receive(10)


async def test_reset_of_the_pipe_resets_the_stream(autojump_clock: MockClock) -> None:
    async with edge() as test:
        test.far.reset()
        with pytest.raises(StreamReset, match="connection reset by peer") as info:
            await test.stream.receive_some()
        assert info.value.code == ErrorCode.CONNECTION_RESET
        with pytest.raises(StreamReset):
            await test.stream.send_all(b"x")


async def test_end_of_the_pipe_ends_the_stream(autojump_clock: MockClock) -> None:
    async with edge() as test:
        test.far.try_send(b"all")
        test.far.send_eof()
        assert await test.stream.receive_some() == b"all"
        assert await test.stream.receive_some() == b""
        await test.stream.send_all(b"still open")
        await wait_all_tasks_blocked()
        assert test.far.try_receive(100) == b"still open"
        await test.stream.aclose()


async def test_reader_that_leaves_stops_only_its_direction(autojump_clock: MockClock) -> None:
    async with edge() as test:
        with test.stream.session.pump.batch():
            test.stream._core.stop(ErrorCode.NOT_READING)
        test.far.try_send(bytes(100_000))
        await test.stream.send_all(b"still written")
        await wait_all_tasks_blocked()
        assert test.far.try_receive(100) == b"still written"


@pytest.mark.parametrize("what", ["stop", "finish", "reset", "abort", "session"])
async def test_stream_that_changed_before_it_was_spliced(
    what: str, autojump_clock: MockClock
) -> None:
    pump = acquire_pump()
    near, far = memory_pipe_pair(pump)
    over: list[PipeEnd] = []
    async with open_world() as world, open_pair(world) as pair:
        stream, peer = await open_streams(pair.session, pair.bob)
        with pump.batch():
            match what:
                case "stop":
                    stream._core.stop(ErrorCode.NOT_READING)
                case "finish":
                    stream._core.finish()
                case "reset":
                    stream._core.reset(ErrorCode.CANCELLED)
                case "abort":
                    stream._core.abort(ErrorCode.CANCELLED)
                case "session":
                    pair.session.end(ErrorCode.SESSION_CLOSED, "over")
        await wait_all_tasks_blocked()
        far.try_send(b"from the pipe")
        splice_stream(PipeEnd(near, over.append), peer._core)
        await wait_all_tasks_blocked()
        with pump.batch():
            stream._core.reset(ErrorCode.CANCELLED) if what == "finish" else stream._core.finish()
        await wait_all_tasks_blocked()
        assert len(over) == 1
    await release_pump(pump)


async def test_last_words_arrive_although_nothing_can_be_sent_any_more() -> None:
    pump = acquire_pump()
    client, pipe = await socket_pair(pump)
    heard = Heard()
    end = PipeEnd(pipe)
    assert end.offer(b"unread") == 6
    await wait_until(lambda: readable(client.sock))
    client.sock._sock.send(b"no more, thank you")  # type: ignore[attr-defined] # at once
    client.sock.close()  # with bytes that were not read: the kernel resets
    await trio.sleep(0.05)
    end.other = heard
    assert end.offer(b"more") == 0  # before it has read anything
    await wait_until(lambda: heard.ended)
    assert (bytes(heard.data), heard.ended) == (b"no more, thank you", "reset")
    await release_pump(pump)


def readable(sock: trio.socket.SocketType) -> bool:
    return bool(select.select([sock.fileno()], [], [], 0)[0])


class Heard(NullEnd):
    """Takes all bytes, and remembers how they ended."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = ""

    def offer(self, data: Buffer) -> int:
        self.data += data
        return len(data)

    def reset(self, code: int, text: str) -> None:
        self.ended = "reset"


async def test_error_in_a_splice_ends_that_splice(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, pump: Pump
) -> None:
    (left, left_far), (right, right_far) = memory_pipe_pair(pump), memory_pipe_pair(pump)
    over: list[PipeEnd] = []
    ends = [PipeEnd(left, over.append), PipeEnd(right, over.append)]
    splice_pipes(ends[0], ends[1])
    ends[1].pipe.try_send = lambda data: [][0]  # type: ignore[method-assign]
    left_far.try_send(b"x")
    await wait_all_tasks_blocked()
    assert len(over) == 2
    assert len(caplog.records) == 1
    left_far.close()
    right_far.close()


# --- in memory -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_spliced_memory_pipes_carry_everything(
    seed: int, autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(seed, latency=0.01, bandwidth=1e6, fragment=True)
    (left, left_far) = memory_pipe_pair(pump, network)
    (right, right_far) = memory_pipe_pair(pump, network)
    over: list[PipeEnd] = []
    first = b"read before"
    splice_pipes(PipeEnd(left, over.append), PipeEnd(right, over.append), first)
    data = Random(seed).randbytes(300_000)
    received = bytearray(), bytearray()
    rest = [memoryview(data), memoryview(data)]
    for side, far in enumerate((left_far, right_far)):
        far.start(_exchanger(far, rest, received[side], side))
        far.want(readable=True, writable=True)
    await trio.sleep(5)
    assert received[1] == first + data
    assert received[0] == data
    assert len(over) == 2


async def test_pipe_that_ended_before_it_was_joined_loses_nothing(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(latency=0.01, bandwidth=1e6)
    (left, left_far), (right, right_far) = (memory_pipe_pair(pump, network) for _ in range(2))
    end = PipeEnd(left)
    left_far.send_eof()
    end.join(NullEnd())
    await trio.sleep(1)
    first, received = bytes(300_000), bytearray()
    splice_pipes(end, PipeEnd(right), first)  # more than a pipe takes at once
    right_far.start(_exchanger(right_far, [memoryview(b"")], received, 0))
    right_far.want(readable=True, writable=True)
    await trio.sleep(5)
    assert len(received) == len(first)
    left_far.close()


def _exchanger(
    pipe: Pipe, rest: list[memoryview], received: bytearray, side: int
) -> Callable[[bool, bool], None]:
    """Return a handler that sends ``rest[side]`` and the end, and receives until the end."""

    def ready(readable: bool, writable: bool) -> None:
        is_over = False
        if writable:
            rest[side] = rest[side][pipe.try_send(rest[side]) :]
            if not rest[side]:
                pipe.send_eof()
        if readable:
            data = pipe.try_receive(65_536)
            received.extend(data or b"")
            is_over = data is not None and not data
        pipe.want(not is_over, bool(rest[side]))

    return ready


async def test_finished_splice_needs_no_cycle_collector() -> None:
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        async with spliced("stream", "epoll") as test:
            await test.left.stream.send_eof()
            await test.right.stream.send_eof()
            await test.wait_over()
            test.ends.clear()
            test.over.clear()
            gc.collect()
        assert not [x for x in gc.garbage if isinstance(x, PipeEnd | StreamCore)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("kind", KINDS)
async def test_blocks_of_the_pump_are_free_once_all_has_arrived(kind: str) -> None:
    async with spliced(kind, "epoll") as test:
        data = bytes(8 * limits.MIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(test.left.stream.send_all, data)
            await trio.sleep(0.2)  # until nothing more fits, so that some of it is kept
            count = 0
            while count < len(data):
                count += len(await test.right.stream.receive_some())
        await wait_until(lambda: not test.pump.blocks.held)
