"""Medians, ratios and verdicts."""

from __future__ import annotations

import pytest

from benchmarks.cases import CARRIER_CASES, SPINE_CASES
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stats import Summary, Target, Verdict, ratios_of, summarise, verdicts_of

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
    verdicts = verdicts_of({"pass_rps_32": {"ours/haproxy": 0.8}}, SCENARIOS[0].targets, cases)
    assert [(v.target.peer, v.reached) for v in verdicts] == [("haproxy", 0.8)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_targets_name_ratios_that_are_measured(scenario: Scenario) -> None:
    ratios = {case.name: case.ratios for case in scenario.cases}
    assert all((t.subject, t.peer) in ratios[t.case] for t in scenario.targets)
