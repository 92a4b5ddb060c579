"""Which addresses an exit opens for its peers (no I/O).

A target with a colon is an address, ``HOST:PORT``.  An exit opens those that its rules name:

===================  =====================================================================
``db.internal:5432``  this name, and no other
``*.svc.local:80``    every name that ends so; not ``svc.local`` itself
``10.0.0.7:*``        this address; ``[fd00::7]:*`` for IPv6
``10.1.0.0/16:80``    the addresses of a network; ``[fd00::/8]:80``
``*:443``             every name and every ordinary address
===================  =====================================================================

Ports are ``*``, or numbers and ranges joined by commas: ``80,443,8000-8100``.

The decision has two steps, because what a name leads to is its owner's choice and may change.
`AllowList.may_try` looks at what was asked for: a name that no rule matches is not even looked up.
`AllowList.may_reach` looks at each address that the name led to.  Some are special: loopback,
link-local, unspecified, multicast and broadcast ones, and the exit's own listeners.  A rule for a
name never opens those, nor does a wide one: it takes a rule for addresses of just that kind, such
as ``127.0.0.1:8080`` or ``169.254.0.0/16:80``, or the name ``localhost``.  The exit's own listeners
take a rule for exactly their address.  So a name that is made to lead to 127.0.0.1 leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

from tunnelkit.errors import ConfigurationError

__all__ = ["AllowList", "AllowRule", "HostPort", "IPAddress", "parse_host", "unmapped"]

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""Systems read names whose last label looks so as addresses: 127.1, 0x7f.1, 2130706433."""

_ADDRESS: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([0-9]{1,5})")

_SPECIAL: Final[tuple[IPNetwork, ...]] = tuple(
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "::1/128"),  # loopback
        *("169.254.0.0/16", "fe80::/10"),  # link-local: neighbours, and clouds' metadata
        *("0.0.0.0/8", "::/128"),  # unspecified: many systems take it for loopback
        *("224.0.0.0/4", "ff00::/8", "255.255.255.255/32"),  # multicast and broadcast
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address that was asked for: a host by name or by number, and a port."""

    host: str
    """In lower case, without a final dot; an IP address in its shortest form."""
    port: int
    ip: IPAddress | None = None
    """The host, where it is an address; a mapped one is its IPv4 address."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read ``HOST:PORT``, or ``[IPV6]:PORT``.

        Raises:
            ValueError: it is neither; the text says why, without what was asked for.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError("it is not HOST:PORT")
        inside, plain, port = found.groups()
        made = parse_host(inside or plain, int(port))
        if inside and not isinstance(made.ip, IPv6Address) and ":" not in inside:
            raise ValueError("only IPv6 addresses stand in brackets")
        return made


def parse_host(host: str, port: int) -> HostPort:
    """Return the address of a host, which is a name or an IP address without brackets.

    Raises:
        ValueError: the host is neither, or the port is none that can be connected to.
    """
    if not 1 <= port <= 65_535:
        raise ValueError("the port is not one from 1 to 65535")
    try:
        ip = unmapped(ip_address(host))
    except ValueError:
        pass
    else:
        if isinstance(ip, IPv6Address) and ip.scope_id is not None:
            raise ValueError("addresses with a zone are not opened")
        return HostPort(str(ip), port, ip)
    name = host.lower()
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name.rstrip(".").rpartition(".")[2]):
        raise ValueError("the host is neither a name nor an address")
    return HostPort(name.rstrip("."), port)


def unmapped(ip: IPAddress) -> IPAddress:
    """Return the IPv4 address inside of a mapped one (``::ffff:1.2.3.4``), else *ip*."""
    return (isinstance(ip, IPv6Address) and ip.ipv4_mapped) or ip


