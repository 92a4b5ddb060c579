"""The sidecar endpoint: listeners in front of a workload, with intercepts that can be switched.

How it works.  Each `Port` listens in front of one local target.  With no intercept, connections are
spliced to the target and not looked at.  With one, they go as streams to the developer's session;
the rules (`rules.decide`) say which way and why, and `Port` says what happens when the developer
does not answer.  `Sidecar` owns the ports, has one session kept with each developer who intercepts
something (`tunnelkit.keeping`), and is what the admin socket talks to.  What peers may open here,
and listeners that lead to them, are in `tunnelkit.outgoing`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Unpack

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing, Trust
from tunnelkit.endpoint import Endpoint, EndpointOptions, open_endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.keeping import SessionKeeper
from tunnelkit.outgoing import AllowRule, Exit, Forward, Outgoing, Socks, open_outgoing
from tunnelkit.session import Session

from .audit import Audit, Finding
from .conditions import Condition, read_condition, read_conditions
from .port import Port, Speaks
from .requests import RequestFacts
from .rules import Facts, Intercept, Verdict, Way, decide
from .ruleset import Branch, Choice, Conflict, Developer, Local, Overlap, Rule, RuleSet
from .visitor import Decision

__all__ = [
    "Audit",
    "Branch",
    "Choice",
    "Condition",
    "Conflict",
    "Decision",
    "Developer",
    "Facts",
    "Finding",
    "Intercept",
    "Local",
    "Overlap",
    "Port",
    "PortSpec",
    "RequestFacts",
    "Rule",
    "RuleSet",
    "Sidecar",
    "Speaks",
    "Verdict",
    "Way",
    "decide",
    "open_sidecar",
    "read_condition",
    "read_conditions",
]


INTERCEPT: Final = "intercept"
"""The name of the rule that takes whole connections."""


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What a port is to be: where it listens and where the local target is."""

    name: str
    listen: Address
    target: Address
    speaks: Speaks = Speaks.AUTO
    is_outbound: bool = False
    """Whether the workload itself connects to it, to call what the target is; the audit holds
    what leaves by it against what came in."""


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
        self.audit: Audit | None = None
        """Who counts what of requests is passed on by the workload, or nobody."""
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
        developer = Developer(intercept.peer, intercept.target)
        rule = Rule(INTERCEPT, developer, owner=intercept.peer, fail_open=intercept.fail_open)
        self._port(port).rules.add(rule, time.time(), is_forced=True)
        self.keeper.begin(intercept.peer)

    def clear_intercept(self, port: str) -> None:
        """Send new connections of *port* to the local target again; running ones stay.

        Raises:
            ConfigurationError: there is no such port.
        """
        self._port(port).rules.remove(INTERCEPT)

    async def add_rule(
        self, port: str, rule: Rule, *, is_forced: bool = False
    ) -> tuple[Overlap, ...]:
        """Send requests that a rule describes to its target from now on; return what it overlaps.

        Args:
            is_forced: whether it is taken in although it is in the way of others.

        Raises:
            ConfigurationError: there is no such port, it does not speak what the rule looks at,
                the sidecar may not meet the developer, or the rule is in the way of others
                (`Conflict`).
            ConnectFailed: the name of a service is not known.
        Cancellation: atomic.
        """
        found = self._port(port)
        found.check_speaks(rule)
        target = rule.target
        if isinstance(target, Developer):
            self.keeper.check_may_meet(target.peer)
        if isinstance(target, Branch):
            address = found.beside(target)
            found.branches[target] = await self.endpoint.network.resolve(address)
        overlaps = found.rules.add(rule, time.time(), is_forced=is_forced)
        if isinstance(target, Developer):
            self.keeper.begin(target.peer)
        return overlaps

    def remove_rule(self, port: str, name: str) -> Rule:
        """Take a rule out; requests under way stay where they are.

        Raises:
            ConfigurationError: there is no such port, or no such rule.
        """
        rules = self._port(port).rules
        rule = rules.remove(name)
        if rule is None:
            names = ", ".join(one.name for one in rules) or "none"
            raise ConfigurationError(f"there is no rule {name!r}; the rules are: {names}")
        return rule

    def rules_of(self, port: str) -> RuleSet:
        """Return the rules of a port.

        Raises:
            ConfigurationError: there is no such port.
        """
        return self._port(port).rules

    def decisions_of(self, port: str) -> list[Decision]:
        """Return where the last requests of a port went, the oldest first.

        Raises:
            ConfigurationError: there is no such port.
        """
        return list(self._port(port).decisions)

    def explain(self, port: str, facts: RequestFacts) -> Choice:
        """Say where a request would go now, and why no other rule takes it.

        Raises:
            ConfigurationError: there is no such port.
        """
        found = self._port(port)
        choice = found.rules.explain(facts, time.time())
        target, rule = choice.target, choice.rule
        if rule is None or not isinstance(target, Developer):
            return choice
        if found.reachable(target.peer) is not None:
            return choice
        ending = "it goes to the workload" if rule.fail_open else "it is answered with 503"
        return replace(choice, why=f"{choice.why}; {target.peer} is not connected: {ending}")

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
        targets = (rule.target for port in self.ports.values() for rule in port.rules)
        return {target.peer for target in targets if isinstance(target, Developer)}

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
        port = Port(
            spec.name,
            target,
            self,
            endpoint.network,
            endpoint.pump,
            spec.speaks,
            is_outbound=spec.is_outbound,
        )
        port.audit = self.audit
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
    audit: str | None = None,
    **options: Unpack[EndpointOptions],
) -> AsyncGenerator[Sidecar]:
    """Run a sidecar until the block is left.

    Args:
        ports: listeners and the local targets behind them.
        audit: look at the requests of all ports that may be HTTP, and count what of their ids
            the workload passes on; the member of `tracestate` and `baggage` that names an
            environment.  None: only ports with rules about requests are looked at.
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
        sidecar.audit = Audit(audit) if audit is not None else None
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
