"""What has to be reached (no I/O): one table for each scenario.

A line names the case, the peer, and the factor: what our figure must be, as a multiple of the
peer's, at least, or at most where it is a latency or a cost.  `stats.py` judges.
"""

from __future__ import annotations

from typing import Final

from benchmarks.cases import BASE_CARRIER
from benchmarks.stats import Target

__all__ = ["CARRIER_TARGETS", "SPINE_TARGETS"]

SPINE_TARGETS: Final = (
    Target("rps_32", "yamux", 1.8),
    Target("rps_32", "haproxy", 0.7),
    Target("rps_128", "yamux", 1.4),
    Target("rps_128", "haproxy", 0.65),
    Target("new_conns", "yamux", 1.2),
    Target("new_conns", "haproxy", 0.5),
    Target("bulk", "yamux", 1.5),
    Target("bulk", "haproxy", 0.9),
    Target("broker_rps_32", "yamux", 1.2),
    Target("broker_rps_128", "yamux", 1.2),
    Target("broker_new_conns", "yamux", 1.0),
    Target("broker_bulk", "yamux", 1.0),
    Target("pass_rps_32", "haproxy", 0.7),
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
