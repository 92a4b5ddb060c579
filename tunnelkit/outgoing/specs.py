"""What a user writes for a door: ``LISTEN=TARGET@PEER`` and ``LISTEN=PEER`` (no I/O).

LISTEN is ``HOST:PORT`` or ``unix:///PATH``, up to the first "=".  In what follows the first "@"
divides, see `parse_destination`: a target has none, while a subject may.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunnelkit.addresses import Address, Destination, parse_destination, parse_host_port
from tunnelkit.errors import ConfigurationError

from .socks import Login

__all__ = ["Forward", "Socks", "check_listen", "parse_forward", "parse_socks", "place_of"]

_LISTEN_SCHEMES = ("tcp", "unix", "memory")


@dataclass(frozen=True, slots=True)
class Forward:
    """What a forward is to be: where it listens, and to which target of which peer it leads."""

    listen: Address
    to: Destination

    def __str__(self) -> str:
        return f"{place_of(self.listen)} to {self.to}"


@dataclass(frozen=True, slots=True)
class Socks:
    """What a SOCKS5 door is to be: where it listens, and to which peer it leads."""

    listen: Address
    peer: str
    login: Login | None = None
    """What clients have to give; None: nothing."""

    def __str__(self) -> str:
        return f"{place_of(self.listen)} to {self.peer}"


def parse_forward(text: str, *, what: str = "forward") -> Forward:
    """Read ``LISTEN=TARGET@PEER``.

    Args:
        what: the setting that *text* comes from, for the error.

    Raises:
        ConfigurationError: it is none; the text says what is right.
    """
    listen, rest = _split(text, what, "LISTEN=TARGET@PEER")
    return Forward(listen, parse_destination(rest, what=what))


def parse_socks(text: str, *, what: str = "SOCKS listener") -> Socks:
    """Read ``LISTEN=PEER``; arguments and errors as in `parse_forward`."""
    listen, peer = _split(text, what, "LISTEN=PEER")
    return Socks(listen, parse_destination(f"any@{peer}", what=what).peer)


def _split(text: str, what: str, form: str) -> tuple[Address, str]:
    listen, equals, rest = text.partition("=")
    if not equals or not listen or not rest:
        raise ConfigurationError(
            f"{what} {text!r} is not {form}; write for example 127.0.0.1:5432=... or "
            "unix:///run/x.sock=..."
        )
    address = parse_host_port(listen, what=what)
    if address.scheme not in _LISTEN_SCHEMES:
        raise ConfigurationError(
            f"{what} {text!r}: {address.scheme} is for links; listen on HOST:PORT or unix:///PATH"
        )
    return address, rest


def check_listen(address: Address, *, is_public: bool) -> None:
    """Raise ConfigurationError if others could use a door at *address* against the user's will."""
    if not is_public and not address.is_loopback:
        raise ConfigurationError(
            f"{address.host_port} can be reached by other machines, and whoever connects there "
            "acts with this program's token: listen on 127.0.0.1 or unix:///PATH, or allow it "
            "with --forward-public"
        )


def place_of(address: Address) -> str:
    """Return an address as a person writes it where only TCP and unix sockets can be."""
    return str(address) if address.scheme == "unix" else address.host_port
