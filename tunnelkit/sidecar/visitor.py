"""A client of a port whose requests are looked at: each goes where the rules say.

`HttpProxy`, or `H2Proxy`, reads the requests; this is who it asks.  A route is a target as
it is now: of a developer who cannot be reached there is none, and the request goes to the workload,
or is answered with 503 where the rule fails closed.  A developer who does not take a request in
time has not seen it, so it goes to the workload as well.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from tunnelkit.addresses import Address
from tunnelkit.errors import ErrorCode
from tunnelkit.http.answers import Reply, plain_reply
from tunnelkit.http.head import RequestHead
from tunnelkit.http.proxy import HttpProxy
from tunnelkit.http.routing import NO_LIMITS, Owner, Reached, Route
from tunnelkit.http.watching import Watch
from tunnelkit.pump import Pump
from tunnelkit.reach import Attempts, Reach
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd
from tunnelkit.wire.stream import NULL_END

from .requests import RequestFacts, facts_of
from .ruleset import Branch, Choice, Developer, Local, Rule, RuleSet

if TYPE_CHECKING:
    from tunnelkit.http.h2_proxy import H2Proxy

__all__ = ["Decision", "HttpVisitor", "Surroundings"]

MAX_DECISIONS: Final = 200
"""How many requests of a port are remembered, to be explained.  Stops: memory that grows."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one request went."""

    at: float
    """Unix seconds."""
    method: str
    path: str
    trace: str
    """The id in `traceparent`; "": there was none."""
    rule: str
    """The name of the rule that took it; "": none did."""
    target: str
    why: str


class Surroundings(Protocol):
    """What visitors of a port have in common."""

    rules: RuleSet
    reach: Reach
    pump: Pump
    target: Address
    branches: dict[Branch, Address]
    """The addresses of the services beside the workload, looked up."""
    decisions: deque[Decision]

    def reachable(self, peer: str) -> Session | None:
        """Return the session with a developer, if a stream could be opened now."""

    def count(self, what: str) -> None:
        """Count something that happened."""

    def watch(
        self, head: RequestHead, facts: RequestFacts, route: Route, rule: str, client: str
    ) -> Watch | None:
        """Return who looks on while a request goes by."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """The key of requests that go nowhere."""

    why: str


class HttpVisitor:
    """One client connection.

    Args:
        end: the client.
        port: what it has in common with others.
        spare: a connection to the local target, for the first request that goes there.
        is_http2: whether it speaks HTTP/2.
    """

    def __init__(
        self,
        end: PipeEnd,
        port: Surroundings,
        spare: PipeEnd | None = None,
        *,
        is_http2: bool = False,
    ) -> None:
        self.description = end.pipe.description
        self.proxy: HttpProxy | H2Proxy = _http2(self) if is_http2 else HttpProxy(self)
        self._port = port
        self._fails_open: dict[Developer, bool] = {}
        self._attempts = Attempts(port.reach, self.description)
        self._end = end
        self._spare = spare

    def begin(self, first: bytes = b"") -> None:
        """Read requests; *first* was read from the client already."""
        if self._spare is not None:
            self._spare.other = NULL_END
        self.proxy.join(self._end)
        self._end.join(self.proxy, first)
        spare, self._spare = self._spare, None
        if spare is not None:  # the first request went somewhere else, or is not all there
            spare.finish()
            spare.stop(ErrorCode.NOT_READING, "")

    # --- what the proxy asks ------------------------------------------------------------------

    limits = NO_LIMITS  # whoever calls the workload itself has none either

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        facts, now = facts_of(head), time.time()
        choice = self._port.rules.choose(facts, now)
        route = self._route_of(choice)
        rule = choice.rule.name if choice.rule is not None else ""
        self._note(facts, rule, route, now)
        route.watch = self._port.watch(head, facts, route, rule, self.description)
        found(route)

    def reply(self, head: RequestHead | None, route: Route, status: int, why: str) -> Reply:
        return plain_reply(head, status, why)

    def _route_of(self, choice: Choice) -> Route:
        rule, target = choice.rule, choice.target
        if rule is None or not isinstance(target, Developer):
            return Route(target, choice.why, is_mirrored=rule is None)
        if self._port.reachable(target.peer) is not None:
            self._fails_open[target] = rule.fail_open
            return Route(target, choice.why)
        return self._route_without(rule, f"{target.peer} is not connected, or does not answer")

    def _route_without(self, rule: Rule, why: str) -> Route:
        if rule.fail_open:
            return Route(Local(), f"{why}: fail open")
        return Route(_Refused(f"{why}, and rule {rule.name!r} fails closed"), why)

    def _note(self, facts: RequestFacts, rule: str, route: Route, now: float) -> None:
        self._port.count(_kind_of(route.key))
        parts = (facts.header("traceparent") or "").split("-")
        trace = parts[1] if len(parts) > 3 else ""
        target = str(route.key) if not isinstance(route.key, _Refused) else "nobody"
        decision = Decision(now, facts.method, facts.path[:200], trace, rule, target, route.why)
        self._port.decisions.append(decision)

    def connect(self, route: Route, back: Reached) -> None:
        key = route.key
        if isinstance(key, _Refused):
            back.failed(503, key.why)
        elif isinstance(key, Developer):
            self._open(key, back)
        elif isinstance(key, Local) and self._spare is not None:
            spare, self._spare = self._spare, None
            back.attached(spare)
            spare.join(back)
        else:
            address = self._port.branches.get(key) if isinstance(key, Branch) else self._port.target
            if address is None:
                back.failed(502, f"the address of {key} is not known")
            else:
                self._connect(address, back)

    def now(self) -> float:
        return trio.current_time()

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        return self._port.pump.call_later(seconds, expired).cancel

    def proxy_over(self) -> None:
        self._attempts.cancel()

    # --- connections --------------------------------------------------------------------------

    def _connect(self, address: Address, back: Reached) -> None:
        def failed(why: str) -> None:
            self._port.count("target-failed")
            status = 504 if "no answer" in why else 502
            back.failed(status, f"the workload cannot be reached: {why}")

        self._attempts.connect(address, back, failed)

    def _open(self, target: Developer, back: Reached) -> None:
        session = self._port.reachable(target.peer)
        if session is None:
            self._not_opened(target, back, "it is gone")
        else:
            failed = partial(self._not_opened, target, back)
            self._attempts.open(session, target.target, back, failed)

    def _not_opened(self, target: Developer, back: Reached, why: str) -> None:
        if self._fails_open.get(target, True):
            self._port.count("fell-back")
            self.proxy.reroute(back, Route(Local(), f"{target.peer}: {why}: fail open"))
        else:
            back.failed(503, f"{target.peer} does not take the request: {why}")


def _http2(owner: Owner) -> H2Proxy:
    from tunnelkit.http.h2_proxy import H2Proxy  # most ports never see HTTP/2

    return H2Proxy(owner)


def _kind_of(key: object) -> str:
    kinds = {Local: "local", Branch: "branch", Developer: "peer", _Refused: "refuse"}
    return kinds[type(key)]
