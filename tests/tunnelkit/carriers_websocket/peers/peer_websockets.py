"""A WebSocket program made with `websockets` on asyncio; `plan` says what it does.

It offers permessage-deflate, as that library always does.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 # a program that is not ours
import contextlib
import sys
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.tunnelkit.carriers_websocket.peers.plan import SUBPROTOCOL, Script

OURS = [Subprotocol(SUBPROTOCOL)]


class _Enough(Exception):
    """Ends a message in the middle."""


async def send(peer: Connection, script: Script) -> None:
    """Send the messages, with pings between their fragments."""

    async def fragments(parts: list[bytes]) -> AsyncIterator[bytes]:
        for part in parts:
            yield part
            if script.wants_ping():
                await peer.ping()

    for parts in script.messages():
        await peer.send(fragments(parts))


async def begin_and_break(peer: Connection) -> None:
    """Begin a message and fail: this library closes with 1011 then."""

    async def half() -> AsyncIterator[bytes]:
        yield b"half of it"
        yield b"and no end"
        raise _Enough

    with contextlib.suppress(_Enough):
        await peer.send(half())


async def talk(peer: Connection, script: Script) -> None:
    """Play the script, then report."""
    has_all = asyncio.Event()

    async def receive() -> None:
        async for message in peer:
            assert isinstance(message, bytes)
            script.take(message)
            if script.has_all:
                has_all.set()

    reader = asyncio.create_task(receive())
    with contextlib.suppress(ConnectionClosed):
        await send(peer, script)
        await has_all.wait()
        if script.scenario == "leave":
            await peer.close(1001)
        elif script.scenario == "inside":
            await begin_and_break(peer)
    with contextlib.suppress(ConnectionClosed):
        await reader
    await peer.wait_closed()
    extensions = len(peer.protocol.extensions)
    script.report(code=peer.close_code, extensions=extensions)


async def main(role: str, scenario: str, file: str, url: str = "") -> None:
    """Dial, or serve one connection."""
    script = Script(scenario, file)
    if role == "client":
        peer: ClientConnection
        async with connect(url, subprotocols=OURS, max_size=None, ping_interval=None) as peer:
            await talk(peer, script)
        return
    done = asyncio.Event()

    async def handle(peer: Connection) -> None:
        await talk(peer, script)
        done.set()

    async with serve(
        handle, "127.0.0.1", 0, subprotocols=OURS, max_size=None, ping_interval=None
    ) as server:
        print(f'{{"port": {server.sockets[0].getsockname()[1]}}}', flush=True)
        await done.wait()


asyncio.run(main(*sys.argv[1:]))
