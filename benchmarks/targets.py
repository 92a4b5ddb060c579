"""What has to be reached (no I/O): one table for each scenario.

A line names the case, the peer, and the factor: what our figure must be, as a multiple of the
peer's, at least, or at most where it is a latency or a cost.  `stats.py` judges.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.cases import (
    BASE_CARRIER,
    BESIDE_CASES,
    GRPC_PROXY,
    LINK,
    OURS,
    PASS,
    RULES,
    SPLICE,
)
from benchmarks.stats import Target

__all__ = ["AHEAD_OF", "BESIDE_TARGETS", "CARRIER_TARGETS", "HTTP_TARGETS", "SPINE_TARGETS"]

MULTIPLEXERS: Final = ("yamux", "smux")

AHEAD_OF: Final = ("v2ray", "singbox", "openssh_r", "snitun", "asyncssh")
"""Tunnels that we are to be ahead of in everything that all peers are measured in."""

_at_most = partial(Target, is_at_most=True)

SPINE_TARGETS: Final = (
    *(
        Target(case, peer, ratio)
        for peer in MULTIPLEXERS
        for case, ratio in (
            ("rps_32", 2.0),
            ("rps_128", 1.6),
            ("rps_1024", 1.5),
            ("bulk", 2.0),
            ("new_conns", 1.5),
        )
    ),
    *(_at_most("rps_32", peer, 0.5, metric="p99_us") for peer in MULTIPLEXERS),
    *(_at_most("rps_1", peer, 1.0, metric="p50_us") for peer in MULTIPLEXERS),
    Target("rps_32", "haproxy", 0.8),
    Target("rps_128", "haproxy", 0.8),
    Target("bulk", "haproxy", 1.0),
    Target("new_conns", "haproxy", 0.7),
    Target("pass_rps_32", "haproxy", 0.7),
    *(Target(case, peer, 1.0) for peer in AHEAD_OF for case in ("rps_32", "new_conns", "bulk")),
    *(_at_most("rps_32", peer, 1.0, metric="p99_us") for peer in AHEAD_OF),
    Target("rps_32", "envoy", 1.2),
    # Ours is a WebSocket in TLS and masks; theirs has no HTTP around it.
    Target("wss_bulk", "openssh_l", 1.5),
    *(Target(f"broker_rps_{n}", LINK, 0.75) for n in (32, 128, 1024)),
    *(Target(f"broker_{load}", LINK, 0.5) for load in ("bulk", "bulk_back", "bulk_16")),
    # What a request costs grows no faster than the number of connections that make them.
    _at_most("rps_1024", OURS, 1.1, metric="cpu_us", base_case="rps_128"),
)

# A WebSocket masks what goes from the client to the server: `bulk`, not `bulk_back`.  There is no
# target for `wss`, which pays for both, nor for `unix`.
CARRIER_TARGETS: Final = (
    Target("rps_32", BASE_CARRIER, 0.65, "tls"),
    Target("rps_32", BASE_CARRIER, 0.9, "ws"),
    Target("bulk", BASE_CARRIER, 0.5, "tls"),
    Target("bulk", BASE_CARRIER, 0.65, "ws"),
    Target("bulk_back", BASE_CARRIER, 0.5, "tls"),
    Target("bulk_back", BASE_CARRIER, 0.65, "ws"),
)

HTTP_TARGETS: Final = (
    *(
        Target(case, peer, ratio, RULES)
        for peer, ratio in (("haproxy_http", 0.25), ("mitmproxy", 3.0), ("hypercorn", 2.0))
        for case in ("rps_32", "rps_128")
    ),
    # A port whose rules look at no request is not slowed by what it could be asked.
    *(Target(case, SPLICE, 0.95, PASS) for case in ("rps_32", "rps_128")),
    *(Target(case, "haproxy_http", 0.7, RULES) for case in ("body_back", "body_there")),
    Target("calls_32", GRPC_PROXY, 1.5, RULES),
)

# The figure of these cases is the 99th percentile of the echo.
BESIDE_TARGETS: Final = tuple(
    _at_most(case.name, "yamux", 0.5, rivals=("openssh_l", "openssh_r")) for case in BESIDE_CASES
)
