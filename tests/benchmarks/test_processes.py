"""Children start when they say so, and never outlive the fleet."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from benchmarks.processes import (
    BenchmarkError,
    family_of,
    first_outgoing_port,
    open_fleet,
    parse_cpu_ticks,
    parse_parent,
    pick_ports,
    run_tool,
)

SLEEP = "import time; time.sleep(60)"
SAY_READY = f"print('up', flush=True); {SLEEP}"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_start_returns_at_the_ready_line(tmp_path: Path) -> None:
    async with open_fleet(tmp_path) as fleet:
        code = f"print('noise'); {SAY_READY}"
        child = await fleet.start("child", python(code), is_ready=lambda line: line == "up")
        assert child.ready_line == "up"


async def test_fleet_ends_its_children_when_the_body_fails(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_fleet(tmp_path) as fleet:
            child = await fleet.start("child", python(SAY_READY), is_ready=bool)
            raise ValueError("the body failed")
    assert caught.group_contains(ValueError)
    assert not is_running(child.process.pid)


async def test_fleet_ends_its_children_when_cancelled(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_fleet(tmp_path) as fleet:
            child = await fleet.start("child", python(SAY_READY), is_ready=bool)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert not is_running(child.process.pid)


async def test_start_quotes_the_log_of_a_child_that_fails(tmp_path: Path) -> None:
    code = "import sys; sys.exit('port 80 is taken')"
    async with open_fleet(tmp_path) as fleet:
        with pytest.raises(BenchmarkError, match="exit code 1: port 80 is taken"):
            await fleet.start("child", python(code), is_ready=bool)


async def test_start_of_a_missing_program_names_it(tmp_path: Path) -> None:
    async with open_fleet(tmp_path) as fleet:
        with pytest.raises(BenchmarkError, match="child could not be started"):
            await fleet.start("child", [str(tmp_path / "absent")])


async def test_run_tool_passes_on_what_a_failed_tool_said() -> None:
    with pytest.raises(BenchmarkError, match="exit code 1: bad flag"):
        await run_tool(python("import sys; sys.exit('bad flag')"), timeout_seconds=30)


async def test_run_tool_stops_a_tool_that_is_stuck() -> None:
    with pytest.raises(BenchmarkError, match="did not end"):
        await run_tool(python(SLEEP), timeout_seconds=0.05)


def test_picked_ports_are_distinct() -> None:
    assert len(set(pick_ports(20))) == 20


def test_picked_ports_are_below_the_outgoing_range() -> None:
    assert max(pick_ports(20)) < first_outgoing_port()


def test_cpu_ticks_are_found_behind_a_name_with_spaces_and_brackets() -> None:
    stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 9 8 7 6 120 35 3 2 20 0"
    assert parse_cpu_ticks(stat) == 155


def test_family_holds_what_a_child_started_at_any_depth() -> None:
    assert family_of([2], {2: 1, 3: 2, 4: 3, 5: 1}) == {2, 3, 4}


def test_parent_is_read_behind_a_name_with_brackets() -> None:
    assert parse_parent("7 (a) b) S 3 7 7 0") == 3
