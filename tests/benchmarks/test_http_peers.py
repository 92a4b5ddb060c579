"""Peers that read requests: each carries them, or says what it misses."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.cases import LOADS
from benchmarks.load import Address, measure
from benchmarks.peers import HOST, Route, find_program, python_proxies, start_targets
from benchmarks.peers.envoy_http import proxy_settings
from benchmarks.peers.starters import STARTERS
from benchmarks.processes import BenchmarkError, open_fleet

WEB, CALLS = Address(HOST, 1), Address(HOST, 2)
DOORS = Route(Address(HOST, 3), calls=Address(HOST, 4))
NAMES = ("haproxy_http", "envoy_http", "mitmproxy", "hypercorn")


def skip_without(name: str) -> None:
    """Skip where a peer is not installed."""
    packages = {"hypercorn": ("hypercorn", "httpx2"), "grpc_proxy": ("grpc",)}.get(name, ())
    missing = [package for package in packages if find_spec(package) is None]
    programs = {"envoy_http": "envoy", "haproxy_http": "haproxy"}
    if name in programs and find_program(programs[name]) is None:
        missing.append(programs[name])
    if name == "mitmproxy" and not (python_proxies.MITMPROXY_FOLDER / ".installed").is_file():
        missing.append(name)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.needs_program("nginx", "wrk")
@pytest.mark.parametrize("name", NAMES)
async def test_peer_carries_requests(name: str, tmp_path: Path) -> None:
    skip_without(name)
    async with open_fleet(tmp_path) as fleet:
        targets = await start_targets(fleet, [name], bulk=False)
        doors = await STARTERS[name](fleet, targets.behind[name])  # waits for the target's body
        assert (await measure(LOADS["rps_32"], doors.web, 1, tmp_path)).value > 0


@pytest.mark.needs_program("nginx")
@pytest.mark.parametrize("name", ["haproxy_http", "envoy_http", "grpc_proxy"])
async def test_peer_carries_calls(name: str, tmp_path: Path) -> None:
    skip_without("grpc_proxy")  # the client
    skip_without(name)
    async with open_fleet(tmp_path) as fleet:
        targets = await start_targets(fleet, [name], bulk=False, calls=True)
        doors = await STARTERS[name](fleet, targets.behind[name])
        assert doors.calls not in (None, targets.behind[name].calls)
        assert doors.calls is not None
        assert (await measure(LOADS["calls_32"], doors.calls, 1, tmp_path)).value > 0


def test_every_door_of_envoy_speaks_what_its_target_does() -> None:
    settings = proxy_settings(DOORS, Route(WEB, calls=CALLS))["static_resources"]
    chains = [listener["filter_chains"][0]["filters"][0] for listener in settings["listeners"]]
    assert [chain["typed_config"]["codec_type"] for chain in chains] == ["HTTP1", "HTTP2"]
    is_http2 = ["typed_extension_protocol_options" in one for one in settings["clusters"]]
    assert is_http2 == [False, False, True, True]


def test_rule_of_envoy_looks_at_the_header_before_the_default() -> None:
    (listener,) = proxy_settings(Route(DOORS.web), Route(WEB))["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert [route["route"]["cluster"] for route in routes] == ["web_developer", "web"]
    assert "headers" in routes[0]["match"]


async def test_proxy_of_calls_needs_a_target_of_calls(tmp_path: Path) -> None:
    async with open_fleet(tmp_path) as fleet:
        with pytest.raises(BenchmarkError, match="this run makes none"):
            await STARTERS["grpc_proxy"](fleet, Route(WEB))


def test_mitmproxy_that_was_not_installed_to_the_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="make .bench/mitmproxy/.installed"):
        python_proxies.require_mitmproxy(tmp_path)
