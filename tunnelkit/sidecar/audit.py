"""Who does not pass the ids of a request on: what came into a pod, held against what left it.

How it works.  Routing by who asks works only as far as every service on the way passes on the
headers that say so: `traceparent`, and the member of `tracestate` or `baggage` that names an
environment.  A sidecar sees both sides of its pod.  So while requests that carry an id are being
answered, each request that leaves the pod is expected to carry one of these; one that carries
none, or another one, is a request whose id the workload has dropped, or begun anew.

Only while every request under way carries an id is anything expected: what leaves because of a
timer, or of a request without ids, has none to carry.  So a finding is no proof of a single
request, but a service that passes ids on has none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from tunnelkit.http.watching import Onlooker

from .requests import RequestFacts

__all__ = ["Audit", "Fate", "Finding", "Ids", "ids_of"]


@dataclass(frozen=True, slots=True)
class Ids:
    """By what a request can be followed; "": it says none."""

    trace: str = ""
    environment: str = ""


def ids_of(facts: RequestFacts, environment_key: str) -> Ids:
    """Return what a request says."""
    parts = (facts.header("traceparent") or "").split("-")
    trace = parts[1].lower() if len(parts) >= 4 and len(parts[1]) == 32 else ""
    found = facts.member("tracestate", environment_key) or facts.member("baggage", environment_key)
    return Ids(trace, found or "")


class Fate(Enum):
    """What became of an id on its way through the pod."""

    KEPT = "kept"
    DROPPED = "dropped"
    """The request says none."""
    CHANGED = "changed"
    """It says one that no request under way has."""
    UNKNOWN = "unknown"
    """Nothing is under way that it could have, or something without an id is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a service does not pass on."""

    port: str
    """Through which the requests left."""
    what: str
    """``trace`` or ``environment``."""
    lost: int
    expected: int

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.expected} requests that left by port {self.port} did not carry "
            f"the {self.what} of any request that was being answered"
        )


class Audit:
    """Counts of one pod.

    Args:
        environment_key: the member of `tracestate` and `baggage` that names an environment.
    """

    def __init__(self, environment_key: str) -> None:
        self.environment_key = environment_key
        self.arrived: Counter[tuple[str, str]] = Counter()
        """Requests that came, by port and by what they carried: trace, environment, none."""
        self.left: Counter[tuple[str, str, Fate]] = Counter()
        """Requests that left, by port, by what could be carried, and by what became of it."""
        self._traces: Counter[str] = Counter()
        self._environments: Counter[str] = Counter()
        self._under_way = 0

    def arrives(self, port: str, facts: RequestFacts) -> Arrived:
        """A request comes into the pod; return who is told that it was answered."""
        ids = ids_of(facts, self.environment_key)
        for what, value in (("trace", ids.trace), ("environment", ids.environment)):
            self.arrived[port, what] += value != ""
        self.arrived[port, "none"] += ids == Ids()
        self._count(ids, 1)
        return Arrived(self, ids)

    def answered(self, ids: Ids) -> None:
        """A request that came is over."""
        self._count(ids, -1)

    def leaves(self, port: str, facts: RequestFacts) -> None:
        """A request leaves the pod."""
        ids = ids_of(facts, self.environment_key)
        self.left[port, "trace", self._fate(ids.trace, self._traces)] += 1
        self.left[port, "environment", self._fate(ids.environment, self._environments)] += 1

    def findings(self) -> list[Finding]:
        """Return what the workload does not pass on, the worst first."""
        found: list[Finding] = []
        for port, what in sorted({(port, what) for port, what, _ in self.left}):
            lost = sum(self.left[port, what, fate] for fate in (Fate.DROPPED, Fate.CHANGED))
            if lost:
                expected = lost + self.left[port, what, Fate.KEPT]
                found.append(Finding(port, what, lost, expected))
        return sorted(found, key=lambda one: -one.lost)

    def _count(self, ids: Ids, by: int) -> None:
        self._under_way += by
        for known, value in ((self._traces, ids.trace), (self._environments, ids.environment)):
            known[value] += by
            if not known[value]:
                del known[value]

    def _fate(self, value: str, known: Counter[str]) -> Fate:
        if not self._under_way or "" in known:
            return Fate.UNKNOWN
        if not value:
            return Fate.DROPPED
        return Fate.KEPT if value in known else Fate.CHANGED


class Arrived(Onlooker):
    """Waits for the end of a request that came."""

    __slots__ = ("_audit", "_ids")

    def __init__(self, audit: Audit, ids: Ids) -> None:
        self._audit = audit
        self._ids = ids

    def over(self, why: str) -> None:
        self._audit.answered(self._ids)
