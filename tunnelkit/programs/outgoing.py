"""What programs can be told of outgoing traffic: what peers may open, and local listeners."""

from __future__ import annotations

import argparse
from typing import Any

import attrs

from tunnelkit.auth.files import read_secret_file
from tunnelkit.errors import ConfigurationError
from tunnelkit.outgoing import AllowRule, Forward, Login, Socks, parse_forward, parse_socks
from tunnelkit.outgoing.specs import check_listen

from .flags import Flags, target, unique

__all__ = ["OutgoingSettings", "add_outgoing_flags", "outgoing_of"]


def forward(text: str, what: str) -> Forward:
    """Read ``LISTEN=TARGET@PEER``."""
    return parse_forward(text, what=what)


def socks(text: str, what: str) -> Socks:
    """Read ``LISTEN=PEER``."""
    return parse_socks(text, what=what)


def rule(text: str, what: str) -> AllowRule:
    """Read a rule for addresses."""
    return AllowRule.parse(text, what=what)


def login(text: str, what: str) -> Login:
    """Read ``NAME:PASSWORD`` from the file that *text* names."""
    name, colon, password = read_secret_file(text, "login").rstrip(b"\r\n").partition(b":")
    if not colon or not name or not password or max(len(name), len(password)) > 255:
        raise ConfigurationError(
            f"{what}: login {text} does not say NAME:PASSWORD in one line, each of at most 255 "
            "bytes: write it so"
        )
    return Login(name, password)


def add_outgoing_flags(flags: Flags) -> None:
    """Add what an endpoint opens for its peers, and its listeners that lead to them."""
    flags.add(
        "--target",
        target,
        metavar="NAME=HOST:PORT",
        repeat=True,
        help="what a peer may ask for by name, and where it is",
    )
    flags.add(
        "--allow",
        rule,
        metavar="HOST:PORTS",
        repeat=True,
        help="addresses that a peer may ask for: a name, *.SUFFIX, an IP, a CIDR or *, and ports "
        "as in 80,8000-8100 or *; without --target and --allow everything is refused",
    )
    flags.add(
        "--forward",
        forward,
        metavar="LISTEN=TARGET@PEER",
        repeat=True,
        help="listen on HOST:PORT or unix:///PATH, and open TARGET at PEER for each connection; "
        "TARGET is a name or HOST:PORT, and ends at the first @",
    )
    flags.add(
        "--socks",
        socks,
        metavar="LISTEN=PEER",
        repeat=True,
        help="listen for SOCKS5 clients, and open at PEER the addresses that they ask for",
    )
    flags.add(
        "--socks-login",
        login,
        metavar="FILE",
        help="NAME:PASSWORD that SOCKS5 clients have to give, in a file for its owner alone",
    )
    flags.add_switch(
        "--forward-public",
        help="let --forward and --socks listen where other machines can connect",
    )


@attrs.frozen
class OutgoingSettings:
    """What the settings ask for."""

    arguments: dict[str, Any]
    """For `open_devbox` and `open_sidecar`."""
    summary: dict[str, list[str]]
    """What ``--check`` prints."""
    needs_peers: bool
    """Whether none of it could work without a link."""


def outgoing_of(options: argparse.Namespace) -> OutgoingSettings:
    """Return what the settings ask for.

    Raises:
        ConfigurationError: they contradict each other.
    """
    targets = unique(options.target, "--target")
    doors = [Socks(one.listen, one.peer, options.socks_login) for one in options.socks]
    for listen in [one.listen for one in [*options.forward, *doors]]:
        check_listen(listen, is_public=options.forward_public)
    if options.socks_login and not doors:
        raise ConfigurationError("--socks-login is given without --socks: give both or neither")
    return OutgoingSettings(
        arguments={
            "targets": targets,
            "allow": options.allow,
            "forwards": options.forward,
            "socks": doors,
            "public_listeners": options.forward_public,
        },
        summary={
            "targets": [f"{name} = {address}" for name, address in targets.items()],
            "allow": [str(one) for one in options.allow],
            "forwards": [str(one) for one in options.forward],
            "socks": [str(one) for one in doors],
        },
        needs_peers=bool(targets or options.allow or options.forward or doors),
    )
