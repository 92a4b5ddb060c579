"""Many and large answers, those that cannot be said, and peers that ask and do not read."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from tests.tunnelkit.rpc.test_peer import call_of
from tunnelkit.rpc import (
    Caller,
    LineChannel,
    NotServed,
    Peer,
    RpcCode,
    RpcError,
    Service,
    open_peer,
)
from tunnelkit.rpc.channels import MAX_MESSAGE_BYTES
from tunnelkit.rpc.codes import PeerGone
from tunnelkit.rpc.inflight import MAX_INCOMING, MAX_OUTGOING
from tunnelkit.rpc.websocket import WebSocketChannel, accept_websocket


class Echo(Service, name="echo"):
    async def text(self, size: int) -> str:
        raise NotServed

    async def length(self, text: str) -> int:
        raise NotServed

    async def fail(self, how: str) -> None:
        raise NotServed

    async def wait(self) -> None:
        raise NotServed

    def texts(self, size: int) -> AsyncIterator[str]:
        raise NotServed


class RealEcho(Echo):
    def __init__(self) -> None:
        self.open = 0
        self.ending_seconds = 0.0

    async def text(self, size: int) -> str:
        await trio.lowlevel.checkpoint()
        return "x" * size

    async def length(self, text: str) -> int:
        return len(text)

    async def fail(self, how: str) -> None:
        data: dict[str, dict[str, object]] = {
            "object": {"it": object()},
            "large": {"it": "x" * MAX_MESSAGE_BYTES},
        }
        text = {"file": os.fsdecode(b"\xff"), "long": "x" * MAX_MESSAGE_BYTES}.get(how, "as asked")
        raise RpcError(RpcCode.NOT_FOUND, text, data.get(how))

    async def wait(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.ending_seconds)

    async def texts(self, size: int) -> AsyncIterator[str]:
        self.open += 1
        try:
            while True:
                yield "x" * size
        finally:
            self.open -= 1


@asynccontextmanager
async def echoes(**settings: Any) -> AsyncGenerator[tuple[Echo, RealEcho, Peer]]:
    """A caller's proxy, who serves it, and the caller's peer."""
    left, right = memory_stream_pair()
    echo = RealEcho()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[echo], **settings),
    ):
        yield caller.proxy(Echo), echo, caller


async def test_many_large_answers_all_arrive() -> None:
    sizes: list[int] = []
    async with echoes() as (echo, _, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            sizes.append(len(await echo.text(150_000)))

        for _ in range(MAX_INCOMING):
            nursery.start_soon(ask)
    assert sizes == [150_000] * MAX_INCOMING


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES, 3 * MAX_MESSAGE_BYTES])
async def test_result_that_is_too_large_ends_its_call_alone(size: int) -> None:
    async with echoes() as (echo, _, _):
        with pytest.raises(RpcError, match=r"echo\.text has .* stream it") as error:
            await echo.text(size)
        assert error.value.code == RpcCode.TOO_LARGE
        assert await echo.length("abc") == 3


async def test_argument_that_is_too_large_ends_its_call_alone() -> None:
    async with echoes() as (echo, _, _):
        with pytest.raises(RpcError, match="TOO_LARGE"):
            await echo.length("x" * MAX_MESSAGE_BYTES)
        assert await echo.length("abc") == 3


async def test_item_that_is_too_large_ends_its_call_alone() -> None:
    async with echoes() as (echo, served, _):
        with pytest.raises(RpcError, match="TOO_LARGE"):
            await anext(echo.texts(MAX_MESSAGE_BYTES))
        assert served.open == 0
        assert await echo.length("abc") == 3


async def test_batch_whose_answers_are_too_large_is_answered() -> None:
    left, right = memory_stream_pair()
    channel = LineChannel(left)
    batch = [call_of("echo.text", {"size": 1_500_000}, number) for number in range(4)]
    async with open_peer(LineChannel(right), serve=[RealEcho()]):
        await channel.send([json.dumps(batch).encode()])
        answers = json.loads(await channel.receive() or b"")
        assert sorted("result" in answer for answer in answers) == [False, False, True, True]
        assert {answer["id"] for answer in answers} == {0, 1, 2, 3}
        await channel.aclose()


@pytest.mark.parametrize("how", ["object", "large", "file", "long"])
async def test_error_that_cannot_be_said_is_said_in_part(how: str) -> None:
    async with echoes() as (echo, _, _):
        with pytest.raises(RpcError) as error:
            await echo.fail(how)
        assert error.value.code == RpcCode.NOT_FOUND
        assert await echo.length("abc") == 3


async def test_calls_that_cannot_be_encoded_leave_nothing_behind() -> None:
    wrong: Any = object()
    async with echoes() as (echo, _, _):
        for _ in range(MAX_OUTGOING + 1):
            with pytest.raises(TypeError):
                await echo.length(wrong)
        assert await echo.length("abc") == 3


async def test_loop_that_is_left_ends_its_call(autojump_clock: MockClock) -> None:
    async with echoes() as (echo, served, _):
        for _ in range(MAX_INCOMING + 1):
            async for _text in echo.texts(1):
                break
            await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        await trio.sleep(1)
        assert served.open == 0
        assert await echo.length("abc") == 3


async def test_who_cancels_and_does_not_read_gets_no_more_places(
    autojump_clock: MockClock,
) -> None:
    asker, right = lockstep_stream_pair()
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_peer(LineChannel(right), serve=[RealEcho()]) as server:
        for number in range(20):
            await asker.send_all(line(call_of("echo.text", {"size": 40_000}, number)))
        for number in range(100, 2_000):
            cancel = {"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": number}}
            await asker.send_all(line(call_of("echo.wait", {}, number)) + line(cancel))
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living < before + MAX_INCOMING
        server.end("enough")


def line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def test_id_of_a_cancelled_call_is_free_once_it_is_over(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    channel = LineChannel(left)
    cancel = {"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": 5}}
    async with open_peer(LineChannel(right), serve=[RealEcho()]):
        await channel.send([line(call_of("echo.wait", {}, 5)), line(cancel)])
        await trio.sleep(1)
        await channel.send([line(call_of("echo.text", {"size": 1}, 5))])
        assert json.loads(await channel.receive() or b"")["result"] == "x"
        await channel.aclose()


async def test_id_of_a_cancelled_call_is_not_free_before(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    channel, echo = LineChannel(left), RealEcho()
    echo.ending_seconds = 10
    cancel = {"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": 5}}
    async with open_peer(LineChannel(right), serve=[echo]):
        await channel.send([line(call_of("echo.wait", {}, 5))])
        await trio.sleep(1)
        await channel.send([line(cancel), line(call_of("echo.text", {"size": 1}, 5))])
        assert json.loads(await channel.receive() or b"")["error"]["code"] == -32600
        await trio.sleep(11)
        await channel.send([line(call_of("echo.text", {"size": 1}, 5))])
        assert json.loads(await channel.receive() or b"")["result"] == "x"


@asynccontextmanager
async def websocket_of_a_stranger() -> AsyncGenerator[tuple[WebSocketChannel, trio.abc.Stream]]:
    """A channel, and the other end of its connection after the handshake."""
    left, right = memory_stream_pair()
    client = ClientProtocol(parse_uri("ws://a/"))
    client.send_request(client.connect())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, b"".join(client.data_to_send()))
        channel = await accept_websocket(right)
    yield channel, left


async def test_pings_of_who_does_not_read_end_the_connection() -> None:
    ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
    async with websocket_of_a_stranger() as (channel, stranger):
        await stranger.send_all(ping * 30_000)
        with pytest.raises(PeerGone, match="does not read"):
            await channel.receive()


async def test_empty_pieces_of_a_message_are_not_kept() -> None:
    first, last = Frame(Opcode.TEXT, b"[", fin=False), Frame(Opcode.CONT, b"]")
    empty = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
    async with websocket_of_a_stranger() as (channel, stranger):
        await stranger.send_all(first.serialize(mask=True) + empty * 10_000)
        with trio.move_on_after(0.01):
            await channel.receive()
        kept = sum(isinstance(one, bytes) and not one for one in gc.get_referents(channel._parts))
        await stranger.send_all(last.serialize(mask=True))
        assert (await channel.receive(), kept) == (b"[]", 0)


async def test_channel_of_services_with_one_name_is_closed() -> None:
    left, right = memory_stream_pair()
    with pytest.raises(RpcError, match="CONFLICT"):
        async with open_peer(LineChannel(right), serve=[RealEcho(), RealEcho()]):
            pass
    assert await left.receive_some() == b""


async def test_who_may_not_call_learns_no_names() -> None:
    async def refuse(*_: object) -> None:
        raise RpcError(RpcCode.UNAUTHENTICATED, "log in")

    async with echoes(middleware=[refuse], caller=Caller("")) as (_, _, caller):
        channel_calls = caller.proxy(Other)
        with pytest.raises(RpcError, match="UNAUTHENTICATED"):
            await channel_calls.nothing()


class Other(Service, name="other"):
    async def nothing(self) -> None:
        raise NotServed
