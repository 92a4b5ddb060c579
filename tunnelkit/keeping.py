"""Keep a session with each wanted peer: begin it when the peer is there, and again when it ended.

How it works.  Who needs sessions adds a source, a function that says which peers are wanted now.
Whenever the endpoint's links, peers or sessions changed, the keeper lets go of sessions that have
ended and begins one with each wanted peer that can be reached.  A session that was good is renewed
at once; one that ended early has to rest first, longer each time, so that a peer that refuses is
not asked over and over.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import trio

from .auth.capability import matches
from .dialer import next_delay
from .endpoint import Endpoint
from .errors import ConfigurationError
from .pump import Timer
from .session import Session

__all__ = ["SessionKeeper"]

GOOD_SESSION_SECONDS: Final = 1.0
"""A session that was open for this long proves that the next one is worth beginning at once."""


class SessionKeeper:
    """Keeps one session with each peer that a source wants.

    Args:
        endpoint: whose sessions; its events are listened to.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.sources: list[Callable[[], Iterable[str]]] = []
        """Each returns the peers that it wants sessions with now."""
        self.listeners: list[Callable[[], None]] = []
        """Called when links, peers or sessions changed, after the keeper did its own part."""
        self._sessions: dict[str, Session] = {}
        self._begun_at: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._resting: dict[str, Timer] = {}
        self._is_closed = False
        endpoint.events.add(lambda event: self._changed())

    def check_may_meet(self, peer: str) -> None:
        """Raise ConfigurationError if this endpoint's own token does not let it meet *peer*."""
        allowed = self.endpoint.identity.claims.peers
        if not any(matches(pattern, peer) for pattern in allowed):
            raise ConfigurationError(
                f"the token of {self.endpoint.subject} does not let it meet {peer!r}; "
                f"it may meet: {', '.join(allowed) or 'nobody'}"
            )

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""
        return self._sessions.get(peer)

    def begin(self, peer: str) -> None:
        """Begin a session with *peer* now, present or not, unless there is one."""
        session = self._sessions.get(peer)
        if session is None or session.ended is not None:
            self._begun_at[peer] = trio.current_time()
            self._sessions[peer] = self.endpoint.begin_session(peer)

    def close(self) -> None:
        """Begin no more sessions; those that there are belong to the endpoint."""
        self._is_closed = True
        for timer in self._resting.values():
            timer.cancel()

    def _wanted_peers(self) -> set[str]:
        return {peer for source in self.sources for peer in source()}

    def _forget(self, peer: str, session: Session) -> None:
        """A session ended; if it ended early, the next one has to wait, longer each time."""
        del self._sessions[peer]
        age = trio.current_time() - self._begun_at[peer]
        if session.core.is_established and age > GOOD_SESSION_SECONDS:
            self._failures[peer] = 0
            return
        self._failures[peer] += 1
        if peer in self._resting:
            self._resting[peer].cancel()
        delay = next_delay(self._failures[peer], random.random())
        self._resting[peer] = self.endpoint.pump.call_later(delay, lambda: self._rested(peer))

    def _rested(self, peer: str) -> None:
        del self._resting[peer]
        self._changed()

    def _changed(self) -> None:
        if self._is_closed:
            return
        for peer, session in list(self._sessions.items()):
            if session.ended is not None:
                self._forget(peer, session)
        for peer in (self._wanted_peers() & self.endpoint.peers()) - self._resting.keys():
            self.begin(peer)
        for listener in list(self.listeners):
            listener()
