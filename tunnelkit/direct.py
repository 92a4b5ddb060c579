"""Direct links: from one end of a session to the other, past the brokers, where that is possible.

How it works.  An endpoint that accepts links can tell the peers of its sessions where
(`advertise`).  The addresses travel inside of the session, so that only its peer reads them.  The
peer dials those that lie in the networks that its own settings allow (`NetworkList`), as long as it
has a session with the one who named them.  When such a link is up the session moves to it, and when
it is lost or suspect it moves back to a broker, with its streams open (`tunnelkit.attaching`).

An address that a peer names is not to be trusted: without the list it could make this process knock
at any door of its network.  So the list is empty by default, and only numeric addresses count: what
a name stands for can change between the check and the connect.  Whoever answers must be the process
that the session is with; to another one nothing is proven, and no password is shown.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from typing import Final, Protocol

import trio

from .addresses import Address, parse_address
from .bucket import Bucket, Seldom
from .dialer import keep_link
from .errors import ConfigurationError, LinkError

__all__ = ["DirectDialer", "NetworkList", "decode_addresses", "encode_addresses"]

_log = logging.getLogger(__name__)

MAX_DIRECT_ADDRESSES: Final = 4
"""Addresses of one peer that are tried.  Stops: a peer that uses others to knock at many doors."""

MAX_NEW_ADDRESSES: Final = 16
NEW_ADDRESS_SECONDS: Final = 2.0
"""Addresses that are taken up at once, and how often one more after that, seconds.
Stops: a peer that names others again and again, to look for open doors."""

MAX_REMEMBERED: Final = 1024
"""Peers of whom it is remembered how many addresses they named, also when they have left.
Stops: a peer that ends its session and begins a new one to name more."""

_DIALLED: Final = frozenset({"tcp", "tls", "ws", "wss", "memory"})


def encode_addresses(addresses: Iterable[Address]) -> str:
    """Return addresses as the text of an `addresses` frame (docs/wire-protocol.md §8.4)."""
    return " ".join(str(address) for address in addresses)


def decode_addresses(text: str) -> list[Address]:
    """Return the addresses in the text of an `addresses` frame; what is no address is left out."""
    found = []
    for word in text.split(" "):
        try:
            address = parse_address(word)
        except ConfigurationError:
            continue
        if address.scheme in _DIALLED and address not in found:
            found.append(address)
    return found


class NetworkList:
    """Networks whose addresses a peer may name; the empty list allows none.

    Args:
        networks: such as ``10.0.0.0/8``, ``fd00::/8``, or one address.

    Raises:
        ConfigurationError: one is no network.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [_network(text) for text in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __str__(self) -> str:
        return " ".join(map(str, self._networks)) or "none"

    def allows(self, address: Address) -> bool:
        """Whether *address* is numeric and lies in one of the networks."""
        try:
            host = ipaddress.ip_address(address.host)
        except ValueError:
            return False
        if "%" in address.host:
            return False  # an interface of this machine is not for others to name
        if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
            host = host.ipv4_mapped
        return any(host in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no network: {error}; write it as 10.0.0.0/8 or fd00::/8"
        ) from None


class _Holder(Protocol):
    """Who makes links; `Endpoint`."""

    async def hold_link(
        self, address: Address, expected: tuple[str, bytes] | None = None
    ) -> LinkError:
        """Make a link to this process, wait until it has ended, and return why."""

    def is_own(self, address: Address) -> bool:
        """Whether links to *address* are kept in any case."""

    def leave_link(self, address: Address) -> None:
        """Close the link that was dialled at *address*, if there is one."""


class DirectDialer:
    """Keeps direct links to the peers of sessions.

    Args:
        nursery: where the dialling tasks live.
        networks: where peers may lie.
    """

    def __init__(self, nursery: trio.Nursery, holder: _Holder, networks: NetworkList) -> None:
        self.networks = networks
        self._nursery = nursery
        self._holder = holder
        self._expected: dict[Address, tuple[str, bytes]] = {}
        self._doors: dict[str, Bucket] = {}
        self._too_fast = Seldom()
        self._scopes: dict[str, dict[Address, trio.CancelScope]] = {}
        self.failing: dict[Address, str] = {}
        """Why there is no link to an address that a peer named."""

    def learn(self, peer: str, instance: bytes | None, text: str) -> None:
        """*peer*, now this process, says that it accepts links at the addresses in *text*.

        A peer whose process is not known (a caller) is not dialled.
        """
        named = [a for a in decode_addresses(text) if self.networks.allows(a)]
        wanted = named[:MAX_DIRECT_ADDRESSES] if instance is not None else []
        scopes = self._scopes.setdefault(peer, {})
        for address in list(scopes):
            if address not in wanted or self._expected[address] != (peer, instance):
                self._stop(scopes, address)
        for address in wanted:
            # Whoever named an address first is there, or nobody; our own links are our own.
            if address in self._expected or self._holder.is_own(address) or instance is None:
                continue
            if not self._may_name(peer):
                break
            self._expected[address] = (peer, instance)
            scopes[address] = trio.CancelScope()
            who = (peer, instance)
            self._nursery.start_soon(self._dial, address, who, scopes[address])

    def _may_name(self, peer: str) -> bool:
        """Whether *peer* may name one more address now."""
        now = trio.current_time()
        if peer not in self._doors and len(self._doors) >= MAX_REMEMBERED:
            del self._doors[next(iter(self._doors))]
        doors = self._doors.setdefault(peer, Bucket(MAX_NEW_ADDRESSES, 1 / NEW_ADDRESS_SECONDS))
        if doors.take(now):
            return True
        if self._too_fast.count(now):
            _log.warning("%s names new addresses too fast; the rest is ignored", peer)
        return False

    def forget(self, peer: str) -> None:
        """There is no session with *peer* any more."""
        scopes = self._scopes.pop(peer, {})
        for address in list(scopes):
            self._stop(scopes, address)

    def _stop(self, scopes: dict[Address, trio.CancelScope], address: Address) -> None:
        scopes.pop(address).cancel()
        self._holder.leave_link(address)
        self._expected.pop(address, None)
        self.failing.pop(address, None)

    async def _dial(
        self, address: Address, expected: tuple[str, bytes], scope: trio.CancelScope
    ) -> None:
        async def hold(address: Address) -> LinkError:
            try:
                return await self._holder.hold_link(address, expected)
            except ConfigurationError as error:
                # It is the peer's mistake, and must not end this program.
                raise LinkError(str(error)) from error

        with scope:
            await keep_link(address, hold, self._report)

    def _report(self, address: Address, error: LinkError) -> None:
        if self.failing.get(address) != str(error):
            self.failing[address] = str(error)
            _log.info("no direct link to %s for now: %s", address, error)
