"""`Session`: one pairing with another endpoint, over whichever link there is.

How it works.  A session joins a `SessionCore`, which knows the protocol, with what the protocol
is not allowed to know: keys, clocks and links.  `attaching` is the half that goes from link to
link; this file is what users see, and what the core tells.

Which link to attach over is the endpoint's decision (`endpoint.place_soon`); a session only says
that it needs one.

A session is established when each side has checked the other's `session-open`: a capability, signed
by an issuer on the ring, and an X25519 share, signed by the holder that the capability names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import trio

from . import limits
from .attaching import Attaching
from .auth import Capability, Identity, Trust
from .bucket import Bucket
from .errors import (
    AuthenticationError,
    ErrorCode,
    OpenRefused,
    SessionError,
    code_name,
)
from .events import LinkFacts, SessionFacts
from .link import Health, Link
from .pump import Pump, Timer
from .renewal import allowance
from .stream import Stream
from .wire.frames import Role, Value
from .wire.states import Attachment
from .wire.stream import StreamCore
from .wire.windows import Budgets

__all__ = ["Session"]


class Home(Protocol):
    """What a session needs of the endpoint that it belongs to."""

    pump: Pump
    identity: Identity
    trust: Trust
    clock: Callable[[], float]
    grace_seconds: float
    session_window_bytes: int
    advertised: str
    budgets: Budgets

    def place_soon(self, session: Session) -> None:
        """Find a link for *session* when the current batch is over."""

    def place_later(self, session: Session) -> None:
        """Let *session* rest, longer each time, unless there is a link it was not tried on."""

    def session_opened(self, session: Session) -> None:
        """*session* is open: established, or attached again."""

    def peer_named_addresses(self, session: Session, text: str) -> None:
        """The peer of *session* accepts direct links at these addresses."""

    def session_suspended(self, session: Session) -> None:
        """*session* was open, and has no link now."""

    def session_ended(self, session: Session) -> None:
        """*session* is over."""

    def stream_offered(self, session: Session, stream: StreamCore) -> None:
        """The peer opens a stream: accept or refuse it, now or later."""


MOVE_TIMEOUT_SECONDS: Final = 10.0
"""How long the peer may take to follow to another link unless told otherwise, seconds."""


_MOVED_BY: Final = {Role.INITIATOR: "failure", Role.RESPONDER: "peer"}
"""Why a session leaves a link while it is open, where nobody gave a command."""


class Before(NamedTuple):
    """How a session was before streams could flow (again)."""

    link: LinkFacts | None
    """Where they flowed last; None: nowhere yet."""
    was_suspended: bool
    paused_at: float | None
    """When they stopped, Trio's clock; None: they did not."""
    moved_by: str


