"""The sessions of an endpoint: which there are, and over which link each of them goes.

How it works.  The endpoint knows which peers can be reached over which link: a direct link leads to
its peer, a link to a broker leads to whom the broker reports (`roster`).  Sessions ask for a link
(`place_soon`).  A direct link is better than a broker; else the first link, in the order of the
addresses, over which the peer is present gets the session, and keeps it as long as it is good.
Whenever a link comes up or gets worse, a peer appears or a link says that it goes away, all
sessions are looked at again, once for the whole batch; how one of them gets from link to link is
`attaching`.

The initiator of a session attaches.  The responder follows: it answers an `attach` on a direct link
and an `invite` from a broker, and asks for another link only when its own is no good.

Incoming streams are checked against the capability that the initiator showed end to end
(`may_open`) before anyone hears of them; then `on_stream` decides.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping

import trio

from . import limits
from .auth import Identity, KeyRing, Trust, may_open
from .bucket import Seldom
from .carriers import Network, Pipe
from .dialer import is_final, next_delay
from .errors import (
    AuthenticationError,
    ErrorCode,
    LinkError,
    LinkRefused,
    RemoteProtocolError,
    SessionError,
)
from .handshake import Accepting, Dialing
from .host import LinkHost
from .leg import Leg
from .link import Health, Link
from .pump import Pump
from .roster import Roster
from .session import Session
from .wire.frames import FrameType, Role, Value, decode_fields
from .wire.states import LinkState
from .wire.stream import StreamCore
from .wire.windows import Budgets

__all__ = ["SessionHost", "refuse_stream"]

_log = logging.getLogger(__name__)


class SessionHost(LinkHost[Link]):
    """An endpoint's links and sessions; `Endpoint` is the whole."""

    def __init__(
        self,
        identity: Identity,
        ring: KeyRing | Trust,
        network: Network,
        pump: Pump,
        *,
        grace_seconds: float,
        session_window_bytes: int,
        budgets: Budgets,
        ping_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(ring, network, pump, ping_seconds=ping_seconds, clock=clock)
        self.identity = identity
        self.grace_seconds = grace_seconds
        self.session_window_bytes = session_window_bytes
        self.budgets = budgets
        self.advertised = ""
        """Where peers can dial this endpoint directly, as they are told."""
        self.roster: Roster[Link] = Roster()
        self.sessions: dict[bytes, Session] = {}
        self.on_stream: Callable[[Session, StreamCore], None] = refuse_stream
        self._origins: dict[bytes, str] = {}
        self._asked_for: Counter[str] = Counter()
        self._is_placing = False
        self._bad_lists = Seldom()

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

    # --- links ------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        peer = link.peer
        assert peer is not None  # a link that is up knows its peer
        is_direct = not peer.is_broker
        is_caller = peer.capability is not None and peer.capability.is_caller
        if is_direct and not link.is_dialer:
            self._replace_links(link, is_caller=is_caller)
        self.roster.add(link, peer.instance, is_direct=is_direct)
        self.tell.link_up(link)
        if is_direct:
            self._is_better(link)
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

    def _is_better(self, link: Link) -> None:
        """A direct link is up, or works again: what made sessions leave it may be over."""
        for session in self.sessions.values():
            if link.peer is not None and session.peer == link.peer.subject:
                session.followed = None

    def health_changed(self, link: Link) -> None:
        if link.health is Health.UP:
            self._is_better(link)
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
            if not link.attaches.take(trio.current_time()):
                raise SessionError(ErrorCode.LIMIT_EXCEEDED, "attaches come too fast")
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
            session.moved_by = "peer"
            session.followed = link
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
            if self._bad_lists.count(now):
                text = "%r: its revocation list is ignored: %s"
                _log.warning(text, link, error)

    def _receive_go_away(self, link: Link, values: Mapping[str, Value]) -> None:
        code, text = _int(values["code"]), str(values["text"])
        link.retry_after_seconds = _int(values["reconnect_after_ms"]) / 1000
        # Only those whom we were told to dial can send us away for good.
        address = self.roster.address_of(link)
        is_final = code in (ErrorCode.DISPLACED, ErrorCode.TOKEN_REVOKED)
        if is_final and address is not None and self.roster.is_preferred(address):
            link.close(LinkRefused(code, text))
        else:
            self.tell.link_leaving(link, values)
            self._place_all()

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
            # A responder asks for another link only when its own is no good.
            is_pinned=session.role is Role.RESPONDER
            or session.aim in (session.pinned, session.followed),
            avoid=frozenset(session.turned_away),
        )

    def session_opened(self, session: Session) -> None:
        """A session is established."""
        if session.link is not None:
            session.peer_instance = self._instance_of_peer(session, session.link)
            self.tell.session_open(session, session.link)

    def _instance_of_peer(self, session: Session, link: Link) -> bytes | None:
        """Return which process the session is with; None for a caller, of which there are many."""
        shown = session.peer_capability
        if shown is not None and shown.is_caller:
            return None
        return self.roster.instance_of(link, session.peer)

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

    def session_ended(self, session: Session) -> None:
        """A session is over."""
        self.sessions.pop(session.session_id, None)
        origin = self._origins.pop(session.session_id, None)
        if origin is not None:
            self._asked_for[origin] -= 1
            if not self._asked_for[origin]:
                del self._asked_for[origin]
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

    def session_suspended(self, session: Session) -> None:
        """A session that was open has no link."""
        self.tell.session_suspended(session)


_ENDS_AT_ATTACH = frozenset({ErrorCode.STATE_LOST, ErrorCode.TOKEN_EXPIRED})
"""Faults of an attach that end the session at this side too."""


def refuse_stream(session: Session, stream: StreamCore) -> None:
    """Refuse what nobody serves."""
    stream.refuse(ErrorCode.UNKNOWN_TARGET, "this endpoint serves no streams")


def _int(value: Value) -> int:
    assert isinstance(value, int)  # the field table says so
    return value
