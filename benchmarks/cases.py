"""What is measured: cases, loads, routes, and the order of the measurements (no I/O).

How it works
------------
A *scenario* is what one command runs: its cases and its targets.  A *case* of the report compares
*subjects* under one *load*.  A *route* is one running set of processes between the load generator
and the target.

In the scenario `spine` our program has three routes (a direct link, through a broker, intercept
off); each peer has one, because a peer has no notion of a broker.  A peer's route under one load
is therefore measured once a round and used by every case with that load: `rps_32`,
`broker_rps_32` and `pass_rps_32` compare with the same figures of HAProxy, taken within seconds
of ours.  In the scenario `carriers` the subjects are our own carriers, each with its route, and
TCP is what the others are compared with.

Rounds interleave the routes (A B C, then B C A, ...), so that a slow minute of a shared machine
touches all of them and no route always runs first after an idle moment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "BASE_CARRIER",
    "CARRIERS",
    "CARRIER_CASES",
    "HTTP_ONLY",
    "LOADS",
    "MORE_PEERS",
    "OURS",
    "PEERS",
    "SPINE_CASES",
    "Case",
    "Kind",
    "Load",
    "Measurement",
    "Settings",
    "known_subjects",
    "needed_measurements",
    "round_order",
    "subjects_of",
]

OURS: Final = "ours"
PEERS: Final = ("direct", "haproxy", "yamux")
MORE_PEERS: Final = (
    *("nginx_stream", "trio", "smux", "openssh_l", "openssh_r"),
    *("envoy", "v2ray", "singbox", "websocat", "haproxy_rhttp"),
    *("snitun", "asyncssh", "libp2p"),
)
"""Peers that are measured only where they are asked for, so that a plain run stays short."""
HTTP_ONLY: Final = ("haproxy_rhttp",)
"""Peers that carry requests and no other bytes."""
ONE_HOP: Final = ("direct", "haproxy", "nginx_stream", "trio")
"""What our program is compared with where it is one hop itself."""
ALL_PEERS: Final = (*PEERS, *MORE_PEERS)
BASE_CARRIER: Final = "tcp"
CARRIERS: Final = (BASE_CARRIER, "unix", "tls", "ws", "wss")


class Kind(StrEnum):
    """What a load counts, and so which tool makes it."""

    REQUESTS = "requests"
    CONNECTIONS = "connections"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Load:
    """One way of pressing on a route."""

    name: str
    kind: Kind
    connections: int
    is_back: bool = False
    """Whether the bytes of a bulk load go from the target to the client."""

    @property
    def unit(self) -> str:
        """The unit of the figure that this load yields."""
        return {"requests": "requests/s", "connections": "connections/s"}.get(self.kind, "Gbit/s")


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the report: subjects that are compared under one load."""

    name: str
    load: str
    routes: Mapping[str, str]
    """The subjects in the order of the report, each with the route that stands for it."""
    ratios: tuple[tuple[str, str], ...]
    """Which subject is divided by which other."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One route under one load: what a single run of a load generator measures."""

    load: str
    route: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often. Seconds are whole, because wrk and iperf3 take no fractions."""

    rounds: int
    seconds: int
    connection_seconds: int
    """Shorter for new connections: every one of them leaves a TIME_WAIT entry for a minute."""
    warm_up_seconds: int

    @classmethod
    def full(cls, rounds: int | None = None) -> Settings:
        """The run whose figures are published."""
        return cls(rounds=rounds or 5, seconds=4, connection_seconds=2, warm_up_seconds=2)

    @classmethod
    def quick(cls, rounds: int | None = None) -> Settings:
        """A run that shows the order of magnitude, within 100 s for two rounds of all cases."""
        return cls(rounds=rounds or 2, seconds=1, connection_seconds=1, warm_up_seconds=1)

    def seconds_of(self, load: Load) -> int:
        """How long one measurement under `load` lasts."""
        return self.connection_seconds if load.kind is Kind.CONNECTIONS else self.seconds


LOADS = {
    load.name: load
    for load in (
        Load("rps_1", Kind.REQUESTS, 1),
        Load("rps_32", Kind.REQUESTS, 32),
        Load("rps_128", Kind.REQUESTS, 128),
        Load("new_conns", Kind.CONNECTIONS, 32),
        Load("bulk", Kind.BULK, 1),
        Load("bulk_back", Kind.BULK, 1, is_back=True),
    )
}


def _spine(load: str, route: str, peers: Collection[str], *, prefix: str = "") -> Case:
    """Return a case of our program on *route* beside those of *peers* that take the load."""
    is_bulk = LOADS[load].kind is Kind.BULK
    rivals = [peer for peer in peers if not (is_bulk and peer in HTTP_ONLY)]
    routes = {OURS: route, **{peer: peer for peer in rivals}}
    return Case(prefix + load, load, routes, tuple((OURS, peer) for peer in rivals))


def _carriers(load: str) -> Case:
    """Return a case of all carriers beside TCP."""
    others = (name for name in CARRIERS if name != BASE_CARRIER)
    routes = {name: name for name in CARRIERS}
    return Case(load, load, routes, tuple((name, BASE_CARRIER) for name in others))


SPINE_CASES: Final = (
    *(
        _spine(load, "link", ALL_PEERS)
        for load in ("rps_1", "rps_32", "rps_128", "new_conns", "bulk")
    ),
    *(
        _spine(load, "broker", ALL_PEERS, prefix="broker_")
        for load in ("rps_32", "rps_128", "new_conns", "bulk")
    ),
    *(_spine(load, "pass", ONE_HOP, prefix="pass_") for load in ("rps_32", "bulk")),
)

CARRIER_CASES: Final = tuple(map(_carriers, ("rps_32", "new_conns", "bulk", "bulk_back")))


def known_subjects(cases: Collection[Case]) -> list[str]:
    """Return every subject of *cases*, once, in the order of the report."""
    return list(dict.fromkeys(subject for case in cases for subject in case.routes))


def subjects_of(case: Case, subjects: Collection[str]) -> list[str]:
    """Return those of `subjects` that `case` compares, in the order of the report."""
    return [name for name in case.routes if name in subjects]


def needed_measurements(
    cases: Collection[Case], subjects: Collection[str]
) -> dict[str, list[Measurement]]:
    """Return, for each load in use, the routes to measure, each once."""
    needed: dict[str, list[Measurement]] = {}
    for case in cases:
        for subject in subjects_of(case, subjects):
            measurement = Measurement(case.load, case.routes[subject])
            routes = needed.setdefault(case.load, [])
            if measurement not in routes:
                routes.append(measurement)
    return needed


def round_order(needed: dict[str, list[Measurement]], round_index: int) -> list[Measurement]:
    """Return the measurements of one round: load by load, the routes rotated by the round."""
    order: list[Measurement] = []
    for routes in needed.values():
        start = round_index % len(routes)
        order += routes[start:] + routes[:start]
    return order
