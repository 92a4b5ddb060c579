"""Where a session is attached, where it moves to, and what it has just left.

How it works.  A *leg* (`leg`) is one attachment of a session.  There are up to three.

- The leg itself: where frames go out.  Without one the session is detached, its streams pause, and
  the grace time runs.
- The next leg: the session is attached, and asks to be joined with its peer over another link as
  well.  Nothing changes until the peer is there too; if it never comes, nothing was lost.
- The old leg: the session has moved, and what was under way still arrives there.  New frames wait
  until the peer has acknowledged what went out on the old leg, so that nothing is sent twice and no
  gap appears.  If no acknowledgement comes for a moment, that leg is as good as dead, and what is
  missing is sent again on the new one.  The old leg is left when nothing comes from it any more.

So a session leaves a link that works without a pause worth the name, and one that does not work as
soon as its peer answers elsewhere.  Which link to take is not decided here but by the endpoint.

The initiator attaches.  The responder answers: on a direct link at once, through a broker when the
broker invites it.  A responder whose link is lost or suspect attaches through another broker by
itself; that broker invites the initiator.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final, Protocol

from .auth import Identity
from .errors import (
    AuthenticationError,
    ErrorCode,
    RemoteProtocolError,
    SessionError,
    code_name,
)
from .leg import Leg
from .link import Health, Link
from .proofs import SessionProofs
from .pump import Pump, Timer
from .wire.frames import FrameType, ProofKind, Role, Value
from .wire.session import AttachmentLost, SessionCore, SessionOwner
from .wire.states import Attachment, Input
from .wire.windows import Budgets

__all__ = ["Attaching"]

NO_CAP: Final = 0xFFFFFFFF
"""The cap of a direct link: the endpoints' own windows are the limit."""

WAIT_SECONDS: Final = 2.0
"""How long the peer may take to come to another link while the session could be elsewhere."""

LOOK_SECONDS: Final = 0.3
"""How long an old leg may be silent before it counts as dead, at least; acknowledgements come after
25 ms, and a slow path makes it longer."""

MAX_LOOK_SECONDS: Final = 1.0
"""... and at most, seconds: one answer that was late says little of the path."""

_MOVES: Final = "the session moves to another link"


class Place(Protocol):
    """What attaching needs of the endpoint that a session belongs to."""

    pump: Pump
    identity: Identity
    grace_seconds: float
    session_window_bytes: int
    budgets: Budgets