def _inner(ip: IPAddress) -> IPAddress:
    """Return the IPv4 address that a gateway makes of an IPv6 one, else *ip*."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.sixtofour or ip


def is_special(ip: IPAddress) -> bool:
    """Whether an address leads to the machine itself, to its neighbours, or to many."""
    return any(candidate in network for candidate in (ip, _inner(ip)) for network in _SPECIAL)


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One rule; made by `parse`."""

    text: str
    name: str
    """An exact name; ``*`` for all; ``.suffix`` for names that end so; empty for a network."""
    network: IPNetwork | None
    ports: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str, *, what: str = "rule") -> AllowRule:
        """Read a rule.

        Args:
            what: the setting that *text* comes from, for the error.

        Raises:
            ConfigurationError: it is none; the text says what is right.
        """
        host, colon, ports = text.rpartition(":")
        try:
            if not colon:
                raise ValueError("there is no port")
            name, network = _parse_rule_host(host)
            return cls(text, name, network, _parse_ports(ports))
        except ValueError as error:
            raise ConfigurationError(
                f"{what} {text!r} is not HOST:PORTS: {error}; write for example db.internal:5432, "
                "*.svc.local:80,443, 10.1.0.0/16:8000-8100 or [fd00::/8]:*"
            ) from None

    def has_port(self, port: int) -> bool:
        """Whether the rule is for this port."""
        return any(low <= port <= high for low, high in self.ports)

    def has_name(self, name: str) -> bool:
        """Whether the rule is for this name."""
        if self.name.startswith("."):
            return name.endswith(self.name)
        return self.name in ("*", name)

    def has_ip(self, ip: IPAddress) -> bool:
        """Whether the rule is for a network that has this address in it."""
        return self.network is not None and ip in self.network

    def names_special(self, *, is_own: bool) -> bool:
        """Whether the rule is narrow enough for a special address in its network."""
        network = self.network
        if network is None or network.num_addresses == 1:
            return network is not None
        return not is_own and any(_is_inside(network, special) for special in _SPECIAL)


def _is_inside(network: IPNetwork, other: IPNetwork) -> bool:
    same = network.version == other.version
    return same and network.prefixlen >= other.prefixlen and network.network_address in other


def _parse_rule_host(host: str) -> tuple[str, IPNetwork | None]:
    if host.startswith("[") and host.endswith("]"):
        return "", IPv6Network(host[1:-1])
    if "/" in host:
        return "", IPv4Network(host)
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets")
    if host == "*":
        return "*", None
    made = parse_host(host.removeprefix("*."), 1)
    if made.ip is None:
        return ("." if host.startswith("*.") else "") + made.host, None
    if host.startswith("*"):
        raise ValueError("'*.' stands before a name")
    return "", ip_network(made.ip)


def _parse_ports(text: str) -> tuple[tuple[int, int], ...]:
    if text == "*":
        return ((1, 65_535),)
    return tuple(_parse_range(part) for part in text.split(","))


def _parse_range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    ends = [low, high if dash else low]
    if not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
        raise ValueError("ports are '*', or numbers and ranges joined by commas")
    first, last = (int(end) for end in ends)
    if not 1 <= first <= last <= 65_535:
        raise ValueError("a port is from 1 to 65535, and a range begins with the lower one")
    return first, last


class AllowList:
    """The rules of an exit.  Without one, nothing is opened."""

    def __init__(self, rules: Iterable[AllowRule | str] = ()) -> None:
        self.rules = [AllowRule.parse(r) if isinstance(r, str) else r for r in rules]

    def may_try(self, target: HostPort) -> bool:
        """Whether *target* may be connected to, or looked up, as far as its text tells."""
        if target.ip is not None:
            return self.may_reach(target, target.ip, is_own=False)
        return any(r.has_port(target.port) and r.has_name(target.host) for r in self.rules)

    def may_reach(self, target: HostPort, ip: IPAddress, *, is_own: bool) -> bool:
        """Whether *ip*, which *target* is or led to, may be connected to.

        Args:
            ip: not mapped; see `unmapped`.
            is_own: whether one of the exit's own listeners has this address and port.
        """
        return any(self._opens(rule, target, ip, is_own=is_own) for rule in self.rules)

    def _opens(self, rule: AllowRule, target: HostPort, ip: IPAddress, *, is_own: bool) -> bool:
        if not rule.has_port(target.port):
            return False
        is_narrow = is_own or is_special(ip)
        if rule.has_ip(ip):
            return not is_narrow or rule.names_special(is_own=is_own)
        if is_own:
            return False
        if is_narrow:
            return rule.name == target.host == "localhost" and ip.is_loopback
        return rule.name == "*" if target.ip is not None else rule.has_name(target.host)
