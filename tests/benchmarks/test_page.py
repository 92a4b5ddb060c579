"""The page of figures: its parts say what the results say, and fit the committed files."""

from __future__ import annotations

import pytest

from benchmarks.page.command import PAGE, made_of, outdated
from benchmarks.page.parts import NOT_MEASURED, PARTS, renewed, sources_of
from benchmarks.page.tables import (
    Figures,
    cell_of_added,
    cell_of_cost,
    cell_of_figure,
    cell_of_latency,
    cell_of_share,
    matrix,
    table,
    target_rows,
)
from benchmarks.page.words import format_spread, is_ours, label, sentence_list
from benchmarks.records import RESULTS, Record, record_of
from benchmarks.stats import Summary

OURS = Summary("requests/s", (30_000, 40_000, 50_000), (("cpu_us", 20.0), ("p50_us", 700.0)))
YAMUX = Summary("requests/s", (20_000,), (("cpu_us", 50.0), ("p50_us", 900.0), ("p99_us", 5000)))
FIGURES: Figures = {
    ("rps_32", "ours"): OURS,
    ("rps_32", "direct"): Summary("requests/s", (90_000,)),
    ("rps_32", "yamux"): YAMUX,
    ("bulk", "ours"): Summary("Gbit/s", (12.0,)),
}


def record(scenario: str, results: object, **more: object) -> Record:
    return record_of({"scenario": scenario, "results": results, **more}, "2026-11-20-x.json")


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table below its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_page_and_plots_fit_the_results_that_they_name() -> None:
    text = PAGE.read_text()
    sources = sources_of(text)
    assert sources, "the page names no results"
    old = outdated(text, made_of([RESULTS / name for name in sources]))
    assert not old, f"run `python -m benchmarks page`: {[path.name for path in old]}"


def test_page_has_every_part() -> None:
    text = PAGE.read_text()
    assert [name for name in PARTS if f"<!-- begin {name} -->" not in text] == []


# --- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("machine", "peers")])
def test_part_without_results_says_so(name: str) -> None:
    assert PARTS[name](record("none", {})) == NOT_MEASURED


def test_text_around_a_part_stays() -> None:
    text = "a\n<!-- begin beside -->\nold\n<!-- end beside -->\nb\n"
    once = renewed(text, record("none", {}))
    assert once == f"a\n<!-- begin beside -->\n\n{NOT_MEASURED}\n\n<!-- end beside -->\nb\n"
    assert renewed(once, record("none", {})) == once


@pytest.mark.parametrize(
    ("text", "words"),
    [("<!-- begin nothing -->", "no part 'nothing'"), ("<!-- begin idle -->", "no <!-- end idle")],
)
def test_wrong_marker_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        renewed(text, record("none", {}))


def test_sources_are_the_files_that_the_machine_part_links_to() -> None:
    made = record("spine", {}, machine={"cpu": "a"})
    text = renewed(
        "<!-- begin machine --><!-- end machine --> (../benchmarks/results/y.json)", made
    )
    assert sources_of(text) == ["2026-11-20-x.json"]


def test_incomplete_results_are_marked() -> None:
    assert "**Incomplete**: spine was stopped" in PARTS["machine"](
        record("spine", {}, incomplete=True)
    )


def test_quick_run_is_marked() -> None:
    quick = record("spine", {}, settings={"quick": True, "rounds": 2, "seconds": 1})
    assert "good for nothing but a look" in PARTS["machine"](quick)


def test_missing_peer_is_listed_with_the_way_to_get_it() -> None:
    made = record("spine", {}, skipped={"smux": "`make system-deps` installs it"})
    assert rows_of(PARTS["peers"](made))[-1] == [
        "`spine`",
        "smux",
        "`make system-deps` installs it",
    ]


def test_tool_without_a_version_is_not_installed() -> None:
    made = record("spine", {}, machine={"cpu": "a", "go": ""})
    assert rows_of(PARTS["peers"](made)) == [["Go", "not installed"]]


def test_cases_of_the_spine_are_grouped_by_how_many_processes_they_have() -> None:
    figure = {"ours": {"unit": "s", "rounds": [1]}}
    made = PARTS["main"](record("spine", {"rps_1": figure, "broker_rps_1": figure, "echo": figure}))
    titles = [line for line in made.splitlines() if line.endswith("of ours:")]
    assert [title.split(",")[0] for title in titles] == [
        "Requests",
        "New connections",
        "The same through a broker",
    ]


def test_every_path_has_a_table_and_says_what_it_is() -> None:
    figure = {"ours": {"unit": "Gbit/s", "rounds": [0.01], "share": 0.953}}
    results = {"lan": {"bulk": figure}, "ocean": {"bulk": figure}}
    made = PARTS["paths"](record("paths", results, profiles={"ocean": {"about": "10 Mbit/s"}}))
    titles = [line for line in made.splitlines() if line.endswith(":")]
    assert titles == ["`lan`:", "`ocean`: 10 Mbit/s:"]
    assert rows_of(made)[0] == ["**ours**", "**0.01**<br>95% of the link"]


def trial(pause_ms: float, *, is_intact: bool = True) -> dict[str, object]:
    return {"pause_ms": pause_ms, "is_intact": is_intact}


def test_pause_is_that_of_the_downloads_that_arrived_whole() -> None:
    ours: dict[str, object] = {"pause_ms": 20.0, "missing_ms": 0.0, "broken_after_ms": None}
    ours["rounds"] = [trial(10), trial(20), trial(30)]
    peer: dict[str, object] = {"pause_ms": None, "missing_ms": 0.0, "broken_after_ms": 3.0}
    peer["rounds"] = [trial(5, is_intact=False)]
    made = PARTS["resume"](record("resume", {"link_reset": {"ours": ours, "yamux": peer}}))
    assert rows_of(made) == [
        ["`link_reset`", "ours", "**20** (10 – 30)", "–", "3 of 3 whole"],
        ["", "yamux", "–", "–", "0 of 1 whole; broken after 3 ms"],
    ]


