"""Makes events of what happens to links and sessions, where somebody listens.

A `Teller` knows how an object becomes a record (`tunnelkit.events`); when something is worth one,
the endpoint or the broker decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio

from .addresses import Address
from .errors import LinkError, LinkRefused
from .events import (
    Event,
    EventHub,
    LinkDown,
    LinkFacts,
    LinkFailed,
    LinkLeaving,
    LinkRecovered,
    LinkSuspect,
    LinkUp,
    PeerArrived,
    PeerLeft,
    SessionEnded,
    SessionMoved,
    SessionOpen,
    SessionResumed,
    SessionSuspended,
)
from .link import Health, Link
from .session import Session
from .wire.frames import Value

__all__ = ["Teller", "facts_of", "snapshot_of"]


def facts_of(link: Link) -> LinkFacts:
    """Return what events tell of a link."""
    peer = link.peer
    return LinkFacts(
        id=link.id,
        address=link.pipe.description,
        peer=peer.subject if peer is not None else "",
        is_broker=peer is not None and peer.is_broker,
        dialled=link.is_dialer,
    )


class Teller:
    """Tells the hub of one host what happens to its links and sessions."""

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub

    # --- links ------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        """A link has come up."""
        if self._hub.is_heard:
            self._hub.tell(LinkUp(link=facts_of(link)))

    def link_health(self, link: Link) -> None:
        """A link became suspect, or recovered."""
        if self._hub.is_heard:
            kind = LinkSuspect if link.health is Health.SUSPECT else LinkRecovered
            self._hub.tell(kind(link=facts_of(link)))

    def link_leaving(self, link: Link, values: Mapping[str, Value]) -> None:
        """The peer of a link said `go-away`."""
        if self._hub.is_heard:
            code, why = values["code"], str(values["text"])
            assert isinstance(code, int)  # the field table says so
            self._hub.tell(LinkLeaving(link=facts_of(link), code=code, why=why))

    def link_down(self, link: Link, error: LinkError, *, will_retry: bool = False) -> None:
        """A link is gone; nothing is said of one that never was up."""
        if self._hub.is_heard and error.was_up:
            facts, code = facts_of(link), _code_of(error)
            event = LinkDown(link=facts, why=str(error), code=code, will_retry=will_retry)
            self._hub.tell(event)

    def link_failed(self, address: Address, error: LinkError, *, will_retry: bool) -> None:
        """A link could not be made; nothing is said of one that was up."""
        if self._hub.is_heard and not error.was_up:
            place, code = str(address), _code_of(error)
            event = LinkFailed(address=place, why=str(error), code=code, will_retry=will_retry)
            self._hub.tell(event)

    # --- peers ------------------------------------------------------------------------------

    def peer_arrived(self, link: Link, subject: str, instance: bytes) -> None:
        """A peer, or a new process of it, can be reached over a link."""
        if self._hub.is_heard:
            self._hub.tell(_arrival(facts_of(link), subject, instance))

    def peer_left(self, link: Link, subject: str) -> None:
        """A peer cannot be reached over a link any more."""
        if self._hub.is_heard:
            self._hub.tell(PeerLeft(peer=subject, link=facts_of(link)))

    # --- sessions ---------------------------------------------------------------------------

    def session_open(self, session: Session, link: Link) -> None:
        """A session is open: for the first time, again, or somewhere else."""
        target = facts_of(link)
        before = session.opened_on(target)
        if not self._hub.is_heard:
            return
        facts, replayed = session.facts, session.core.replay_bytes
        pause = trio.current_time() - before.paused_at if before.paused_at is not None else 0.0
        if before.link is None:
            self._hub.tell(SessionOpen(session=facts, link=target))
        elif before.was_suspended or before.link.id == target.id:
            self._hub.tell(
                SessionResumed(
                    session=facts,
                    link=target,
                    pause_seconds=pause,
                    replayed_bytes=replayed,
                    resumed_count=session.resumed_count,
                )
            )
        else:
            self._hub.tell(
                SessionMoved(
                    session=facts,
                    source=before.link,
                    link=target,
                    why=before.moved_by,
                    pause_seconds=pause,
                    replayed_bytes=replayed,
                )
            )

    def session_suspended(self, session: Session) -> None:
        """A session that was open has no link."""
        if self._hub.is_heard:
            self._hub.tell(SessionSuspended(session=session.facts, why=session.last_reason))

    def session_ended(self, session: Session) -> None:
        """A session is over."""
        error = session.ended
        if self._hub.is_heard and error is not None:
            facts = session.facts
            self._hub.tell(SessionEnded(session=facts, code=error.code, why=error.text))


def _code_of(error: LinkError) -> int:
    return error.code if isinstance(error, LinkRefused) else 0


def _arrival(link: LinkFacts, subject: str, instance: bytes) -> PeerArrived:
    return PeerArrived(peer=subject, instance=instance.hex()[:8], link=link)


def snapshot_of(
    links: Mapping[Link, Mapping[str, bytes]],
    failing: Mapping[Address, str] | None = None,
    sessions: Iterable[Session] = (),
) -> list[Event]:
    """Return what there is, as events.

    Args:
        links: those that are up, each with the peers that it leads to and their instances.
        failing: for each address without a link, why.
    """
    events: list[Event] = []
    for link, peers in links.items():
        facts = facts_of(link)
        events.append(LinkUp(link=facts))
        if link.health is Health.SUSPECT:
            events.append(LinkSuspect(link=facts))
        events += [_arrival(facts, subject, instance) for subject, instance in peers.items()]
    events += [LinkFailed(address=str(a), why=why) for a, why in (failing or {}).items()]
    for session in sessions:
        if session.is_suspended:
            events.append(SessionSuspended(session=session.facts, why=session.last_reason))
        elif session.open_on is not None:
            events.append(SessionOpen(session=session.facts, link=session.open_on))
    return events
