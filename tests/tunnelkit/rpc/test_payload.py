"""Payloads: arguments and results of bytes, over lines, WebSockets and streams of a session."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.pairs import World, open_pair
from tests.tunnelkit.rpc.test_peer import call_of, plain
from tests.tunnelkit.rpc.test_websocket import URL
from tunnelkit.rpc.backlog import Backlog
from tunnelkit.rpc.channels import LineChannel
from tunnelkit.rpc.codes import PeerGone, RpcCode, RpcError
from tunnelkit.rpc.payload import BYTES_AHEAD, ByteFeed, decode_piece, encode_piece
from tunnelkit.rpc.peer import Peer, open_peer
from tunnelkit.rpc.service import NotServed, Service
from tunnelkit.rpc.sessions import SessionChannel, open_session_channel, session_channels
from tunnelkit.rpc.websocket import accept_websocket, open_websocket
from tunnelkit.rpc.wholes import MAX_COLLECTED_BYTES
from tunnelkit.stream import StreamReset
from tunnelkit.wire.frames import Metadata

MIB = 1024 * 1024
DATA = Random(1).randbytes(3 * MIB + 17)


class Files(Service, name="files"):
    async def write(self, name: str, content: AsyncIterable[bytes]) -> int:
        """Take a payload."""
        raise NotServed

    def read(self, size: int, fail_at: int = -1) -> AsyncIterator[bytes]:
        """Send one."""
        raise NotServed

    async def peek(self, content: AsyncIterable[bytes]) -> bytes:
        """Take only the beginning of one."""
        raise NotServed

    def turn(self, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Turn a payload into another, piece by piece."""
        raise NotServed

    def lengths(self, content: AsyncIterable[bytes]) -> AsyncIterator[int]:
        """Return the lengths of the pieces of a payload."""
        raise NotServed

    def zeros(self, sizes: AsyncIterable[int]) -> AsyncIterator[bytes]:
        """Return a payload of zeros."""
        raise NotServed

    async def add(self, a: int, b: int) -> int:
        """Add."""
        raise NotServed


