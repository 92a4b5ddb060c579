"""RPC over WebSockets: among ourselves, and with another implementation on either side."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import websockets.trio.client
import websockets.trio.server
from trio.testing import MockClock, memory_stream_pair
from websockets.exceptions import ConnectionClosed

from tests.tunnelkit.rpc.test_peer import Clock, Moment, RealClock, call_of
from tunnelkit.errors import ConfigurationError
from tunnelkit.rpc.codes import PeerGone, RpcCode
from tunnelkit.rpc.peer import open_peer
from tunnelkit.rpc.websocket import accept_websocket, open_websocket

URL = "ws://somewhere/rpc"


async def serve(stream: trio.abc.Stream, **settings: Any) -> None:
    """Serve a clock to one client."""
    channel = await accept_websocket(stream, **settings)
    async with open_peer(channel, serve=[RealClock()]) as peer:
        await peer.wait_closed()


@asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[trio.abc.Stream]:
    """Run a server at the other end of a stream in memory."""
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(right, **settings))
        yield left
        nursery.cancel_scope.cancel()


async def test_both_ends_are_ours() -> None:
    async with serving() as stream:
        async with open_peer(await open_websocket(stream, URL)) as peer:
            assert await peer.proxy(Clock).now() == Moment("UTC", 1.5)
            assert [m.seconds async for m in peer.proxy(Clock).ticks(100)] == list(range(100))


async def test_client_of_another_implementation() -> None:
    async with trio.open_nursery() as nursery:
        port = await _listen(nursery)
        async with websockets.trio.client.connect(f"ws://127.0.0.1:{port}/") as client:
            await client.send(json.dumps(call_of("clock.now", {"zone": "CET"})))
            answer = json.loads(await client.recv())
        nursery.cancel_scope.cancel()
    assert answer["result"] == {"zone": "CET", "seconds": 1.5}


async def _listen(nursery: trio.Nursery, **settings: Any) -> int:
    handle = partial(serve, **settings)
    listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def test_server_of_another_implementation() -> None:
    async def answer(connection: Any) -> None:
        async for message in connection:
            call = json.loads(message)
            reply = {"jsonrpc": "2.0", "id": call["id"]}
            if call["method"] == "clock.now":
                reply["result"] = {"zone": call["params"]["zone"], "seconds": 2.0}
            else:
                reply["error"] = {"code": -32601, "message": "Method not found"}
            await connection.send(json.dumps(reply))

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: websockets.trio.server.serve(
                answer, host="127.0.0.1", port=0, task_status=task_status
            )
        )
        port = server.listeners[0].socket.getsockname()[1]
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with open_peer(await open_websocket(stream, f"ws://127.0.0.1:{port}/")) as peer:
            found = await peer.proxy(Clock).now("UTC")
        nursery.cancel_scope.cancel()
    assert found == Moment("UTC", 2.0)


async def test_refused_client_is_told_why() -> None:
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_gone, right)
        with pytest.raises(PeerGone, match="403"):
            await open_websocket(left, URL)


async def _expect_gone(stream: trio.abc.Stream) -> None:
    with pytest.raises(PeerGone, match="no token"):
        await accept_websocket(stream, lambda request: "no token")


async def test_check_that_fails_closes_the_connection() -> None:
    left, right = memory_stream_pair()

    def check(request: Any) -> str | None:
        raise ValueError("a bug")

    async def accept() -> None:
        with pytest.raises(ValueError, match="a bug"):
            await accept_websocket(right, check)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        with pytest.raises(PeerGone), trio.fail_after(5):
            await open_websocket(left, URL)


async def test_header_that_cannot_be_sent_closes_the_connection() -> None:
    left, right = memory_stream_pair()
    wrong: Any = {5: "x"}
    with pytest.raises(AttributeError):
        await open_websocket(left, URL, headers=wrong)
    assert await right.receive_some() == b""


async def test_answer_that_cannot_be_sent_closes_the_connection(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    right.send_stream.send_all_hook = trio.sleep_forever
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_websocket, left, URL)
        with trio.move_on_after(3) as scope:
            await accept_websocket(right)
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await right.send_all(b"x")


async def test_headers_of_the_client_are_seen() -> None:
    seen: list[str] = []

    def check(request: Any) -> None:
        seen.append(request.headers["Authorization"] + request.path)

    async with serving(check=check) as stream:
        channel = await open_websocket(stream, URL, headers={"Authorization": "Bearer x"})
        async with open_peer(channel) as peer:
            await peer.proxy(Clock).now()
    assert seen == ["Bearer x/rpc"]


@pytest.mark.parametrize("url", ["http://somewhere/", "ws://", "ws://somewhere/#part", "ws://h:x/"])
async def test_url_that_is_none_of_a_websocket(url: str) -> None:
    left, right = memory_stream_pair()
    with pytest.raises(ConfigurationError, match="ws://HOST"):
        await open_websocket(left, url)
    assert await right.receive_some() == b""


async def test_handshake_that_never_ends(autojump_clock: MockClock) -> None:
    left, _ = memory_stream_pair()
    with pytest.raises(PeerGone, match="too long"):
        await open_websocket(left, URL)


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b""])
async def test_what_is_no_handshake(data: bytes) -> None:
    left, right = memory_stream_pair()
    if data:
        await left.send_all(data)
    await left.send_eof()
    with pytest.raises(PeerGone):
        await accept_websocket(right)


async def test_message_that_is_too_large_ends_the_connection() -> None:
    async with trio.open_nursery() as nursery:
        port = await _listen(nursery, max_message_bytes=1000)
        async with websockets.trio.client.connect(f"ws://127.0.0.1:{port}/") as client:
            await client.send("x" * 2000)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    answer = json.loads(await client.recv())
                    assert answer["error"]["code"] == RpcCode.TOO_LARGE
        nursery.cancel_scope.cancel()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_ping_is_answered_while_nobody_calls() -> None:
    async with trio.open_nursery() as nursery:
        port = await _listen(nursery)
        async with websockets.trio.client.connect(f"ws://127.0.0.1:{port}/") as client:
            pong = await client.ping()
            with trio.fail_after(5):
                await pong.wait()
        nursery.cancel_scope.cancel()


async def test_cut_connection_is_not_a_clean_end() -> None:
    async with serving() as stream:
        channel = await open_websocket(stream, URL)
        await trio.aclose_forcefully(stream)
        with pytest.raises(PeerGone):
            await channel.receive()
