"""The sidecar endpoint: listeners in front of a workload, with intercepts that can be switched.

How it works.  Each `Port` listens in front of one local target.  With no intercept, connections are
spliced to the target and not looked at.  With one, they go as streams to the developer's session;
the rules (`rules.decide`) say which way and why, and `Port` says what happens when the developer
does not answer.  `Sidecar` owns the ports, has one session kept with each developer who intercepts
something (`tunnelkit.keeping`), and is what the admin socket talks to.  What peers may open here,
and listeners that lead to them, are in `tunnelkit.outgoing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Unpack

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing, Trust
from tunnelkit.endpoint import Endpoint, EndpointOptions, open_endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.keeping import SessionKeeper
from tunnelkit.outgoing import AllowRule, Exit, Forward, Outgoing, Socks, open_outgoing
from tunnelkit.session import Session

from .port import Port
from .rules import Facts, Intercept, Verdict, Way, decide

__all__ = [
    "Facts",
    "Intercept",
    "Port",
    "PortSpec",
    "Sidecar",
    "Verdict",
    "Way",
    "decide",
    "open_sidecar",
]


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What a port is to be: where it listens and where the local target is."""

    name: str
    listen: Address
    target: Address


class Sidecar:
    """A running sidecar.  Made by `open_sidecar`."""

    outgoing: Outgoing
    """What it opens for its peers, and its listeners that lead to them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ports: dict[str, Port] = {}
        self.keeper = SessionKeeper(endpoint)
        self.keeper.sources.append(self._wanted_peers)
        self.keeper.listeners.append(self._check_health)
        self._emptied = trio.Event()

    @property
    def exit(self) -> Exit:
        """What it opens for its peers."""
        return self.outgoing.exit

    @property
    def open_count(self) -> int:
        """How many connections are open, of all kinds."""
        ports = sum(port.open_count for port in self.ports.values())
        return ports + self.outgoing.open_count

    def port_addresses(self) -> dict[str, Address]:
        """Return where the ports listen, by their names."""
        doors = [(name, port.listener) for name, port in self.ports.items()]
        return {name: door.address for name, door in doors if door is not None}

    # --- intercepts -------------------------------------------------------------------------

    def set_intercept(self, port: str, intercept: Intercept) -> None:
        """Send new connections of *port* to a developer; running ones stay where they are.

        Raises:
            ConfigurationError: there is no such port, or the sidecar may not meet the developer.
        """
        self.keeper.check_may_meet(intercept.peer)
        self._port(port).intercept = intercept
        self.keeper.begin(intercept.peer)

    def clear_intercept(self, port: str) -> None:
        """Send new connections of *port* to the local target again; running ones stay.

        Raises:
            ConfigurationError: there is no such port.
        """
        self._port(port).intercept = None

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""
        return self.keeper.session_with(peer)

    def _port(self, name: str) -> Port:
        port = self.ports.get(name)
        if port is None:
            raise ConfigurationError(
                f"there is no port {name!r}; the ports are: {', '.join(self.ports) or 'none'}"
            )
        return port

    def _wanted_peers(self) -> set[str]:
        return {port.intercept.peer for port in self.ports.values() if port.intercept is not None}

    def _check_health(self) -> None:
        """Links or sessions changed: let nobody wait for a suspect link."""
        for port in self.ports.values():
            port.check_health()

    # --- life -------------------------------------------------------------------------------

    async def add_port(self, spec: PortSpec) -> Port:
        """Listen in front of a local target.

        Raises:
            ConfigurationError: the address cannot be listened on, or the name is taken.
            ConnectFailed: the name of the target is not known.
        Cancellation: atomic.
        """
        if spec.name in self.ports:
            raise ConfigurationError(f"two ports are called {spec.name!r}")
        endpoint = self.endpoint
        target = await endpoint.network.resolve(spec.target)
        port = Port(spec.name, target, self, endpoint.network, endpoint.pump)
        port.on_idle = lambda: self._emptied.set()
        port.listener = await endpoint.network.listen(spec.listen, endpoint.pump, port.accept)
        self.ports[spec.name] = port
        return port

    async def drain(self, timeout: float = limits.DEFAULT_DRAIN_SECONDS) -> None:
        """Accept no more, and wait until running connections are over, or *timeout* is.

        Cancellation: atomic.
        """
        for port in self.ports.values():
            port.stop_listening()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outgoing.drain, timeout)
            with trio.move_on_after(timeout):
                while any(port.open_count for port in self.ports.values()):
                    self._emptied = trio.Event()
                    await self._emptied.wait()

    def close(self) -> None:
        """Reset what is open; `open_sidecar` calls it."""
        self.keeper.close()
        for port in self.ports.values():
            port.close()


@asynccontextmanager
async def open_sidecar(
    identity: Identity,
    ring: KeyRing | Trust,
    *,
    ports: Iterable[PortSpec],
    targets: Mapping[str, Address] | None = None,
    allow: Iterable[AllowRule | str] = (),
    forwards: Iterable[Forward | str] = (),
    socks: Iterable[Socks | str] = (),
    public_listeners: bool = False,
    **options: Unpack[EndpointOptions],
) -> AsyncGenerator[Sidecar]:
    """Run a sidecar until the block is left.

    Args:
        ports: listeners and the local targets behind them.
        targets, allow: what peers may open here, as in `open_devbox`.
        forwards, socks, public_listeners: as in `open_outgoing`.
        options: as in `open_endpoint`.

    Raises:
        ConfigurationError: an address is wrong or cannot be listened on, a rule is none, or the
            sidecar may not meet the peer of a forward.
        ConnectFailed: the name of a target is not known.
    """
    async with open_endpoint(identity, ring, **options) as endpoint:
        sidecar = Sidecar(endpoint)
        try:
            async with open_outgoing(
                endpoint,
                sidecar.keeper,
                targets=targets or {},
                allow=allow,
                forwards=forwards,
                socks=socks,
                public_listeners=public_listeners,
                own_addresses=lambda: sidecar.port_addresses().values(),
            ) as sidecar.outgoing:
                for spec in ports:
                    await sidecar.add_port(spec)
                yield sidecar
        finally:
            sidecar.close()
