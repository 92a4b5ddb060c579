"""Other WebSocket programs in processes of their own, and our side of the conversation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from tests.tunnelkit.carriers_websocket.ends import End
from tests.tunnelkit.pairs import wait_until
from tunnelkit.addresses import Address
from tunnelkit.carriers import SYSTEM_NETWORK, Pipe, connect
from tunnelkit.pump import Pump

ROOT: Final = Path(__file__).resolve().parents[3]
PEERS: Final = "tests.tunnelkit.carriers_websocket.peers"
PROGRAMS: Final = {
    "websockets": [sys.executable, "-m", f"{PEERS}.peer_websockets"],
    "trio-websocket": [sys.executable, "-m", f"{PEERS}.peer_trio"],
    "ws": ["node", str(ROOT / PEERS.replace(".", "/") / "peer_ws.js")],
}


class Foreign:
    """A peer that runs; see `peers/plan.py`."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._text = b""

    async def line(self) -> dict[str, Any]:
        """Return what it says next."""
        assert self.process.stdout is not None  # a pipe was asked for
        while b"\n" not in self._text:
            data = await self.process.stdout.receive_some(65_536)
            assert data, "the peer ended without a word"
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    async def report(self) -> dict[str, Any]:
        """Return its report, once it has ended."""
        found = await self.line()
        assert await self.process.wait() == 0
        return found

    async def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def start(
    kind: str, role: str, scenario: str, file: Path, url: str = "", modules: str = ""
) -> AsyncGenerator[Foreign]:
    """Start a peer; kill what is left of it."""
    process = await trio.lowlevel.open_process(
        [*PROGRAMS[kind], role, scenario, str(file), url],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NODE_PATH": modules},
    )
    try:
        yield Foreign(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None  # a pipe was asked for
            await process.stdout.aclose()


@asynccontextmanager
async def listening(pump: Pump) -> AsyncGenerator[tuple[Address, list[Pipe]]]:
    """Accept WebSockets on loopback."""
    accepted: list[Pipe] = []
    address = Address("ws", "127.0.0.1", 0, "/x")
    listener = await SYSTEM_NETWORK.listen(address, pump, accepted.append)
    try:
        yield listener.address, accepted
    finally:
        listener.close()
        for pipe in accepted:
            pipe.close()


@dataclass
class Meeting:
    """One conversation with a peer of some kind."""

    kind: str
    role: str
    """Which side the peer is: "client" or "server"."""
    file: Path
    """The bytes that both sides send."""
    modules: str
    """Where Node finds `ws`."""
    pump: Pump

    @asynccontextmanager
    async def hold(self, scenario: str) -> AsyncGenerator[tuple[Foreign, Pipe]]:
        """Let the peer come, or dial it; the pipe is closed at the end."""
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            what = self.kind, self.role, scenario, self.file
            if self.role == "client":
                address, accepted = await enter(listening(self.pump))
                peer = await enter(start(*what, str(address), modules=self.modules))
                pipe = await first(accepted)
            else:
                peer = await enter(start(*what, modules=self.modules))
                port = (await peer.line())["port"]
                pipe = await connect(
                    SYSTEM_NETWORK, Address("ws", "127.0.0.1", port, "/x"), self.pump
                )
            try:
                yield peer, pipe
            finally:
                pipe.close()


async def first(accepted: list[Pipe]) -> Pipe:
    """Return the first pipe, once it is there."""
    await wait_until(lambda: accepted)
    return accepted[0]


async def exchanged(end: End, received: int) -> None:
    """Wait until *end* has sent everything, and received so many bytes, or has ended."""
    await wait_until(lambda: (end.count >= received and not end.left) or end.ending)
