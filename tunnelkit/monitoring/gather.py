"""The numbers of a program, out of what its status says (no I/O but `process_metrics`)."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tunnelkit._version import __version__

from .metrics import Metric

__all__ = ["metrics_of", "process_metrics"]

_WAYS: Final = ("local", "peer", "branch", "refuse")
"""Where a connection or a request can go; whatever else a port counts is a failure."""


def metrics_of(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield the numbers of a program whose method ``status`` has answered *status*."""
    build = Metric("tunnelkit_build_info", "gauge", "Which program this is.")
    build.add(1, program=str(status.get("program", "")), version=__version__)
    yield build
    yield from _of_links(status.get("links", []))
    yield from _of_sessions(status.get("sessions", []))
    yield from _of_ports(status.get("ports", []))
    yield from _of_audit(status.get("audit") or {})
    yield from _of_gateway(status.get("gateway") or {})
    yield from _of_broker(status.get("broker", {}))
    expiry = status.get("token_expires")
    if expiry is not None:
        text = "When the token of this program ends, Unix seconds."
        yield _single("tunnelkit_token_expiry_timestamp_seconds", "gauge", text, expiry)


def _of_links(links: list[dict[str, Any]]) -> Iterator[Metric]:
    found = Metric("tunnelkit_links", "gauge", "Links that there are now, by state and health.")
    for (state, health), count in Counter((one["state"], one["health"]) for one in links).items():
        found.add(count, state=state, health=health)
    if not links:
        found.add(0, state="up", health="up")
    yield found
    trips = [one["round_trip_ms"] for one in links if one["round_trip_ms"] is not None]
    if trips:
        text = "Longest round trip among the links, seconds."
        yield _single("tunnelkit_link_round_trip_max_seconds", "gauge", text, max(trips) / 1000)


def _of_sessions(sessions: list[dict[str, Any]]) -> Iterator[Metric]:
    found = Metric("tunnelkit_sessions", "gauge", "Sessions that there are now, by state.")
    for state, count in Counter(one["state"] for one in sessions).items():
        found.add(count, state=state)
    yield found
    if sessions:
        for name, key, text in (
            ("tunnelkit_streams", "streams", "Streams of all sessions."),
            ("tunnelkit_suspect_sessions", "is_suspect", "Sessions whose link may be lost."),
            (
                "tunnelkit_unacknowledged_bytes",
                "unacknowledged_bytes",
                "What sessions keep to send it again, bytes.",
            ),
        ):
            yield _single(name, "gauge", text, sum(int(one[key]) for one in sessions))


def _of_ports(ports: list[dict[str, Any]]) -> Iterator[Metric]:
    opened = Metric("tunnelkit_port_connections", "gauge", "Connections of clients, by port.")
    rules = Metric("tunnelkit_port_rules", "gauge", "Rules, by port.")
    routed = Metric(
        "tunnelkit_port_routed_total",
        "counter",
        "Connections, or requests where they are read, by port and by where they went.",
    )
    failures = Metric(
        "tunnelkit_port_failures_total",
        "counter",
        "What did not go as it should, by port: target-failed, fell-back.",
    )
    for port in ports:
        opened.add(port["open"], port=port["name"])
        rules.add(port["rules"], port=port["name"])
        counts = dict(port["counts"])
        for way in _WAYS:
            routed.add(counts.pop(way, 0), port=port["name"], way=way)
        for kind in sorted({"target-failed", "fell-back", *counts}):
            failures.add(counts.get(kind, 0), port=port["name"], kind=kind)
    yield from (opened, rules, routed, failures)


def _of_audit(audit: Mapping[str, Any]) -> Iterator[Metric]:
    if not audit:
        return
    arrived = Metric(
        "tunnelkit_audit_arrived_total",
        "counter",
        "Requests that came into the pod, by port and by the ids that they carried.",
    )
    for one in audit["arrived"]:
        arrived.add(one["requests"], port=one["port"], carried=one["carried"])
    left = Metric(
        "tunnelkit_audit_left_total",
        "counter",
        "Requests that left the pod, by port, by the kind of id, and by what became of it; dropped "
        "and changed are those that the workload does not pass on.",
    )
    for one in audit["left"]:
        left.add(one["requests"], port=one["port"], id=one["what"], fate=one["fate"])
    yield from (arrived, left)


def _of_gateway(gateway: Mapping[str, Any]) -> Iterator[Metric]:
    if not gateway:
        return
    yield _single(
        "tunnelkit_gateway_connections", "gauge", "Connections of clients.", gateway["open"]
    )
    found = Metric(
        "tunnelkit_gateway_requests_total",
        "counter",
        "Requests by the part that they were for; those refused or failed, by status.",
    )
    for kind, count in gateway["counts"].items():
        found.add(count, kind=kind)
    yield found


def _of_broker(broker: Mapping[str, Any]) -> Iterator[Metric]:
    if not broker:
        return
    sessions = Metric("tunnelkit_broker_sessions", "gauge", "Sessions, by what they wait for.")
    sessions.add(broker["sessions_joined"], state="joined")
    sessions.add(broker["sessions_waiting"], state="waiting")
    yield sessions
    text = "What sessions may queue here before they are slowed, bytes."
    yield _single("tunnelkit_broker_free_budget_bytes", "gauge", text, broker["free_budget_bytes"])
    text = "Links that were closed because they took too little."
    yield _single("tunnelkit_broker_overruns_total", "counter", text, broker["overruns"])


def process_metrics() -> Iterator[Metric]:
    """Yield what every exporter says about its process, by the usual names."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    text = "User and system time spent, seconds."
    spent = used.ru_utime + used.ru_stime
    yield _single("process_cpu_seconds_total", "counter", text, spent)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        opened = len(os.listdir("/proc/self/fd"))
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return  # no Linux: Prometheus does without
    text = "Resident memory, bytes."
    resident = pages * resource.getpagesize()
    yield _single("process_resident_memory_bytes", "gauge", text, resident)
    yield _single("process_open_fds", "gauge", "Open file descriptors.", opened)
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    begun = booted + ticks / os.sysconf("SC_CLK_TCK")
    text = "When the process began, Unix seconds."
    yield _single("process_start_time_seconds", "gauge", text, begun)


def _single(name: str, kind: Any, text: str, value: float) -> Metric:
    return Metric(name, kind, text, [({}, value)])
