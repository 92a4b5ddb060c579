"""Our own load: an echo alone, and beside bulk streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import LOADS
from benchmarks.load import Address, measure
from benchmarks.mixed_load import build_mixed_load
from benchmarks.peers import HOST
from benchmarks.processes import BenchmarkError, open_fleet, pick_ports


@pytest.mark.needs_program("go")
async def test_echo_is_measured_alone_and_beside_streams_of_both_ways(tmp_path: Path) -> None:
    program = await build_mixed_load(tmp_path)
    address = Address(HOST, pick_ports(1)[0])
    command = [str(program), "target", str(address)]
    async with open_fleet(tmp_path) as fleet:
        await fleet.start("mixed", command, is_ready=lambda line: line == "ready")
        alone = await measure(LOADS["echo"], address, 1, tmp_path)
        assert alone.value > 10
        for load in ("beside_10", "beside_back_10"):
            beside = await measure(LOADS[load], address, 1, tmp_path)
            assert beside.value >= beside.extras["p50_us"] > 0
            assert beside.extras["bulk_gbit_s"] > 0


@pytest.mark.needs_program("go")
async def test_echo_where_nobody_listens_fails_with_the_reason(tmp_path: Path) -> None:
    await build_mixed_load(tmp_path)
    address = Address(HOST, pick_ports(1)[0])
    with pytest.raises(BenchmarkError, match="connection refused"):
        await measure(LOADS["echo"], address, 1, tmp_path)


async def test_missing_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match="go is not installed"):
        await build_mixed_load(tmp_path)
