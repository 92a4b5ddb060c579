"""The guard counts the same at each run, and goes red only for a count that is outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.guard import command
from benchmarks.guard.command import GUARD_FILE, run_guard
from benchmarks.guard.loads import LOADS, count
from benchmarks.guard.verdicts import Finding, State, compare, cost_warnings
from tunnelkit.pump.core import Pump

STORED = {"requests_1": {"steps": 10.0, "python_calls": 100.0}}
LOADS_BY_NAME = {load.name: load for load in LOADS}


def finding(now: float, stored: float = 10.0) -> Finding:
    return Finding("requests_1", "steps", stored, now)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """What the guard counts in this test; change it to change that."""
    counts = {load.name: {"steps": 10.0, "python_calls": 100.0} for load in LOADS}
    monkeypatch.setattr(command, "count", lambda load: counts[load.name])
    monkeypatch.setattr(command, "cost_ratio", lambda load: 3.0)
    return counts


# --- with the real counts ------------------------------------------------------------------


def test_the_data_plane_does_what_is_stored(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guard() == 0, capsys.readouterr().out


def test_counts_repeat() -> None:
    first, second = count(LOADS_BY_NAME["requests_32"]), count(LOADS_BY_NAME["requests_32"])
    assert second == pytest.approx(first, rel=0.02)


def test_a_flush_for_every_frame_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = json.loads(GUARD_FILE.read_text())["counts"]["requests_32"]

    def call_at_once(pump: Pump, call: Callable[[], None]) -> None:
        call()

    monkeypatch.setattr(Pump, "defer", call_at_once)
    now = count(LOADS_BY_NAME["requests_32"])
    red = {one.count: one.state for one in compare({"": stored}, {"": now}, same_python=True)}
    assert red["system_calls"] is State.MORE


# --- verdicts ------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [9.0, 9.5, 10.0, 11.0])
def test_a_count_within_its_tolerance_is_ok(now: float) -> None:
    assert finding(now).state is State.OK
    assert not finding(now).is_red


@pytest.mark.parametrize(("now", "state"), [(8.9, State.FEWER), (11.1, State.MORE)])
def test_a_count_outside_is_red(now: float, state: State) -> None:
    assert finding(now).state is state
    assert finding(now).is_red


def test_a_finding_names_the_count_and_the_change() -> None:
    text = "requests_1 steps: more, 10 → 15 (+50.0%, allowed ±10%)"
    assert str(finding(15)) == text


def test_a_stored_count_of_zero_must_stay_zero() -> None:
    assert finding(0, stored=0).state is State.OK
    assert finding(0.1, stored=0).is_red


def test_a_count_that_is_not_stored_is_red() -> None:
    (one,) = compare({}, {"bulk": {"steps": 1.0}}, same_python=True)
    assert (one.state, one.is_red) == (State.NEW, True)


def test_a_count_that_is_gone_is_red() -> None:
    (one,) = compare({"bulk": {"steps": 1.0}}, {}, same_python=True)
    assert (one.state, one.is_red) == (State.GONE, True)


def test_under_another_python_its_own_calls_only_warn() -> None:
    now = {"requests_1": {"steps": 20.0, "python_calls": 200.0}}
    findings = compare(STORED, now, same_python=False)
    assert {one.count: one.is_red for one in findings} == {"steps": True, "python_calls": False}


def test_a_cost_far_from_the_stored_one_is_told() -> None:
    assert cost_warnings({"bulk": 4.0, "old": 1.0}, {"bulk": 5.0, "new": 9.0}) == []
    (text,) = cost_warnings({"bulk": 4.0}, {"bulk": 6.0})
    assert text.startswith("bulk: costs 6 × the straight way, stored is 4 × (+50%)")


# --- the command ---------------------------------------------------------------------------


def test_update_stores_what_the_next_run_compares_with(
    counted: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    file = tmp_path / "guard.json"
    assert run_guard(file=file) == 1
    assert run_guard(update=True, file=file) == 0
    assert run_guard(file=file) == 0


def test_a_red_run_names_the_count_and_how_to_update(
    counted: dict[str, dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "guard.json"
    run_guard(update=True, file=file)
    counted["bulk"]["steps"] = 15
    assert run_guard(file=file) == 1
    out = capsys.readouterr().out
    assert "outside: bulk steps: more, 10 → 15 (+50.0%, allowed ±10%)" in out
    assert "python -m benchmarks guard --update" in out


def test_a_cost_only_warns(
    counted: dict[str, dict[str, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "guard.json"
    run_guard(update=True, file=file)
    monkeypatch.setattr(command, "cost_ratio", lambda load: 9.0)
    assert run_guard(file=file) == 0
    assert "warning: requests_32: costs 9 ×" in capsys.readouterr().out


def test_a_broken_file_is_one_clear_error(
    counted: dict[str, dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "guard.json"
    file.write_text("{")
    assert run_guard(file=file) == 1
    assert "guard.json is no JSON" in capsys.readouterr().out
