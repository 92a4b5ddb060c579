"""Which measurements a run needs, and in which order it takes them."""

from __future__ import annotations

import pytest

from benchmarks.cases import (
    BESIDE_CASES,
    CARRIER_CASES,
    CARRIERS,
    GRPC_PROXY,
    HTTP_CASES,
    HTTP_ONLY,
    HTTP_PEERS,
    LOADS,
    MORE_PEERS,
    PASS,
    PEERS,
    RIVALS,
    RULES,
    SESSION_CASES,
    SPINE_CASES,
    SPLICE,
    Measurement,
    Settings,
    known_subjects,
    needed_measurements,
    round_order,
    subjects_of,
)
from benchmarks.peers.starters import STARTERS
from benchmarks.scenarios import SCENARIOS, Scenario

SUBJECTS = ("ours", *PEERS)
BY_NAME = {case.name: case for case in SPINE_CASES}


def test_cases_are_those_that_the_readme_promises() -> None:
    requests = ["rps_1", "rps_8", "rps_32", "rps_128", "rps_1024", "new_conns", "echo"]
    bulk = ["bulk", "bulk_back", "bulk_both", "bulk_16", "wss_bulk"]
    broker = ["rps_32", "rps_128", "rps_1024", "new_conns", "echo", "bulk", "bulk_back", "bulk_16"]
    through = [f"broker_{load}" for load in broker]
    assert list(BY_NAME) == [*requests, *bulk, *through, "pass_rps_32", "pass_bulk"]


def test_route_of_ours_depends_on_the_case() -> None:
    routes = [BY_NAME[name].routes["ours"] for name in ("bulk", "broker_bulk", "wss_bulk")]
    assert routes == ["link", "broker", "wss"]


def test_broker_cases_are_compared_with_our_two_processes_first() -> None:
    broker = [case for name, case in BY_NAME.items() if name.startswith("broker_")]
    assert all(case.ratios[0] == ("ours", "link") for case in broker)
    assert all(case.routes["link"] == "link" for case in broker)


def test_route_of_a_peer_is_the_peer() -> None:
    assert BY_NAME["broker_bulk"].routes["yamux"] == "yamux"


def test_pass_case_is_not_compared_with_yamux() -> None:
    assert subjects_of(BY_NAME["pass_bulk"], SUBJECTS) == ["ours", "direct", "haproxy"]


def test_minor_axes_are_measured_for_the_rivals_only() -> None:
    for name in ("rps_8", "rps_1024", "echo", "bulk_back", "bulk_both", "bulk_16"):
        assert list(BY_NAME[name].routes) == ["ours", *RIVALS]


def test_pass_case_is_compared_with_every_peer_of_one_hop() -> None:
    peers = subjects_of(BY_NAME["pass_bulk"], MORE_PEERS)
    assert peers == ["haproxy_256k", "nginx_stream", "trio"]


def test_peer_that_carries_requests_only_is_left_out_of_bulk_cases() -> None:
    with_it = [case.name for case in SPINE_CASES if set(HTTP_ONLY) & set(case.routes)]
    assert with_it == ["rps_32", "new_conns"]


def test_known_subjects_of_the_spine_begin_with_ours() -> None:
    known = known_subjects(SPINE_CASES)
    assert known[: len(SUBJECTS)] == list(SUBJECTS)
    assert set(known) == {*SUBJECTS, *MORE_PEERS, "link"}


def test_plain_run_of_the_spine_leaves_the_extra_peers_out() -> None:
    assert SCENARIOS[0].subjects == [*SUBJECTS, "link"]


def test_every_peer_with_processes_has_a_starter() -> None:
    # Of the scenario `http`, and peers in no other.
    alone = {*HTTP_PEERS, GRPC_PROXY}
    assert {"direct", *STARTERS} - alone == {*PEERS, *MORE_PEERS}
    assert alone < {*known_subjects(HTTP_CASES)}


def test_carriers_are_measured_in_every_case_and_compared_with_tcp() -> None:
    assert all(list(case.routes) == list(CARRIERS) for case in CARRIER_CASES)
    assert CARRIER_CASES[0].ratios == tuple((name, "tcp") for name in CARRIERS[1:])


def test_bulk_is_measured_in_both_directions_of_a_carrier() -> None:
    loads = [LOADS[case.load] for case in CARRIER_CASES]
    assert [load.way for load in loads if load.kind == "bulk"] == ["there", "back"]


