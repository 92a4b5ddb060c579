"""The memory network: named hosts, the paths between them, and everything that can go wrong."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Final, Literal

import trio

from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Listener, Network, Pending, Pipe
from tunnelkit.carriers.pipe import Connected
from tunnelkit.errors import ConfigurationError, LocalProtocolError
from tunnelkit.pump import Pump, Timer

from .paths import Cut, How, Path
from .pipes import DUE_SECONDS, MemoryPipe, Wire

__all__ = ["MemoryHost", "MemoryNetwork", "memory_pipe_pair"]

CAPACITY_BYTES: Final = 256 * 1024
"""What one direction of a connection holds, like the buffers of a socket.  A default."""

FIRST_FREE_PORT: Final = 49_152
_OWN_NAMES: Final = ("localhost", "127.0.0.1", "::1")


class MemoryNetwork:
    """Hosts in memory, driven by the pump and Trio's clock.

    Args:
        seed: decides everything that is left to chance; the same seed gives the same run.
        latency: one way, seconds, of every path without one of its own.
        bandwidth: bytes a second in each direction of a path, shared by what is on it; None: any.
        capacity_bytes: what one direction of a connection holds, in flight and unread.
        fragment: whether reads give pieces of random size.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        latency: float = 0.0,
        bandwidth: float | None = None,
        capacity_bytes: int = CAPACITY_BYTES,
        fragment: bool = False,
    ) -> None:
        self.seed = seed
        self.latency = latency
        self.bandwidth = bandwidth
        self.capacity_bytes = capacity_bytes
        self.fragment = fragment
        self.hosts: dict[str, MemoryHost] = {}
        self.names: dict[str, list[str]] = {"localhost": ["127.0.0.1"]}
        """What names lead to: hosts, which may be called by an IP address."""
        self._paths: dict[tuple[str, str], Path] = {}
        self._stalled: set[tuple[str, str]] = set()
        self._partitions: list[list[frozenset[str]]] = []
        self._connections = 0

    def host(self, name: str) -> MemoryHost:
        """Return the host of that name; make it at first use."""
        if name not in self.hosts:
            self.hosts[name] = MemoryHost(self, name)
        return self.hosts[name]

    # --- paths and faults -------------------------------------------------------------------

    def set_path(
        self,
        a: str,
        b: str,
        *,
        latency: float | None = None,
        bandwidth: float | None = None,
        capacity_bytes: int | None = None,
    ) -> None:
        """Set how the path between two hosts is from now on; what is not given is the network's.

        Args:
            latency: one way, seconds.
            bandwidth: bytes a second, in each direction.
            capacity_bytes: what one direction of a connection holds.
        """
        path = self.path(a, b)
        path.latency = self.latency if latency is None else latency
        path.bandwidth = self.bandwidth if bandwidth is None else bandwidth
        path.capacity_bytes = self.capacity_bytes if capacity_bytes is None else capacity_bytes

    def stall(self, a: str, b: str) -> None:
        """Let nothing move between two hosts, and nothing break: their peers are half-open."""
        self.path(a, b)
        self._stalled.add(_key(a, b))
        self._apply_holds()

    def unstall(self, a: str, b: str) -> None:
        """Let what was held by `stall` go on."""
        self._stalled.discard(_key(a, b))
        self._apply_holds()

    def partition(self, *groups: Iterable[str]) -> None:
        """Stall every path between hosts of different groups; others are not touched."""
        split = [frozenset(group) for group in groups]
        for name in frozenset[str]().union(*split):
            self._known(name)
        self._partitions.append(split)
        self._apply_holds()

    def heal(self) -> None:
        """End every partition; stalls stay."""
        self._partitions.clear()
        self._apply_holds()

    def cut(self, a: str, b: str, *, after_bytes: int = 0, how: How = "reset") -> Cut:
        """Cut all connections between two hosts at an exact byte; new ones may be made after it.

        Exactly the next *after_bytes* bytes from *a* to *b* are delivered, counted over all their
        connections, and remain readable.  Whatever else is in flight, either way, is lost.

        Args:
            how: what both ends see: "reset", "eof", or nothing ("silent").
        """
        cut = Cut(a, after_bytes, how)
        self.path(a, b).plan(cut)
        return cut

    def carried_bytes(self, a: str, b: str) -> int:
        """How many bytes were delivered from *a* to *b*."""
        return self.path(a, b).carried_bytes[a]

    def path(self, a: str, b: str) -> Path:
        """Return the path between two known hosts."""
        self._known(a)
        self._known(b)
        key = _key(a, b)
        if key not in self._paths:
            self._paths[key] = path = Path()
            path.latency, path.bandwidth = self.latency, self.bandwidth
            path.capacity_bytes = self.capacity_bytes
            path.hold(self._is_held(key))
        return self._paths[key]

    def paths_of(self, name: str) -> list[tuple[str, Path]]:
        """Return the paths of a host with the host at their other end."""
        return [(b if a == name else a, p) for (a, b), p in self._paths.items() if name in (a, b)]

    def _known(self, name: str) -> None:
        if name not in self.hosts:
            raise LocalProtocolError(
                f"no host {name!r} in this memory network: make it with network.host({name!r})"
            )

    def _is_held(self, key: tuple[str, str]) -> bool:
        groups = [[sum(n in g for n in set(key)) for g in split] for split in self._partitions]
        parted = any(counts.count(1) > 1 for counts in groups)
        silent = any(self.hosts[name].state == "vanished" for name in key)
        return parted or silent or key in self._stalled

    def _apply_holds(self) -> None:
        for key, path in self._paths.items():
            path.hold(self._is_held(key))

    def host_changed(self) -> None:
        """A host went up or down: its paths are held or let go."""
        self._apply_holds()

    # --- connections ------------------------------------------------------------------------

    def join(self, a: str, b: str, pumps: tuple[Pump, Pump], address: Address) -> Wire:
        """Make a connection from *a* to *b*, without a handshake."""
        path = self.path(a, b)
        self._connections += 1
        first = MemoryPipe(a, pumps[0], str(address))
        second = MemoryPipe(b, pumps[1], f"{a}:{FIRST_FREE_PORT + self._connections}")
        # A generator for each direction: what happens on one connection disturbs no other.
        seeds = [f"{self.seed}/{self._connections}/{number}" for number in (0, 1)]
        return Wire(
            path, first, second, [Random(seed) if self.fragment else None for seed in seeds]
        )


