"""What the demo does to its programs while a download runs."""

from __future__ import annotations

import signal
import time
from typing import Protocol

import trio

from examples.demo_app.crew import LAPTOP, Crew, other_broker
from examples.demo_app.stage import DemoFailed
from examples.demo_app.way import ProxiedWay
from tunnelkit.admin import call_admin

HOLD_SECONDS = 2.0
"""Longest time for which the broker that is to be killed is held, seconds."""


class Totals(Protocol):
    """What `held_bytes` asks."""

    async def total(self, name: str, what: str) -> int: ...


async def held_bytes(crew: Totals) -> int:
    """Return how many bytes the laptop has sent that cannot reach the sidecar any more.

    Not acknowledged is not enough: they may have arrived, and only the ack be missing.
    """
    before, arrived = -1, await crew.total("sidecar", "bytes_in")
    while arrived != before:  # what the broker had passed on still arrives
        await trio.sleep(0.002)
        before, arrived = arrived, await crew.total("sidecar", "bytes_in")
    return await crew.total("devbox", "bytes_out") - arrived


class BrokerKill:
    """Kills the broker that carries the session, by SIGKILL, and starts nothing.

    Args:
        crew: the programs.
        victim: the broker.
    """

    def __init__(self, crew: Crew, victim: str) -> None:
        self._crew = crew
        self.victim = victim
        self.held_seconds = 0.0

    async def happen(self) -> float:
        """Kill the broker while it holds bytes that must be sent again; return the moment.

        It is stopped for the few milliseconds that asking takes, and let go on where the sidecar
        turns out to have all that the laptop sent: then nothing would be lost, by luck.
        """
        broker, held_at = self._crew.stage.children[self.victim], time.monotonic()
        with trio.move_on_after(HOLD_SECONDS):
            broker.signal(signal.SIGSTOP)
            while not await held_bytes(self._crew):
                broker.signal(signal.SIGCONT)
                await trio.sleep(0.005)
                held_at = time.monotonic()
                broker.signal(signal.SIGSTOP)
        broker.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        self.held_seconds = killed_at - held_at
        return killed_at


class Move:
    """Moves the session to the other broker, by a command to the sidecar's admin socket.

    Args:
        crew: the programs.
        source: the broker that carries it.
    """

    def __init__(self, crew: Crew, source: str) -> None:
        self._crew = crew
        self.source = source
        self.to = other_broker(source)
        self.seconds = 0.0

    async def happen(self) -> float:
        """Move the session; return when that was asked for."""
        crew = self._crew
        params = {"peer": LAPTOP, "address": crew.brokers[self.to]}
        asked_at = time.monotonic()
        await call_admin(crew.socket("sidecar"), "move", params)
        self.seconds = time.monotonic() - asked_at
        return asked_at


class ProxyKill:
    """Kills the proxy that all links go through, and starts it again at its old address."""

    def __init__(self, crew: Crew, way: ProxiedWay) -> None:
        self._crew = crew
        self._way = way
        self.tunnels = 0

    async def happen(self) -> float:
        """Kill the proxy and start it again; return when it was killed."""
        stage = self._crew.stage
        self.tunnels = self._way.tunnels(stage)
        proxy = stage.children["proxy"]
        proxy.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        if await proxy.wait() != -signal.SIGKILL:
            raise DemoFailed(f"the proxy had ended before it could be killed:\n{proxy.tail()}")
        await self._way.start_proxy(stage)
        return killed_at
