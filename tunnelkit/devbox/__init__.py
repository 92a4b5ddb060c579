"""The devbox endpoint: what runs on the laptop.

An `Endpoint` keeps the links (several brokers, or a direct one), with back-off, jitter, and an
immediate retry after the machine was asleep; `TargetServer` serves the streams that arrive from an
allow-list of local targets.  `open_devbox` puts the two together.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing
from tunnelkit.carriers import SYSTEM_NETWORK, Network
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.services import open_service_nursery

from .endpoint import TargetServer

__all__ = ["Devbox", "TargetServer", "open_devbox"]


@dataclass(frozen=True, slots=True)
class Devbox:
    """A running devbox: its endpoint and its targets."""

    endpoint: Endpoint
    server: TargetServer


@asynccontextmanager
async def open_devbox(
    identity: Identity,
    ring: KeyRing,
    *,
    targets: Mapping[str, Address],
    dial: Iterable[Address | str] = (),
    listen: Iterable[Address | str] = (),
    network: Network = SYSTEM_NETWORK,
    grace_seconds: float = limits.DEFAULT_GRACE_SECONDS,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Devbox]:
    """Serve *targets* to peers until the block is left.

    Args:
        targets: from the names that peers may ask for to addresses.  Empty: all is refused.
        The rest is as in `open_endpoint`.

    Raises:
        ConfigurationError: an address is wrong or cannot be listened on.
    """
    async with (
        open_endpoint(
            identity,
            ring,
            dial=dial,
            listen=listen,
            network=network,
            grace_seconds=grace_seconds,
            clock=clock,
        ) as endpoint,
        open_service_nursery() as nursery,
    ):
        server = TargetServer(endpoint, targets, nursery)
        try:
            yield Devbox(endpoint, server)
        finally:
            server.close()
