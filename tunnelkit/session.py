"""`Session`: one pairing with another endpoint, over whichever link there is.

How it works.  A session joins a `SessionCore`, which knows the protocol, with what the protocol
is not allowed to know: keys, clocks and links.  It proves who it is when it attaches (`proofs`),
checks what the peer proves, and keeps two timers: one to acknowledge within 25 ms, and one that
ends the session if its peer is gone for longer than the grace time.

Which link to attach over is the endpoint's decision (`endpoint.place_soon`); a session only says
that it needs one.  The initiator attaches; the responder answers, on a direct link at once,
through a broker when the broker invites it.

A session is established when each side has checked the other's `session-open`: a capability, signed
by an issuer on the ring, and an X25519 share, signed by the holder that the capability names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

import trio

from . import limits
from .auth import Capability, Identity, KeyRing
from .errors import (
    AuthenticationError,
    ErrorCode,
    OpenRefused,
    RemoteProtocolError,
    SessionError,
    code_name,
)
from .events import LinkFacts, SessionFacts
from .link import Health, Link
from .proofs import SessionProofs
from .pump import Pump, Timer
from .stream import Stream
from .wire.frames import FrameType, Role, Value
from .wire.session import AttachmentLost, SessionCore
from .wire.states import Attachment, Input
from .wire.stream import StreamCore

__all__ = ["Session"]


class Home(Protocol):
    """What a session needs of the endpoint that it belongs to."""

    pump: Pump
    identity: Identity
    ring: KeyRing
    clock: Callable[[], float]
    grace_seconds: float
    session_window_bytes: int

    def place_soon(self, session: Session) -> None:
        """Find a link for *session* when the current batch is over."""

    def place_later(self, session: Session) -> None:
        """Let *session* rest, longer each time, unless there is a link it was not tried on."""

    def session_opened(self, session: Session) -> None:
        """*session* is open: established, or attached again."""

    def session_suspended(self, session: Session) -> None:
        """*session* was open, and has no link now."""

    def session_ended(self, session: Session) -> None:
        """*session* is over."""

    def stream_offered(self, session: Session, stream: StreamCore) -> None:
        """The peer opens a stream: accept or refuse it, now or later."""


NO_CAP = 0xFFFFFFFF
"""The cap of a direct link: the endpoints' own windows are the limit."""