def test_echo_is_measured_beside_every_number_of_streams_both_ways() -> None:
    loads = [LOADS[case.load] for case in BESIDE_CASES]
    assert [(load.way, load.connections) for load in loads] == [
        (way, count) for way in ("there", "back") for count in (1, 10, 100)
    ]
    assert {load.unit for load in loads} == {"µs"}


def test_echo_beside_bulk_is_measured_for_ours_with_and_without_a_broker() -> None:
    routes = BESIDE_CASES[0].routes
    assert (routes["ours"], routes["ours_broker"]) == ("link", "broker")


def test_echo_beside_bulk_of_the_bare_machine_is_no_rival() -> None:
    assert "direct" in BESIDE_CASES[0].routes
    assert "direct" not in {peer for _, peer in BESIDE_CASES[0].ratios}


def test_sessions_are_compared_with_one_session() -> None:
    ratios = {case.ratios for case in SESSION_CASES}
    assert ratios == {(("sessions_10", "sessions_1"), ("sessions_100", "sessions_1"))}


def test_requests_meet_every_proxy_that_reads_them() -> None:
    for case in HTTP_CASES[:2]:
        assert {(RULES, peer) for peer in HTTP_PEERS} < {*case.ratios}
        assert (PASS, SPLICE) in case.ratios


def test_python_proxies_are_spared_bodies_and_a_pace_that_they_cannot_keep() -> None:
    with_them = [case.name for case in HTTP_CASES if {"mitmproxy", "hypercorn"} & set(case.routes)]
    assert with_them == ["rps_32", "rps_128"]


def test_proxy_of_calls_is_measured_under_calls_alone() -> None:
    with_it = [case.name for case in HTTP_CASES if GRPC_PROXY in case.routes]
    assert with_it == ["calls_32"]


def test_bodies_go_both_ways() -> None:
    loads = [LOADS[case.load] for case in HTTP_CASES]
    assert [load.way for load in loads if load.kind == "body"] == ["back", "there"]


def test_cases_named_without_names_are_all() -> None:
    assert SCENARIOS[0].cases_named([]) == list(SPINE_CASES)


def test_quick_run_takes_the_main_cases() -> None:
    names = [case.name for case in SCENARIOS[0].cases_named([], is_quick=True)]
    assert {"rps_32", "bulk", "broker_rps_32"} <= set(names)
    assert not {"rps_1024", "bulk_both"} & set(names)


def test_quick_run_takes_any_case_that_is_named() -> None:
    names = [case.name for case in SCENARIOS[0].cases_named(["bulk_both"], is_quick=True)]
    assert names == ["bulk_both"]


def test_needed_measurements_take_a_shared_peer_once() -> None:
    cases = [BY_NAME["rps_32"], BY_NAME["broker_rps_32"]]
    subjects = ["ours", "link", "haproxy"]
    routes = [m.route for m in needed_measurements(cases, subjects)["rps_32"]]
    assert routes == ["link", "haproxy", "broker"]


def test_needed_measurements_skip_subjects_not_asked_for() -> None:
    assert needed_measurements([BY_NAME["bulk"]], ["direct"]) == {
        "bulk": [Measurement("bulk", "direct")]
    }


def test_round_order_rotates_the_routes_of_each_load() -> None:
    needed = {"bulk": [Measurement("bulk", route) for route in ("a", "b", "c")]}
    orders = [[m.route for m in round_order(needed, index)] for index in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_round_order_of_every_round_holds_every_measurement() -> None:
    needed = needed_measurements(SPINE_CASES, SUBJECTS)
    everything = {m for routes in needed.values() for m in routes}
    assert all(set(round_order(needed, index)) == everything for index in range(6))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_quick_run_measures_for_less_than_its_promise(scenario: Scenario) -> None:
    cases = scenario.cases_named([], is_quick=True)
    needed = needed_measurements(cases, scenario.subjects)
    settings = Settings.quick()
    once = sum(len(group) * settings.seconds_of(LOADS[name]) for name, group in needed.items())
    promised = 60 if any(case.is_main for case in cases) else 100
    assert settings.rounds * once <= promised  # the rest is starting, warming up, checking


def test_rounds_of_the_command_line_win() -> None:
    assert (Settings.full(7).rounds, Settings.full().rounds) == (7, 5)


def test_new_connections_are_measured_for_shorter() -> None:
    settings = Settings.full()
    assert settings.seconds_of(LOADS["new_conns"]) < settings.seconds_of(LOADS["bulk"])
