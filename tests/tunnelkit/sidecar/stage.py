"""A sidecar in front of a workload, a broker, and a developer's devbox with a changed copy.

Hosts: "client" calls the sidecar "side" on port 80, whose local target is "pod"; the devbox is
"dev", and the developer's copy listens on the host "copy".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.faults.wires import Service, Wire, answer, call, dial, serve
from tests.tunnelkit.pairs import RING, wait_until
from tunnelkit.devbox import Devbox, open_devbox
from tunnelkit.sidecar import Intercept, Port, PortSpec, Sidecar, open_sidecar

__all__ = ["Stage", "intercept", "open_stage", "run_devbox", "run_sidecar"]

Handler = Callable[[Service, Wire], Awaitable[None]]


def intercept(*, target: str = "web", peer: str = "dev", fail_open: bool = True) -> Intercept:
    """Return an intercept to the devbox of these tests."""
    return Intercept(peer, target, fail_open)


async def run_sidecar(
    lab: Lab,
    name: str = "side",
    *brokers: str,
    ports: tuple[tuple[str, int], ...] = (("web", 80),),
    pod: str = "pod",
    **options: Any,
) -> Sidecar:
    """Run a sidecar; port 80 stands before port 8080 of the host *pod*, and so on."""
    lab.network.host(pod)
    specs = [PortSpec(n, address(name, port), address(pod, port + 8000)) for n, port in ports]
    opened = open_sidecar(
        lab.identity(name, **options.pop("claims", {})),
        RING,
        ports=specs,
        dial=[address(broker) for broker in brokers or ("broker",)],
        network=lab.network.host(name),
        **options,
    )
    return await lab.run(name, opened)


async def run_devbox(
    lab: Lab, name: str = "dev", *brokers: str, copy: str = "copy", **options: Any
) -> Devbox:
    """Run a devbox that serves "web" from port 9080 of the host *copy*."""
    lab.network.host(copy)
    options.setdefault("targets", {"web": address(copy, 9080)})
    opened = open_devbox(
        lab.identity(name, **options.pop("claims", {})),
        options.pop("ring", RING),
        dial=[address(broker) for broker in brokers or ("broker",)],
        network=lab.network.host(name),
        **options,
    )
    return await lab.run(name, opened)


@dataclass
class Stage:
    """Everything between a client and the two copies of a service."""

    lab: Lab
    sidecar: Sidecar
    devbox: Devbox
    local: Service
    copy: Service

    @property
    def port(self) -> Port:
        """The port "web" of the sidecar."""
        return self.sidecar.ports["web"]

    async def call(self, data: bytes = b"hello") -> bytes:
        """Call the service as a client does."""
        return await call(self.lab, address("side", 80), data)

    async def dial(self) -> Wire:
        """Connect as a client does."""
        return await dial(self.lab, address("side", 80))

    async def intercept(self, **options: Any) -> None:
        """Intercept the port, and wait until the session with the devbox is open."""
        self.sidecar.set_intercept("web", intercept(**options))
        await self.wait_session()

    async def wait_session(self) -> None:
        """Wait until the session with the devbox is open."""

        def is_open() -> bool:
            session = self.sidecar.session_with("dev")
            return session is not None and session.state == "open"

        await wait_until(is_open)

    def silence(self) -> None:
        """Let the devbox be silent, as if it were stopped."""
        self.lab.network.stall("dev", "broker")

    def wake(self) -> None:
        """Let the devbox go on."""
        self.lab.network.unstall("dev", "broker")


@asynccontextmanager
async def open_stage(
    handler: Handler = answer,
    *,
    seed: int = 0,
    is_intercepted: bool = True,
    sidecar: dict[str, Any] | None = None,
    devbox: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncGenerator[Stage]:
    """Set the stage.

    Args:
        handler: what both copies of the service do.
        is_intercepted: whether port "web" is intercepted, and the session open, at the start.
        sidecar, devbox: options for each.
        options: of the memory network.
    """
    async with open_lab(seed, **options) as lab:
        await lab.broker()
        stage = Stage(
            lab,
            await run_sidecar(lab, **(sidecar or {})),
            await run_devbox(lab, **(devbox or {})),
            await serve(lab, "pod", 8080, handler, "local"),
            await serve(lab, "copy", 9080, handler, "copy"),
        )
        if is_intercepted:
            await stage.intercept()
        else:
            await trio.sleep(1)
        yield stage
