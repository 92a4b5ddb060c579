"""`Endpoint`: one identity with its links and its sessions.

How it works.  An endpoint keeps a link to every address that it was told to dial (`dialer`),
accepts links on every address that it was told to listen on (`host`), dials peers directly where
that is allowed (`direct`), and lets its sessions go over the best of these links (`placing`).  This
file is what users see, and what dials.

Everything lives inside `async with open_endpoint(...)`: leaving it ends sessions and links, and
waits until the last task and socket is gone.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypedDict

import trio

from . import limits
from .addresses import Address, as_addresses
from .auth import Identity, KeyRing, Trust
from .carriers import SYSTEM_NETWORK, Network, Pipe, connect
from .dialer import REFUSED_DELAY_SECONDS, is_final, keep_link
from .direct import DirectDialer, NetworkList, encode_addresses
from .errors import (
    ConfigurationError,
    ErrorCode,
    LinkError,
    LinkRefused,
    SessionError,
)
from .events import Event
from .handshake import Dialing
from .link import Link
from .placing import SessionHost, refuse_stream
from .pump import Pump, acquire_pump, release_pump
from .services import open_service_nursery
from .session import Session
from .stream import Stream
from .telling import snapshot_of
from .wire.frames import Role
from .wire.stream import StreamCore
from .wire.windows import Budgets, WindowBudget

__all__ = ["Endpoint", "EndpointOptions", "open_endpoint"]

_log = logging.getLogger(__name__)

OPEN_SESSION_TIMEOUT_SECONDS = 10.0
"""How long `open_session` waits for the peer unless told otherwise, seconds."""


class EndpointOptions(TypedDict, total=False):
    """What `open_endpoint` takes beside identity and ring, for those who hand it through."""

    dial: Iterable[Address | str]
    listen: Iterable[Address | str]
    advertise: Iterable[Address | str]
    direct: Iterable[str]
    network: Network
    grace_seconds: float
    session_window_bytes: int
    ping_seconds: float
    clock: Callable[[], float]


class Endpoint(SessionHost):
    """One identity, its links and its sessions.  Made by `open_endpoint`."""

    def __init__(
        self,
        identity: Identity,
        ring: KeyRing | Trust,
        network: Network,
        pump: Pump,
        nursery: trio.Nursery,
        *,
        grace_seconds: float,
        session_window_bytes: int,
        budgets: Budgets,
        advertise: Iterable[Address],
        direct: NetworkList,
        ping_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            identity,
            ring,
            network,
            pump,
            grace_seconds=grace_seconds,
            session_window_bytes=session_window_bytes,
            budgets=budgets,
            ping_seconds=ping_seconds,
            clock=clock,
        )
        self.dial_errors: dict[Address, str] = {}
        self.advertised = encode_addresses(advertise)
        self.direct = DirectDialer(nursery, self, direct)
        self._nursery = nursery
        self._renewed = trio.Event()

    def __repr__(self) -> str:
        return f"<Endpoint {self.subject}: {len(self.links)} links, {len(self.sessions)} sessions>"

    # --- for users --------------------------------------------------------------------------

    async def open_session(
        self, peer: str, *, timeout: float = OPEN_SESSION_TIMEOUT_SECONDS
    ) -> Session:
        """Open a session with the endpoint whose subject is *peer*.

        Args:
            timeout: how long to wait for the peer, seconds.

        Raises:
            SessionError: the peer is not there (UNKNOWN_PEER), or one side did not accept the
                other.
        Cancellation: atomic; the session is ended.
        """
        session = self.begin_session(peer)
        try:
            with trio.fail_after(timeout):
                await session.wait_open()
        except trio.TooSlowError:
            why = session.last_reason or self._why_no_link()
            text = (
                f"no session with {peer!r} within {timeout:g} s ({why}); "
                "is it running, and do both tokens let the two meet?"
            )
            session.end(ErrorCode.UNKNOWN_PEER, text)
            raise SessionError(ErrorCode.UNKNOWN_PEER, text) from None
        except BaseException:
            session.end(ErrorCode.CANCELLED, "the opener gave up")
            raise
        return session

    def _why_no_link(self) -> str:
        if self.links:
            return "no link leads to it"
        waiting = [str(address) for address in self.roster.order]
        failed = [_at(address, text) for address, text in self.dial_errors.items()]
        return "; ".join(failed) or f"still connecting to {', '.join(waiting) or 'nobody'}"

    def begin_session(self, peer: str) -> Session:
        """Make a session that attaches as soon as the peer can be reached; does not wait."""
        session = Session(self, Role.INITIATOR, peer)
        self.sessions[session.session_id] = session
        self.place_soon(session)
        return session

    async def move(self, peer: str, address: Address | str) -> int:
        """Move the sessions with *peer* to another link, while their streams are open.

        They stay there until that link is lost or suspect.

        Args:
            address: where the link was dialled, or where it comes from, as status shows it.

        Returns:
            How many sessions are on that link now.

        Raises:
            ConfigurationError: there is no such link, or no session with *peer*.
            SessionError: as `Session.move`.
        Cancellation: keeps; sessions may move all the same.
        """
        links = [
            link
            for link in self.links
            if str(address) in (str(self.roster.address_of(link)), link.pipe.description)
        ]
        sessions = [session for session in self.sessions.values() if session.peer == peer]
        if not links:
            found = ", ".join(link.pipe.description for link in self.links) or "none"
            raise ConfigurationError(f"there is no link to {address}; the links are: {found}")
        if not sessions:
            found = ", ".join(sorted({s.peer for s in self.sessions.values()})) or "none"
            raise ConfigurationError(f"there is no session with {peer}; there are: {found}")
        for session in sessions:
            await session.move(links[0])
        return len(sessions)

    async def serve(self, handler: Callable[[Stream], Awaitable[object]]) -> None:
        """Accept incoming streams until cancelled; *handler* runs in a task of its own for each.

        The stream is closed when the handler returns, and reset when it raises; an exception of
        a handler ends this call, as in any nursery.
        Cancellation: handlers are cancelled; incoming streams are refused from then on.
        """
        async with trio.open_nursery() as nursery:

            async def run(stream: Stream) -> None:
                async with stream:
                    await handler(stream)

            def accept(session: Session, core: StreamCore) -> None:
                stream = Stream(core, session, self.pump)
                core.accept()
                nursery.start_soon(run, stream)

            self.on_stream = accept
            try:
                await trio.sleep_forever()
            finally:
                self.on_stream = refuse_stream

    def dial(self, address: Address) -> None:
        """Keep a link to *address* up from now on."""
        self.roster.prefer(address)
        self._nursery.start_soon(keep_link, address, self.hold_link, self._report)

    def peers(self) -> set[str]:
        """Return the subjects that can be reached now."""
        return self.roster.peers()

    async def hold_link(
        self, address: Address, expected: tuple[str, bytes] | None = None
    ) -> LinkError:
        """Make a link to *address*, wait until it has ended, and return why.

        Args:
            expected: subject and instance of the only process that may answer.

        Raises:
            LinkError: it could not be made.
        Cancellation: keeps; a link that was made stays up.
        """
        while (twin := self._twin(address)) is not None:
            await self.wait_link_closed(twin)
        await self._wait_for_token(address)
        network = self.network.for_links if expected is None else self.network.for_named
        pipe = await connect(network, address, self.pump)
        return await self.wait_link_closed(self.begin_link(pipe, address, expected))

    def leave_link(self, address: Address) -> None:
        """Close the link that was dialled at *address*, if there is one."""
        for link in self.roster.dialled(address):
            error = LinkError(f"the link to {address} is not needed any more")
            link.close_after_flush(error) if link.is_up else link.close(error)

    def is_own(self, address: Address) -> bool:
        """Whether links to *address* are kept in any case."""
        return self.roster.is_preferred(address)

    async def _wait_for_token(self, address: Address) -> None:
        """There is no sense in showing an expired token: wait for a newer one."""
        while self.identity.claims.expires_at <= self.clock():
            text = (
                f"the token of {self.subject} has expired, so no link is made: get a newer one "
                "and have it read (SIGHUP for a program, `set_identity` in Python)"
            )
            self._report(address, LinkRefused(ErrorCode.TOKEN_EXPIRED, text))
            with trio.move_on_after(REFUSED_DELAY_SECONDS):
                await self._renewed.wait()

    def _twin(self, address: Address) -> Link | None:
        instances = {link: link.peer.instance for link in self.links if link.peer is not None}
        return self.roster.twin(address, instances)

    def _report(self, address: Address, error: LinkError) -> None:
        """Log a failure once, not at each attempt."""
        if is_final(error):
            _log.error("%s: another process runs as %s: %s", address, self.subject, error)
        elif self.dial_errors.get(address) != str(error):
            _log.warning("%s; trying again", _at(address, str(error)))
        if self.dial_errors.get(address) != str(error):
            self.tell.link_failed(address, error, will_retry=not is_final(error))
        self.dial_errors[address] = str(error)

    # --- links ------------------------------------------------------------------------------

    def begin_link(
        self, pipe: Pipe, address: Address, expected: tuple[str, bytes] | None = None
    ) -> Link:
        """Start a link over a pipe that this side connected."""
        handshake = Dialing(self.identity, self.instance, os.urandom(32), expected)
        link = self.add_link(pipe, handshake)
        self.roster.begin(link, address)
        link.start()
        return link

    def link_up(self, link: Link) -> None:
        address = self.roster.address_of(link)
        if address is not None:
            self.direct.failing.pop(address, None)
            self.dial_errors.pop(address, None)
        super().link_up(link)

    # --- tokens -----------------------------------------------------------------------------

    def set_identity(self, identity: Identity) -> None:
        """Go on under a newer token, or another key: links and sessions that are up stay up.

        They are told by `renew`; a peer that does not know it goes on with the older token.

        Raises:
            ConfigurationError: it is somebody else's.
        """
        if identity.subject != self.subject:
            raise ConfigurationError(
                f"the token is for {identity.subject}, and this endpoint is {self.subject}: "
                "start another endpoint for it"
            )
        self.identity = identity
        with self.pump.batch():
            for link in self.links:
                link.renew(identity)
            for session in list(self.sessions.values()):
                session.renew()
        renewed, self._renewed = self._renewed, trio.Event()
        renewed.set()

    def trust_changed(self) -> None:
        for session in list(self.sessions.values()):
            session.end_if_distrusted()

    # --- sessions ---------------------------------------------------------------------------

    def peer_named_addresses(self, session: Session, text: str) -> None:
        """The peer of *session* accepts direct links at these addresses."""
        self.direct.learn(session.peer, session.peer_instance, text)

    def session_ended(self, session: Session) -> None:
        super().session_ended(session)
        if all(other.peer != session.peer for other in self.sessions.values()):
            self.direct.forget(session.peer)

    # --- events -----------------------------------------------------------------------------

    def snapshot(self) -> list[Event]:
        links = {link: self.roster.present(link) for link in self.links}
        return snapshot_of(links, self.dial_errors, self.sessions.values())

    # --- end --------------------------------------------------------------------------------

    async def aclose(self, timeout: float = limits.CLOSE_TIMEOUT_SECONDS) -> None:
        """End all sessions and links; `open_endpoint` calls it.

        Cancellation: everything is closed in any case.
        """
        try:
            with trio.move_on_after(timeout):
                async with trio.open_nursery() as nursery:
                    for session in list(self.sessions.values()):
                        nursery.start_soon(session.aclose)
        finally:
            self.stop_listening()
            with self.pump.batch():
                for session in list(self.sessions.values()):
                    session.end(ErrorCode.SESSION_CLOSED, "the endpoint was closed")
            self.close_links()


def _at(address: Address, text: str) -> str:
    """Return *text* with the address that it is about, once."""
    return text if str(address) in text else f"{address}: {text}"


@asynccontextmanager
async def open_endpoint(
    identity: Identity,
    ring: KeyRing | Trust,
    *,
    dial: Iterable[Address | str] = (),
    listen: Iterable[Address | str] = (),
    advertise: Iterable[Address | str] = (),
    direct: Iterable[str] = (),
    network: Network = SYSTEM_NETWORK,
    grace_seconds: float = limits.DEFAULT_GRACE_SECONDS,
    session_window_bytes: int = limits.DEFAULT_SESSION_WINDOW_BYTES,
    replay_budget_bytes: int = limits.DEFAULT_REPLAY_BUDGET_BYTES,
    stream_budget_bytes: int = limits.DEFAULT_STREAM_BUDGET_BYTES,
    ping_seconds: float = limits.DEFAULT_PING_SECONDS,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Endpoint]:
    """Open an endpoint: dial and listen, hold sessions, until the block is left.

    Args:
        identity: who this endpoint is.
        ring: the issuers whose tokens it accepts, alone or with what was revoked.
        dial: addresses of brokers and peers to keep links to, in order of preference.
        listen: addresses on which to accept links.
        advertise: where peers are told that they can dial this endpoint directly; numeric hosts.
        direct: networks (``10.0.0.0/8``) whose addresses are dialled when a peer names them; a
            session moves to such a link while it is up.  None by default.
        network: where carriers come from.
        grace_seconds: how long a session waits for a lost peer.
        session_window_bytes: unacknowledged bytes that a session keeps for replay without asking.
        replay_budget_bytes: what all sessions may keep above that, where a path carries more.
        stream_budget_bytes: what the windows of all streams may grow by.
        ping_seconds: quiet time after which a link is probed.
        clock: returns unix seconds, for the expiry of tokens.

    Raises:
        ConfigurationError: an address is wrong or cannot be listened on.
    """
    wanted = as_addresses(dial)
    offered = as_addresses(listen)
    known = as_addresses(advertise)
    pump = acquire_pump()
    try:
        async with open_service_nursery() as nursery:
            endpoint = Endpoint(
                identity,
                ring,
                network,
                pump,
                nursery,
                grace_seconds=grace_seconds,
                session_window_bytes=session_window_bytes,
                budgets=Budgets(
                    WindowBudget(stream_budget_bytes), WindowBudget(replay_budget_bytes)
                ),
                advertise=known,
                direct=NetworkList(direct),
                ping_seconds=ping_seconds,
                clock=clock,
            )
            try:
                for address in offered:
                    await endpoint.listen(address)
                for address in wanted:
                    endpoint.dial(address)
                yield endpoint
            finally:
                nursery.cancel_scope.cancel()  # nobody dials any more
                with trio.CancelScope(shield=True):
                    await endpoint.aclose()
    finally:
        await release_pump(pump)
