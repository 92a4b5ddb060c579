"""What is measured: cases, loads, routes, and the order of the measurements (no I/O).

How it works
------------
A *scenario* is what one command runs: its cases and its targets.  A *case* of the report compares
*subjects* under one *load*.  A *route* is one running set of processes between the load generator
and the target.

In the scenario `spine` our program has three routes (a direct link, through a broker, intercept
off) and one over wss; each peer has one, because a peer has no notion of a broker.  A peer's route
under one load is therefore measured once a round and used by every case with that load: `rps_32`,
`broker_rps_32` and `pass_rps_32` compare with the same figures of HAProxy, taken within seconds
of ours.  In the scenario `http` our sidecar stands alone, with a rule and without, beside proxies
that read requests too.  In the scenarios `carriers` and `sessions` the subjects are ours alone,
each with its route, and the first of them is what the others are compared with.

A run has an hour and a half at most.  So every peer meets the loads that have targets for all of
them, and only the rivals that a user would weigh against us meet every other axis; loads that are
not the main ones are pressed for a shorter time, and a quick run has only the main cases.

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
    "BESIDE_CASES",
    "BODY_BYTES",
    "CARRIERS",
    "CARRIER_CASES",
    "DIRECT",
    "GRPC_PROXY",
    "HTTP_CASES",
    "HTTP_IN_C",
    "HTTP_ONLY",
    "HTTP_PEERS",
    "LINK",
    "LOADS",
    "MORE_PEERS",
    "OURS",
    "PACED_RATE",
    "PASS",
    "PEERS",
    "RIVALS",
    "RULES",
    "SESSION_CASES",
    "SESSION_COUNTS",
    "SPINE_CASES",
    "SPLICE",
    "STREAM_COUNTS",
    "Case",
    "Kind",
    "Load",
    "Measurement",
    "Settings",
    "Way",
    "known_subjects",
    "needed_measurements",
    "round_order",
    "subjects_of",
]

OURS: Final = "ours"
LINK: Final = "link"
"""Our two processes, where they are what our three are compared with."""
RULES: Final = "rules"
"""Our sidecar where a rule looks at every request, and takes none."""
PASS: Final = "pass"
"""Our sidecar without a rule."""
SPLICE: Final = "splice"
"""Our sidecar without a rule, at a port that is told to look at nothing."""
DIRECT: Final = "direct"
"""Client and target alone."""
OURS_BROKER: Final = "ours_broker"
"""Our three processes, where they stand beside our two as a subject of their own."""
PEERS: Final = ("direct", "haproxy", "yamux")
MORE_PEERS: Final = (
    *("haproxy_256k", "nginx_stream", "trio", "smux", "openssh_l", "openssh_r"),
    *("envoy", "v2ray", "singbox", "websocat", "haproxy_rhttp"),
    *("snitun", "asyncssh", "libp2p"),
)
"""Peers that are measured only where they are asked for, so that a plain run stays short."""
HTTP_ONLY: Final = ("haproxy_rhttp",)
"""Peers that carry requests and no other bytes."""
HTTP_IN_C: Final = ("haproxy_http", "envoy_http")
HTTP_PEERS: Final = (*HTTP_IN_C, "mitmproxy", "hypercorn")
"""Proxies that read requests, as our sidecar with a rule does."""
GRPC_PROXY: Final = "grpc_proxy"
"""A proxy that carries calls of gRPC and nothing else."""
ONE_HOP: Final = ("direct", "haproxy", "haproxy_256k", "nginx_stream", "trio")
"""What our program is compared with where it is one hop itself."""
ALL_PEERS: Final = (*PEERS, *MORE_PEERS)
RIVALS: Final = (*PEERS, "smux")
"""Peers that meet every axis: a relay in C, and the two libraries that multiplex as we do."""
BESIDE_PEERS: Final = ("yamux", "smux", "openssh_l", "openssh_r", "haproxy")
"""Peers whose echo is measured beside bulk streams."""
BASE_CARRIER: Final = "tcp"
CARRIERS: Final = (BASE_CARRIER, "unix", "tls", "ws", "wss")
STREAM_COUNTS: Final = (1, 10, 100)
"""How many bulk streams there are beside an echo."""
BODY_BYTES: Final = 1 << 30
"""How long the body of a message is."""
PACED_RATE: Final = 1000
"""How many requests a second begin where they have a set pace."""
SESSION_COUNTS: Final = {"sessions_1": 1, "sessions_10": 10, "sessions_100": 100}
"""By route, how many sessions share a broker."""


class Kind(StrEnum):
    """What a load counts, and so which tool makes it."""

    REQUESTS = "requests"
    CONNECTIONS = "connections"
    BULK = "bulk"
    ECHO = "echo"
    BODY = "body"
    """One message of HTTP/1.1 with a body of BODY_BYTES."""
    PACED = "paced"
    """Requests at PACED_RATE, whether or not earlier ones were answered."""
    CALLS = "calls"
    """Unary calls of gRPC."""


class Way(StrEnum):
    """Which way the bytes of a bulk load go."""

    THERE = "there"
    """From the client to the target."""
    BACK = "back"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Load:
    """One way of pressing on a route."""

    name: str
    kind: Kind
    connections: int
    """How many press at the same time; of an echo, how many bulk streams there are beside it."""
    way: Way = Way.THERE
    is_short: bool = False
    """Whether it is pressed for a shorter time than the main loads."""

    @property
    def is_beside(self) -> bool:
        """Whether it is an echo with bulk streams beside it."""
        return self.kind is Kind.ECHO and self.connections > 0

    @property
    def unit(self) -> str:
        """The unit of the figure that this load yields."""
        if self.is_beside or self.kind is Kind.PACED:
            return "µs"
        return _UNITS[self.kind]


_UNITS: Final = {
    Kind.REQUESTS: "requests/s",
    Kind.CONNECTIONS: "connections/s",
    Kind.BULK: "Gbit/s",
    Kind.ECHO: "round trips/s",
    Kind.BODY: "Gbit/s",
    Kind.CALLS: "calls/s",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the report: subjects that are compared under one load."""

    name: str
    load: str
    routes: Mapping[str, str]
    """The subjects in the order of the report, each with the route that stands for it."""
    ratios: tuple[tuple[str, str], ...]
    """Which subject is divided by which other."""
    is_main: bool = False
    """Whether a quick run has it."""


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
    short_seconds: int
    """For new connections, each of which leaves a TIME_WAIT entry for a minute, and minor loads."""
    warm_up_seconds: int

    @classmethod
    def full(cls, rounds: int | None = None) -> Settings:
        """The run whose figures are published."""
        return cls(rounds=rounds or 5, seconds=3, short_seconds=2, warm_up_seconds=2)

    @classmethod
    def quick(cls, rounds: int | None = None) -> Settings:
        """A run that shows the order of magnitude, within 100 s: two rounds of the main cases."""
        return cls(rounds=rounds or 2, seconds=1, short_seconds=1, warm_up_seconds=1)

    def seconds_of(self, load: Load) -> int:
        """How long one measurement under `load` lasts."""
        return self.short_seconds if load.is_short else self.seconds


