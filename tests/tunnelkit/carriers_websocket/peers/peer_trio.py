"""A WebSocket program made with `trio-websocket`; `plan` says what it does.

That library sends a message in one frame; its own way to a frame is used to send fragments.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
)
from wsproto.events import BytesMessage, Ping
from wsproto.utilities import LocalProtocolError

from tests.tunnelkit.carriers_websocket.peers.plan import SUBPROTOCOL, Script

BIG = 1 << 26
CLOSED = (ConnectionClosed, LocalProtocolError, trio.BrokenResourceError)
"""What its own way to a frame may raise once the other side has closed."""


async def send(peer: WebSocketConnection, script: Script) -> None:
    """Send the messages, with pings between their fragments."""
    for parts in script.messages():
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            await peer._send(BytesMessage(data=part, message_finished=last))
            if script.wants_ping():
                await peer._send(Ping(payload=b"between"))


async def talk(peer: WebSocketConnection, script: Script) -> None:
    """Play the script, then report."""
    has_all = trio.Event()

    async def receive() -> None:
        with suppress(ConnectionClosed):
            while True:
                message = await peer.get_message()
                assert isinstance(message, bytes)
                script.take(message)
                if script.has_all:
                    has_all.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with suppress(*CLOSED):
            await send(peer, script)
            await has_all.wait()
            if script.scenario == "inside":
                await peer._send(BytesMessage(data=b"half of it", message_finished=False))
            if script.scenario in ("leave", "inside"):
                await peer.aclose(1001 if script.scenario == "leave" else 1000)
    reason = peer.closed
    script.report(code=reason.code if reason else None, extensions=0)


async def main(role: str, scenario: str, file: str, url: str = "") -> None:
    """Dial, or serve one connection."""
    script = Script(scenario, file)
    if role == "client":
        async with open_websocket_url(
            url, subprotocols=[SUBPROTOCOL], max_message_size=BIG, message_queue_size=16
        ) as peer:
            await talk(peer, script)
        return
    async with trio.open_nursery() as nursery:

        async def handle(request: WebSocketRequest) -> None:
            await talk(await request.accept(subprotocol=SUBPROTOCOL), script)
            nursery.cancel_scope.cancel()

        async def serve(task_status: trio.TaskStatus[WebSocketServer]) -> None:
            await serve_websocket(
                handle, "127.0.0.1", 0, None, max_message_size=BIG, task_status=task_status
            )

        server = await nursery.start(serve)
        print(f'{{"port": {server.port}}}', flush=True)


trio.run(partial(main, *sys.argv[1:]))
