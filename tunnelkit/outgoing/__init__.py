"""Outgoing traffic: what an endpoint opens for its peers, and local listeners that lead to them.

How it works.  Every endpoint has an `Exit`: it takes the streams that peers open and connects them
to named targets, or to addresses that its rules allow.  Without any it refuses all.  And it can
have doors, listeners on this machine, each of which leads to one peer: a *forward* to one target
there, a *SOCKS5* door to whichever address the client asks for; names are looked up by the peer.
So the two halves meet: the stream of a door is opened by somebody else's exit.

* `allow`      the rules for addresses: which are opened, and how names are kept from leading
               elsewhere (no I/O)
* `exit`       from streams to connections
* `attempts`   connects to several addresses of one name
* `door`       from connections to streams: what doors have in common
* `doors`      forwards, and SOCKS5
* `socks`      the SOCKS handshake (no I/O)
* `specs`      what a user writes for a door (no I/O)
* `describe`   all of it as plain data, for status

`open_outgoing` makes all of this for one endpoint.  No task runs for a connection: the pump does it
all, and only looking names up takes tasks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.endpoint import Endpoint
from tunnelkit.keeping import SessionKeeper
from tunnelkit.services import open_service_nursery

from .allow import AllowList, AllowRule, HostPort
from .door import Door
from .doors import ForwardDoor, SocksDoor
from .exit import Exit
from .socks import Login
from .specs import Forward, Socks, check_listen, parse_forward, parse_socks

__all__ = [
    "AllowList",
    "AllowRule",
    "Door",
    "Exit",
    "Forward",
    "HostPort",
    "Login",
    "Outgoing",
    "Socks",
    "open_outgoing",
    "parse_forward",
    "parse_socks",
]


class Outgoing:
    """The exit and the doors of an endpoint.  Made by `open_outgoing`."""

    def __init__(self, exit: Exit, keeper: SessionKeeper) -> None:
        self.exit = exit
        self.keeper = keeper
        self.doors: list[Door] = []
        self._emptied = trio.Event()
        exit.on_idle = self._idle

    @property
    def open_count(self) -> int:
        """How many connections are open, of the exit and of all doors."""
        return self.exit.open_count + sum(door.open_count for door in self.doors)

    @property
    def listeners(self) -> dict[str, Address]:
        """Where the doors listen, with the real ports, by their names."""
        doors = [(door.name, door.listener) for door in self.doors]
        return {name: listener.address for name, listener in doors if listener is not None}

    async def add_forward(self, forward: Forward, *, is_public: bool = False) -> Door:
        """Open a forward.

        Args:
            is_public: whether it may listen where other machines can connect.

        Raises:
            ConfigurationError: this endpoint may not meet the peer, or the address cannot be
                listened on.
        Cancellation: atomic.
        """
        to = forward.to
        name = self._free_name(str(to))

        def make() -> Door:
            return ForwardDoor(name, to.target, to.peer, self.keeper)

        return await self._add(forward.listen, to.peer, is_public, make)

    async def add_socks(self, socks: Socks, *, is_public: bool = False) -> Door:
        """Open a SOCKS5 door; arguments, errors and cancellation as in `add_forward`."""
        name = self._free_name(f"socks@{socks.peer}")

        def make() -> Door:
            return SocksDoor(name, socks.peer, self.keeper, socks.login)

        return await self._add(socks.listen, socks.peer, is_public, make)

    async def _add(
        self, listen: Address, peer: str, is_public: bool, make: Callable[[], Door]
    ) -> Door:
        check_listen(listen, is_public=is_public)
        self.keeper.check_may_meet(peer)
        door = make()
        door.on_idle = self._idle
        try:
            await door.listen(listen)
        except BaseException:
            door.close()
            raise
        self.doors.append(door)
        self.keeper.begin(peer)
        return door

    def _free_name(self, name: str) -> str:
        count = sum(door.name.partition(" ")[0] == name for door in self.doors)
        return f"{name} ({count + 1})" if count else name

    def _idle(self) -> None:
        if not self.open_count:
            self._emptied.set()

    async def drain(self, timeout: float = limits.DEFAULT_DRAIN_SECONDS) -> None:
        """Take nothing new, and wait until running connections are over, or *timeout* seconds are.

        Cancellation: atomic.
        """
        self.exit.drain()
        for door in self.doors:
            door.drain()
        with trio.move_on_after(timeout):
            while self.open_count:
                self._emptied = trio.Event()
                await self._emptied.wait()

    def close(self) -> None:
        """Reset what is open; `open_outgoing` calls it."""
        self.exit.close()
        for door in self.doors:
            door.close()


@asynccontextmanager
async def open_outgoing(
    endpoint: Endpoint,
    keeper: SessionKeeper,
    *,
    targets: Mapping[str, Address],
    allow: Iterable[AllowRule | str] = (),
    forwards: Iterable[Forward | str] = (),
    socks: Iterable[Socks | str] = (),
    public_listeners: bool = False,
    own_addresses: Callable[[], Iterable[Address]] = tuple,
) -> AsyncGenerator[Outgoing]:
    """Serve an endpoint's peers, and open its doors, until the block is left.

    Args:
        targets: from the names that peers may ask for to addresses.
        allow: rules for addresses that peers may ask for, such as ``db.internal:5432``.
        forwards: listeners that lead to one target of a peer.
        socks: listeners that speak SOCKS5.
        public_listeners: whether forwards and SOCKS5 may listen where other machines can connect.
        own_addresses: where the program listens besides; no name leads a peer there.

    Raises:
        ConfigurationError: a rule is none, an address cannot be listened on, or this endpoint may
            not meet a peer.
    """

    def own() -> list[Address]:
        links = [listener.address for listener in endpoint.listeners]
        return [*links, *outgoing.listeners.values(), *own_addresses()]

    async with open_service_nursery() as nursery:
        made = Exit(endpoint, nursery, targets=targets, allow=allow, own_addresses=own)
        outgoing = Outgoing(made, keeper)
        try:
            for forward in forwards:
                wanted = parse_forward(forward) if isinstance(forward, str) else forward
                await outgoing.add_forward(wanted, is_public=public_listeners)
            for one in socks:
                door = parse_socks(one) if isinstance(one, str) else one
                await outgoing.add_socks(door, is_public=public_listeners)
            yield outgoing
        finally:
            with endpoint.pump.batch():
                outgoing.close()