class Session:
    """One pairing of two endpoints; made by `Endpoint.open_session` or by the peer."""

    def __init__(
        self, endpoint: Home, role: Role, peer: str, session_id: bytes | None = None
    ) -> None:
        self.endpoint = endpoint
        self.pump = endpoint.pump
        self.role = role
        self.peer = peer
        self.session_id = session_id or os.urandom(16)
        self.core = SessionCore(self, role, window_bytes=endpoint.session_window_bytes)
        self.receive_frame = self.core.receive
        self.link: Link | None = None
        self.peer_instance: bytes | None = None
        self.ended: SessionError | None = None
        self.resumed_count = 0
        self._silent_since: tuple[int, int, int] | None = None
        self.last_reason = ""
        self.open_on: LinkFacts | None = None
        """The link over which streams could flow last; None before the session was open."""
        self.is_suspended = False
        """Whether the session was open, and waits for a link now."""
        self.moved_by = "failure" if role is Role.INITIATOR else "peer"
        """Why it leaves a link while it is open: what `SessionMoved` tells of the next move."""
        self._paused_at: float | None = None
        self._proofs = SessionProofs(endpoint.identity, role, self.session_id, peer)
        self._ack_timer: Timer | None = None
        self._grace_timer: Timer | None = None
        self._rest_timer: Timer | None = None
        self.refusals = 0
        self.turned_away: set[Link] = set()
        self._is_closing = False
        self._changed = trio.Event()
        self._opens_left = float(limits.MAX_OPENS_PER_SECOND)
        self._opens_counted_at = trio.current_time()
        self._start_grace()
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
        stream, core = self._begin_stream(target, tuple((metadata or {}).items()))
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

    @trio.lowlevel.enable_ki_protection
    def _begin_stream(
        self, target: str, metadata: tuple[tuple[int, bytes], ...]
    ) -> tuple[Stream, StreamCore]:
        with self.pump.batch():
            core = self.offer_stream(target, metadata)
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
            text = f"the token of {self.peer} has expired: it needs a new one, and a new session"
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
            self._leave_link(code, text)
            self.core.end(code, text)

    # --- attaching --------------------------------------------------------------------------

    def attach(self, link: Link) -> None:
        """Ask to be joined with the peer over *link*; leaves the link that it is on."""
        with self.pump.batch():
            self._pause()
            self._leave_link(ErrorCode.SUPERSEDED, "the session moves to another link")
            number = link.take_number(self)
            self.link = link
            self.core.attach(link, number)
            kind, proof = self._proofs.attach(self.core.generation, self.core.received)
            link.write_hop(
                FrameType.ATTACH,
                number,
                session_id=self.session_id,
                generation=self.core.generation,
                received=self.core.received,
                role=int(self.role),
                peer=self.peer,
                proof_kind=kind,
                proof=proof,
            )

    def attach_by_peer(self, link: Link, number: int, values: Mapping[str, Value]) -> None:
        """The peer attaches over a direct link: answer, and go on.

        Raises:
            SessionError, AuthenticationError: it must not; the session itself is unharmed.
        """
        generation, received = _int(values["generation"]), _int(values["received"])
        self._proofs.check_attach(generation, received, values["proof_kind"], values["proof"])
        self.core.check_peer(generation, received)
        with self.pump.batch():
            self._leave_link(ErrorCode.SUPERSEDED, "the session moves to another link")
            self.link = link
            link.users[number] = self
            self.core.attach(link, number)
            kind, proof = self._proofs.attach(self.core.generation, self.core.received)
            link.write_hop(
                FrameType.ATTACHED,
                number,
                generation=self.core.generation,
                received=self.core.received,
                cap=NO_CAP,
                proof_kind=kind,
                proof=proof,
            )
            self._attached(generation, received, NO_CAP)

    def receive_attached(self, values: Mapping[str, Value]) -> None:
        """The peer is there."""
        generation, received = _int(values["generation"]), _int(values["received"])
        if self.core.attachment is not Attachment.ATTACHING:
            return
        try:
            self._proofs.check_attach(generation, received, values["proof_kind"], values["proof"])
            self.core.check_peer(generation, received)
            self._attached(generation, received, _int(values["cap"]))
        except (SessionError, AuthenticationError) as error:
            if error.code == ErrorCode.STALE_GENERATION:
                # This answers our newest attach, so the peer counts from the beginning again.
                self.end(ErrorCode.STATE_LOST, f"{self.peer} does not know this session any more")
            else:
                self.end(error.code, error.text)

    def _attached(self, generation: int, received: int, cap: int) -> None:
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        self.refusals = 0
        self.turned_away.clear()
        self.resumed_count += self.core.peer_generation > 0
        self.core.attached(generation, received, cap)
        self._notify()
        if self.core.is_established:
            self.endpoint.session_opened(self)

    def receive_detached(self, code: int, text: str) -> None:
        """The broker or the peer ended the attachment, or the whole session."""
        self.last_reason = f"{text} [{code_name(code)}]"
        if self.link is not None:
            self.link.users.pop(self.core.number, None)
        if code in _TURNED_AWAY:
            if self.link is not None:
                self.turned_away.add(self.link)
            self._detached(Input.GOT_DETACHED, retry=False)
            self.endpoint.place_later(self)
        elif code in _PASSING:
            self._detached(Input.GOT_DETACHED, retry=code not in (ErrorCode.SUPERSEDED,))
        elif self._is_closing:
            self.link = None
            self.core.end(ErrorCode.SESSION_CLOSED, "the session was closed")
        else:
            self.link = None
            self.core.end(code, text)

    def _detached(self, why: Input, *, retry: bool = True) -> None:
        self.link = None
        self.core.detached(why)
        self._start_grace()
        if self.open_on is not None and not self.is_suspended:
            self._pause()
            self.is_suspended = True
            self.endpoint.session_suspended(self)
        self._notify()
        if retry:
            self.endpoint.place_soon(self)

    def _pause(self) -> None:
        """Streams stop; take note of when, unless they have stopped before."""
        if self._paused_at is None:
            self._paused_at = trio.current_time()

    def opened_on(self, link: LinkFacts) -> tuple[LinkFacts | None, bool, float | None]:
        """Streams flow over *link*; return where they did before, whether the session was
        suspended since, and when they stopped (Trio's clock).
        """
        before = (self.open_on, self.is_suspended, self._paused_at)
        self.open_on, self.is_suspended, self._paused_at = link, False, None
        return before

    def _leave_link(self, code: int, text: str) -> None:
        link, self.link = self.link, None
        if link is None:
            return
        number = self.core.number
        if link.users.pop(number, None) is not None and link.is_up:
            link.write_hop(FrameType.DETACHED, number, code=code, text=text[:200])

    @property
    def is_resting(self) -> bool:
        """Whether the session was turned away a moment ago, and is not to attach yet."""
        return self._rest_timer is not None

    def rest(self, seconds: float) -> None:
        """Do not attach for some time; then ask for a link again."""
        if self._rest_timer is None and self.ended is None:
            self._rest_timer = self.pump.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._rest_timer = None
        self.endpoint.place_soon(self)

    def _start_grace(self) -> None:
        if self._grace_timer is None:
            self._grace_timer = self.pump.call_later(
                self.endpoint.grace_seconds, self._grace_expired
            )

    def _grace_expired(self) -> None:
        self.end(
            ErrorCode.GRACE_EXPIRED,
            f"{self.peer} did not come back within {self.endpoint.grace_seconds:g} s",
        )

    def _send_session_open(self) -> None:
        self.core.send_session_open(*self._proofs.session_open())

    @property
    def peer_capability(self) -> Capability | None:
        """What the peer may do, by the token that it has shown end to end."""
        return self._proofs.capability

    # --- SessionOwner -----------------------------------------------------------------------

    def peer_opened(self, values: Mapping[str, Value]) -> None:
        try:
            self._proofs.accept_open(values, self.endpoint.ring, self.endpoint.clock())
        except AuthenticationError as error:
            self.end(error.code, error.text)
            return
        if self.role is Role.RESPONDER:
            self._send_session_open()
        self.core.establish()
        self.endpoint.session_opened(self)
        self._notify()

    def peer_renewed(self, values: Mapping[str, Value]) -> None:
        """The peer shows a newer token."""

    def stream_offered(self, stream: StreamCore) -> None:
        if self._is_flood():
            stream.refuse(ErrorCode.LIMIT_EXCEEDED, "opens come too fast; wait a second")
        else:
            self.endpoint.stream_offered(self, stream)

    def _is_flood(self) -> bool:
        now, limit = trio.current_time(), limits.MAX_OPENS_PER_SECOND
        self._opens_left += (now - self._opens_counted_at) * limit
        self._opens_left = min(self._opens_left, float(limit)) - 1
        self._opens_counted_at = now
        return self._opens_left < 0

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
        for timer in (self._ack_timer, self._grace_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()
        link, self.link = self.link, None
        if link is not None and link.users.pop(self.core.number, self) is self and link.is_up:
            link.write_hop(FrameType.DETACHED, self.core.number, code=code, text=text[:200])
        self.endpoint.session_ended(self)
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # --- LinkUser ---------------------------------------------------------------------------

    def frame_failed(self, error: RemoteProtocolError | AttachmentLost) -> None:
        """A frame was not right: end the session, or attach again where some are missing."""
        if isinstance(error, RemoteProtocolError):
            self.end(error.code, error.text)
        else:
            self.last_reason = str(error)
            self._leave_link(ErrorCode.PEER_GONE, "frames are missing")
            self._detached(Input.LINK_LOST)

    def link_writable(self) -> None:
        self.core.resume()

    def link_lost(self) -> None:
        if self.ended is None:
            self.last_reason = str(self.link.error) if self.link is not None else ""
            self._detached(Input.LINK_LOST)


_PASSING = frozenset(
    {
        ErrorCode.PEER_GONE,
        ErrorCode.GOING_AWAY,
        ErrorCode.OVERRUN,
        ErrorCode.SUPERSEDED,
        ErrorCode.LIMIT_EXCEEDED,
        ErrorCode.UNKNOWN_PEER,
    }
)
"""Reasons of `detached` after which the session may attach again."""

_TURNED_AWAY = frozenset({ErrorCode.LIMIT_EXCEEDED, ErrorCode.UNKNOWN_PEER})
"""Those after which the next attempt would most likely end the same way: it must wait."""


def _int(value: Value) -> int:
    assert isinstance(value, int)  # the field table says so
    return value


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)  # the field table says so
    return value
