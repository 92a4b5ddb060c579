"""The sidecar endpoint: listeners in front of a workload, with intercepts that can be switched.

How it works.  Each `Port` listens in front of one local target.  With no intercept, connections are
spliced to the target and not looked at.  With one, they go as streams to the developer's session;
the rules (`rules.decide`) say which way and why, and `Port` says what happens when the developer
does not answer.  `Sidecar` owns the ports, keeps one session with each developer who intercepts
something, and is what the admin socket talks to.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing
from tunnelkit.auth.capability import matches
from tunnelkit.carriers import SYSTEM_NETWORK, Network
from tunnelkit.dialer import next_delay
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Timer
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

GOOD_SESSION_SECONDS: Final = 1.0
"""A session that was open for this long proves that the next one is worth beginning at once."""


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What a port is to be: where it listens and where the local target is."""

    name: str
    listen: Address
    target: Address


class Sidecar:
    """A running sidecar.  Made by `open_sidecar`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ports: dict[str, Port] = {}
        self._sessions: dict[str, Session] = {}
        self._begun_at: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._resting: dict[str, Timer] = {}
        self._emptied = trio.Event()
        self._is_closed = False
        endpoint.on_change = self._changed

    # --- intercepts -------------------------------------------------------------------------

    def set_intercept(self, port: str, intercept: Intercept) -> None:
        """Send new connections of *port* to a developer; running ones stay where they are.

        Raises:
            ConfigurationError: there is no such port, or the sidecar may not meet the developer.
        """
        allowed = self.endpoint.identity.claims.peers
        if not any(matches(pattern, intercept.peer) for pattern in allowed):
            raise ConfigurationError(
                f"the token of {self.endpoint.subject} does not let it meet {intercept.peer!r}; "
                f"it may meet: {', '.join(allowed) or 'nobody'}"
            )
        self._port(port).intercept = intercept
        self._keep_session(intercept.peer)

    def clear_intercept(self, port: str) -> None:
        """Send new connections of *port* to the local target again; running ones stay.

        Raises:
            ConfigurationError: there is no such port.
        """
        self._port(port).intercept = None

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""
        return self._sessions.get(peer)

    def _port(self, name: str) -> Port:
        port = self.ports.get(name)
        if port is None:
            raise ConfigurationError(
                f"there is no port {name!r}; the ports are: {', '.join(self.ports) or 'none'}"
            )
        return port

    def _wanted_peers(self) -> set[str]:
        return {port.intercept.peer for port in self.ports.values() if port.intercept is not None}

    def _keep_session(self, peer: str) -> None:
        session = self._sessions.get(peer)
        if session is None or session.ended is not None:
            self._begun_at[peer] = trio.current_time()
            self._sessions[peer] = self.endpoint.begin_session(peer)

    def _forget_session(self, peer: str, session: Session) -> None:
        """A session ended; if it ended early, the next one has to wait, longer each time."""
        del self._sessions[peer]
        age = trio.current_time() - self._begun_at[peer]
        if session.core.is_established and age > GOOD_SESSION_SECONDS:
            self._failures[peer] = 0
            return
        self._failures[peer] += 1
        if peer in self._resting:
            self._resting[peer].cancel()
        delay = next_delay(self._failures[peer], random.random())
        self._resting[peer] = self.endpoint.pump.call_later(delay, lambda: self._rested(peer))

    def _rested(self, peer: str) -> None:
        del self._resting[peer]
        self._changed()

    def _changed(self) -> None:
        """Links or sessions changed: renew what ended, and let nobody wait for a suspect link."""
        if self._is_closed:
            return
        for peer, session in list(self._sessions.items()):
            if session.ended is not None:
                self._forget_session(peer, session)
        for peer in (self._wanted_peers() & self.endpoint.peers()) - self._resting.keys():
            self._keep_session(peer)
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
        with trio.move_on_after(timeout):
            while any(port.open_count for port in self.ports.values()):
                self._emptied = trio.Event()
                await self._emptied.wait()

    def close(self) -> None:
        """Reset what is open; `open_sidecar` calls it."""
        self._is_closed = True
        for timer in self._resting.values():
            timer.cancel()
        for port in self.ports.values():
            port.close()


@asynccontextmanager
async def open_sidecar(
    identity: Identity,
    ring: KeyRing,
    *,
    ports: Iterable[PortSpec],
    dial: Iterable[Address | str] = (),
    listen: Iterable[Address | str] = (),
    network: Network = SYSTEM_NETWORK,
    grace_seconds: float = limits.DEFAULT_GRACE_SECONDS,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Sidecar]:
    """Run a sidecar until the block is left.

    Args:
        ports: listeners and the local targets behind them.
        The rest is as in `open_endpoint`.

    Raises:
        ConfigurationError: an address is wrong or cannot be listened on.
        ConnectFailed: the name of a target is not known.
    """
    async with open_endpoint(
        identity,
        ring,
        dial=dial,
        listen=listen,
        network=network,
        grace_seconds=grace_seconds,
        clock=clock,
    ) as endpoint:
        sidecar = Sidecar(endpoint)
        try:
            for spec in ports:
                await sidecar.add_port(spec)
            yield sidecar
        finally:
            sidecar.close()
