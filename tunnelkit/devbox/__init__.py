"""The devbox endpoint: what runs on the laptop.

An `Endpoint` keeps the links (several brokers, or a direct one), with back-off, jitter, and an
immediate retry after the machine was asleep.  An `Exit` serves the streams that arrive from an
allow-list of local targets, and forwards and SOCKS5 listeners lead the other way, to what peers
serve (`tunnelkit.outgoing`).  `open_devbox` puts these together.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Unpack

from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing, Trust
from tunnelkit.endpoint import Endpoint, EndpointOptions, open_endpoint
from tunnelkit.keeping import SessionKeeper
from tunnelkit.outgoing import AllowRule, Exit, Forward, Outgoing, Socks, open_outgoing

from .looking import Lookout

__all__ = ["Devbox", "Lookout", "open_devbox"]


@dataclass(frozen=True, slots=True)
class Devbox:
    """A running devbox: its endpoint, what it serves, and its local listeners."""

    endpoint: Endpoint
    outgoing: Outgoing
    lookout: Lookout
    """What it records of what it serves."""

    @property
    def exit(self) -> Exit:
        """What it serves."""
        return self.outgoing.exit


@asynccontextmanager
async def open_devbox(
    identity: Identity,
    ring: KeyRing | Trust,
    *,
    targets: Mapping[str, Address] | None = None,
    allow: Iterable[AllowRule | str] = (),
    forwards: Iterable[Forward | str] = (),
    socks: Iterable[Socks | str] = (),
    public_listeners: bool = False,
    **options: Unpack[EndpointOptions],
) -> AsyncGenerator[Devbox]:
    """Serve *targets* to peers, and open forwards to theirs, until the block is left.

    Args:
        targets: from the names that peers may ask for to addresses.
        allow: rules for addresses that peers may ask for.  With neither, all is refused.
        forwards, socks, public_listeners: as in `open_outgoing`.
        options: as in `open_endpoint`.

    Raises:
        ConfigurationError: an address is wrong or cannot be listened on, a rule is none, or the
            devbox may not meet the peer of a forward.
    """
    async with open_endpoint(identity, ring, **options) as endpoint:
        keeper = SessionKeeper(endpoint)
        try:
            async with open_outgoing(
                endpoint,
                keeper,
                targets=targets or {},
                allow=allow,
                forwards=forwards,
                socks=socks,
                public_listeners=public_listeners,
            ) as outgoing:
                yield Devbox(endpoint, outgoing, Lookout(outgoing.exit, endpoint.pump))
        finally:
            keeper.close()