# --- tables -------------------------------------------------------------------------------------


def test_bar_in_a_cell_stays_in_its_cell() -> None:
    assert table(["a"], [["b|c"]]).splitlines()[-1] == "| b\\|c |"


def test_matrix_has_a_row_for_each_subject_and_a_column_for_each_case() -> None:
    text = matrix(FIGURES, ["rps_32", "bulk"], cell_of_figure)
    assert text.splitlines()[0] == "|  | `rps_32`<br>requests/s | `bulk`<br>Gbit/s |"
    assert rows_of(text)[-1] == ["yamux", "**20 k**<br>2.00 ×", "–"]


def test_ceiling_of_the_machine_is_no_rival() -> None:
    rows = {row[0]: row[1] for row in rows_of(matrix(FIGURES, ["rps_32"], cell_of_figure))}
    assert rows == {
        "**ours**": "**40 k** (30 – 50 k)",
        "direct": "**90 k**",
        "yamux": "**20 k**<br>2.00 ×",
    }


def test_matrix_leaves_out_what_has_no_cell() -> None:
    text = matrix(FIGURES, ["rps_32", "bulk"], cell_of_latency)
    assert text.splitlines()[0] == "|  | `rps_32` |"
    assert [row[0] for row in rows_of(text)] == ["**ours**", "yamux"]


def test_matrix_of_nothing_is_nothing() -> None:
    assert matrix({}, ["rps_32"], cell_of_figure) == ""


def test_share_is_the_figure_over_the_base() -> None:
    assert cell_of_share(YAMUX, OURS) == "**20 k**<br>0.50 ×"


def test_cost_is_a_multiple_of_the_base() -> None:
    assert cell_of_cost(YAMUX, OURS) == "50 µs (2.50 ×)"


def test_cost_of_the_broker_alone_has_a_line_of_its_own() -> None:
    extras = (("broker_cpu_us", 1514.2), ("cpu_us", 26.25))
    assert cell_of_cost(Summary("s", (1.0,), extras), None) == "26.2 µs<br>broker: 1,514 µs"


def test_latency_has_the_percentiles_that_there_are() -> None:
    assert [cell_of_latency(one, None) for one in (OURS, YAMUX)] == ["700", "900 / 5,000"]


def test_latency_that_a_relay_adds_stands_below_the_percentiles() -> None:
    added = Summary("µs", (5000,), (("p50_us", 900.0), ("p99_us", 5000), ("added_p99_us", 1234.0)))
    assert cell_of_added(added, None) == "900 / 5,000<br>p99 +1,234"
    assert cell_of_added(YAMUX, None) == "900 / 5,000"


def test_figures_at_a_set_pace_are_no_rates() -> None:
    paced = {"median": 300, "unit": "µs", "rounds": [300], "p50_us": 90, "p99_us": 300, "cpu_us": 5}
    text = PARTS["http"](record("http", {"paced": {"rules": paced}}))
    assert "Figures:" not in text
    assert "At 1,000 requests a second" in text


TARGET = {"case": "bulk", "ratio": "ours/yamux", "target": 2.0, "reached": 2.5, "met": True}


@pytest.mark.parametrize(
    ("changed", "row"),
    [
        ({}, ["`bulk`", "ours/yamux", "≥ 2", "2.50", "met"]),
        (
            {"reached": 1.5, "met": False},
            ["`bulk`", "ours/yamux", "≥ 2", "1.50", "**short by 25%**"],
        ),
        (
            {"reached": 1.996, "met": False},
            ["`bulk`", "ours/yamux", "≥ 2", "1.996", "**short by 0.2%**"],
        ),
        ({"reached": None, "met": None}, ["`bulk`", "ours/yamux", "≥ 2", "–", "not measured"]),
        (
            {"at_most": True, "metric": "p99_us", "ratio": "p99_us ours/yamux", "met": False},
            ["`bulk`, p99", "ours/yamux", "≤ 2", "2.50", "**over by 25%**"],
        ),
    ],
    ids=["met", "missed", "just missed", "not measured", "at most"],
)
def test_target_tells_what_became_of_it(changed: dict[str, object], row: list[str]) -> None:
    made = target_rows({"spine": {"targets": [{**TARGET, **changed}]}}, ["spine"])
    assert made == [["`spine`", *row]]


def test_target_of_memory_stands_among_the_others() -> None:
    figures = {"bytes_each": 2048, "target_bytes": 3072, "met": True}
    made = target_rows({"idle": {"results": {"stream": figures}}}, ["idle"])
    assert made == [["`idle`", "`stream`", "memory", "≤ 3 KiB", "2 KiB", "met"]]


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "text"), [(40_600, 45_300, "40.6 – 45.3 k"), (950, 1200, "950 – 1.2 k")]
)
def test_spread_names_its_unit_once(low: float, high: float, text: str) -> None:
    assert format_spread(low, high) == text


@pytest.mark.parametrize(
    ("name", "text"), [("haproxy", "HAProxy"), ("yamux", "yamux"), ("sessions_10", "sessions 10")]
)
def test_label_is_how_it_is_written(name: str, text: str) -> None:
    assert label(name) == text


def test_variants_of_ours_are_ours() -> None:
    assert [is_ours(name) for name in ("ours", "ours_broker", "yours")] == [True, True, False]


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names: list[str], text: str) -> None:
    assert sentence_list(names) == text