class Attaching(ABC, SessionOwner):
    """The part of a session that attaches; `Session` is the whole."""

    def __init__(self, place: Place, role: Role, peer: str, session_id: bytes | None) -> None:
        self.pump = place.pump
        self.role = role
        self.peer = peer
        self.session_id = session_id or os.urandom(16)
        self.core = SessionCore(
            self, role, window_bytes=place.session_window_bytes, budgets=place.budgets
        )
        self.leg: Leg | None = None
        self.next_leg: Leg | None = None
        self.old_leg: Leg | None = None
        self.pinned: Link | None = None
        """The link that somebody chose for the session by hand."""
        self.followed: Link | None = None
        """The link to which it followed its peer, who had a reason."""
        self.resumed_count = 0
        self.moved_count = 0
        self.last_reason = ""
        self.refusals = 0
        self.turned_away: set[Link] = set()
        self._own_name = place.identity.subject
        self._proofs = SessionProofs(place.identity, role, self.session_id, peer)
        self._grace_seconds = place.grace_seconds
        self._grace_timer: Timer | None = None
        self._rest_timer: Timer | None = None
        self._old_timer: Timer | None = None
        self._wait_timer: Timer | None = None
        self.invited: Link | None = None
        """Where the peer waits while this side waits elsewhere."""
        self._asked: Link | None = None
        """The direct link over which this responder has asked the initiator to attach."""
        self._acknowledged_before = 0
        self._start_grace()

    # --- what the whole does ------------------------------------------------------------------

    @property
    @abstractmethod
    def is_closing(self) -> bool:
        """Whether this side has closed the session already."""

    @abstractmethod
    def end(self, code: int, text: str) -> None:
        """End the session now."""

    @abstractmethod
    def expiry(self) -> AuthenticationError | None:
        """Return what is to be said if a token of the session has expired."""

    @abstractmethod
    def place_soon(self, *, was_turned_away: bool = False) -> None:
        """Ask the endpoint for a link, now or after a rest."""

    @abstractmethod
    def joined(self) -> None:
        """The session is attached, or has moved."""

    @abstractmethod
    def suspended(self) -> None:
        """The session has no link any more."""

    # --- where it is --------------------------------------------------------------------------

    @property
    def link(self) -> Link | None:
        """The link that frames go out on, or will once the peer is there."""
        return self.leg.link if self.leg is not None else None

    @property
    def aim(self) -> Link | None:
        """The link that it moves to, or is on if it does not move."""
        return self.next_leg.link if self.next_leg is not None else self.link

    @property
    def is_resting(self) -> bool:
        """Whether the session was turned away a moment ago, and is not to attach yet."""
        return self._rest_timer is not None

    def rest(self, seconds: float) -> None:
        """Do not attach for some time; then ask for a link again."""
        if self._rest_timer is None and self.core.attachment is not Attachment.ENDED:
            self._rest_timer = self.pump.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._rest_timer = None
        self.place_soon()

    def _start_grace(self) -> None:
        if self._grace_timer is None:
            self._grace_timer = self.pump.call_later(self._grace_seconds, self._grace_expired)

    def _grace_expired(self) -> None:
        expired = self.expiry()
        if expired is not None:
            self.end(expired.code, expired.text)
            return
        text = f"{self.peer} did not come back within {self._grace_seconds:g} s"
        self.end(ErrorCode.GRACE_EXPIRED, text)

    def leave_all(self, code: int, text: str) -> None:
        """Leave every link, and stop every clock: the session ends."""
        timers = (self._grace_timer, self._rest_timer, self._old_timer, self._wait_timer)
        for timer in timers:
            if timer is not None:
                timer.cancel()
        legs = (self.leg, self.next_leg, self.old_leg)
        self.leg = self.next_leg = self.old_leg = None
        for leg in legs:
            if leg is not None:
                leg.leave(code, text)

    # --- attaching ----------------------------------------------------------------------------

    def attach(self, link: Link) -> None:
        """Ask to be joined with the peer over *link*.

        A session that is attached stays where it is until the peer is there as well.
        """
        with self.pump.batch():
            self._drop_next(ErrorCode.SUPERSEDED, _MOVES)
            leg = Leg(self, link)
            self.core.take_generation()
            self._wait_for_peer()
            if self.core.is_attached:
                self.next_leg = leg
            else:
                self._begin(leg)
            kind, proof = self._proofs.attach(self.core.generation, self.core.received)
            link.write_hop(
                FrameType.ATTACH,
                leg.number,
                session_id=self.session_id,
                generation=self.core.generation,
                received=self.core.received,
                role=int(self.role),
                peer=self.peer,
                proof_kind=kind,
                proof=proof,
            )

    def may_follow(self, link: Link) -> bool:
        """Say whether to attach where the peer says that it waits.

        The responder follows.  The initiator does so unless it attaches somewhere itself: two who
        follow each other would never meet.  Then it remembers the link for a while.
        """
        if self.aim is link:
            return False
        if self.role is Role.INITIATOR and self.core.attachment is Attachment.ATTACHING:
            self.invited = link  # if nobody comes to where we are
            return False
        return True

    def go_to(self, link: Link) -> None:
        """Attach over *link*, or ask the initiator to do so where only that side can."""
        is_direct = link.peer is not None and not link.peer.is_broker
        if self.role is Role.INITIATOR or not is_direct:
            self.attach(link)
        elif self._asked is not link:
            self._asked = link
            link.write_hop(FrameType.INVITE, session_id=self.session_id, peer=self._own_name)

    def _wait_for_peer(self) -> None:
        """See in a while whether the peer has come."""
        self.invited = None
        if self._wait_timer is not None:
            self._wait_timer.cancel()
        self._wait_timer = self.pump.call_later(WAIT_SECONDS, self._has_waited)

    def _has_waited(self) -> None:
        """The peer does not come where we wait: stay where we are, or go where it waits."""
        self._wait_timer = None
        if self.next_leg is not None:
            text = f"{self.peer} did not come within {WAIT_SECONDS:g} s"
            self._give_up_next(ErrorCode.UNKNOWN_PEER, text)
            return
        link = self.invited
        if self.core.attachment is Attachment.ATTACHING and link is not None and link.is_up:
            self.attach(link)

    def _begin(self, leg: Leg) -> None:
        """Attach on *leg*, which has its generation, without a leg that could be used meanwhile."""
        if self.leg is not None:
            self.leg.leave(ErrorCode.SUPERSEDED, _MOVES)
        self.leg = leg
        leg.begin()
        self.core.attach(leg.link, leg.number, is_counted=True)

    def attach_by_peer(self, link: Link, number: int, values: Mapping[str, Value]) -> None:
        """The peer attaches over a direct link: answer, and go on.

        Raises:
            SessionError, AuthenticationError: it must not; the session itself is unharmed.
        """
        generation, received = self._check(values)
        with self.pump.batch():
            self._drop_next(ErrorCode.SUPERSEDED, _MOVES)
            leg = Leg(self, link, number)
            self.core.take_generation()
            if not self.core.is_attached:
                self._begin(leg)
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
            if self.core.is_attached:
                self._change_leg(leg, generation, received, NO_CAP)
            else:
                self._attached(generation, received, NO_CAP)

    def _check(self, values: Mapping[str, Value]) -> tuple[int, int]:
        """Return the peer's generation and the last number that it received.

        Raises:
            SessionError, AuthenticationError: they are impossible or not proven, or a token of the
                session has expired: that cuts no stream, and lets nobody attach.
        """
        generation, received = values["generation"], values["received"]
        assert isinstance(generation, int)  # the field table says so
        assert isinstance(received, int)  # the field table says so
        self._proofs.check_attach(generation, received, values["proof_kind"], values["proof"])
        self.core.check_peer(generation, received)
        expired = self.expiry()
        if expired is not None:
            raise expired
        return generation, received

    def leg_attached(self, leg: Leg, values: Mapping[str, Value]) -> None:
        """The peer is there."""
        is_first = leg is self.leg and self.core.attachment is Attachment.ATTACHING
        if leg is not self.next_leg and not is_first:
            return
        cap = values["cap"]
        assert isinstance(cap, int)  # the field table says so
        try:
            generation, received = self._check(values)
        except (SessionError, AuthenticationError) as error:
            self._check_failed(leg, error, has_key=values["proof_kind"] == ProofKind.MAC)
            return
        if leg is self.next_leg:
            self.next_leg = None
            self._change_leg(leg, generation, received, cap)
        else:
            self._attached(generation, received, cap)

    def _check_failed(
        self, leg: Leg, error: SessionError | AuthenticationError, *, has_key: bool
    ) -> None:
        if leg is self.next_leg:  # what we have is not touched by what somebody says elsewhere
            self._give_up_next(error.code, error.text)
        elif error.code == ErrorCode.STALE_GENERATION and has_key:
            # The peer knows the session; the broker met an attach that it has taken back since.
            self.last_reason = error.text
            leg.leave(ErrorCode.PEER_GONE, "this answers with an older attach")
            self._detached(Input.LINK_LOST)
        elif error.code == ErrorCode.STALE_GENERATION:
            # This answers our newest attach, so the peer counts from the beginning again.
            self.end(ErrorCode.STATE_LOST, f"{self.peer} does not know this session any more")
        else:
            self.end(error.code, error.text)

    def _attached(self, generation: int, received: int, cap: int) -> None:
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        self._forget_refusals()
        self.resumed_count += self.core.peer_generation > 0
        self.core.attached(generation, received, cap)
        self.joined()

    def _forget_refusals(self) -> None:
        self._asked = None
        self.refusals = 0
        self.turned_away.clear()

    # --- moving -------------------------------------------------------------------------------

    def _change_leg(self, leg: Leg, generation: int, received: int, cap: int) -> None:
        """Go on over *leg*; the one before may still deliver what is under way."""
        self._leave_old()
        old, self.leg, self.old_leg = self.leg, leg, self.leg
        assert old is not None  # only a session that is attached moves
        old.grow_old()
        leg.begin()
        self._forget_refusals()
        self.moved_count += 1
        hold = old.link.is_up and old.link.health is Health.UP
        self.core.moved(leg.link, leg.number, generation, received, cap, hold=hold)
        self._look_later(old)
        self.joined()

    def _look_later(self, old: Leg) -> None:
        self._acknowledged_before = self.core.acknowledged
        trips = [old.link.round_trip_seconds, self.link and self.link.round_trip_seconds]
        slow = min(3 * max(trip or 0.0 for trip in trips), MAX_LOOK_SECONDS)
        self._old_timer = self.pump.call_later(max(LOOK_SECONDS, slow), self._look_at_old)

    def _look_at_old(self) -> None:
        """Leave the old leg when nothing comes from it; do not wait for one that is dead."""
        old = self.old_leg
        assert old is not None  # the timer lives as long
        is_stuck = self.core.acknowledged == self._acknowledged_before
        if self.core.is_held and is_stuck:
            self.core.release()
        if self.core.is_held or old.is_busy:
            old.is_busy = False
            self._look_later(old)
        else:
            self._leave_old()

    def _leave_old(self) -> None:
        """Forget the old leg; what it has not delivered is sent again."""
        old, self.old_leg = self.old_leg, None
        if old is None:
            return
        if self._old_timer is not None:
            self._old_timer.cancel()
        old.leave(ErrorCode.SUPERSEDED, _MOVES)
        if self.core.is_held:
            self.core.release()
        self.place_soon()  # a link that is to be left may be empty now

    def stay(self) -> None:
        """Do not go where the session was to go."""
        with self.pump.batch():
            self._drop_next(ErrorCode.CANCELLED, "the move was given up")

    def _give_up_next(self, code: int, text: str) -> None:
        """The session cannot go where it was to go; it stays where it is."""
        if self.next_leg is not None:
            self.turned_away.add(self.next_leg.link)
            self.last_reason = f"{text} [{code_name(code)}]"
            self._drop_next(code, text)
            self.place_soon(was_turned_away=True)

    def _drop_next(self, code: int, text: str) -> None:
        leg, self.next_leg = self.next_leg, None
        if leg is not None:
            leg.leave(code, text)

    # --- losing -------------------------------------------------------------------------------

    def leg_lost(self, leg: Leg) -> None:
        """The link of *leg* is gone."""
        if leg is self.old_leg:
            self._leave_old()
        elif leg is self.next_leg:
            self.next_leg = None
            self.place_soon()
        elif leg is self.leg:
            self.last_reason = str(leg.link.error)
            self._detached(Input.LINK_LOST)

    def leg_failed(self, leg: Leg, error: RemoteProtocolError | AttachmentLost) -> None:
        """A frame was not right: end the session, or attach again where some are missing."""
        if isinstance(error, RemoteProtocolError):
            self.end(error.code, error.text)
        elif leg is self.leg:
            self.last_reason = str(error)
            leg.leave(ErrorCode.PEER_GONE, "frames are missing")
            self._detached(Input.LINK_LOST)
        else:
            self._leave_old()

    def leg_detached(self, leg: Leg, code: int, text: str) -> None:
        """The broker or the peer ended an attachment, or the whole session."""
        if leg is self.old_leg:
            self._leave_old()
            return
        self.last_reason = f"{text} [{code_name(code)}]"
        is_turned_away = code in _TURNED_AWAY or leg is self.next_leg
        if is_turned_away:
            self.turned_away.add(leg.link)
        if leg is self.next_leg:
            self.next_leg = None
            self.place_soon(was_turned_away=True)
        elif is_turned_away:
            self._detached(Input.GOT_DETACHED, retry=False)
            self.place_soon(was_turned_away=True)
        elif code in _PASSING:
            self._detached(Input.GOT_DETACHED, retry=code != ErrorCode.SUPERSEDED)
        elif self.is_closing:
            self.core.end(ErrorCode.SESSION_CLOSED, "the session was closed")
        else:
            self.core.end(code, text)

    def _detached(self, why: Input, *, retry: bool = True) -> None:
        """There is no leg any more, unless another one was on the way."""
        leg, self.leg, self.next_leg = self.next_leg, None, None
        self._leave_old()
        self.core.detached(why)
        self._start_grace()
        if leg is not None:
            self._begin(leg)
        self.suspended()
        if retry:
            self.place_soon()


_PASSING: Final = frozenset(
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

_TURNED_AWAY: Final = frozenset({ErrorCode.LIMIT_EXCEEDED, ErrorCode.UNKNOWN_PEER})
"""Those after which the next attempt would most likely end the same way: it must wait."""