LOADS = {
    load.name: load
    for load in (
        Load("rps_1", Kind.REQUESTS, 1),
        Load("rps_8", Kind.REQUESTS, 8, is_short=True),
        Load("rps_32", Kind.REQUESTS, 32),
        Load("rps_128", Kind.REQUESTS, 128),
        Load("rps_1024", Kind.REQUESTS, 1024),
        Load("new_conns", Kind.CONNECTIONS, 32, is_short=True),
        Load("bulk", Kind.BULK, 1),
        Load("bulk_back", Kind.BULK, 1, Way.BACK, is_short=True),
        Load("bulk_both", Kind.BULK, 1, Way.BOTH, is_short=True),
        Load("bulk_16", Kind.BULK, 16, is_short=True),
        Load("echo", Kind.ECHO, 0, is_short=True),
        Load("body_there", Kind.BODY, 1),
        Load("body_back", Kind.BODY, 1, Way.BACK),
        Load("calls_32", Kind.CALLS, 32),
        Load("paced", Kind.PACED, 32),
        *(Load(f"beside_{n}", Kind.ECHO, n, is_short=True) for n in STREAM_COUNTS),
        *(Load(f"beside_back_{n}", Kind.ECHO, n, Way.BACK, is_short=True) for n in STREAM_COUNTS),
    )
}