class MemoryHost(Network):
    """One host of a memory network; a `Network` for the programs that run on it."""

    plain_scheme = "memory"

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self.network = network
        self.name = name
        self.state: Literal["up", "crashed", "vanished"] = "up"
        self.listeners: dict[int, MemoryListener] = {}
        self._next_port = FIRST_FREE_PORT

    def __repr__(self) -> str:
        return f"<MemoryHost {self.name} {self.state}>"

    # --- the network's interface ------------------------------------------------------------

    async def resolve(self, address: Address) -> Address:
        await trio.lowlevel.checkpoint()
        _check_scheme(address)
        if self._find(address.host) is None:
            raise _unknown_host(self.network, address)
        return address

    async def resolve_all(
        self, address: Address, limiter: trio.CapacityLimiter | None = None
    ) -> list[Address]:
        await trio.lowlevel.checkpoint()
        _check_scheme(address)
        hosts = self.network.names.get(address.host, [address.host])
        found = [replace(address, host=host) for host in hosts]
        if address.host not in self.network.names and self._find(address.host) is None:
            raise _unknown_host(self.network, address)
        return found

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        _check_scheme(address)
        connecting = _Connecting(self, address, pump, done)
        connecting.advance()
        return connecting

    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        await trio.lowlevel.checkpoint()
        _check_scheme(address)
        if self._find(address.host) is not self:
            raise ConfigurationError(f"cannot listen on {address}: this host is {self.name}")
        if self.state != "up":
            raise ConfigurationError(f"cannot listen on {address}: host {self.name} is down")
        port = address.port or self._free_port()
        if port in self.listeners:
            raise ConfigurationError(
                f"cannot listen on {address}: it is in use; stop the other program or use port 0"
            )
        listener = MemoryListener(self, Address("memory", address.host, port), pump, accept)
        self.listeners[port] = listener
        return listener

    def _free_port(self) -> int:
        while self._next_port in self.listeners:
            self._next_port += 1
        self._next_port += 1
        return self._next_port - 1

    def _find(self, name: str) -> MemoryHost | None:
        return self if name in _OWN_NAMES else self.network.hosts.get(name)

    def path_to(self, address: Address) -> Path:
        """Return the path that a connect takes; one to an unknown host ends here."""
        target = self._find(address.host) or self
        return self.network.path(self.name, target.name)

    def finish_connect(self, address: Address, pump: Pump) -> Pipe | ConnectFailed:
        """Make the connection that was asked for, or say why there is none."""
        target = self._find(address.host)
        if self.state != "up":
            return ConnectFailed(f"cannot connect to {address}: host {self.name} is down")
        if target is None:
            return _unknown_host(self.network, address)
        listener = target.listeners.get(address.port)
        if listener is None:
            why = "nothing listens there" if target.state == "up" else f"it has {target.state}"
            text = f"cannot connect to {address}: connection refused; {why}"
            return ConnectFailed(text, refused=True)
        wire = self.network.join(self.name, target.name, (pump, listener.pump), address)
        listener.accept(wire.ends[1])
        return wire.ends[0]

    # --- faults and counters ----------------------------------------------------------------

    @property
    def pipes(self) -> list[MemoryPipe]:
        """The open pipes of this host, oldest first on each path."""
        return [end for wire in self._wires() for end in wire.ends if self._holds(end)]

    def _wires(self) -> list[Wire]:
        users = [user for _, p in self.network.paths_of(self.name) for user in p.users.values()]
        return [user for user in users if isinstance(user, Wire)]

    def _holds(self, end: MemoryPipe) -> bool:
        return end.host == self.name and not (end.closed or end.gone)

    @property
    def sent_bytes(self) -> int:
        """How many bytes from this host were delivered."""
        return sum(p.carried_bytes[self.name] for _, p in self.network.paths_of(self.name))

    @property
    def received_bytes(self) -> int:
        """How many bytes were delivered to this host."""
        return sum(p.carried_bytes[other] for other, p in self.network.paths_of(self.name))

    def crash(self) -> None:
        """End as a killed program does: peers see resets, connects are refused.

        Whatever still runs here finds its pipes broken too, and cannot connect until `restart`.
        """
        self._go_down("crashed", tell_peers=True)

    def vanish(self) -> None:
        """End as a machine without power does: peers see nothing, connects get no answer.

        After `restart`, a peer that sends on an old connection sees a reset.
        """
        self._go_down("vanished", tell_peers=False)

    def restart(self) -> None:
        """Come up again, with no connection and no listener."""
        self.state = "up"
        self.network.host_changed()

    def _go_down(self, state: Literal["crashed", "vanished"], *, tell_peers: bool) -> None:
        self.state = state
        self.listeners.clear()
        for pipe in self.pipes:
            pipe.vanish(f"host {self.name} has {state}", tell_peer=tell_peers)
        self.network.host_changed()


