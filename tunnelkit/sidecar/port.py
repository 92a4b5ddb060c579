"""One listener in front of one local target, with an intercept that can be on or off.

Where no rule looks at requests, a connection goes one way as a whole.  One that goes to the local
target is spliced and nothing else.  One that goes to a
developer is a stream; until the developer's side has answered (`reach`), not a byte is read from
the client.  So a connection that the developer does not take can still go to the local target with
its first byte intact, and nothing was executed anywhere.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Protocol

from tunnelkit.addresses import Address
from tunnelkit.carriers import Listener, Network, Pipe
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused, SessionError
from tunnelkit.pump import Pump
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_pipes, splice_stream
from tunnelkit.wire.frames import Metadata
from tunnelkit.wire.stream import StreamCore

from .reach import Attempt, Reach
from .rules import Facts, Intercept, Way, decide
from .ruleset import Branch, Developer, Rule, RuleSet
from .visitor import MAX_DECISIONS, Decision, HttpVisitor

__all__ = ["Port", "SessionSource", "Speaks"]


class Speaks(Enum):
    """What the clients of a port speak."""

    TCP = "tcp"
    """Anything: connections go one way as a whole, and are not looked at."""
    HTTP = "http"
    """HTTP/1.x: where a rule looks at requests, each goes its own way."""


class SessionSource(Protocol):
    """Where a port finds the session with a developer."""

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""


class Port:
    """A listener in front of a local target.

    Args:
        name: what the port is called in commands and in status.
        target: the local target, resolved.
        sessions: where developers' sessions are found.
        speaks: what its clients speak.
    """

    def __init__(
        self,
        name: str,
        target: Address,
        sessions: SessionSource,
        network: Network,
        pump: Pump,
        speaks: Speaks = Speaks.TCP,
    ) -> None:
        self.name = name
        self.target = target
        self.speaks = speaks
        self.rules = RuleSet()
        self.branches: dict[Branch, Address] = {}
        """The services beside the workload that rules name, looked up."""
        self.decisions: deque[Decision] = deque(maxlen=MAX_DECISIONS)
        """Where the last requests went."""
        self.pump = pump
        self.reach = Reach(network, pump)
        self.listener: Listener | None = None
        self.counts: Counter[str] = Counter()
        self.last_reason = ""
        self.on_idle: Callable[[], None] = lambda: None
        self._sessions = sessions
        self._waiting: dict[Pipe, Attempt] = {}
        self._ends: set[PipeEnd] = set()
        self._visitors: set[HttpVisitor] = set()

    @property
    def open_count(self) -> int:
        """How many client connections are open."""
        return len(self._ends) + len(self._waiting) + len(self._visitors)

    @property
    def intercept(self) -> Intercept | None:
        """Who takes whole connections, if anybody does."""
        rule = next((rule for rule in self.rules if not rule.conditions), None)
        if rule is None or not isinstance(rule.target, Developer):
            return None
        return Intercept(rule.target.peer, rule.target.target, rule.fail_open)

    def beside(self, branch: Branch) -> Address:
        """Return the address of a service that is reached as the local target is."""
        if self.target.scheme == "unix":
            return Address("tcp", branch.host, branch.port)
        return replace(self.target, host=branch.host, port=branch.port, looked_up="")

    def check_speaks(self, rule: Rule) -> None:
        """Refuse a rule that looks at what this port does not read.

        Raises:
            ConfigurationError: it does; with the way out.
        """
        if rule.conditions and self.speaks is Speaks.TCP:
            raise ConfigurationError(
                f"port {self.name!r} is not looked at, and rule {rule.name!r} needs {rule}: "
                f"say what it speaks ({self.name}=LISTEN,TARGET,http)"
            )

    # --- new connections --------------------------------------------------------------------

    def accept(self, pipe: Pipe) -> None:
        """A client connected."""
        self.rules.drop_expired(time.time())
        if self.speaks is Speaks.HTTP and self.rules.needs_http:
            visitor = HttpVisitor(pipe, self)
            self._visitors.add(visitor)
            visitor.begin()
        else:
            self._accept_whole(pipe)

    def _accept_whole(self, pipe: Pipe) -> None:
        """All of a connection goes one way."""
        intercept = self.intercept
        session = None
        if intercept is None:
            facts = Facts(None)
        else:
            session = self._sessions.session_with(intercept.peer)
            is_open = session is not None and session.core.is_established
            facts = Facts(intercept, is_open, session is None or session.is_suspect)
        verdict = decide(facts)
        self.counts[verdict.way.value] += 1
        self.last_reason = verdict.why
        if verdict.way is Way.LOCAL:
            self._go_local(pipe)
        elif verdict.way is Way.REFUSE or intercept is None or session is None:
            pipe.reset()
        else:
            self._go_to_peer(pipe, session, intercept)

    def _go_local(self, pipe: Pipe) -> None:
        def connected(target: Pipe) -> None:
            self._waiting.pop(pipe, None)
            left, right = PipeEnd(pipe, self._over), PipeEnd(target)
            self._ends.add(left)
            splice_pipes(left, right)

        def failed(why: str) -> None:
            self._waiting.pop(pipe, None)
            self._local_failed(pipe, why)

        self._wait(pipe, self.reach.connect(self.target, connected, failed))

    def _wait(self, pipe: Pipe, attempt: Attempt) -> None:
        """Take note of who waits, unless it is over by now."""
        if not attempt.is_over:
            self._waiting[pipe] = attempt

    def _local_failed(self, pipe: Pipe, why: str) -> None:
        self.counts["target-failed"] += 1
        self.last_reason = why
        pipe.reset()
        if not self.open_count:
            self.on_idle()

    def _go_to_peer(self, pipe: Pipe, session: Session, intercept: Intercept) -> None:
        metadata = ((int(Metadata.CLIENT_ADDRESS), pipe.description.encode()),)
        if not intercept.fail_open:
            try:
                stream = session.offer_stream(intercept.target, metadata)
            except (SessionError, OpenRefused) as error:
                self.counts[Way.REFUSE.value] += 1
                self.last_reason = f"fail closed: {error.text}"
                pipe.reset()
                return
            self._join(pipe, stream)
            return

        def opened(stream: StreamCore) -> None:
            self._waiting.pop(pipe, None)
            self._join(pipe, stream)

        def failed(why: str) -> None:
            self._waiting.pop(pipe, None)
            self._fall_back(pipe, why)

        self._wait(pipe, self.reach.open(session, intercept.target, metadata, opened, failed))

    def _join(self, pipe: Pipe, stream: StreamCore) -> None:
        end = PipeEnd(pipe, self._over)
        self._ends.add(end)
        splice_stream(end, stream)

    def _fall_back(self, pipe: Pipe, why: str) -> None:
        self.counts["fell-back"] += 1
        self.last_reason = f"fail open: {why}"
        self._go_local(pipe)

    def _over(self, end: PipeEnd) -> None:
        self._ends.discard(end)
        if not self.open_count:
            self.on_idle()

    # --- what visitors ask for ----------------------------------------------------------------

    def reachable(self, peer: str) -> Session | None:
        """Return the session with a developer, if a stream could be opened now."""
        session = self._sessions.session_with(peer)
        is_open = session is not None and session.core.is_established
        return session if session is not None and is_open and not session.is_suspect else None

    def count(self, what: str) -> None:
        """Count something that happened."""
        self.counts[what] += 1

    def visitor_over(self, visitor: HttpVisitor) -> None:
        """Nothing is left of a visitor."""
        self._visitors.discard(visitor)
        if not self.open_count:
            self.on_idle()

    def check_health(self) -> None:
        """A link changed: connections that wait on a suspect session do not wait any longer."""
        self.reach.check_health()

    # --- life -------------------------------------------------------------------------------

    def stop_listening(self) -> None:
        """Accept no more connections."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def close(self) -> None:
        """Reset everything that is open."""
        self.stop_listening()
        self.reach.close()
        for pipe in self._waiting:
            pipe.reset()
        self._waiting.clear()
        for visitor in list(self._visitors):
            visitor.reset(ErrorCode.GOING_AWAY, "the sidecar is shutting down")
        for end in list(self._ends):
            end.reset(ErrorCode.GOING_AWAY, "the sidecar is shutting down")
