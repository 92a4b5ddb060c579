"""Results files are found, read and joined, be they of one scenario or of all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.processes import BenchmarkError
from benchmarks.records import (
    RESULTS,
    figures_of,
    free_name,
    joined,
    newest,
    read_record,
    record_of,
    write_json_file,
)

SPINE = {
    "scenario": "spine",
    "machine": {"cpu": "a"},
    "results": {"bulk": {"ours": {"median": 2.0, "unit": "Gbit/s", "rounds": [1, 3], "p50_us": 7}}},
}
IDLE = {"scenario": "idle", "machine": {"cpu": "a", "go": ""}, "results": {}}
FULL = {"date": "2026-11-21T10:00:00+00:00", "machine": {}, "scenarios": {"spine": SPINE}}


def test_file_of_one_scenario_is_a_record_of_it() -> None:
    record = record_of(SPINE, "2026-11-20-spine.json")
    assert (list(record.scenarios), record.date) == (["spine"], "2026-11-20")
    assert record.results("spine") == SPINE["results"]


def test_file_of_everything_tells_its_day() -> None:
    assert record_of(FULL, "x.json").date == "2026-11-21"


def test_scenario_that_was_stopped_is_incomplete() -> None:
    record = record_of({**SPINE, "incomplete": True}, "x.json")
    assert list(record.incomplete) == ["spine"]


def test_file_of_everything_names_what_did_not_run() -> None:
    document = {**FULL, "incomplete": ["spine", "idle"]}
    assert list(record_of(document, "x.json").incomplete) == ["spine", "idle"]


def test_results_of_a_scenario_that_was_not_run_are_empty() -> None:
    assert record_of(FULL, "x.json").results("paths") == {}


@pytest.mark.parametrize("document", [[], {}, {"scenario": "spine"}, {"python": "3.11"}])
def test_what_no_scenario_wrote_is_refused(document: object) -> None:
    with pytest.raises(BenchmarkError, match="x.json is no results file"):
        record_of(document, "x.json")


@pytest.mark.parametrize("text", ["", "{", "[server]\n"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match="is no JSON"):
        read_record(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="a.json cannot be read: No such file"):
        read_record(tmp_path / "a.json")


def test_joined_record_has_all_scenarios_and_names_all_files() -> None:
    record = joined([record_of(SPINE, "2026-11-20-a.json"), record_of(IDLE, "2026-11-21-b.json")])
    assert list(record.scenarios) == ["spine", "idle"]
    assert list(record.sources) == ["2026-11-20-a.json", "2026-11-21-b.json"]
    assert record.date == "2026-11-21"


def test_joined_record_forgets_a_stop_that_a_later_file_makes_good() -> None:
    stopped = record_of({**SPINE, "incomplete": True}, "a.json")
    assert list(joined([stopped, record_of(SPINE, "b.json")]).incomplete) == []


def test_joined_machine_keeps_a_version_that_a_later_file_lacks() -> None:
    first = record_of({**IDLE, "machine": {"go": "1.19"}}, "a.json")
    assert joined([first, record_of(IDLE, "b.json")]).machine["go"] == "1.19"


def test_second_run_of_a_day_gets_a_name_of_its_own() -> None:
    taken = ["2026-11-20.json", "2026-11-20-2.json"]
    names = [free_name("2026-11-20", taken[:count]) for count in range(3)]
    assert names == ["2026-11-20.json", "2026-11-20-2.json", "2026-11-20-3.json"]


def test_newest_is_the_last_run_of_the_last_day() -> None:
    names = ["2026-11-20-10.json", "2026-11-20-9.json", "2026-11-19.json", "2026-11-21-spine.json"]
    assert newest(names) == "2026-11-20-10.json"


def test_files_of_one_scenario_are_never_the_newest() -> None:
    assert newest(["2026-11-20-spine.json"]) is None


def test_figure_keeps_unit_rounds_and_extras() -> None:
    figure = figures_of(SPINE["results"])["bulk", "ours"]  # type: ignore[arg-type] # a test's JSON
    assert (figure.unit, figure.rounds, figure.extras) == ("Gbit/s", (1, 3), (("p50_us", 7),))


def test_samples_that_name_numbers_are_a_figure_each() -> None:
    rounds = [{"count": 5, "bytes_each": 10.0}, {"count": 5, "bytes_each": 30.0}]
    figures = figures_of({"stream": {"met": True, "rounds": rounds}})
    assert list(figures) == [("stream", "bytes_each")]
    assert figures["stream", "bytes_each"].median == 20.0


def test_figures_are_found_at_any_depth() -> None:
    assert list(figures_of({"a": {"b": {"c": {"rounds": [1]}}}})) == [("a", "b", "c")]


def test_what_has_no_round_is_no_figure() -> None:
    assert figures_of({"a": {"rounds": []}, "b": {"rounds": 5}}) == {}


def test_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_file({"a": 1}, path)
    write_json_file({"a": 2}, path)
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_committed_results_have_figures(path: Path) -> None:
    record = read_record(path)
    assert record.date
    measured = [name for name in record.scenarios if name != "profile"]  # which has shares
    assert all(figures_of(record.results(name)) for name in measured)
