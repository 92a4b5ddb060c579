"""Medians, ratios and verdicts."""

from __future__ import annotations

import pytest

from benchmarks.cases import CARRIER_CASES, SPINE_CASES
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stats import (
    Summary,
    Target,
    Verdict,
    ratios_of,
    reached_of,
    summarise,
    verdicts_of,
    with_added,
)

BULK = [case for case in SPINE_CASES if case.name == "bulk"]


def summary(*rounds: float) -> Summary:
    return Summary("requests/s", rounds)


def test_summary_median_of_even_rounds_is_the_mean_of_the_middle_two() -> None:
    assert summary(4, 1, 3, 2).median == 2.5


def test_summary_spread_is_slowest_and_fastest_round() -> None:
    assert summary(4, 1, 3).spread == (1, 4)


def test_summarise_reduces_extras_to_their_medians() -> None:
    made = summarise("Gbit/s", [1, 2, 3], [{"p50_us": 5}, {"p50_us": 9}, {"p50_us": 7}])
    assert dict(made.extras) == {"p50_us": 7}


def test_summarise_keeps_an_extra_that_only_some_rounds_have() -> None:
    assert dict(summarise("s", [1, 2], [{"errors": 4}, {}]).extras) == {"errors": 4}


def test_summarise_refuses_no_rounds() -> None:
    with pytest.raises(ValueError, match="no round"):
        summarise("s", [])


def latency(p99_us: float) -> Summary:
    return Summary("µs", (p99_us,), (("p99_us", p99_us),))


def test_added_latency_is_what_the_base_does_not_take_itself() -> None:
    made = with_added({"rules": latency(300), "direct": latency(100)}, "direct")
    assert dict(made["rules"].extras) == {"p99_us": 300, "added_p99_us": 200}
    assert dict(made["direct"].extras) == {"p99_us": 100}


def test_nothing_is_added_to_a_base_that_was_not_measured() -> None:
    figures = {"rules": latency(300)}
    assert with_added(figures, "direct") == figures


def test_ratios_divide_our_median_by_the_peer_median() -> None:
    results = {"bulk": {"ours": summary(6, 2, 4), "haproxy": summary(8), "yamux": summary(2)}}
    assert ratios_of(results, BULK) == {"bulk": {"ours/haproxy": 0.5, "ours/yamux": 2.0}}


def test_ratios_leave_out_a_case_without_our_figure() -> None:
    assert ratios_of({"bulk": {"haproxy": summary(8)}}, BULK) == {}


def test_ratios_leave_out_a_peer_that_moved_nothing() -> None:
    assert ratios_of({"bulk": {"ours": summary(8), "yamux": summary(0)}}, BULK) == {}


def test_ratios_of_carriers_are_over_tcp() -> None:
    results = {"rps_32": {"tcp": summary(8), "tls": summary(6), "ws": summary(4)}}
    assert ratios_of(results, CARRIER_CASES) == {"rps_32": {"tls/tcp": 0.75, "ws/tcp": 0.5}}


def test_verdict_is_met_at_exactly_the_target() -> None:
    assert Verdict(Target("bulk", "yamux", 1.5), 1.5).met is True


def test_verdict_shortfall_is_a_share_of_the_target() -> None:
    assert Verdict(Target("bulk", "yamux", 2.0), 1.5).shortfall == 0.25


def test_verdict_without_a_figure_is_neither_met_nor_missed() -> None:
    verdict = Verdict(Target("bulk", "yamux", 2.0), None)
    assert (verdict.met, verdict.shortfall) == (None, 0.0)


def test_verdicts_cover_only_the_cases_that_were_run() -> None:
    cases = [case for case in SPINE_CASES if case.name == "pass_rps_32"]
    results = {"pass_rps_32": {"ours": summary(8), "haproxy": summary(10)}}
    verdicts = verdicts_of(results, SCENARIOS[0].targets, cases)
    assert [(v.target.peer, v.reached) for v in verdicts] == [("haproxy", 0.8)]


def latencies(p99_us: float) -> Summary:
    return Summary("requests/s", (1000,), (("p99_us", p99_us),))


def test_target_of_a_latency_is_about_that_extra() -> None:
    target = Target("bulk", "yamux", 0.5, metric="p99_us", is_at_most=True)
    results = {"bulk": {"ours": latencies(200), "yamux": latencies(800)}}
    assert (reached_of(results, target), target.name) == (0.25, "p99_us ours/yamux")


def test_target_without_its_extra_is_not_measured() -> None:
    target = Target("bulk", "yamux", 0.5, metric="p99_us")
    assert reached_of({"bulk": {"ours": latencies(200), "yamux": summary(1)}}, target) is None


@pytest.mark.parametrize(("is_at_most", "reached"), [(True, 2.0), (False, 0.5)])
def test_best_of_several_peers_depends_on_the_direction(is_at_most: bool, reached: float) -> None:
    target = Target("bulk", "yamux", 1.0, is_at_most=is_at_most, rivals=("smux",))
    results = {"bulk": {"ours": summary(4), "yamux": summary(8), "smux": summary(2)}}
    assert reached_of(results, target) == reached


def test_best_of_several_peers_needs_them_all() -> None:
    target = Target("bulk", "yamux", 1.0, rivals=("smux",))
    assert reached_of({"bulk": {"ours": summary(4), "yamux": summary(8)}}, target) is None


def test_target_may_take_the_peer_from_another_case() -> None:
    target = Target("bulk", "ours", 1.1, base_case="bulk_16")
    results = {"bulk": {"ours": summary(6)}, "bulk_16": {"ours": summary(4)}}
    assert (reached_of(results, target), target.name) == (1.5, "ours/ours in bulk_16")


def test_verdict_of_at_most_is_met_at_exactly_the_target() -> None:
    assert Verdict(Target("bulk", "yamux", 0.5, is_at_most=True), 0.5).met is True


def test_verdict_of_at_most_tells_by_how_much_it_is_over() -> None:
    verdict = Verdict(Target("bulk", "yamux", 0.5, is_at_most=True), 0.75)
    assert (verdict.met, verdict.shortfall) == (False, 0.5)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_targets_name_subjects_that_are_measured(scenario: Scenario) -> None:
    measured = {case.name: case.routes for case in scenario.cases}
    for target in scenario.targets:
        assert target.subject in measured[target.case]
        assert measured[target.base_case or target.case].keys() >= set(target.peers)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_target_is_listed_twice(scenario: Scenario) -> None:
    names = [(target.case, target.name) for target in scenario.targets]
    assert len(set(names)) == len(names)
