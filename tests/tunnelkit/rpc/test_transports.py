"""Both ends call each other at the same time, over each transport that there is."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.certificates import authority, tls_settings
from tests.tunnelkit.pairs import World, open_pair
from tests.tunnelkit.rpc.child import Back, RealBack
from tests.tunnelkit.rpc.test_peer import Clock, RealClock
from tunnelkit.rpc.channels import Channel, LineChannel
from tunnelkit.rpc.codes import PeerGone
from tunnelkit.rpc.peer import Peer, open_peer
from tunnelkit.rpc.sessions import open_session_channel, session_channels
from tunnelkit.rpc.stdio import open_process_channel
from tunnelkit.rpc.websocket import accept_websocket, open_websocket

REPOSITORY = Path(__file__).resolve().parents[3]
CHILD = [sys.executable, "-m", "tests.tunnelkit.rpc.child"]

Transport = Callable[[], AbstractAsyncContextManager[Channel]]


async def serve(channel: Channel) -> None:
    """Serve both services to one peer, and call its clock."""
    back = RealBack()
    async with open_peer(channel, serve=[RealClock(), back]) as peer:
        back.clock = peer.proxy(Clock)
        await peer.wait_closed()


async def serve_lines(stream: trio.abc.Stream) -> None:
    await serve(LineChannel(stream))


async def serve_tcp(nursery: trio.Nursery, handle: Callable[..., Awaitable[object]]) -> int:
    run = partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
    listeners = await nursery.start(run)
    port: int = listeners[0].socket.getsockname()[1]
    return port


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority().issue("127.0.0.1")
    context.load_cert_chain(issued["certificate"], issued["key"])
    return context


def client_stream(stream: trio.abc.Stream) -> trio.SSLStream[trio.abc.Stream]:
    context = ssl.create_default_context(cafile=tls_settings().ca)
    return trio.SSLStream(stream, context, server_hostname="127.0.0.1")


@asynccontextmanager
async def tcp() -> AsyncGenerator[Channel]:
    async with trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, serve_lines)
        yield LineChannel(await trio.open_tcp_stream("127.0.0.1", port))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tls() -> AsyncGenerator[Channel]:
    context = server_context()

    async def handle(stream: trio.abc.Stream) -> None:
        await serve(LineChannel(trio.SSLStream(stream, context, server_side=True)))

    async with trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, handle)
        yield LineChannel(client_stream(await trio.open_tcp_stream("127.0.0.1", port)))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def unix(folder: Path) -> AsyncGenerator[Channel]:
    path = str(folder / "rpc.sock")
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(path)
    listening.listen()
    async with trio.open_nursery() as nursery:
        listener = trio.SocketListener(listening)
        nursery.start_soon(trio.serve_listeners, serve_lines, [listener])
        yield LineChannel(await trio.open_unix_socket(path))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def ws() -> AsyncGenerator[Channel]:
    async with trio.open_nursery() as nursery:

        async def handle(stream: trio.abc.Stream) -> None:
            await serve(await accept_websocket(stream))

        port = await serve_tcp(nursery, handle)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        yield await open_websocket(stream, f"ws://127.0.0.1:{port}/rpc")
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def wss() -> AsyncGenerator[Channel]:
    context = server_context()
    async with trio.open_nursery() as nursery:

        async def handle(stream: trio.abc.Stream) -> None:
            await serve(await accept_websocket(trio.SSLStream(stream, context, server_side=True)))

        port = await serve_tcp(nursery, handle)
        stream = client_stream(await trio.open_tcp_stream("127.0.0.1", port))
        yield await open_websocket(stream, f"wss://127.0.0.1:{port}/rpc")
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def stdio() -> AsyncGenerator[Channel]:
    async with open_process_channel(CHILD, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as channel:
        yield channel


@asynccontextmanager
async def session() -> AsyncGenerator[Channel]:
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(open_pair(World()))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(pair.bob.serve, session_channels(serve))
        yield await open_session_channel(pair.session)
        nursery.cancel_scope.cancel()


Wrap = Callable[[trio.abc.Stream, bool], Awaitable[Channel]]


async def as_lines(stream: trio.abc.Stream, _: bool) -> Channel:
    return LineChannel(stream)


async def as_websocket(stream: trio.abc.Stream, is_client: bool) -> Channel:
    if is_client:
        return await open_websocket(stream, "ws://somewhere/rpc")
    return await accept_websocket(stream)


def in_tls(wrap: Wrap) -> Wrap:
    async def wrapped(stream: trio.abc.Stream, is_client: bool) -> Channel:
        if is_client:
            return await wrap(client_stream(stream), is_client)
        return await wrap(trio.SSLStream(stream, server_context(), server_side=True), is_client)

    return wrapped


@asynccontextmanager
async def in_memory(wrap: Wrap) -> AsyncGenerator[Channel]:
    left, right = memory_stream_pair()

    async def handle() -> None:
        await serve(await wrap(right, False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle)
        yield await wrap(left, True)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "way",
    [
        partial(in_memory, as_lines),
        partial(in_memory, in_tls(as_lines)),
        partial(in_memory, as_websocket),
        partial(in_memory, in_tls(as_websocket)),
        session,
    ],
    ids=["lines", "lines in TLS", "WebSocket", "WebSocket in TLS", "session"],
)
async def test_both_ends_call_in_virtual_time(way: Transport, autojump_clock: MockClock) -> None:
    async with calling(way) as peer:
        with trio.fail_after(3700):
            async with trio.open_nursery() as nursery:
                for hours in (0.5, 1):
                    nursery.start_soon(peer.proxy(Clock).wait, hours * 3600)
                assert await peer.proxy(Back).ask(100) == 100


@pytest.fixture(params=["tcp", "tls", "unix", "ws", "wss", "stdio", "session"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Transport:
    """Opens a channel to a peer that serves both services."""
    ways: dict[str, Transport] = {
        "tcp": tcp,
        "tls": tls,
        "unix": partial(unix, tmp_path),
        "ws": ws,
        "wss": wss,
        "stdio": stdio,
        "session": session,
    }
    return ways[request.param]


@asynccontextmanager
async def calling(transport: Transport) -> AsyncGenerator[Peer]:
    async with transport() as channel, open_peer(channel, serve=[RealClock()]) as peer:
        yield peer


async def test_both_ends_call_at_the_same_time(transport: Transport) -> None:
    async with calling(transport) as peer, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(peer.proxy(Clock).now, str(number))
        assert await peer.proxy(Back).ask(100) == 100


async def test_items_and_calls_beside_them(transport: Transport) -> None:
    async with calling(transport) as peer:
        ticks = 0
        async for _ in peer.proxy(Clock).ticks(200):
            ticks += 1
            await peer.proxy(Clock).now()
    assert ticks == 200


async def test_stdout_of_a_server_is_kept_for_messages(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+b") as log:
        async with open_process_channel(CHILD, cwd=REPOSITORY, stderr=log) as channel:
            async with open_peer(channel, serve=[RealClock()]) as peer:
                await peer.proxy(Clock).now()
        log.seek(0)
        assert log.read() == b"this is no message\n"


async def test_process_that_is_gone_ends_its_calls() -> None:
    async with calling(stdio) as peer:
        with pytest.raises(PeerGone):
            await peer.proxy(Back).die()


async def test_process_that_does_not_end_is_ended() -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(3600)"
    with trio.fail_after(30):
        async with open_process_channel([sys.executable, "-c", stubborn]):
            pass
