"""`Endpoint`: one identity with its links and its sessions.

How it works.  An endpoint keeps a link to every address it was told to dial and accepts links on
every address it was told to listen on.  It knows which peers can be reached over which link: a
direct link leads to its peer, a link to a broker leads to whom the broker reports.  Sessions ask
it for a link (`place_soon`); the first link, in the order of the addresses, over which the peer
is present gets the session.  Whenever a link comes up, a peer appears or a link says that it goes
away, sessions without a good link are placed again.

Only the initiator of a session chooses.  The responder follows: it answers an `attach` on a direct
link and an `invite` from a broker.

Incoming streams are checked against the capability that the initiator showed end to end
(`may_open`) before anyone hears of them; then `on_stream` decides, or the handler of `serve`.

Everything lives inside `async with open_endpoint(...)`: leaving it ends sessions and links, and
waits until the last task and socket is gone.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TypedDict

import trio

from . import limits
from .addresses import Address, parse_address
from .attaching import Leg
from .auth import Identity, KeyRing, Trust, may_open
from .carriers import SYSTEM_NETWORK, Network, Pipe, connect
from .dialer import REFUSED_DELAY_SECONDS, is_final, keep_link, next_delay
from .direct import DirectDialer, NetworkList, encode_addresses
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ErrorCode,
    LinkError,
    LinkRefused,
    RemoteProtocolError,
    SessionError,
)
from .events import Event
from .handshake import Accepting, Dialing
from .host import TELL_EVERY_SECONDS, LinkHost
from .link import Link
from .pump import Pump, acquire_pump, release_pump
from .roster import Roster
from .services import open_service_nursery
from .session import Session
from .stream import Stream
from .telling import snapshot_of
from .wire.frames import FrameType, Role, Value, decode_fields
from .wire.states import LinkState
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


class Endpoint(LinkHost[Link]):
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
        super().__init__(ring, network, pump, ping_seconds=ping_seconds, clock=clock)
        self.identity = identity
        self.grace_seconds = grace_seconds
        self.session_window_bytes = session_window_bytes
        self.budgets = budgets
        self.roster: Roster[Link] = Roster()
        self.sessions: dict[bytes, Session] = {}
        self.dial_errors: dict[Address, str] = {}
        self.on_stream: Callable[[Session, StreamCore], None] = _refuse_stream
        self._nursery = nursery
        self._origins: dict[bytes, str] = {}
        self._asked_for: Counter[str] = Counter()
        self._is_placing = False
        self.advertised = encode_addresses(advertise)
        """Where peers can dial this endpoint directly, as they are told."""
        self.direct = DirectDialer(nursery, self, direct)
        self._renewed = trio.Event()
        self._told_list_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Endpoint {self.subject}: {len(self.links)} links, {len(self.sessions)} sessions>"

    @property
    def subject(self) -> str:
        """The name under which peers know this endpoint."""
        return self.identity.subject

    @property
    def links(self) -> list[Link]:
        """The links that are up, the preferred ones first."""
        return self.roster.links

    def own_name(self) -> tuple[str, bool]:
        return self.subject, False

    def make_link(self, pipe: Pipe, handshake: Accepting | Dialing, ping_seconds: float) -> Link:
        return Link(pipe, handshake, self, ping_seconds=ping_seconds)

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
            why = session.last_reason or "no link leads to it"
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
                self.on_stream = _refuse_stream

    def dial(self, address: Address) -> None:
        """Keep a link to *address* up from now on."""
        self.roster.prefer(address)
        self._nursery.start_soon(keep_link, address, self.hold_link, self._report)

    def peers(self) -> set[str]:
        """Return the subjects that can be reached now."""
        return self.roster.peers()

    async def hold_link(self, address: Address) -> LinkError:
        """Make a link to *address*, wait until it has ended, and return why.

        Raises:
            LinkError: it could not be made.
        Cancellation: keeps; a link that was made stays up.
        """
        while (twin := self._twin(address)) is not None:
            await self.wait_link_closed(twin)
        await self._wait_for_token(address)
        pipe = await connect(self.network.for_links, address, self.pump)
        return await self.wait_link_closed(self.begin_link(pipe, address))

    def leave_link(self, address: Address) -> None:
        """Close the link that was dialled at *address*, if there is one."""
        for link in list(self.links):
            if self.roster.address_of(link) == address:
                error = LinkError(f"the link to {address} is not needed any more")
                link.close_after_flush(error)

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
            where = "" if str(address) in str(error) else f"{address}: "
            _log.warning("%s%s; trying again", where, error)
        if self.dial_errors.get(address) != str(error):
            self.tell.link_failed(address, error, will_retry=not is_final(error))
        self.dial_errors[address] = str(error)

    # --- links ------------------------------------------------------------------------------

    def begin_link(self, pipe: Pipe, address: Address) -> Link:
        """Start a link over a pipe that this side connected."""
        handshake = Dialing(self.identity, self.instance, os.urandom(32))
        link = self.add_link(pipe, handshake)
        self.roster.begin(link, address)
        link.start()
        return link

    def link_up(self, link: Link) -> None:
        peer = link.peer
        assert peer is not None  # a link that is up knows its peer
        if self.direct.is_stranger(self.roster.address_of(link), peer.subject, peer.instance):
            link.close(LinkError(f"another process answers at {link.pipe.description}"))
            return
        is_direct = not peer.is_broker
        is_caller = peer.capability is not None and peer.capability.is_caller
        if is_direct:
            self._replace_links(link, is_caller=is_caller)
        address = self.roster.add(link, peer.instance, is_direct=is_direct)
        self.tell.link_up(link)
        if address is not None:
            self.dial_errors.pop(address, None)
        if is_direct and not is_caller:
            self._arrived(link, peer.subject, peer.instance)
        self._place_all()

    def _replace_links(self, link: Link, *, is_caller: bool) -> None:
        """The same peer again over a direct link: the older links to it are half-open or old.

        Of a caller there may be many, each a process of its own.
        """
        for other in list(self.links):
            if (
                other.peer is not None
                and link.peer is not None
                and not other.is_dialer
                and other.peer.subject == link.peer.subject
                and not other.peer.is_broker
            ):
                is_same = other.peer.instance == link.peer.instance
                if is_caller and not is_same:
                    continue
                code = ErrorCode.SUPERSEDED if is_same else ErrorCode.DISPLACED
                other.go_away(code, "a newer link of the same endpoint")
                other.close_after_flush(LinkError("replaced by a newer link of the same peer"))

    def link_closed(self, link: Link, error: LinkError) -> None:
        peers = self.roster.present(link)
        self.roster.remove(link)
        self.forget_link(link)
        will_retry = link.is_dialer and not self.is_closed and not is_final(error)
        self.tell.link_down(link, error, will_retry=will_retry)
        for subject in peers:
            self.tell.peer_left(link, subject)

    def health_changed(self, link: Link) -> None:
        self.tell.link_health(link)
        self._place_all()

    def stray_frame(
        self, link: Link, kind: int, flags: int, session: int, payload: memoryview
    ) -> None:
        """Frames that were under way when a session left the link: nothing to do."""

    def hop_frame(self, link: Link, kind: FrameType, session: int, payload: memoryview) -> None:
        values = decode_fields(kind, payload)
        match kind:
            case FrameType.ATTACHED | FrameType.DETACHED | FrameType.LIMIT:
                self._for_session(link, kind, session, values)
            case FrameType.ATTACH:
                self._receive_attach(link, session, values)
            case FrameType.INVITE:
                self._receive_invite(link, values)
            case FrameType.PRESENCE:
                self._receive_presence(link, values)
            case FrameType.GO_AWAY:
                self._receive_go_away(link, values)
            case FrameType.RENEW:
                self.receive_renew(link, values)
            case FrameType.REVOCATIONS:
                self._receive_revocations(link, values)
            case _:
                raise RemoteProtocolError(f"{kind.name} to an endpoint")

    def _for_session(
        self, link: Link, kind: FrameType, number: int, values: Mapping[str, Value]
    ) -> None:
        leg = link.users.get(number)
        if not isinstance(leg, Leg):
            return
        if kind is FrameType.ATTACHED:
            leg.attached(values)
        elif kind is FrameType.DETACHED:
            leg.detached(_int(values["code"]), str(values["text"]))
        else:
            leg.limit(_int(values["cap"]))

    def _receive_attach(self, link: Link, number: int, values: Mapping[str, Value]) -> None:
        """The peer of a direct link attaches a session, a new one or one that we know."""
        assert link.peer is not None  # the hello is over
        if link.peer.is_broker or not link.is_new_peer_number(number):
            raise RemoteProtocolError(f"attach with session number {number}")
        session_id = values["session_id"]
        assert isinstance(session_id, bytes)  # the field table says so
        session = self.sessions.get(session_id)
        try:
            if session is None:
                session = self._new_responder(session_id, link.peer.subject, link)
            elif session.peer != link.peer.subject or session.role is not Role.RESPONDER:
                raise SessionError(ErrorCode.FORBIDDEN, "the session is somebody else's")
            session.attach_by_peer(link, number, values)
        except (SessionError, AuthenticationError) as error:
            link.write_hop(FrameType.DETACHED, number, code=error.code, text=error.text[:200])
            if session is not None and error.code in _ENDS_AT_ATTACH:
                session.end(error.code, error.text)

    def _new_responder(self, session_id: bytes, peer: str, link: Link) -> Session:
        """Make the session that a peer, or a broker for it, asks for.

        Sessions that are detached count too: each is kept for its grace time.
        """
        assert link.peer is not None  # the hello is over
        origin = link.peer.subject
        if self._asked_for[origin] >= limits.MAX_SESSIONS_PER_LINK:
            raise SessionError(ErrorCode.LIMIT_EXCEEDED, "too many sessions")
        session = Session(self, Role.RESPONDER, peer, session_id)
        self.sessions[session_id] = session
        self._origins[session_id] = origin
        self._asked_for[origin] += 1
        return session

    def _receive_invite(self, link: Link, values: Mapping[str, Value]) -> None:
        """The peer of a session waits for us over this link; a broker or itself says so."""
        session_id, peer = values["session_id"], str(values["peer"])
        assert isinstance(session_id, bytes)  # the field table says so
        session = self.sessions.get(session_id)
        try:
            if session is None and link.peer is not None and link.peer.is_broker:
                session = self._new_responder(session_id, peer, link)
        except SessionError as error:
            _log.warning("%r: an invite of %s is ignored: %s", link, peer, error)
        may_say_so = link.peer is not None and (link.peer.is_broker or link.peer.subject == peer)
        if session is None or session.peer != peer or not may_say_so:
            return
        if session.may_follow(link):
            session.attach(link)

    def _receive_presence(self, link: Link, values: Mapping[str, Value]) -> None:
        if link.peer is None or not link.peer.is_broker:
            raise RemoteProtocolError("presence from a peer that is no broker")
        subject, instance = str(values["subject"]), values["instance"]
        assert isinstance(instance, bytes)  # the field table says so
        if values["present"]:
            self._arrived(link, subject, instance)
        elif self.roster.instance_of(link, subject) == instance:
            self.roster.left(link, subject, instance)
            self.tell.peer_left(link, subject)
        self._place_all()

    def _receive_revocations(self, link: Link, values: Mapping[str, Value]) -> None:
        """A broker passes on what was revoked; the list is signed, so it need not be trusted."""
        if link.peer is None or not link.peer.is_broker:
            raise RemoteProtocolError("revocations from a peer that is no broker")
        signed = values["list"]
        assert isinstance(signed, bytes)  # the field table says so
        now = trio.current_time()
        try:
            if link.allowance.take(now) and self.learn_revocations(signed):
                _log.info("a revocation list came from the broker at %s", link.pipe.description)
        except AuthenticationError as error:
            if now - self._told_list_at >= TELL_EVERY_SECONDS:
                self._told_list_at = now
                text = "%r: its revocation list is ignored: %s"
                _log.warning(text, link, error)

    def _receive_go_away(self, link: Link, values: Mapping[str, Value]) -> None:
        code, text = _int(values["code"]), str(values["text"])
        link.retry_after_seconds = _int(values["reconnect_after_ms"]) / 1000
        if code in (ErrorCode.DISPLACED, ErrorCode.TOKEN_REVOKED):
            link.close(LinkRefused(code, text))
        else:
            self.tell.link_leaving(link, values)
            self._place_all()

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

    def place_soon(self, session: Session) -> None:
        """Find a link for *session* when the current batch is over."""
        self._place_all()

    def place_later(self, session: Session) -> None:
        """Let *session* rest, longer each time, unless there is a link it was not tried on."""
        link = self._choose(session)
        if link is not None and link not in session.turned_away:
            self._place_all()
            return
        session.refusals += 1
        session.rest(next_delay(session.refusals, random.random()))

    def _place_all(self) -> None:
        if not self._is_placing:
            self._is_placing = True
            self.pump.call_soon(self._place_now)

    def _place_now(self) -> None:
        self._is_placing = False
        for session in list(self.sessions.values()):
            if session.link is None and session.end_if_expired():
                continue
            if not session.is_resting:
                link = self._choose(session)
                if link is not None and link is not session.aim:
                    if self.roster.is_direct(link) and session.link in self.links:
                        session.moved_by = "direct"
                    session.go_to(link)
        for link in list(self.links):
            if link.is_dialer and link.state is LinkState.LEAVING and not link.users:
                link.close(LinkError(f"left {link.pipe.description}, as the peer asked"))

    def _choose(self, session: Session) -> Link | None:
        return self.roster.choose(
            session.peer,
            session.aim,
            is_attached=session.core.is_attached,
            is_pinned=session.aim is session.pinned,
            avoid=frozenset(session.turned_away),
        )

    def session_opened(self, session: Session) -> None:
        """A session is established."""
        if session.link is not None:
            session.peer_instance = self.roster.instance_of(session.link, session.peer)
            self.tell.session_open(session, session.link)

    def _arrived(self, link: Link, subject: str, instance: bytes) -> None:
        """A peer can be reached; if it is a new process, the sessions with the old one end."""
        is_news = self.roster.instance_of(link, subject) != instance
        is_new_process = self.roster.arrived(link, subject, instance)
        if is_news:
            self.tell.peer_arrived(link, subject, instance)
        if not is_new_process:
            return
        for session in list(self.sessions.values()):
            if session.peer == subject and session.peer_instance not in (None, instance):
                session.end(ErrorCode.STATE_LOST, f"{subject} was started anew")

    def peer_named_addresses(self, session: Session, text: str) -> None:
        """The peer of *session* accepts direct links at these addresses."""
        self.direct.learn(session.peer, session.peer_instance, text)

    def session_ended(self, session: Session) -> None:
        """A session is over."""
        self.sessions.pop(session.session_id, None)
        origin = self._origins.pop(session.session_id, None)
        if origin is not None:
            self._asked_for[origin] -= 1
            if not self._asked_for[origin]:
                del self._asked_for[origin]
        if all(other.peer != session.peer for other in self.sessions.values()):
            self.direct.forget(session.peer)
        self.tell.session_ended(session)

    def stream_offered(self, session: Session, stream: StreamCore) -> None:
        """Check what the peer may open, then let `on_stream` decide."""
        capability = session.peer_capability
        if capability is None or not may_open(capability, stream.target):
            stream.refuse(
                ErrorCode.FORBIDDEN,
                f"the token of {session.peer} does not allow target {stream.target[:100]!r}",
            )
        elif capability.expires_at <= self.clock():
            stream.refuse(ErrorCode.TOKEN_EXPIRED, f"the token of {session.peer} has expired")
        else:
            self.on_stream(session, stream)

    # --- events -----------------------------------------------------------------------------

    def snapshot(self) -> list[Event]:
        links = {link: self.roster.present(link) for link in self.links}
        return snapshot_of(links, self.dial_errors, self.sessions.values())

    def session_suspended(self, session: Session) -> None:
        """A session that was open has no link."""
        self.tell.session_suspended(session)

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


_ENDS_AT_ATTACH = frozenset({ErrorCode.STATE_LOST, ErrorCode.TOKEN_EXPIRED})
"""Faults of an attach that end the session at this side too."""


def _refuse_stream(session: Session, stream: StreamCore) -> None:
    stream.refuse(ErrorCode.UNKNOWN_TARGET, "this endpoint serves no streams")


def _int(value: Value) -> int:
    assert isinstance(value, int)  # the field table says so
    return value


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
    wanted = [parse_address(a) if isinstance(a, str) else a for a in dial]
    offered = [parse_address(a) if isinstance(a, str) else a for a in listen]
    known = [parse_address(a) if isinstance(a, str) else a for a in advertise]
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