class RealFiles(Files):
    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}
        self.sent = 0
        self.closed = 0

    async def write(self, name: str, content: AsyncIterable[bytes]) -> int:
        self.written[name] = b"".join([piece async for piece in content])
        return len(self.written[name])

    async def read(self, size: int, fail_at: int = -1) -> AsyncIterator[bytes]:
        try:
            for at in range(0, size, 100_000):
                if 0 <= fail_at <= at:
                    raise RpcError(RpcCode.NOT_FOUND, "the rest is gone")
                yield DATA[at : min(size, at + 100_000)]
                self.sent = at
        finally:
            self.closed += 1

    async def peek(self, content: AsyncIterable[bytes]) -> bytes:
        async for piece in content:
            return piece[:1]
        return b""

    async def turn(self, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        async for piece in content:
            yield piece.swapcase()

    async def lengths(self, content: AsyncIterable[bytes]) -> AsyncIterator[int]:
        async for piece in content:
            yield len(piece)

    async def zeros(self, sizes: AsyncIterable[int]) -> AsyncIterator[bytes]:
        async for size in sizes:
            yield bytes(size)

    async def add(self, a: int, b: int) -> int:
        await trio.lowlevel.checkpoint()
        return a + b


Pair = tuple[Peer, Peer, RealFiles]


@asynccontextmanager
async def over_lines() -> AsyncGenerator[Pair]:
    left, right = memory_stream_pair()
    files = RealFiles()
    async with (
        open_peer(LineChannel(left), serve=[files]) as a,
        open_peer(LineChannel(right), serve=[files]) as b,
    ):
        yield a, b, files


@asynccontextmanager
async def over_websocket() -> AsyncGenerator[Pair]:
    left, right = memory_stream_pair()
    files = RealFiles()
    async with trio.open_nursery() as nursery:
        server: Peer

        async def serve(*, task_status: trio.TaskStatus[Peer]) -> None:
            async with open_peer(await accept_websocket(right), serve=[files]) as peer:
                task_status.started(peer)
                await trio.sleep_forever()

        opening = partial(nursery.start, serve)
        async with trio.open_nursery() as both:
            found: list[Peer] = []

            async def open_server() -> None:
                found.append(await opening())

            both.start_soon(open_server)
            channel = await open_websocket(left, URL)
        (server,) = found
        async with open_peer(channel, serve=[files]) as client:
            yield client, server, files
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_session(world: World | None = None) -> AsyncGenerator[Pair]:
    files = RealFiles()
    async with open_pair(world or World()) as pair, trio.open_nursery() as nursery:
        found: list[Peer] = []
        ready = trio.Event()

        async def serve(channel: SessionChannel) -> None:
            async with open_peer(channel, serve=[files]) as peer:
                found.append(peer)
                ready.set()
                await peer.wait_closed()

        nursery.start_soon(pair.bob.serve, session_channels(serve))
        channel = await open_session_channel(pair.session)
        async with open_peer(channel, serve=[files]) as peer:
            await ready.wait()
            yield peer, found[0], files
        nursery.cancel_scope.cancel()


Way = Callable[[], AbstractAsyncContextManager[Pair]]
WAYS = pytest.mark.parametrize("way", [over_lines, over_websocket, over_session])
SIDES = pytest.mark.parametrize("side", [0, 1], ids=["opener", "acceptor"])


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
        await trio.lowlevel.checkpoint()


def files_of(pair: Pair, side: int) -> Files:
    """Return the proxy with which one side calls the other."""
    return (pair[0], pair[1])[side].proxy(Files)


@WAYS
@SIDES
@pytest.mark.parametrize("size", [0, 1, 64 * 1024, len(DATA)])
async def test_argument_arrives_whole(way: Way, side: int, size: int) -> None:
    async with way() as pair:
        assert await files_of(pair, side).write("x", pieces(DATA[:size])) == size
    assert pair[2].written["x"] == DATA[:size]


@WAYS
@SIDES
@pytest.mark.parametrize("size", [0, 1, 64 * 1024, len(DATA)])
async def test_result_arrives_whole(way: Way, side: int, size: int) -> None:
    async with way() as pair:
        found = b"".join([piece async for piece in files_of(pair, side).read(size)])
    assert found == DATA[:size]


@WAYS
@SIDES
async def test_argument_and_result_flow_at_the_same_time(way: Way, side: int) -> None:
    async with way() as pair:
        items = files_of(pair, side).turn(pieces(DATA))
        assert b"".join([piece async for piece in items]) == DATA.swapcase()


@WAYS
@SIDES
async def test_payload_and_items_in_one_call(way: Way, side: int) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(100):
            yield number
            await trio.lowlevel.checkpoint()

    async with way() as pair:
        files = files_of(pair, side)
        assert sum([size async for size in files.lengths(pieces(DATA))]) == len(DATA)
        zeros = b"".join([piece async for piece in files.zeros(numbers())])
        assert zeros == bytes(sum(range(100)))


@WAYS
@SIDES
async def test_argument_that_fails_ends_a_streamed_result(way: Way, side: int) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        await trio.lowlevel.checkpoint()
        raise OSError("the disk is gone")

    async with way() as pair:
        with pytest.raises(OSError, match="the disk is gone"):
            async for _ in files_of(pair, side).turn(failing()):
                pass
        assert await files_of(pair, side).add(1, 2) == 3


@WAYS
@SIDES
@pytest.mark.parametrize("method", ["write", "turn"])
async def test_argument_whose_source_breaks_says_so(
    way: Way, side: int, method: str, autojump_clock: MockClock
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"x"
        await trio.sleep(1)
        raise trio.BrokenResourceError("the source broke")

    async with way() as pair:
        files = files_of(pair, side)
        with pytest.raises(trio.BrokenResourceError, match="the source broke"):
            if method == "write":
                await files.write("x", breaking())
            async for _ in files.turn(breaking()):
                pass
        assert await files.add(1, 2) == 3


@WAYS
@SIDES
async def test_error_comes_after_a_part_and_never_as_its_end(way: Way, side: int) -> None:
    async with way() as pair:
        with pytest.raises(RpcError, match="the rest is gone"):
            async for _ in files_of(pair, side).read(len(DATA), fail_at=1_000_000):
                pass


@WAYS
@SIDES
async def test_method_that_has_had_enough_answers(way: Way, side: int) -> None:
    async with way() as pair:
        assert await files_of(pair, side).peek(pieces(DATA)) == DATA[:1]
        assert await files_of(pair, side).add(1, 2) == 3


@WAYS
@SIDES
async def test_result_that_is_left_ends_at_the_other_side(
    way: Way, side: int, autojump_clock: MockClock
) -> None:
    async with way() as pair:
        async with aclosing(files_of(pair, side).read(len(DATA))) as items:  # type: ignore[type-var]
            await anext(items)
        await trio.sleep(5)
        assert pair[2].closed == 1


@WAYS
@SIDES
async def test_small_call_goes_on_beside_a_stalled_payload(
    way: Way, side: int, autojump_clock: MockClock
) -> None:
    async with way() as pair:
        async with aclosing(files_of(pair, side).read(len(DATA))) as items:  # type: ignore[type-var]
            await anext(items)
            await trio.sleep(1)
            assert pair[2].sent < 2 * BYTES_AHEAD + 200_000
            assert await files_of(pair, side).add(1, 2) == 3


@WAYS
@SIDES
async def test_peer_that_is_gone_ends_a_payload(
    way: Way, side: int, autojump_clock: MockClock
) -> None:
    async with way() as pair:
        items = files_of(pair, side).read(len(DATA))
        await anext(items)
        (pair[1], pair[0])[side].end("gone")
        with pytest.raises((PeerGone, RpcError)), trio.fail_after(60):
            async for _ in items:
                pass


async def test_session_gives_a_payload_a_stream_of_its_own(autojump_clock: MockClock) -> None:
    async with over_session() as pair:
        items = pair[0].proxy(Files).read(len(DATA))
        await anext(items)
        streams = pair[1]._channel.streams
        assert streams is not None
        assert len(streams._done) == 1
        assert len([piece async for piece in items]) > 1
        await trio.sleep(5)
        assert (streams._done, streams._expected) == ({}, {})


async def test_payload_that_no_call_waits_for_is_reset(autojump_clock: MockClock) -> None:
    async with over_session() as pair:
        line = pair[0]._channel.streams
        assert line is not None
        for name in (b"1:opener:7", b"999:opener:1", b"x"):
            metadata = {int(Metadata.RPC_PAYLOAD): name}
            stream = line._line.session.begin_stream("rpc", metadata=metadata)
            with pytest.raises(StreamReset, match="payload"):
                await stream.receive_some()


async def test_stranger_gets_a_payload_as_one_string() -> None:
    async with plain(RealFiles()) as client:
        answer = await client.ask(call_of("files.read", {"size": 200_000}))
    assert answer["result"] == b64encode(DATA[:200_000]).decode()


async def test_stranger_gets_no_endless_string() -> None:
    async with plain(RealFiles()) as client:
        answer = await client.ask(call_of("files.read", {"size": MAX_COLLECTED_BYTES + 1}))
    assert answer["error"]["code"] == RpcCode.TOO_LARGE


async def test_stranger_sends_a_payload_as_one_string() -> None:
    params = {"name": "x", "content": b64encode(DATA[:1000]).decode()}
    async with plain(RealFiles()) as client:
        answer = await client.ask(call_of("files.write", params))
    assert answer["result"] == 1000


@given(
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=1),
)
def test_piece_comes_back(is_argument: bool, call_id: int, offset: int, data: bytes) -> None:
    message = encode_piece(is_argument=is_argument, call_id=call_id, offset=offset, data=data)
    assert decode_piece(message) == (is_argument, call_id, offset, data)


@given(st.binary(max_size=40))
def test_message_that_is_no_piece(data: bytes) -> None:
    piece = decode_piece(data)
    assert piece is None or (data[0] in (0, 1) and piece.data == data[17:])


@pytest.mark.parametrize(("offset", "size"), [(1, 1), (0, 0), (0, BYTES_AHEAD + 1)])
def test_bytes_that_were_not_due_are_refused(offset: int, size: int) -> None:
    feed = ByteFeed("x", lambda _: None, Backlog())
    feed.open()
    with pytest.raises(RpcError, match="not due"):
        feed.arrived_bytes(offset, bytes(size))


async def test_fewer_bytes_than_were_told_are_no_end() -> None:
    feed = ByteFeed("x", lambda _: None, Backlog())
    feed.open()
    feed.arrived_bytes(0, b"ab")
    feed.finish_after(3)
    assert await feed.take() == b"ab"
    with pytest.raises(RpcError, match="2 of 3"):
        await feed.take()


async def test_other_websocket_client_takes_binary_messages() -> None:
    left, right = memory_stream_pair()
    call = {**call_of("files.read", {"size": 100_000}), "tk": {"items": MIB, "binary": True}}
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            async with open_peer(await accept_websocket(right), serve=[RealFiles()]) as peer:
                await peer.wait_closed()

        nursery.start_soon(serve)
        channel = await open_websocket(left, URL)
        await channel.send([json.dumps(call).encode()])
        found = [await channel.receive() for _ in range(3)]
        await channel.aclose()
    first, second, answer = [message or b"" for message in found]
    assert struct.unpack_from("!BQQ", first) == (0, call["id"], 0)
    assert struct.unpack_from("!BQQ", second) == (0, call["id"], 64 * 1024)
    assert first[17:] + second[17:] == DATA[:100_000]
    assert json.loads(answer)["result"] == 100_000
