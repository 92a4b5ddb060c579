"""A run of everything: what it runs, what it keeps, and what it says is missing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.__main__ import main
from benchmarks.everything import (
    Everything,
    Job,
    Missing,
    Store,
    jobs_of,
    missing_of,
    run_everything,
    verdicts_in,
)
from benchmarks.progress import Overall, format_left

FLAGS = ("--quick", "--json", "--rounds")
COMMANDS = {
    "idle": FLAGS,
    "carriers": (*FLAGS, "--subjects"),
    "spine": (*FLAGS, "--subjects"),
    "guard": ("--update",),
    "compare": ("--json",),
    "news": FLAGS,
}


def test_scenarios_are_what_takes_quick_and_json_the_main_one_first() -> None:
    jobs = jobs_of(COMMANDS, quick=False)
    assert [job.name for job in jobs] == ["spine", "carriers", "idle", "news"]


def test_full_run_has_every_subject() -> None:
    arguments = {job.name: job.arguments for job in jobs_of(COMMANDS, quick=False)}
    assert (arguments["spine"], arguments["carriers"]) == (("--subjects", "all"), ())


def test_quick_run_takes_less_than_two_minutes() -> None:
    jobs = jobs_of(COMMANDS, quick=True)
    assert all(job.arguments[0] == "--quick" for job in jobs)
    assert sum(job.seconds for job in jobs) < 120


def test_quick_run_leaves_out_what_it_does_not_know() -> None:
    assert [job.name for job in jobs_of(COMMANDS, quick=True)] == ["spine", "carriers", "idle"]


def test_rounds_of_the_command_line_come_last() -> None:
    jobs = jobs_of(COMMANDS, quick=True, rounds=3)
    assert all(job.arguments[-2:] == ("--rounds", "3") for job in jobs)


# --- running ------------------------------------------------------------------------------------


Command = Callable[[Sequence[str]], int]


def found(name: str, **more: object) -> dict[str, object]:
    return {"scenario": name, "machine": {"cpu": "a"}, "results": {}, **more}


def command(outcomes: dict[str, object]) -> Command:
    """Return a command that writes figures, returns an exit code or raises, by the scenario."""

    def run(arguments: Sequence[str]) -> int:
        name, file = arguments[0], Path(arguments[-1])
        outcome = outcomes.get(name, 0)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, dict):
            file.write_text(json.dumps(outcome))
        if outcome == 0:
            file.write_text(json.dumps(found(name)))
        return outcome if isinstance(outcome, int) else 0

    return run


def everything(*names: str) -> Everything:
    jobs = [Job(name, (), 1.0) for name in names]
    return Everything(jobs, {"quick": True}, datetime(2026, 11, 20, tzinfo=UTC))


def ran(run: Everything, outcomes: dict[str, object], store: Store | None = None) -> int:
    return run_everything(run, command(outcomes), store, Console(file=io.StringIO()))


def test_all_scenarios_are_in_one_document() -> None:
    run = everything("spine", "idle")
    assert ran(run, {}) == 0
    document = run.to_json()
    assert document["machine"] == {"cpu": "a"}
    assert document["incomplete"] == []
    assert list(run.scenarios) == ["spine", "idle"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (1, "it wrote no figures; what it printed says why"),
        (SystemExit(2), "it does not take the arguments of a run of everything"),
        (ValueError("odd"), "it failed by a fault of its own: ValueError('odd')"),
    ],
)
def test_failing_scenario_loses_no_other(outcome: object, reason: str) -> None:
    run = everything("spine", "idle")
    assert ran(run, {"spine": outcome}) == 1
    assert run.scenarios["spine"]["failures"] == [reason]
    assert run.scenarios["idle"] == found("idle")
    assert run.incomplete == []


@pytest.mark.parametrize("outcome", [130, KeyboardInterrupt()])
def test_stopped_scenario_ends_the_run(outcome: object) -> None:
    run = everything("spine", "carriers", "idle")
    assert ran(run, {"carriers": outcome}) == 130
    assert run.incomplete == ["carriers", "idle"]
    assert list(run.scenarios) == ["spine", "carriers"]


def test_stopped_scenario_keeps_what_it_wrote(tmp_path: Path) -> None:
    def stop(arguments: Sequence[str]) -> int:
        Path(arguments[-1]).write_text(json.dumps(found("spine", incomplete=True)))
        return 143

    run, path = everything("spine", "idle"), tmp_path / "all.json"
    store = Store(path, tmp_path, "2026-11-20")
    assert run_everything(run, stop, store, Console(file=io.StringIO())) == 143
    document = json.loads(path.read_text())
    assert document["incomplete"] == ["spine", "idle"]
    assert document["scenarios"]["spine"]["machine"] == {"cpu": "a"}


def test_file_is_written_after_each_scenario(tmp_path: Path) -> None:
    path, seen = tmp_path / "all.json", []

    def look(arguments: Sequence[str]) -> int:
        seen.append(json.loads(path.read_text())["incomplete"] if path.exists() else None)
        return command({})(arguments)

    store = Store(path, tmp_path, "2026-11-20")
    run_everything(everything("spine", "idle"), look, store, Console(file=io.StringIO()))
    assert seen == [None, ["idle"]]


def test_second_run_of_a_day_overwrites_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        ran(everything("spine"), {}, Store(None, tmp_path, "2026-11-20"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["2026-11-20-2.json", "2026-11-20.json"]


# --- the end ------------------------------------------------------------------------------------


def test_missing_peer_is_named_once_for_all_scenarios() -> None:
    skipped = {"smux": "go is not installed"}
    scenarios = {name: found(name, skipped=skipped) for name in ("spine", "beside")}
    assert missing_of(scenarios, []) == [
        Missing("smux", "go is not installed", ("spine", "beside"))
    ]


def test_failures_and_notes_are_missing_too() -> None:
    scenarios = {"idle": found("idle", failures=["round 1: lost"], notes=["fewer links"])}
    missing = [(row.what, row.reason) for row in missing_of(scenarios, [])]
    assert missing == [("a note", "fewer links"), ("a measurement", "round 1: lost")]


def test_what_was_stopped_differs_from_what_did_not_run() -> None:
    missing = missing_of({"spine": found("spine")}, ["spine", "idle"])
    assert [(row.what, row.scenarios) for row in missing] == [
        ("the rest", ("spine",)),
        ("all of it", ("idle",)),
    ]


def test_targets_of_ratios_and_of_memory_are_counted() -> None:
    ratios = found("spine", targets=[{"met": True}, {"met": None}])
    results = {"a": {"target_bytes": 5, "met": False}, "b": {"target_bytes": None, "met": None}}
    memory = found("idle", results=results)
    assert verdicts_in({"spine": ratios, "idle": memory}) == [True, None, False]


# --- how far it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "passed", "left"),
    [(0.0, 20.0, 80 + 50), (0.05, 130.0, 50), (0.5, 40.0, 40 + 50), (1.0, 90.0, 50)],
)
def test_time_left_is_that_of_this_scenario_and_of_those_after(
    share: float, passed: float, left: float
) -> None:
    overall = Overall(1, 2, seconds=100.0, seconds_after=50.0)
    assert overall.seconds_left(share, passed) == pytest.approx(left)


@pytest.mark.parametrize(
    ("seconds", "text"), [(50.4, "about 50 s"), (119.6, "about 2 min"), (1500, "about 25 min")]
)
def test_time_left_is_said_as_one_says_it(seconds: float, text: str) -> None:
    assert format_left(seconds) == text


# --- the command line ---------------------------------------------------------------------------


def test_flags_before_a_scenario_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick", "spine"])
    assert "--quick before spine says nothing" in capsys.readouterr().err


def test_json_into_no_folder_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--json", "/nowhere/at/all.json"])
    assert "does not exist" in capsys.readouterr().err
