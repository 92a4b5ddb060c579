"""What a broker knows, and what follows from each event (no I/O).

Facts go in, actions come out; nothing here sends, closes or reads a clock.  The registry knows
which subject is on which link, and for each session the two sides: on which link and number each
has attached, at which generation, and what it received.  It never sees a stream.

A side of a session is *waiting* from its `attach` until both sides are there; then they are
*joined*, and each is told where the other one is.  When one side is lost or attaches again, the
other one is detached, so that both exchange their numbers anew before data flows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tunnelkit import limits
from tunnelkit.auth import Capability, may_meet
from tunnelkit.auth.capability import matches
from tunnelkit.bucket import Bucket
from tunnelkit.errors import ErrorCode, RemoteProtocolError
from tunnelkit.wire.frames import FrameType, Role

__all__ = [
    "Action",
    "Attach",
    "Close",
    "Join",
    "Limit",
    "LinkKey",
    "Registry",
    "Send",
    "Unjoin",
    "fair_cap",
]

LinkKey: TypeAlias = Hashable
"""A link, as the registry sees it: something to compare."""

_SUPERSEDED_TEXT: Final = "the same endpoint attached again"


@dataclass(frozen=True, slots=True)
class Send:
    """Write a hop frame."""

    link: LinkKey
    kind: FrameType
    session: int
    values: dict[str, int | bytes | str]


@dataclass(frozen=True, slots=True)
class Close:
    """Tell a link to go away, and close it."""

    link: LinkKey
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Join:
    """Switch frames between two legs."""

    left: tuple[LinkKey, int]
    right: tuple[LinkKey, int]
    cap: int


@dataclass(frozen=True, slots=True)
class Limit:
    """Lower the cap of two legs, and tell both ends."""

    left: tuple[LinkKey, int]
    right: tuple[LinkKey, int]
    cap: int


@dataclass(frozen=True, slots=True)
class Unjoin:
    """Forget a leg and what is queued for it."""

    leg: tuple[LinkKey, int]


Action: TypeAlias = Send | Close | Join | Limit | Unjoin


@dataclass(slots=True)
class _Peer:
    """A link that is up."""

    link: LinkKey
    capability: Capability
    instance: bytes
    numbers: dict[int, tuple[bytes, Role]] = field(default_factory=dict)
    highest_number: int = 0
    attaches: Bucket = field(
        default_factory=lambda: Bucket(limits.MAX_SESSIONS_PER_LINK, limits.MAX_ATTACHES_PER_SECOND)
    )

    @property
    def place(self) -> tuple[str, bytes]:
        """What only one link can have: a subject, or an instance of a caller."""
        return self.capability.subject, self.instance if self.capability.is_caller else b""


@dataclass(frozen=True, slots=True)
class Attach:
    """An `attach` frame."""

    session_id: bytes
    generation: int
    received: int
    role: Role
    peer: str
    proof_kind: int
    proof: bytes


@dataclass(slots=True)
class _Side:
    """One side of a session."""

    subject: str
    link: LinkKey
    number: int
    attach: Attach
    since: float


@dataclass(slots=True)
class _Session:
    """What is known of one session."""

    sides: dict[Role, _Side] = field(default_factory=dict)
    is_joined: bool = False
    cap: int = 0


def fair_cap(budget_bytes: int, sessions: int) -> int:
    """Return the cap that each of so many sessions can have.

    It is the largest cap, halved as often as needed: so caps change seldom, and then for all.
    """
    cap = limits.BROKER_MAX_CAP_BYTES
    while cap > limits.BROKER_MIN_CAP_BYTES and cap * sessions > budget_bytes:
        cap //= 2
    return cap


class Registry:
    """The broker's table.  All times are seconds of one clock; `wall` is unix seconds.

    Args:
        budget_bytes: the sum of the caps of all sessions.
        grace_seconds: how long a side waits for the other one.
    """

    def __init__(
        self,
        *,
        budget_bytes: int = limits.BROKER_BUDGET_BYTES,
        grace_seconds: float = limits.DEFAULT_GRACE_SECONDS,
    ) -> None:
        self._budget_bytes = budget_bytes
        self._joined_count = 0
        self._free_bytes = budget_bytes
        self._grace_seconds = grace_seconds
        self._peers: dict[LinkKey, _Peer] = {}
        self._places: dict[tuple[str, bytes], LinkKey] = {}
        self._callers: Counter[str] = Counter()
        self._sessions: dict[bytes, _Session] = {}

    @property
    def session_count(self) -> int:
        """How many sessions are known, joined or waiting."""
        return len(self._sessions)

    @property
    def joined_count(self) -> int:
        """How many sessions are joined."""
        return self._joined_count

    @property
    def free_bytes(self) -> int:
        """What is left of the budget."""
        return self._free_bytes

    # --- links ------------------------------------------------------------------------------

    def link_up(self, link: LinkKey, capability: Capability, instance: bytes) -> list[Action]:
        """A peer has authenticated."""
        peer = _Peer(link, capability, instance)
        if capability.is_caller and self._callers[capability.subject] >= limits.MAX_CALLER_LINKS:
            text = f"{limits.MAX_CALLER_LINKS} callers of {capability.subject} are here already"
            return [Close(link, ErrorCode.LIMIT_EXCEEDED, text)]
        actions = self._take_place(peer)
        self._peers[link] = peer
        for other in self._may_meet(peer):
            if not other.capability.is_caller:
                actions.append(_presence(link, other, present=True))
            if not capability.is_caller:
                actions.append(_presence(other.link, peer, present=True))
        return actions + self._invite_to_waiting(peer)

    def _take_place(self, peer: _Peer) -> list[Action]:
        """There is one link for each place, the newest."""
        old = self._places.get(peer.place)
        actions: list[Action] = []
        if old is not None:
            code = ErrorCode.DISPLACED
            if self._peers[old].instance == peer.instance:
                code = ErrorCode.SUPERSEDED
            actions += self.link_down(old, tell=False)
            text = f"a newer link of {peer.capability.subject} is here"
            actions.append(Close(old, code, text))
        self._places[peer.place] = peer.link
        self._callers[peer.capability.subject] += peer.capability.is_caller
        return actions

    def link_down(self, link: LinkKey, *, tell: bool = True) -> list[Action]:
        """A link is gone.  With *tell* False its subject is about to be back."""
        peer = self._peers.pop(link, None)
        if peer is None:
            return []
        del self._places[peer.place]
        self._callers -= Counter({peer.capability.subject: int(peer.capability.is_caller)})
        actions: list[Action] = []
        for number, (session_id, role) in list(peer.numbers.items()):
            actions.append(Unjoin((link, number)))
            actions += self._lose_side(session_id, role, ErrorCode.PEER_GONE, "its link was lost")
        if tell and not peer.capability.is_caller:
            actions += [_presence(o.link, peer, present=False) for o in self._may_meet(peer)]
        return actions

    def expel(self, link: LinkKey, code: int, text: str) -> list[Action]:
        """A peer is not believed any more: its sessions end at both ends, and so does its link."""
        peer = self._peers.get(link)
        if peer is None:
            return []
        actions: list[Action] = []
        for session_id, _ in list(peer.numbers.values()):
            if session_id in self._sessions:
                actions += self._drop(session_id, self._sessions[session_id], code, text)
        return [*actions, *self.link_down(link), Close(link, code, text)]

    def renewed(self, link: LinkKey, capability: Capability) -> list[Action]:
        """A peer goes on under a newer token: tell who may meet it now, or not any more.

        Sessions that are joined stay joined until their next attach.
        """
        peer = self._peers.get(link)
        if peer is None:
            return []
        before = {other.link: other for other in self._may_meet(peer)}
        peer.capability = capability
        after = {other.link: other for other in self._may_meet(peer)}
        gone = [other for each, other in before.items() if each not in after]
        new = [other for each, other in after.items() if each not in before]
        actions = [each for other in gone for each in _tell(peer, other, present=False)]
        actions += [each for other in new for each in _tell(peer, other, present=True)]
        return actions + (self._invite_to_waiting(peer) if new else [])

    def _may_meet(self, peer: _Peer) -> Iterable[_Peer]:
        return [
            other
            for other in self._peers.values()
            if other is not peer and may_meet(peer.capability, other.capability)
        ]

    def _invite_to_waiting(self, peer: _Peer) -> list[Action]:
        """Invite a peer that has just arrived to the sessions that wait for it."""
        if peer.capability.is_caller:
            return []
        subject = peer.capability.subject
        actions: list[Action] = []
        for session_id, session in self._sessions.items():
            waiting = [side for side in session.sides.values() if side.attach.peer == subject]
            if len(session.sides) == 1 and waiting:
                capability = self._peers[waiting[0].link].capability
                if may_meet(capability, peer.capability):
                    actions.append(_invite(peer.link, session_id, waiting[0].subject))
        return actions

    # --- attach -----------------------------------------------------------------------------

    def attach(
        self, link: LinkKey, number: int, attach: Attach, *, now: float, wall: float
    ) -> list[Action]:
        """An `attach` arrived.

        Raises:
            RemoteProtocolError: the number is not a new one of the peer's: the link is to end.
        """
        peer = self._peers.get(link)
        if peer is None:
            return []  # the link was replaced, and is closed once what it was told has gone out
        if number % 2 != 1 or number <= peer.highest_number:
            raise RemoteProtocolError(f"attach with session number {number}")
        peer.highest_number = number
        refusal = self._refusal(peer, attach, now, wall)
        if refusal is not None:
            ended = self._end_expired(peer, attach, *refusal)
            return [_detached(link, number, *refusal), *ended]
        session = self._sessions.setdefault(attach.session_id, _Session())
        actions = self._replace(session, attach)
        subject = peer.capability.subject
        session.sides[attach.role] = _Side(subject, link, number, attach, now)
        peer.numbers[number] = (attach.session_id, attach.role)
        return actions + self._meet(session, attach, peer)

    def _refusal(
        self, peer: _Peer, attach: Attach, now: float, wall: float
    ) -> tuple[int, str] | None:
        subject = peer.capability.subject
        if not peer.attaches.take(now):
            return ErrorCode.LIMIT_EXCEEDED, "attaches come too fast"
        if len(peer.numbers) >= limits.MAX_SESSIONS_PER_LINK:
            return ErrorCode.LIMIT_EXCEEDED, "too many sessions on this link"
        if peer.capability.expires_at <= wall:
            return ErrorCode.TOKEN_EXPIRED, f"the token of {subject} has expired"
        if peer.capability.is_caller and attach.role is not Role.INITIATOR:
            return ErrorCode.FORBIDDEN, f"the token of {subject} is a caller's: it answers nobody"
        if not any(matches(pattern, attach.peer) for pattern in peer.capability.peers):
            # Before anybody is looked for: the answer must not tell whether the peer is there.
            return ErrorCode.FORBIDDEN, f"the tokens do not let {subject} and {attach.peer} meet"
        session = self._sessions.get(attach.session_id)
        if session is None:
            return None
        mine = session.sides.get(attach.role)
        other = session.sides.get(Role(1 - attach.role))
        if (mine is not None and mine.subject != subject) or (
            other is not None and (other.subject, other.attach.peer) != (attach.peer, subject)
        ):
            return ErrorCode.FORBIDDEN, "the session is somebody else's"
        if mine is not None and attach.generation <= mine.attach.generation:
            return ErrorCode.STALE_GENERATION, "an attach with a higher generation came before"
        return None

    def _end_expired(self, peer: _Peer, attach: Attach, code: int, text: str) -> list[Action]:
        """An attach was refused because the token has expired: so the session is over."""
        session = self._sessions.get(attach.session_id)
        other = session.sides.get(Role(1 - attach.role)) if session is not None else None
        pair = attach.peer, peer.capability.subject
        if code != ErrorCode.TOKEN_EXPIRED or session is None or other is None:
            return []
        if (other.subject, other.attach.peer) != pair:
            return []
        return self._drop(attach.session_id, session, code, text)

    def _replace(self, session: _Session, attach: Attach) -> list[Action]:
        """The side attaches again: its earlier attachment is over."""
        old = session.sides.get(attach.role)
        if old is None:
            return []
        self._peers[old.link].numbers.pop(old.number, None)
        return [
            Unjoin((old.link, old.number)),
            _detached(old.link, old.number, ErrorCode.SUPERSEDED, _SUPERSEDED_TEXT),
            *self._lose_side(attach.session_id, attach.role, ErrorCode.PEER_GONE, _SUPERSEDED_TEXT),
        ]

    def _meet(self, session: _Session, attach: Attach, peer: _Peer) -> list[Action]:
        """Join the two sides if both are there, or call the other one."""
        self._sessions[attach.session_id] = session
        other = session.sides.get(Role(1 - attach.role))
        if other is not None:
            return self._join(attach.session_id, session)
        link = self._places.get((attach.peer, b""))
        if link is None:
            return []
        if not may_meet(peer.capability, self._peers[link].capability):
            text = f"the tokens do not let {peer.capability.subject} and {attach.peer} meet"
            return self._drop(attach.session_id, session, ErrorCode.FORBIDDEN, text)
        return [_invite(link, attach.session_id, peer.capability.subject)]

    def _join(self, session_id: bytes, session: _Session) -> list[Action]:
        left, right = session.sides[Role.INITIATOR], session.sides[Role.RESPONDER]
        capabilities = [self._peers[side.link].capability for side in (left, right)]
        if not may_meet(*capabilities):
            text = f"the tokens do not let {left.subject} and {right.subject} meet"
            return self._drop(session_id, session, ErrorCode.FORBIDDEN, text)
        cap = fair_cap(self._budget_bytes, self.joined_count + 1)
        actions = self._shrink(cap) if self._free_bytes < cap else []
        if self._free_bytes < cap:
            text = "the broker's memory budget is used up"
            return actions + self._drop(session_id, session, ErrorCode.LIMIT_EXCEEDED, text)
        self._free_bytes -= cap
        session.is_joined, session.cap = True, cap
        self._joined_count += 1
        return [
            *actions,
            Join((left.link, left.number), (right.link, right.number), cap),
            _attached(left, right.attach, cap),
            _attached(right, left.attach, cap),
        ]

    def _shrink(self, cap: int) -> list[Action]:
        """Lower the caps of the sessions that have more than *cap*."""
        actions: list[Action] = []
        for session in self._sessions.values():
            if session.is_joined and session.cap > cap:
                self._free_bytes += session.cap - cap
                session.cap = cap
                legs = [(side.link, side.number) for side in session.sides.values()]
                actions.append(Limit(legs[0], legs[1], cap))
        return actions

    def _drop(self, session_id: bytes, session: _Session, code: int, text: str) -> list[Action]:
        """Detach all sides and forget the session."""
        actions: list[Action] = []
        for side in session.sides.values():
            peer = self._peers.get(side.link)
            if peer is not None:
                peer.numbers.pop(side.number, None)
                actions.append(Unjoin((side.link, side.number)))
                actions.append(_detached(side.link, side.number, code, text))
        session.sides.clear()
        self._release(session)
        self._sessions.pop(session_id, None)
        return actions

    # --- detach -----------------------------------------------------------------------------

    def detached(self, link: LinkKey, number: int, code: int, text: str) -> list[Action]:
        """An endpoint gave up an attachment, or the whole session."""
        peer = self._peers.get(link)
        known = peer.numbers.pop(number, None) if peer is not None else None
        if known is None:
            return []
        session_id, role = known
        if code in _PASSING:
            code, text = ErrorCode.PEER_GONE, "the other side attaches again"
        return [Unjoin((link, number)), *self._lose_side(session_id, role, code, text)]

    def overrun(self, link: LinkKey, number: int) -> list[Action]:
        """A session has more queued than its cap allows: both sides attach again, and replay."""
        peer = self._peers.get(link)
        known = peer.numbers.get(number) if peer is not None else None
        if known is None:
            return []
        session = self._sessions[known[0]]
        text = "more bytes under way than the session's cap allows"
        return self._drop(known[0], session, ErrorCode.OVERRUN, text)

    def _lose_side(self, session_id: bytes, role: Role, code: int, text: str) -> list[Action]:
        """One side is gone; the other one, if it was joined, must attach again."""
        session = self._sessions.get(session_id)
        if session is None:
            return []
        session.sides.pop(role, None)
        other = session.sides.get(Role(1 - role))
        if other is None:
            del self._sessions[session_id]
            return []
        was_joined = session.is_joined
        self._release(session)
        if not was_joined and code in _PASSING:
            return []
        return self._drop(session_id, session, code, text)

    def _release(self, session: _Session) -> None:
        if session.is_joined:
            session.is_joined = False
            self._joined_count -= 1
            self._free_bytes += session.cap

    def expire(self, now: float) -> list[Action]:
        """Give up on sides that waited longer than the grace time."""
        actions: list[Action] = []
        for session_id, session in list(self._sessions.items()):
            if session.is_joined:
                continue
            waited = [now - side.since for side in session.sides.values()]
            if waited and min(waited) > self._grace_seconds:
                text = "the peer did not come within the grace time"
                actions += self._drop(session_id, session, ErrorCode.UNKNOWN_PEER, text)
        return actions


_PASSING: Final = (ErrorCode.PEER_GONE, ErrorCode.SUPERSEDED, ErrorCode.GOING_AWAY)


def _detached(link: LinkKey, number: int, code: int, text: str) -> Send:
    return Send(link, FrameType.DETACHED, number, {"code": code, "text": text[:200]})


def _invite(link: LinkKey, session_id: bytes, who_waits: str) -> Send:
    return Send(link, FrameType.INVITE, 0, {"session_id": session_id, "peer": who_waits})


def _presence(link: LinkKey, peer: _Peer, *, present: bool) -> Send:
    values: dict[str, int | bytes | str] = {
        "subject": peer.capability.subject,
        "instance": peer.instance,
        "present": int(present),
    }
    return Send(link, FrameType.PRESENCE, 0, values)


def _tell(peer: _Peer, other: _Peer, *, present: bool) -> list[Action]:
    """Tell two peers of each other; of a caller nobody is told."""
    actions: list[Action] = []
    if not other.capability.is_caller:
        actions.append(_presence(peer.link, other, present=present))
    if not peer.capability.is_caller:
        actions.append(_presence(other.link, peer, present=present))
    return actions


def _attached(side: _Side, peer: Attach, cap: int) -> Send:
    values: dict[str, int | bytes | str] = {
        "generation": peer.generation,
        "received": peer.received,
        "cap": cap,
        "proof_kind": peer.proof_kind,
        "proof": peer.proof,
    }
    return Send(side.link, FrameType.ATTACHED, side.number, values)
