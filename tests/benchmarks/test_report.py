"""The report in words and in JSON."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.machine import first_version
from benchmarks.report import (
    Report,
    format_figure,
    format_milliseconds,
    format_verdict,
)
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stats import Summary, Target, Verdict

TARGET = Target("bulk", "yamux", 1.5)


SPINE, CARRIERS = SCENARIOS[:2]
CARRIER_FIGURES = (("tcp", 10.0), ("tls", 4.0), ("ws", 7.0), ("wss", 5.0))


def report() -> Report:
    figures = {"ours": Summary("Gbit/s", (12.0, 14.0)), "yamux": Summary("Gbit/s", (5.0, 5.0))}
    return made(SPINE, figures)


def carriers_report() -> Report:
    return made(CARRIERS, {name: Summary("Gbit/s", (figure,)) for name, figure in CARRIER_FIGURES})


def made(scenario: Scenario, figures: dict[str, Summary]) -> Report:
    cases, skipped = scenario.cases_named(["bulk"]), {"haproxy": "absent [/etc]"}
    return Report(
        scenario=scenario,
        machine={"cpu": "a"},
        settings={"rounds": 2},
        cases=cases,
        results={"bulk": figures},
        skipped=skipped,
    )


def printed(what: Report) -> str:
    output = io.StringIO()
    what.show(Console(file=output, width=200))
    return output.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [(163049.2, "163 k"), (45231, "45.2 k"), (6063, "6.06 k"), (999, "999"), (5.463, "5.46")],
)
def test_figure_has_three_digits(value: float, text: str) -> None:
    assert format_figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(1534.0, "1.53 s"), (0.8214, "0.821 ms")])
def test_long_times_are_shown_in_seconds(value: float, text: str) -> None:
    assert format_milliseconds(value) == text


def test_verdict_met_says_so() -> None:
    assert "target 1.5: met" in format_verdict(Verdict(TARGET, 1.6))


def test_verdict_missed_tells_by_how_much() -> None:
    assert "short by 20%" in format_verdict(Verdict(TARGET, 1.2))


def test_verdict_of_at_most_says_so() -> None:
    target = Target("bulk", "yamux", 0.5, is_at_most=True)
    assert "target at most 0.5: over by 50%" in format_verdict(Verdict(target, 0.75))


def test_verdict_without_a_figure_says_so() -> None:
    assert "not measured" in format_verdict(Verdict(TARGET, None))


def test_json_holds_median_unit_and_rounds() -> None:
    results = json.loads(json.dumps(report().to_json()))["results"]
    assert results["bulk"]["ours"] == {"median": 13.0, "unit": "Gbit/s", "rounds": [12.0, 14.0]}


def test_json_holds_the_ratios() -> None:
    assert report().to_json()["ratios"] == {"bulk": {"ours/yamux": 2.6}}


def test_json_tells_which_targets_are_not_measured() -> None:
    targets = json.loads(json.dumps(report().to_json()))["targets"]
    met = {row["ratio"]: row["met"] for row in targets}
    assert (met["ours/yamux"], met["ours/haproxy"]) == (True, None)


def test_printed_report_sets_the_target_beside_the_ratio() -> None:
    assert "ours/yamux = 2.60  target 2: met" in printed(report())


def test_printed_report_has_a_ratio_for_every_carrier() -> None:
    text = printed(carriers_report())
    assert "tls/tcp = 0.40  target 0.5: short by 20%" in text
    assert "ws/tcp = 0.70  target 0.65: met" in text
    assert "wss/tcp = 0.50" in text


def test_printed_report_leaves_out_what_was_not_measured() -> None:
    assert "unix/tcp" not in printed(carriers_report())


def test_printed_report_tells_what_a_request_cost() -> None:
    figure = Summary("requests/s", (9000.0,), (("cpu_us", 41.25), ("p50_us", 700.0)))
    text = printed(made(SPINE, {"ours": figure}))
    assert "p50 700 µs" in text
    assert "cpu 41.2 µs" in text


def test_json_names_the_scenario() -> None:
    assert carriers_report().to_json()["scenario"] == "carriers"


def test_printed_report_names_what_was_skipped() -> None:
    assert "not measured haproxy: absent [/etc]" in printed(report())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("envoy  version: 9e558093/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
        ("go version go1.19.8 linux/amd64", "1.19.8"),
        ("no number", ""),
    ],
)
def test_version_is_found_in_what_a_tool_prints(text: str, version: str) -> None:
    assert first_version(text) == version