class MemoryListener:
    """Accepts connections for one port of a host."""

    def __init__(
        self, host: MemoryHost, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> None:
        self.address = address
        self.pump = pump
        self._host = host
        self._accept = accept
        self._context = contextvars.copy_context()

    def accept(self, pipe: Pipe) -> None:
        """Hand over a new pipe, in the context of whoever listens."""
        self.pump.guard(lambda: self._context.run(self._accept, pipe))

    def close(self) -> None:
        if self._host.listeners.get(self.address.port) is self:
            del self._host.listeners[self.address.port]


class _Connecting:
    """A connect under way: the answer takes one round trip, and none comes over a held path."""

    def __init__(self, host: MemoryHost, address: Address, pump: Pump, done: Connected) -> None:
        self._host = host
        self._address = address
        self._pump = pump
        self._done = done
        self._context = contextvars.copy_context()
        self._path = host.path_to(address)
        self._answer_at = self._path.now() + 2 * self._path.latency
        self._timer: Timer | None = None
        self._path.users[id(self)] = self

    def advance(self) -> None:
        self._drop_timer()
        if not self._path.held:
            delay = max(0.0, self._answer_at - self._path.now())
            self._timer = self._pump.call_later(delay, self._answer)

    def sever(self, how: How) -> None:
        """A cut is of connections; this is none yet."""

    def _answer(self) -> None:
        if self._answer_at > self._path.now() + DUE_SECONDS:
            self.advance()
            return
        self.cancel()
        result = self._host.finish_connect(self._address, self._pump)
        self._context.run(self._done, result)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cancel(self) -> None:
        self._drop_timer()
        self._path.users.pop(id(self), None)


def memory_pipe_pair(
    pump: Pump, network: MemoryNetwork | None = None
) -> tuple[MemoryPipe, MemoryPipe]:
    """Return two joined pipes, on hosts "left" and "right" of *network* or of one of their own."""
    network = network or MemoryNetwork()
    left, right = network.host("left"), network.host("right")
    address = Address("memory", right.name, 1)
    first, second = network.join(left.name, right.name, (pump, pump), address).ends
    return first, second


def _key(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a <= b else (b, a)


def _check_scheme(address: Address) -> None:
    if address.scheme != "memory":
        raise ConfigurationError(f"{address}: a memory network knows memory://HOST:PORT only")


def _unknown_host(network: MemoryNetwork, address: Address) -> ConnectFailed:
    names = ", ".join(network.hosts)
    text = f"cannot connect to {address}: no such host; this memory network has: {names}"
    return ConnectFailed(text, refused=True)
