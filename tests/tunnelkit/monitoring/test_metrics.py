"""The numbers of a program, read by the parser of Prometheus's own Python client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.tunnelkit.pairs import open_pair, open_world
from tunnelkit.monitoring import Metric, metrics_of, write_metrics
from tunnelkit.monitoring.gather import process_metrics
from tunnelkit.status import endpoint_status

PORT = {
    "name": "orders",
    "open": 3,
    "rules": 2,
    "counts": {"local": 5, "peer": 2, "fell-back": 1},
}


def read(status: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """Return the samples of a status: name and label values, and the number."""
    return read_text(write_metrics(metrics_of(status)))


def read_text(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_a_port_has_done() -> None:
    found = read({"ports": [PORT]})
    assert found["tunnelkit_port_connections", "orders"] == 3
    assert found["tunnelkit_port_routed_total", "orders", "local"] == 5
    assert found["tunnelkit_port_routed_total", "orders", "branch"] == 0
    assert found["tunnelkit_port_failures_total", "orders", "fell-back"] == 1
    assert found["tunnelkit_port_failures_total", "orders", "target-failed"] == 0


def test_broker() -> None:
    status = {"sessions_joined": 4, "sessions_waiting": 1, "free_budget_bytes": 9, "overruns": 2}
    found = read({"program": "broker", "broker": status})
    assert found["tunnelkit_broker_sessions", "joined"] == 4
    assert found["tunnelkit_broker_overruns_total",] == 2


async def test_endpoint_without_the_name_of_anybody(autojump_clock: object) -> None:
    async with open_world() as world, open_pair(world) as pair:
        text = write_metrics(metrics_of(endpoint_status(pair.alice)))
        found = read_text(text)
    assert found["tunnelkit_links", "up", "up"] == 1
    assert found["tunnelkit_sessions", "open"] == 1
    assert "bob" not in text
    assert "alice" not in text


def test_process_has_the_usual_names() -> None:
    found = read_text(write_metrics(process_metrics()))
    assert found["process_resident_memory_bytes",] > 1_000_000
    assert 0 < found["process_start_time_seconds",] < 1e11
    assert found["process_open_fds",] > 2


def test_labels_and_numbers_are_read_as_they_were() -> None:
    metric = Metric("x_bytes", "gauge", "Text.")
    metric.add(2**60, name='a"b\\c\nd')
    metric.add(0.1, name="")
    found = read_text(write_metrics([metric]))
    assert found == {("x_bytes", 'a"b\\c\nd'): 2.0**60, ("x_bytes", ""): 0.1}
