"""A peer that comes back: connect, register, call; when the connection ends, do it again.

Calls go to the connection there is.  While there is none they wait, as long as the scope of the
caller lets them; a call that was under way when a connection ended ends with `PeerGone` and is
not made again, because it may have been carried out.
"""

from __future__ import annotations

import logging
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec
import trio

from tunnelkit.dialer import GOOD_LINK_SECONDS, next_delay, sleep_unless_clock_jumps
from tunnelkit.errors import TunnelError
from tunnelkit.services import open_service_nursery

from .channels import Channel
from .codes import RpcError
from .dispatch import Caller, Middleware, Registry
from .epochs import Epoch
from .flow import ending
from .peer import Peer, open_peer
from .proxy import make_proxy
from .service import Service
from .spec import MethodSpec

__all__ = ["KeptPeer", "keep_peer"]

_log = logging.getLogger("tunnelkit.rpc")

T = TypeVar("T", bound=Service)


class KeptPeer:
    """A peer over whichever connection there is; made by `keep_peer`."""

    def __init__(self) -> None:
        self.peer: Peer | None = None
        """The peer of the connection that is up and registered, if one is."""
        self.last_error = ""
        """Why there was no connection last."""
        self.refusal: RpcError | None = None
        """Why the last registration was refused (CONFLICT, FORBIDDEN, ...), if it was."""
        self.connects = 0
        """How often a connection came up, registration included."""
        self._changed = trio.Event()

    def proxy(self, interface: type[T]) -> T:
        """Return an object whose methods call those of the peer, over any connection."""
        return make_proxy(interface, self)

    async def wait_open(self) -> Peer:
        """Wait until there is a connection, and return its peer.

        Cancellation: atomic.
        """
        while self.peer is None:
            await self._changed.wait()
        return self.peer

    def epoch_of(self, service: str) -> Epoch:
        """Return what is known of the epoch of a service, for a new proxy to keep."""
        return self.peer.epoch_of(service) if self.peer is not None else Epoch()

    async def call(self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch) -> Any:
        """Call a method; as `Peer.call`, once there is a connection."""
        peer = await self.wait_open()
        return await peer.call(spec, params, epoch)

    async def call_with_values(
        self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch, values: AsyncIterable[Any]
    ) -> Any:
        """Call a method that takes a streamed argument, once there is a connection."""
        peer = await self.wait_open()
        return await peer.call_with_values(spec, params, epoch, values)

    async def stream(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        epoch: Epoch,
        values: AsyncIterable[Any] | None = None,
    ) -> AsyncIterator[Any]:
        """Call a method whose result is streamed; it ends with the connection it began on."""
        peer = await self.wait_open()
        async with ending(peer.stream(spec, params, epoch, values)) as items:
            async for item in items:
                yield item

    async def register(self, register: Callable[[Peer], Awaitable[object]], peer: Peer) -> None:
        """Run a registration, and take note of a refusal; `keep_peer` does."""
        try:
            await register(peer)
        except RpcError as error:
            self.refusal = error
            raise
        self.refusal = None

    def set_peer(self, peer: Peer | None) -> None:
        """There is a connection now, or none any more; `keep_peer` says so."""
        self.peer = peer
        self.connects += peer is not None
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def keep_peer(
    connect: Callable[[], Awaitable[Channel]],
    *,
    serve: Iterable[Service] = (),
    middleware: Sequence[Middleware] = (),
    caller: Caller | None = None,
    register: Callable[[Peer], Awaitable[object]] | None = None,
) -> AsyncGenerator[KeptPeer]:
    """Keep a connection to a peer until the block is left.

    Whatever goes wrong with a connection, or with its registration, is tried again after growing
    delays: a conflict may go away with whoever is in the way, and a refusal with a new token.
    Calls wait meanwhile, and `KeptPeer.last_error` and `KeptPeer.refusal` tell why.  For errors
    after which there is no use in trying again, let *register* raise something else than a
    TunnelError or an OSError.

    Args:
        connect: makes a connection; raises a TunnelError or OSError where that fails.
        serve: what the other side can call, over each connection.
        middleware: functions around each call that is served.
        caller: who the other side is.
        register: called over each new connection before anybody else can call; where it fails,
            the connection is closed and tried again later.

    Raises:
        RpcError: CONFLICT, two services have one name.
        Exception: whatever *connect* or *register* raised that is not tried again; it ends the
            block.
    """
    kept = KeptPeer()
    services = tuple(serve)
    Registry(services)

    opening = partial(open_peer, serve=services, middleware=middleware, caller=caller)
    hold = partial(_hold, kept, connect, opening, register)
    async with open_service_nursery() as nursery:
        nursery.start_soon(_keep, kept, hold)
        yield kept


async def _hold(
    kept: KeptPeer,
    connect: Callable[[], Awaitable[Channel]],
    opening: Callable[[Channel], AbstractAsyncContextManager[Peer]],
    register: Callable[[Peer], Awaitable[object]] | None,
) -> None:
    """Connect and register once, and return when the connection has ended."""
    async with opening(await connect()) as peer:
        if register is not None:
            await kept.register(register, peer)
        kept.set_peer(peer)
        await peer.wait_closed()


async def _keep(kept: KeptPeer, hold: Callable[[], Awaitable[None]]) -> None:
    """Connect again and again, after delays that grow until a connection was good."""
    failures = 0
    while True:
        started, connects = trio.current_time(), kept.connects
        try:
            await hold()
            kept.last_error = "the connection ended"
        except (TunnelError, OSError) as error:
            kept.last_error = str(error)
        finally:
            kept.set_peer(None)
        was_long = trio.current_time() - started > GOOD_LINK_SECONDS
        was_good = was_long and kept.connects > connects
        failures = 1 if was_good else failures + 1
        delay = next_delay(failures, random.random())
        _log.info("no connection: %s; trying again in %.2g s", kept.last_error, delay)
        await sleep_unless_clock_jumps(delay)
