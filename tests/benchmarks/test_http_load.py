"""The loads of HTTP that are ours: bodies, a set pace, and calls of gRPC."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.cases import LOADS, PACED_RATE, RULES, SPLICE
from benchmarks.http_load import build_http_load
from benchmarks.load import Address, measure
from benchmarks.peers import HOST, start_targets
from benchmarks.processes import BenchmarkError, open_fleet, pick_ports, run_tool
from benchmarks.programs import make_credentials, start_route


@pytest.mark.needs_program("go")
@pytest.mark.parametrize("way", ["there", "back"])
async def test_body_is_counted_where_it_arrives(way: str, tmp_path: Path) -> None:
    program = await build_http_load(tmp_path)
    address = Address(HOST, pick_ports(1)[0])
    async with open_fleet(tmp_path) as fleet:
        command = [str(program), "target", str(address)]
        await fleet.start("bodies", command, is_ready=lambda line: line == "ready")
        move = [str(program), "body", str(address), way, "1000001"]
        assert '"bytes":1000001,' in await run_tool(move, timeout_seconds=10)


@pytest.mark.needs_program("go")
async def test_requests_at_a_pace_are_as_many_as_were_due(tmp_path: Path) -> None:
    program = await build_http_load(tmp_path)
    address = Address(HOST, pick_ports(1)[0])
    async with open_fleet(tmp_path) as fleet:
        command = [str(program), "target", str(address)]
        await fleet.start("bodies", command, is_ready=lambda line: line == "ready")
        press = [str(program), "pace", str(address), "4", str(PACED_RATE), "1"]
        assert f'"requests":{PACED_RATE},' in await run_tool(press, timeout_seconds=15)


@pytest.mark.needs_program("go", "nginx")
@pytest.mark.parametrize("load", ["body_back", "paced"])
async def test_answer_that_is_no_success_fails_the_measurement(load: str, tmp_path: Path) -> None:
    await build_http_load(tmp_path)
    async with open_fleet(tmp_path) as fleet:
        targets = await start_targets(fleet, [], bulk=False)
        with pytest.raises(BenchmarkError, match="503"):
            await measure(LOADS[load], targets.decoy.web, 1, tmp_path)


@pytest.mark.needs_program("nginx")
async def test_calls_are_answered_by_the_target_and_counted(tmp_path: Path) -> None:
    if find_spec("grpc") is None:
        pytest.skip("grpcio is not installed")
    async with open_fleet(tmp_path) as fleet:
        targets = await start_targets(fleet, ["direct"], bulk=False, calls=True)
        door = targets.behind["direct"].calls
        assert door is not None
        sample = await measure(LOADS["calls_32"], door, 1, tmp_path)
        assert sample.value > 0
        assert sample.extras["p99_us"] >= sample.extras["p50_us"] > 0


@pytest.mark.needs_program("go", "nginx")
@pytest.mark.parametrize("route", [RULES, SPLICE])
async def test_sidecar_carries_bodies_and_calls(route: str, tmp_path: Path) -> None:
    if find_spec("grpc") is None:
        pytest.skip("grpcio is not installed")
    program = await build_http_load(tmp_path)
    async with open_fleet(tmp_path) as fleet:
        targets = await start_targets(fleet, [route], bulk=False, bodies=program, calls=True)
        keys, behind = await make_credentials(tmp_path), targets.behind[route]
        doors = await start_route(fleet, route, keys, behind, targets.decoy)
        assert doors.body is not None
        assert doors.calls is not None
        move = [str(program), "body", str(doors.body), "there", "1000001"]
        assert '"bytes":1000001,' in await run_tool(move, timeout_seconds=10)
        assert (await measure(LOADS["calls_32"], doors.calls, 1, tmp_path)).value > 0
