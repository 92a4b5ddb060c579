"""When two runs agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.compare import Pair, exit_code, pairs_of, to_json
from benchmarks.records import RESULTS, Record, record_of
from benchmarks.stats import Summary


def pair(first: tuple[float, ...], second: tuple[float, ...]) -> Pair:
    return Pair("spine", ("bulk", "ours"), Summary("Gbit/s", first), Summary("Gbit/s", second))


def record(**figures: list[float]) -> Record:
    results = {"bulk": {name: {"unit": "s", "rounds": rounds} for name, rounds in figures.items()}}
    return record_of({"scenario": "spine", "results": results}, "a.json")


@pytest.mark.parametrize(
    ("first", "second", "agrees"),
    [
        ((10, 11, 12), (12, 13, 14), True),
        ((10, 11, 12), (13, 14, 15), False),
        ((10, 20), (12, 13), True),
        ((100,), (101.9,), True),
        ((1000, 1001), (1003, 1004), True),
        ((10, 11, 12), (14,), False),
        ((10, 11, 12), (11,), True),
        ((10,), (14,), None),
    ],
    ids=["touch", "apart", "inside", "same", "narrow", "one off", "one inside", "one each"],
)
def test_figures_agree_when_their_rounds_overlap(
    first: tuple[float, ...], second: tuple[float, ...], agrees: bool | None
) -> None:
    assert pair(first, second).agrees is agrees
    assert pair(second, first).agrees is agrees


def test_change_is_a_share_of_the_first_median() -> None:
    assert pair((8, 10, 12), (12, 15, 16)).change == pytest.approx(0.5)


def test_figure_of_one_file_only_is_listed_and_proves_nothing() -> None:
    pairs = pairs_of(record(ours=[1, 2], yamux=[3]), record(ours=[1, 2], smux=[4]))
    assert [(pair.names[1], pair.agrees) for pair in pairs] == [
        ("ours", True),
        ("yamux", None),
        ("smux", None),
    ]
    assert exit_code(pairs) == 0


def test_files_with_nothing_in_common_do_not_agree() -> None:
    assert exit_code(pairs_of(record(ours=[1]), record(yamux=[1]))) == 1


def test_json_tells_each_verdict() -> None:
    document = json.loads(json.dumps(to_json(pairs_of(record(ours=[1, 2]), record(ours=[5, 6])))))
    (figure,) = document["figures"]
    assert (document["agree"], figure["agrees"], figure["figure"]) == (
        False,
        False,
        ["bulk", "ours"],
    )


def test_file_agrees_with_itself(tmp_path: Path) -> None:
    file, out = str(RESULTS / "2026-11-20.json"), tmp_path / "out.json"
    assert main(["compare", file, file, "--json", str(out)]) == 0
    assert json.loads(out.read_text())["agree"] is True


def test_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a.json", "b.json"]) == 1
    assert "a.json cannot be read" in capsys.readouterr().err