class Session(Attaching):
    """One pairing of two endpoints; made by `Endpoint.open_session` or by the peer."""

    def __init__(
        self, endpoint: Home, role: Role, peer: str, session_id: bytes | None = None
    ) -> None:
        super().__init__(endpoint, role, peer, session_id)
        self.endpoint = endpoint
        self.peer_instance: bytes | None = None
        self.ended: SessionError | None = None
        self._silent_since: tuple[int, int, int] | None = None
        self.open_on: LinkFacts | None = None
        """The link over which streams could flow last; None before the session was open."""
        self.is_suspended = False
        """Whether the session was open, and waits for a link now."""
        self.moved_by = _MOVED_BY[role]
        """Why it leaves a link while it is open: what `SessionMoved` tells of the next move."""
        self._paused_at: float | None = None
        self._ack_timer: Timer | None = None
        self._is_closing = False
        self._allowance = allowance()
        self._changed = trio.Event()
        self._opens = Bucket(limits.MAX_OPENS_PER_SECOND, limits.MAX_OPENS_PER_SECOND)
        if role is Role.INITIATOR:
            self._send_session_open()

    def __repr__(self) -> str:
        return f"<Session {self.session_id.hex()[:8]} with {self.peer}: {self.state}>"

    @property
    def state(self) -> str:
        """The attachment's state in one word; "open" where streams can flow."""
        if self.core.is_attached and self.core.is_established:
            return "open"
        return self.core.attachment.value

    @property
    def facts(self) -> SessionFacts:
        """What events tell of the session."""
        return SessionFacts(self.session_id.hex()[:8], self.peer, self.role.name.lower())

    @property
    def is_suspect(self) -> bool:
        """Whether a new stream could find nobody at the other end of the path."""
        link = self.link
        if link is None or not self.core.is_attached or link.health is not Health.UP:
            return True
        return self._silent_since == self._last_heard()

    def note_silence(self) -> None:
        """An open was not answered in time: suspect until anything at all comes from the peer."""
        self._silent_since = self._last_heard()

    def _last_heard(self) -> tuple[int, int, int]:
        """Return what grows when anything comes from the peer, end to end."""
        core = self.core
        return core.received, core.acknowledged, core.generation

    # --- for users --------------------------------------------------------------------------

    async def open_stream(
        self,
        target: str,
        *,
        metadata: Mapping[int, bytes] | None = None,
        wait_opened: bool = True,
    ) -> Stream:
        """Open a stream to *target* at the peer.

        Args:
            target: a name that the peer serves.
            metadata: what else to tell, by the keys of `tunnelkit.wire.frames.Metadata`.
            wait_opened: whether to wait until the peer has connected; without it the first bytes
                can travel together with the open, and a refusal arrives as a reset.

        Raises:
            OpenRefused: the peer would not; code and text are its own.
            SessionError: the session ended.
        Cancellation: atomic; the stream is reset.
        """
        await trio.lowlevel.checkpoint()
        stream, core = self._begin_stream(target, metadata)
        if not wait_opened:
            return stream
        answered = trio.Event()
        core.on_answer = lambda _: answered.set()
        try:
            await answered.wait()
        except trio.Cancelled:
            stream.reset(ErrorCode.CANCELLED, "the opener gave up")
            raise
        if core.answer_code:
            raise OpenRefused(core.answer_code, core.answer_text)
        return stream

    def begin_stream(self, target: str, *, metadata: Mapping[int, bytes] | None = None) -> Stream:
        """Open a stream without waiting for anything; a refusal arrives as a reset.

        Args and raises: as `open_stream`.
        """
        return self._begin_stream(target, metadata)[0]

    @trio.lowlevel.enable_ki_protection
    def _begin_stream(
        self, target: str, metadata: Mapping[int, bytes] | None
    ) -> tuple[Stream, StreamCore]:
        with self.pump.batch():
            core = self.offer_stream(target, tuple((metadata or {}).items()))
            return Stream(core, self, self.pump), core

    def offer_stream(self, target: str, metadata: tuple[tuple[int, bytes], ...] = ()) -> StreamCore:
        """Open a stream without waiting; for ends that are spliced.

        Raises:
            SessionError: the session ended.
            OpenRefused: the peer's token has expired.
        """
        if self.ended is not None:
            raise self.ended
        shown = self.peer_capability
        if shown is not None and shown.expires_at <= self.endpoint.clock():
            text = f"the token of {self.peer} has expired: it needs a new one"
            raise OpenRefused(ErrorCode.TOKEN_EXPIRED, text)
        return self.core.open_stream(target, metadata)

    async def wait_open(self) -> None:
        """Wait until streams can flow.

        Raises:
            SessionError: the session ended.
        Cancellation: atomic.
        """
        while True:
            if self.ended is not None:
                raise self.ended
            if self.state == "open":
                await trio.lowlevel.checkpoint()
                return
            await self._changed.wait()

    async def wait_ended(self) -> SessionError:
        """Wait until the session has ended, and return why.

        Cancellation: atomic.
        """
        while self.ended is None:
            await self._changed.wait()
        return self.ended

    async def wait_acknowledged(self) -> None:
        """Wait until the peer has received all that was sent so far.

        Raises:
            SessionError: the session ended before.
        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while not self.core.is_idle:
            if self.ended is not None:
                raise self.ended
            await self._changed.wait()

    async def aclose(self) -> None:
        """End the session; what was sent is delivered first, for at most 5 s.

        Streams that are still open end as if the peer had reset them.
        Cancellation: the session is over in any case.
        """
        core = self.core
        has_news = core.is_established and not core.is_idle
        if self.ended is None and not (core.is_attached or core.streams or has_news):
            # Nobody is there and nothing was sent: there is nothing to wait for.
            self.end(ErrorCode.SESSION_CLOSED, "the session was closed")
        if self.ended is not None:
            await trio.lowlevel.checkpoint()
            return
        with self.pump.batch():
            self._is_closing = True
            self.core.send_close(ErrorCode.SESSION_CLOSED, "closed by the peer")
        try:
            with trio.move_on_after(limits.CLOSE_TIMEOUT_SECONDS):
                while not (self.core.attachment is Attachment.ENDED or self.core.is_idle):
                    await self._changed.wait()
        finally:
            self.end(ErrorCode.SESSION_CLOSED, "the session was closed")

    @trio.lowlevel.enable_ki_protection
    def end(self, code: int, text: str) -> None:
        """End the session now."""
        with self.pump.batch():
            self.core.end(code, text)

    async def move(self, link: Link, *, timeout: float = MOVE_TIMEOUT_SECONDS) -> None:
        """Go on over another link, while streams are open; return once that is so.

        The session stays there until the link is lost or suspect.

        Args:
            link: one of the endpoint's links, over which the peer is present.
            timeout: how long the peer may take to follow, seconds.

        Raises:
            SessionError: the session ended (its own code), or the peer did not follow
                (UNKNOWN_PEER): then the session goes on where it was.
        Cancellation: keeps; the session may move all the same.
        """
        await trio.lowlevel.checkpoint()
        if self.link is not link or self.next_leg is not None:
            self.moved_by = "command"
            self.pinned = link
            with self.pump.batch():
                self.go_to(link)
        with trio.move_on_after(timeout):
            while self.ended is None and not (self.link is link and self.core.is_attached):
                if link in self.turned_away or not link.is_up:
                    break
                await self._changed.wait()
        if self.ended is not None:
            raise self.ended
        if self.link is not link:
            self.pinned = None
            self.stay()
            why = self.last_reason if link in self.turned_away else f"no answer in {timeout:g} s"
            text = f"{self.peer} did not follow over {link.pipe.description}: {why}"
            raise SessionError(ErrorCode.UNKNOWN_PEER, text)

    # --- what attaching asks for --------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        return self._is_closing

    def place_soon(self, *, was_turned_away: bool = False) -> None:
        self._notify()
        if was_turned_away:
            self.endpoint.place_later(self)
        else:
            self.endpoint.place_soon(self)

    def joined(self) -> None:
        self._notify()
        if self.core.is_established:
            self.endpoint.session_opened(self)

    def suspended(self) -> None:
        self.pinned = self.followed = None
        if self.open_on is not None and not self.is_suspended:
            self._pause()
            self.is_suspended = True
            self.endpoint.session_suspended(self)
        self._notify()

    def _pause(self) -> None:
        """Streams stop; take note of when, unless they have stopped before."""
        if self._paused_at is None:
            self._paused_at = trio.current_time()

    def opened_on(self, link: LinkFacts) -> Before:
        """Streams flow over *link*; return how it was before."""
        before = Before(self.open_on, self.is_suspended, self._paused_at, self.moved_by)
        self.open_on, self.is_suspended, self._paused_at = link, False, None
        self.moved_by = _MOVED_BY[self.role]
        return before

    def expiry(self) -> AuthenticationError | None:
        return self._proofs.expiry(self.endpoint.clock())

    def end_if_expired(self) -> bool:
        """End if a token of this session has expired; say whether that was so.

        Called where the session has to attach, and not while it is attached: expiry alone cuts
        no stream.
        """
        fault = self.expiry()
        if fault is not None:
            self.end(fault.code, fault.text)
        return fault is not None

    def _send_session_open(self) -> None:
        self.core.send_session_open(*self._proofs.session_open())

    def renew(self) -> None:
        """Go on under the token that the endpoint has now, if it is another one."""
        identity = self.endpoint.identity
        if self.core.is_established and self._proofs.identity is not identity:
            self.core.send_renew(*self._proofs.renew(identity))

    def end_if_distrusted(self) -> None:
        """End if a token that was shown in this session is not believed any more."""
        fault = self._proofs.fault(self.endpoint.trust)
        if fault is not None:
            self.end(fault.code, fault.text)

    @property
    def peer_capability(self) -> Capability | None:
        """What the peer may do, by the token that it has shown end to end."""
        return self._proofs.capability

    # --- SessionOwner -----------------------------------------------------------------------

    def peer_opened(self, values: Mapping[str, Value]) -> None:
        try:
            self._proofs.accept_open(values, self.endpoint.trust, self.endpoint.clock())
        except AuthenticationError as error:
            self.end(error.code, error.text)
            return
        if self.role is Role.RESPONDER:
            self._send_session_open()
        self.core.establish()
        self.renew()
        if self.endpoint.advertised:
            self.core.send_addresses(self.endpoint.advertised)
        self.endpoint.session_opened(self)
        self._notify()

    def peer_named_addresses(self, text: str) -> None:
        self.endpoint.peer_named_addresses(self, text)

    def peer_renewed(self, values: Mapping[str, Value]) -> None:
        try:
            if not self._allowance.take(trio.current_time()):
                raise AuthenticationError("renewals come too fast", ErrorCode.LIMIT_EXCEEDED)
            self._proofs.accept_renew(values, self.endpoint.trust, self.endpoint.clock())
        except AuthenticationError as error:
            self.end(error.code, error.text)

    def stream_offered(self, stream: StreamCore) -> None:
        if not self._opens.take(trio.current_time()):
            stream.refuse(ErrorCode.LIMIT_EXCEEDED, "opens come too fast; wait a second")
        else:
            self.endpoint.stream_offered(self, stream)

    def ack_wanted(self) -> None:
        if self._ack_timer is None:
            self._ack_timer = self.pump.call_later(limits.ACK_AFTER_SECONDS, self._ack)

    def _ack(self) -> None:
        self._ack_timer = None
        self.core.ack_now()

    def all_acknowledged(self) -> None:
        if not self._changed.statistics().tasks_waiting:
            return
        self._notify()

    def session_over(self, code: int, text: str) -> None:
        self.ended = SessionError(code, text)
        self.last_reason = f"{text} [{code_name(code)}]"
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self.leave_all(code, text)
        self.endpoint.session_ended(self)
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
