"""One listener in front of one local target, with rules that may change while it runs.

A client's connection goes one way as a whole (`splicing`), unless a rule looks at what it says:
then its first bytes tell what it speaks (`opening`), and the requests of HTTP go their own ways
(`visitor`).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from tunnelkit.addresses import Address
from tunnelkit.carriers import Listener, Network, Pipe
from tunnelkit.errors import ConfigurationError, ErrorCode
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import Route
from tunnelkit.http.watching import Watch, both
from tunnelkit.pump import Pump
from tunnelkit.reach import Reach
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd

from .audit import Audit
from .opening import Opening
from .requests import RequestFacts
from .rules import Intercept
from .ruleset import Branch, Developer, Local, Rule, RuleSet
from .splicing import Guest, Splicing
from .visitor import MAX_DECISIONS, Decision

if TYPE_CHECKING:
    from tunnelkit.capture import ByteRecorder, Recorder

__all__ = ["Port", "SessionSource", "Speaks"]


class Speaks(Enum):
    """What the clients of a port speak."""

    AUTO = "auto"
    """HTTP, TLS or anything else: where a rule looks at requests or at server names, the first
    bytes tell.  Nobody waits: the target is connected to meanwhile, and may speak first."""
    TCP = "tcp"
    """Anything: connections go one way as a whole, and are not looked at."""
    HTTP = "http"
    """HTTP/1.x or HTTP/2: where a rule looks at requests, each goes its own way."""
    H2C = "h2c"
    """As `HTTP`."""
    GRPC = "grpc"
    """As `HTTP`."""
    TLS = "tls"
    """TLS, whose clients speak first: rules can look at the server name alone."""


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
        is_outbound: whether its clients are the workload itself, which calls others by it.
    """

    def __init__(
        self,
        name: str,
        target: Address,
        sessions: SessionSource,
        network: Network,
        pump: Pump,
        speaks: Speaks = Speaks.AUTO,
        *,
        is_outbound: bool = False,
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
        self.audit: Audit | None = None
        """Who counts what of requests is passed on, or nobody."""
        self.is_outbound = is_outbound
        self.recorder: Recorder | None = None
        """Who keeps requests and answers, or nobody."""
        self.byte_recorder: ByteRecorder | None = None
        """Who keeps the bytes of new connections, or nobody."""
        self.on_idle: Callable[[], None] = lambda: None
        self._sessions = sessions
        self._splicing = Splicing(self)
        self._guests: dict[PipeEnd, Guest] = {}

    @property
    def open_count(self) -> int:
        """How many client connections are open."""
        return len(self._guests)

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
        needs_http = any(condition.subject != "sni" for condition in rule.conditions)
        if self.speaks is Speaks.TLS and needs_http:
            raise ConfigurationError(
                f"port {self.name!r} is TLS, of which only server names are seen, and rule "
                f"{rule.name!r} needs {rule}: let it look at sni=NAME"
            )
        if rule.conditions and self.speaks is Speaks.TCP:
            raise ConfigurationError(
                f"port {self.name!r} is not looked at, and rule {rule.name!r} needs {rule}: "
                f"let it be looked at ({self.name}=LISTEN,TARGET,auto)"
            )

    # --- connections ------------------------------------------------------------------------

    def accept(self, pipe: Pipe) -> None:
        """A client connected."""
        rules = self.rules
        rules.drop_expired(time.time())
        if self.byte_recorder is not None:
            pipe = self._tapped(pipe)
        guest = Guest(PipeEnd(pipe, self._over))
        self._guests[guest.end] = guest
        if self.speaks is Speaks.AUTO and (rules.needs_look or self._is_watched):
            Opening(guest, self, self._splicing, is_open=True)
        elif self._looks_at_clients(rules):
            Opening(guest, self, self._splicing, is_open=False)
        else:
            self._splicing.go(guest)

    @property
    def reads_requests(self) -> bool:
        """Whether requests are read now: then some are refused, whatever rules say."""
        is_read = self._is_http or self.speaks is Speaks.AUTO
        return is_read and (self.rules.needs_http or self._is_watched)

    def _looks_at_clients(self, rules: RuleSet) -> bool:
        """Whether a client, who is known to speak first, is waited for."""
        if self.speaks is Speaks.TLS:
            return rules.needs_look
        return self._is_http and (rules.needs_http or self._is_watched)

    @property
    def _is_watched(self) -> bool:
        """Whether somebody looks on, whatever the rules need."""
        return self.audit is not None or self.recorder is not None

    def _tapped(self, pipe: Pipe) -> Pipe:
        from tunnelkit.capture.pipes import tapped  # most programs never record

        return tapped(pipe, self.byte_recorder, pipe.description, self.target.host_port)

    @property
    def _is_http(self) -> bool:
        return self.speaks in (Speaks.HTTP, Speaks.H2C, Speaks.GRPC)

    def _over(self, end: PipeEnd) -> None:
        guest = self._guests.pop(end, None)
        if guest is not None and guest.attempt is not None:
            guest.attempt.cancel()
        if not self.open_count:
            self.on_idle()

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""
        return self._sessions.session_with(peer)

    def reachable(self, peer: str) -> Session | None:
        """Return the session with a developer, if a stream could be opened now."""
        session = self.session_with(peer)
        is_open = session is not None and session.core.is_established
        return session if session is not None and is_open and not session.is_suspect else None

    def count(self, what: str) -> None:
        """Count something that happened."""
        self.counts[what] += 1

    def watch(
        self, head: RequestHead, facts: RequestFacts, route: Route, rule: str, client: str
    ) -> Watch | None:
        """Return who looks on while a request goes by."""
        return both(self._audited(facts, route), self._recorded(head, rule, client))

    def _audited(self, facts: RequestFacts, route: Route) -> Watch | None:
        if self.audit is None:
            return None
        if self.is_outbound:
            self.audit.leaves(self.name, facts)
            return None
        # What a developer's laptop answers does not come into the pod.
        return self.audit.arrives(self.name, facts) if isinstance(route.key, Local) else None

    def _recorded(self, head: RequestHead, rule: str, client: str) -> Watch | None:
        if self.recorder is None:
            return None
        return self.recorder.begin(head, client=client, port=self.name, rule=rule)

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
        for end in list(self._guests):
            other = end.other
            end.reset(ErrorCode.GOING_AWAY, "the sidecar is shutting down")
            other.reset(ErrorCode.GOING_AWAY, "the sidecar is shutting down")