def _spine(
    load: str, peers: Collection[str], *, route: str = LINK, prefix: str = "", is_main: bool = False
) -> Case:
    """Return a case of our program on *route* beside those of *peers* that take the load."""
    has_bytes = LOADS[load].kind in (Kind.BULK, Kind.ECHO)
    rivals = [peer for peer in peers if not (has_bytes and peer in HTTP_ONLY)]
    routes = {OURS: route, **{peer: peer for peer in rivals}}
    return Case(prefix + load, load, routes, tuple((OURS, peer) for peer in rivals), is_main)


def _beside(load: str) -> Case:
    """Return a case of an echo beside bulk streams, of ours with and without a broker."""
    own = {OURS: LINK, OURS_BROKER: "broker", "direct": "direct"}
    routes = own | {peer: peer for peer in BESIDE_PEERS}
    ratios = [(name, peer) for peer in BESIDE_PEERS for name in (OURS, OURS_BROKER)]
    return Case(load, load, routes, tuple(ratios))


def _alike(load: str, subjects: Collection[str], *, is_main: bool = False) -> Case:
    """Return a case of subjects that are ours, each a route, compared with the first of them."""
    base, *others = subjects
    routes = {name: name for name in subjects}
    return Case(load, load, routes, tuple((name, base) for name in others), is_main)


SPINE_CASES: Final = (
    _spine("rps_1", RIVALS, is_main=True),
    _spine("rps_8", RIVALS),
    _spine("rps_32", ALL_PEERS, is_main=True),
    _spine("rps_128", RIVALS, is_main=True),
    _spine("rps_1024", RIVALS),
    _spine("new_conns", ALL_PEERS, is_main=True),
    _spine("echo", RIVALS),
    _spine("bulk", ALL_PEERS, is_main=True),
    *(_spine(load, RIVALS) for load in ("bulk_back", "bulk_both", "bulk_16")),
    _spine("bulk", ("openssh_l",), route="wss", prefix="wss_"),
    *(
        _spine(load, (LINK, *RIVALS), route="broker", prefix="broker_", is_main=is_main)
        for load, is_main in (
            ("rps_32", True),
            ("rps_128", False),
            ("rps_1024", False),
            ("new_conns", False),
            ("echo", False),
            ("bulk", True),
            ("bulk_back", False),
            ("bulk_16", False),
        )
    ),
    *(_spine(load, ONE_HOP, route="pass", prefix="pass_") for load in ("rps_32", "bulk")),
)

CARRIER_CASES: Final = (
    _alike("rps_32", CARRIERS, is_main=True),
    _alike("new_conns", CARRIERS),
    _alike("bulk", CARRIERS, is_main=True),
    _alike("bulk_back", CARRIERS),
)

BESIDE_CASES: Final = tuple(_beside(load.name) for load in LOADS.values() if load.is_beside)

SESSION_CASES: Final = tuple(_alike(load, SESSION_COUNTS) for load in ("rps_128", "bulk_16"))


def _http(load: str, peers: Collection[str], *own: str, is_main: bool = False) -> Case:
    """Return a case of our sidecar with a rule, and of *own* others of ours, beside *peers*."""
    subjects = (RULES, *own, *peers, DIRECT)
    ratios = [(RULES, name) for name in (*peers, *own) if name != SPLICE]
    if SPLICE in own:
        ratios += [(PASS, SPLICE), (PASS, "haproxy_http")]
    return Case(load, load, {name: name for name in subjects}, tuple(ratios), is_main)


HTTP_CASES: Final = (
    _http("rps_32", HTTP_PEERS, PASS, SPLICE, is_main=True),
    _http("rps_128", HTTP_PEERS, PASS, SPLICE),
    _http("body_back", HTTP_IN_C, PASS, is_main=True),
    _http("body_there", HTTP_IN_C, PASS),
    _http("calls_32", (GRPC_PROXY, *HTTP_IN_C), is_main=True),
    _http("paced", HTTP_IN_C, PASS),
)


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
