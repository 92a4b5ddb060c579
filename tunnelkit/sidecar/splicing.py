"""Connections that go one way as a whole: to the local target, or to a developer.

Nothing is read from a client before it is known who takes it, but for what had to be looked at
(`opening`); so a connection that a developer does not take goes to the local target with its first
byte intact.
"""

from __future__ import annotations

from typing import Protocol

from tunnelkit.addresses import Address
from tunnelkit.carriers import Pipe
from tunnelkit.errors import ErrorCode, OpenRefused, SessionError
from tunnelkit.reach import Attempt, Reach
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_pipes, splice_stream
from tunnelkit.wire.frames import Metadata
from tunnelkit.wire.stream import StreamCore

from .rules import Facts, Intercept, Verdict, Way, decide
from .ruleset import Developer, RuleSet

__all__ = ["Guest", "Hall", "Splicing"]


class Guest:
    """A client connection that has not been joined to anything yet."""

    __slots__ = ("attempt", "end", "first")

    def __init__(self, end: PipeEnd) -> None:
        self.end = end
        self.first = b""
        """What was read from it already."""
        self.attempt: Attempt | None = None
        """What it waits for."""

    def leave(self) -> None:
        """End it, and what it waits for."""
        if self.attempt is not None:
            self.attempt.cancel()
        self.end.reset(ErrorCode.CONNECTION_RESET, "")


class Hall(Protocol):
    """What a port has that its connections need."""

    target: Address
    reach: Reach
    rules: RuleSet
    last_reason: str

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""

    def count(self, what: str) -> None:
        """Count something that happened."""


class Splicing:
    """Joins guests of a port to where they go."""

    def __init__(self, port: Hall) -> None:
        self._port = port

    def verdict(self, server_name: str = "") -> tuple[Verdict, Intercept | None, Session | None]:
        """Return where a connection goes as a whole, and who would take it."""
        rule = self._port.rules.choose_whole(server_name)
        if rule is None or not isinstance(rule.target, Developer):
            return decide(Facts(None)), None, None
        intercept = Intercept(rule.target.peer, rule.target.target, rule.fail_open)
        session = self._port.session_with(intercept.peer)
        is_open = session is not None and session.core.is_established
        facts = Facts(intercept, is_open, session is None or session.is_suspect)
        return decide(facts), intercept, session

    def go(self, guest: Guest, server_name: str = "") -> None:
        """Send a guest where its connection goes as a whole."""
        verdict, intercept, session = self.verdict(server_name)
        self._note(verdict)
        if verdict.way is Way.LOCAL:
            self.go_local(guest)
        elif verdict.way is Way.REFUSE or intercept is None or session is None:
            guest.leave()
        else:
            self._go_to_peer(guest, session, intercept)

    def _note(self, verdict: Verdict) -> None:
        self._port.count(verdict.way.value)
        self._port.last_reason = verdict.why

    def go_local(self, guest: Guest) -> None:
        """Send a guest to the local target."""

        def connected(target: Pipe) -> None:
            self.join_local(guest, PipeEnd(target))

        def failed(why: str) -> None:
            self._port.count("target-failed")
            self._port.last_reason = why
            guest.leave()

        guest.attempt = self._port.reach.connect(self._port.target, connected, failed)

    def join_local(self, guest: Guest, target: PipeEnd) -> None:
        """Join a guest and the local target."""
        splice_pipes(guest.end, target, guest.first)

    def _go_to_peer(self, guest: Guest, session: Session, intercept: Intercept) -> None:
        metadata = ((int(Metadata.CLIENT_ADDRESS), guest.end.pipe.description.encode()),)
        if not intercept.fail_open:
            try:
                self._join(guest, session.offer_stream(intercept.target, metadata))
            except (SessionError, OpenRefused) as error:
                self._note(Verdict(Way.REFUSE, f"fail closed: {error.text}"))
                guest.leave()
            return

        def failed(why: str) -> None:
            self._port.count("fell-back")
            self._port.last_reason = f"fail open: {why}"
            self.go_local(guest)

        def opened(stream: StreamCore) -> None:
            self._join(guest, stream)

        reach = self._port.reach
        guest.attempt = reach.open(session, intercept.target, metadata, opened, failed)

    def _join(self, guest: Guest, stream: StreamCore) -> None:
        splice_stream(guest.end, stream, guest.first)
