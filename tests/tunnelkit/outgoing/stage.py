"""A laptop with doors, a broker, and a sidecar whose exit opens what the laptop's programs want.

Hosts: "dev" has the doors, on port 1 and up, and its programs; "side" is the exit; what it opens
are hosts called by their IP address, to which names lead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.faults.wires import Service, Wire, answer, call, dial, serve
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.sidecar.stage import run_devbox, run_sidecar
from tunnelkit.devbox import Devbox
from tunnelkit.outgoing import Door
from tunnelkit.sidecar import Sidecar

__all__ = ["DB", "Stage", "open_stage"]

DB = "10.0.0.7"
"""The host to which the name "db" leads."""

Handler = Callable[[Service, Wire], Awaitable[None]]


@dataclass
class Stage:
    """Everything between a program on the laptop and a service behind the exit."""

    lab: Lab
    devbox: Devbox
    sidecar: Sidecar
    service: Service

    @property
    def door(self) -> Door:
        """The first door of the laptop."""
        return self.devbox.outgoing.doors[0]

    async def call(self, data: bytes = b"hello", port: int = 1) -> bytes:
        """Connect to a door, send *data* and the end, and return the answer."""
        return await call(self.lab, address("dev", port), data, "dev")

    async def dial(self, port: int = 1) -> Wire:
        """Connect to a door."""
        return await dial(self.lab, address("dev", port), "dev")

    async def wait_session(self) -> None:
        """Wait until the laptop's session with the exit is open."""
        keeper = self.devbox.outgoing.keeper

        def is_open() -> bool:
            session = keeper.session_with("side")
            return session is not None and session.state == "open"

        await wait_until(is_open)


@asynccontextmanager
async def open_stage(
    handler: Handler = answer,
    *,
    forwards: Sequence[str] = ("memory://dev:1=web@side",),
    socks: Sequence[str] = (),
    allow: Sequence[str] = (),
    has_exit: bool = True,
    exit: dict[str, Any] | None = None,
    devbox: dict[str, Any] | None = None,
) -> AsyncGenerator[Stage]:
    """Set the stage; the service listens on port 80 of the host `DB`, and is the target "web"."""
    async with open_lab() as lab:
        await lab.broker()
        lab.network.host(DB)
        lab.network.names["db"] = [DB]
        laptop = await run_devbox(lab, forwards=forwards, socks=socks, **(devbox or {}))
        options = {"targets": {"web": address(DB, 80)}, "allow": allow, **(exit or {})}
        service = await serve(lab, DB, 80, handler, "db")
        sidecar = await run_sidecar(lab, **options) if has_exit else None
        stage = Stage(lab, laptop, sidecar, service)  # type: ignore[arg-type]
        if has_exit:
            await stage.wait_session()
        else:
            await trio.sleep(1)
        yield stage
