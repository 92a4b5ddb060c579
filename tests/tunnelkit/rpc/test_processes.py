"""Two processes call each other at the same time, over each transport, over real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from tests.tunnelkit.certificates import authority
from tests.tunnelkit.pairs import World
from tests.tunnelkit.rpc.child import Back
from tests.tunnelkit.rpc.other_process import Process
from tests.tunnelkit.rpc.test_peer import Clock, Moment, RealClock
from tests.tunnelkit.rpc.test_transports import REPOSITORY, client_stream
from tunnelkit.addresses import parse_address
from tunnelkit.rpc import (
    Channel,
    LineChannel,
    Peer,
    PeerGone,
    RpcError,
    open_peer,
    open_session_channel,
    open_websocket,
)

COMMAND = [sys.executable, "-m", "tests.tunnelkit.rpc.other_process"]
TRANSPORTS = ["tcp", "tls", "unix", "ws", "wss", "session"]


@dataclass
class Other:
    """The other process, and where it listens."""

    pid: int
    places: dict[str, Any]

    @asynccontextmanager
    async def calling(self, transport: str) -> AsyncGenerator[Peer]:
        """Open a peer to it, which serves a clock of this process."""
        async with AsyncExitStack() as stack:
            channel = await self._open(transport, stack)
            yield await stack.enter_async_context(open_peer(channel, serve=[RealClock()]))

    async def _open(self, transport: str, stack: AsyncExitStack) -> Channel:
        place = self.places[transport]
        if transport == "session":
            dial = [parse_address(place)]
            alice = await stack.enter_async_context(World("tcp").endpoint("alice", dial=dial))
            return await open_session_channel(await alice.open_session("bob"))
        if transport == "unix":
            return LineChannel(await trio.open_unix_socket(place))
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", place)
        if transport in ("tls", "wss"):
            stream = client_stream(stream)
        if transport in ("ws", "wss"):
            return await open_websocket(stream, f"{transport}://127.0.0.1:{place}/rpc")
        return LineChannel(stream)


@pytest.fixture(scope="module")
def other() -> Generator[Other]:
    """One process for all tests of this module; it ends when its stdin is closed."""
    issued = authority().issue("127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, folder, issued["certificate"], issued["key"]]
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None  # as was asked for
            assert process.stdout is not None
            yield Other(process.pid, json.loads(process.stdout.readline()))
            process.stdin.close()
            assert process.wait(20) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_processes_call_each_other_at_the_same_time(other: Other, transport: str) -> None:
    moments: list[Moment] = []
    async with other.calling(transport) as peer:
        assert await peer.proxy(Process).pid() == other.pid != os.getpid()
        async with trio.open_nursery() as nursery:

            async def call(number: int) -> None:
                moments.append(await peer.proxy(Clock).now(str(number)))

            for number in range(100):
                nursery.start_soon(call, number)
            assert await peer.proxy(Back).ask(100) == 100  # it calls back meanwhile
    assert {moment.zone for moment in moments} == {str(number) for number in range(100)}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_call_that_is_left_ends_in_the_other_process(other: Other, transport: str) -> None:
    async with other.calling(transport) as peer:
        async with trio.open_nursery() as nursery:
            for _ in range(256):  # as many as there may be
                nursery.start_soon(peer.proxy(Clock).wait, 3600)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        moment = None
        while moment is None:
            with suppress(RpcError):  # BUSY, until they have ended
                moment = await peer.proxy(Clock).now("after")
        assert moment == Moment("after", 1.5)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_items_come_from_the_other_process(other: Other, transport: str) -> None:
    async with other.calling(transport) as peer:
        seconds = [tick.seconds async for tick in peer.proxy(Clock).ticks(200)]
    assert seconds == list(range(200))


@pytest.mark.parametrize("transport", ["tcp", "unix"])
async def test_connection_that_was_cut_ends_calls(other: Other, transport: str) -> None:
    async with AsyncExitStack() as stack:
        channel = await other._open(transport, stack)
        async with open_peer(channel) as peer, trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(PeerGone):
                    await peer.proxy(Clock).wait(3600)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await channel.aclose()
