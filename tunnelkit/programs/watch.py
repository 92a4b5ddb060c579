"""Notice when links and sessions come and go, and say so in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ErrorCode, LinkRefused
from tunnelkit.link import Link
from tunnelkit.session import Session

__all__ = ["Watch"]

_log = logging.getLogger("tunnelkit.programs")


class Watch:
    """Compares what there is with what there was, whenever something changed.

    Args:
        links: returns the links that are up.
        sessions: returns the sessions that have not ended.
        on_displaced: called when another process of the same subject took this one's place.
    """

    def __init__(
        self,
        links: Callable[[], Iterable[Link]],
        sessions: Callable[[], Iterable[Session]] = tuple,
        on_displaced: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.since: dict[Link, float] = {}
        """When each link that is up came up, unix seconds."""
        self._links = links
        self._sessions = sessions
        self._states: dict[Session, str] = {}
        self._on_displaced = on_displaced

    @classmethod
    def of_endpoint(cls, endpoint: Endpoint, on_displaced: Callable[[str], None]) -> Watch:
        """Watch an endpoint, beside whoever listens to its changes already."""
        watch = cls(lambda: endpoint.links, endpoint.sessions.values, on_displaced)
        before = endpoint.on_change

        def changed() -> None:
            before()
            watch.look()

        endpoint.on_change = changed
        return watch

    def look(self) -> None:
        """Log what changed since the last look."""
        links = dict.fromkeys(self._links())
        for link in links:
            if link not in self.since:
                self.since[link] = time.time()
                _say("link up", f"link to {_who(link)} is up", link)
        for link in [link for link in self.since if link not in links]:
            del self.since[link]
            # What became of a link that we dial, the dialler says already.
            level = logging.DEBUG if link.is_dialer else logging.INFO
            _say("link down", f"link to {_who(link)} is down: {link.error}", link, level)
            if isinstance(link.error, LinkRefused) and link.error.code == ErrorCode.DISPLACED:
                self._on_displaced(link.error.text)
        self._look_at_sessions()

    def _look_at_sessions(self) -> None:
        sessions = dict.fromkeys(self._sessions())
        for session in sessions:
            before, now = self._states.get(session), session.state
            if before == now:
                continue
            self._states[session] = now
            if now == "open":
                times = session.resumed_count
                what = f"{session.core.replayed_bytes} bytes replayed so far"
                again = f" again (resumed {times}, {what})" if times else ""
                _tell_session(session, f"session with {session.peer} is open{again}")
            elif before == "open":
                why = f": {session.last_reason}" if session.last_reason else ""
                _tell_session(session, f"session with {session.peer} waits for a link{why}")
        for session in [session for session in self._states if session not in sessions]:
            del self._states[session]
            _tell_session(session, f"session with {session.peer} ended: {session.last_reason}")


def _who(link: Link) -> str:
    if link.peer is None:
        name = "a stranger"
    else:
        name = "a broker" if link.peer.is_broker else link.peer.subject
    return f"{name} at {link.pipe.description}"


def _say(event: str, text: str, link: Link, level: int = logging.INFO) -> None:
    peer = link.peer.subject if link.peer is not None else ""
    fields = {"event": event, "peer": peer, "address": link.pipe.description}
    _log.log(level, "%s", text, extra={"fields": fields})


def _tell_session(session: Session, text: str) -> None:
    fields = {
        "event": "session",
        "peer": session.peer,
        "state": session.state,
        "session": session.session_id.hex()[:8],
    }
    _log.info("%s", text, extra={"fields": fields})
