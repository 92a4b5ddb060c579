"""The gateway: one public port for the control plane, for links, and for the previews of services.

How it works
------------
A request is looked at once, and then goes by as bytes, in both directions at the same time: so an
upload of any size may begin, and end, before the first byte of its answer.

* `places` says which part a request is for: a host ``{port}-{service}-{hash}.<domain>`` is a
  preview, an upgrade at ``/tunnel`` is a link, a path ``/<name>/…`` is a site if the directory
  knows one of that name, and all else is the control plane's API.
* A `Directory`, written by the control plane, says what a preview or a path leads to (`Site`), and
  who a caller is.  `sites.may_enter` decides: owner, organisation, public.  A browser that is not
  known is sent to log in; a program is told 401.
* `rewriting` takes out what a client has no say in: who it is (`X-Forwarded-*`, `Forwarded`), to
  which environment it belongs, and the login; and puts in what the gateway knows.  With a path
  route it takes the prefix off, and puts it back into `Location` and the paths of cookies.
* `visitor` is one client connection of HTTP/1.x or HTTP/2; the engines are those of
  `tunnelkit.http`, so what cannot be read in one way only is refused here as well.  A site is an
  address, or what a peer serves, over a session that survives the loss of its links.
* `pages` are what people and programs are told where nobody else answers: what is wrong, what to
  do, and who has intercepted what does not answer.

Nothing is public by default: a site belongs to its owner, and a directory that fails lets nobody
in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import trio

from tunnelkit.addresses import Address
from tunnelkit.carriers import Listener, Pipe
from tunnelkit.carriers.tls import tls_server
from tunnelkit.carriers.tls_settings import TlsSettings
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ConfigurationError, ErrorCode
from tunnelkit.http.detect import Kind, detect
from tunnelkit.http.routing import Limits
from tunnelkit.keeping import SessionKeeper
from tunnelkit.reach import Reach
from tunnelkit.services import open_service_nursery
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd
from tunnelkit.wire.stream import Buffer

from .settings import GatewaySettings
from .sites import (
    Access,
    Caller,
    Credentials,
    Directory,
    Entry,
    Interception,
    PreviewName,
    Site,
    may_enter,
    read_preview_name,
)
from .visitor import GatewayVisitor

if TYPE_CHECKING:
    from tunnelkit.capture import ByteRecorder, Recorder

__all__ = [
    "Access",
    "Caller",
    "Credentials",
    "Directory",
    "Entry",
    "Gateway",
    "GatewaySettings",
    "Interception",
    "PreviewName",
    "Site",
    "may_enter",
    "open_gateway",
    "read_preview_name",
]

MAX_CLIENTS: Final = 10_000
"""Most connections of clients at once; more are closed.  Stops: clients that take all descriptors
and leave none to the upstreams."""

FIRST_SECONDS: Final = 10.0
"""How long a client may take until its first bytes say what it speaks, seconds."""

SESSION_SECONDS: Final = 5.0
"""How long a request waits for the session with a peer, seconds."""

WEB_ALPN: Final = "h2,http/1.1"


class Gateway:
    """A running gateway.  Made by `open_gateway`."""

    def __init__(
        self,
        endpoint: Endpoint,
        directory: Directory,
        settings: GatewaySettings,
        nursery: trio.Nursery,
    ) -> None:
        self.endpoint = endpoint
        self.directory = directory
        self.settings = settings
        self.limits = Limits(
            settings.idle_seconds, settings.request_seconds, settings.max_body_bytes
        )
        self.pump = endpoint.pump
        self.reach = Reach(endpoint.network, endpoint.pump)
        self.keeper = SessionKeeper(endpoint)
        self.keeper.sources.append(lambda: self._peers)
        self.keeper.listeners.append(self._look)
        self.counts: Counter[str] = Counter()
        """Requests by the part that they were for, and by how they were refused."""
        self.recorder: Recorder | None = None
        """Who keeps requests and answers, or nobody."""
        self.byte_recorder: ByteRecorder | None = None
        """Who keeps the bytes of new connections, without their TLS, or nobody."""
        self.doors: list[Listener] = []
        self._nursery = nursery
        self._peers: set[str] = set()
        self._changed = trio.Event()
        self._emptied = trio.Event()
        self._clients: dict[PipeEnd, GatewayVisitor | None] = {}
        """None: it has not said yet what it speaks."""

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return [door.address for door in self.doors]

    @property
    def open_count(self) -> int:
        """How many connections of clients are open."""
        return len(self._clients)

    async def add_door(self, address: Address, tls: TlsSettings | None = None) -> Address:
        """Listen for clients; return the address with the real port.

        Args:
            tls: certificate and key, which may be loaded anew at any time; None: plain HTTP.

        Raises:
            ConfigurationError: the address cannot be listened on, or there is no certificate.
        Cancellation: atomic.
        """
        if tls is not None:
            tls.context(server_side=True, alpn=WEB_ALPN)

        def accept(pipe: Pipe) -> None:
            if tls is None:
                self._welcome(pipe, "http")
            else:
                safe = tls_server(pipe, tls, alpn=WEB_ALPN, require_alpn=False)
                self._welcome(safe, "https")

        door = await self.endpoint.network.listen(address, self.pump, accept)
        self.doors.append(door)
        return door.address

    def _welcome(self, pipe: Pipe, scheme: str) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            self.count("too-many")
            pipe.close()
            return
        if self.byte_recorder is not None:
            from tunnelkit.capture.pipes import tapped  # most programs never record

            pipe = tapped(pipe, self.byte_recorder, pipe.description, "gateway")
        end = PipeEnd(pipe, self._over)
        self._clients[end] = None
        _Arriving(self, end, scheme)

    def _over(self, end: PipeEnd) -> None:
        self._clients.pop(end, None)
        if not self._clients:
            self._emptied.set()

    # --- what visitors ask --------------------------------------------------------------------

    def start(self, function: Callable[[], object]) -> None:
        """Run an asynchronous function in the background, as long as the gateway runs."""
        self._nursery.start_soon(cast("Callable[[], Awaitable[object]]", function))

    async def resolve(self, address: Address) -> Address:
        """Look an address up.

        Raises:
            ConnectFailed: its name is not known.
        Cancellation: atomic.
        """
        return await self.endpoint.network.resolve(address)

    async def session(self, peer: str) -> Session:
        """Return a session with a peer, once it is open.

        Raises:
            TooSlowError: there is none within `SESSION_SECONDS`.
        Cancellation: atomic.
        """
        self._peers.add(peer)
        with trio.fail_after(SESSION_SECONDS):
            while True:
                session = self.keeper.session_with(peer)
                if session is None:
                    if peer in self.endpoint.peers():
                        self.keeper.begin(peer)
                elif session.core.is_established and not session.is_suspect:
                    return session
                changed = self._changed
                await changed.wait()

    def _look(self) -> None:
        """Links or sessions changed."""
        self.reach.check_health()
        self._changed.set()
        self._changed = trio.Event()

    def count(self, what: str) -> None:
        """Count something that happened."""
        self.counts[what] += 1

    # --- life ---------------------------------------------------------------------------------

    def arrived(self, end: PipeEnd, visitor: GatewayVisitor) -> None:
        """A client has said what it speaks."""
        if end in self._clients:
            self._clients[end] = visitor

    async def drain(self, timeout: float) -> None:
        """Accept no more, let clients go behind their answers, and wait until they have gone, or
        *timeout* seconds are over.

        Cancellation: atomic.
        """
        for door in self.doors:
            door.close()
        for visitor in list(self._clients.values()):
            if visitor is not None:
                visitor.proxy.leave()
        with trio.move_on_after(timeout):
            while self._clients:
                self._emptied = trio.Event()
                await self._emptied.wait()

    def close(self) -> None:
        """Reset what is open; `open_gateway` calls it."""
        self.keeper.close()
        for door in self.doors:
            door.close()
        self.reach.close()
        for end in list(self._clients):
            other = end.other
            end.reset(ErrorCode.GOING_AWAY, "the gateway is shutting down")
            other.reset(ErrorCode.GOING_AWAY, "the gateway is shutting down")


class _Arriving:
    """The end of a client until its first bytes have said which HTTP it speaks."""

    def __init__(self, gateway: Gateway, end: PipeEnd, scheme: str) -> None:
        self._gateway = gateway
        self._end = end
        self._scheme = scheme
        self._first = b""
        self._timer = gateway.pump.call_later(FIRST_SECONDS, self._is_late)
        end.join(self)

    def offer(self, data: Buffer) -> int:
        self._first += bytes(data)
        found = detect(self._first)
        if found is None:
            return len(data)
        self._timer.cancel()
        is_http2 = found.kind is Kind.HTTP2
        client = self._end.pipe.description
        visitor = GatewayVisitor(self._gateway, client, self._scheme, is_http2=is_http2)
        self._gateway.arrived(self._end, visitor)
        visitor.proxy.join(self._end)
        self._end.join(visitor.proxy, self._first)
        return len(data)

    def _is_late(self) -> None:
        self._end.reset(ErrorCode.NOT_READING, "the client says nothing")

    def finish(self) -> None:
        self._timer.cancel()
        self._end.finish()

    def abort(self, code: int, text: str) -> None:
        self.reset(code, text)

    def stop(self, code: int, text: str) -> None:
        self.reset(code, text)

    def reset(self, code: int, text: str) -> None:
        self._timer.cancel()
        self._end.reset(code, text)

    def resume(self) -> None:
        pass


@asynccontextmanager
async def open_gateway(
    endpoint: Endpoint,
    directory: Directory,
    settings: GatewaySettings,
    *,
    listen: Iterable[Address] = (),
    tls: TlsSettings | None = None,
) -> AsyncGenerator[Gateway]:
    """Run a gateway until the block is left.

    Args:
        endpoint: whose links lead to the peers that sites name, and whose network to addresses.
        directory: what sites there are, and who callers are.
        listen: where clients connect; more by `Gateway.add_door`.
        tls: for all of *listen*: certificate and key; None: plain HTTP.

    Raises:
        ConfigurationError: an address cannot be listened on, or the domain is none.
    """
    if settings.domain != settings.domain.lower().strip("."):
        raise ConfigurationError(
            f"the domain {settings.domain!r} is not in lower case, or has dots around it"
        )
    async with open_service_nursery() as nursery:
        gateway = Gateway(endpoint, directory, settings, nursery)
        try:
            for address in listen:
                await gateway.add_door(address, tls)
            yield gateway
        finally:
            gateway.close()
