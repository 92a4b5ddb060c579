"""The plots: what they show, that their names do not meet, and that they are small."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from benchmarks.page.panel import LINE, spread_labels
from benchmarks.page.pictures import PICTURES, draw
from benchmarks.page.scale import Scale
from benchmarks.page.svg import Canvas
from benchmarks.records import Record, record_of

SVG = "{http://www.w3.org/2000/svg}"
MIB = 1 << 20


def figure(value: float, **extras: float) -> dict[str, object]:
    return {
        "median": value,
        "unit": "requests/s",
        "rounds": [value * 0.9, value, value * 1.1],
        **extras,
    }


def subjects(*values: float, **extras: float) -> dict[str, object]:
    names = ("ours", "direct", "haproxy", "yamux")
    return {name: figure(value, **extras) for name, value in zip(names, values, strict=True)}


def memory(size: float, target: int | None = None) -> dict[str, object]:
    return {"bytes_each": size, "target_bytes": target, "rounds": [{"bytes_each": size}]}


def everything() -> Record:
    spine = {
        "rps_1": subjects(1, 9, 3, 2),
        "rps_1024": subjects(10, 90, 30, 20),
        "rps_32": subjects(20, 100, 40, 8, p99_us=900.0, cpu_us=25.0),
        "new_conns": subjects(5, 20, 10, 4),
        "bulk": subjects(12, 34, 13, 6),
    }
    beside = {f"beside_{n}": subjects(n, n, n, n, p99_us=90.0 * n) for n in (1, 10, 100)}
    idle = {"stream_opened": memory(2700, 3072), "sidecar": memory(38 * MIB, 40 * MIB)}
    watched = {
        "unit": "request",
        "user_us": 5.5,
        "system_us": 6.5,
        "calls": {"sendto": 1.1},
        "stacks": {"trio run;tunnelkit/link.py go": 70, "trio run;selectors poll": 30},
    }
    profile = {load: {"sidecar": watched} for load in ("rps_32", "new_conns", "bulk")}
    found = {"spine": spine, "beside": beside, "idle": idle, "profile": profile}
    scenarios = {name: {"scenario": name, "results": results} for name, results in found.items()}
    return record_of({"date": "2026-11-20", "scenarios": scenarios}, "x.json")


DRAWN = draw(everything())


def words_of(canvas: Canvas) -> list[str]:
    root = ET.fromstring(canvas.render())
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def test_every_picture_is_drawn_where_there_are_results() -> None:
    assert list(DRAWN) == list(PICTURES)


def test_no_picture_is_drawn_without_results() -> None:
    assert draw(record_of({"scenario": "none", "results": {}}, "x.json")) == {}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_small_and_tells_what_it_shows(name: str) -> None:
    text = DRAWN[name].render()
    root = ET.fromstring(text)
    assert len(text) < 40_000
    assert [len(root.findall(f"{SVG}{tag}")) for tag in ("title", "desc")] == [1, 1]
    assert "prefers-color-scheme:dark" in text


def test_same_figures_are_the_same_file() -> None:
    assert {n: c.render() for n, c in draw(everything()).items()} == {
        n: c.render() for n, c in DRAWN.items()
    }


def test_bars_stand_in_order_the_best_first() -> None:
    words = words_of(DRAWN["bulk"])
    names = [word for word in words if word in ("ours", "direct", "HAProxy", "yamux")]
    assert names == ["direct", "HAProxy", "ours", "yamux"]


def test_lines_go_by_the_number_of_connections() -> None:
    words = words_of(DRAWN["requests-by-connections"])
    assert [word for word in words if word in ("32", "1,024")] == ["32", "1,024"]


def test_subject_with_one_point_is_no_line() -> None:
    results = {"rps_1": subjects(1, 9, 3, 2), "rps_8": {"ours": figure(8)}}
    canvas = draw(record_of({"scenario": "spine", "results": results}, "x.json"))
    assert "yamux" not in words_of(canvas["requests-by-connections"])


def test_unknown_subject_has_a_colour_too() -> None:
    results = {case: {"ours": figure(1), "news": figure(2)} for case in ("rps_1", "rps_8")}
    canvas = draw(record_of({"scenario": "spine", "results": results}, "x.json"))
    assert "news" in words_of(canvas["requests-by-connections"])


# --- scales and names ---------------------------------------------------------------------------


def test_linear_scale_begins_at_nothing() -> None:
    scale = Scale.of([34.0, 5.0])
    assert (scale.part(0), scale.ticks()) == (0.0, [0, 10, 20, 30])


def test_log_scale_ends_at_round_figures() -> None:
    scale = Scale.of([300.0, 45_000.0], is_log=True)
    assert (scale.low, scale.high) == (200.0, 50_000.0)
    assert scale.ticks() == [200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000]


def test_long_log_scale_has_decades_only() -> None:
    assert Scale.of([1.5, 90_000.0], is_log=True).ticks() == [1, 10, 100, 1000, 10_000, 100_000]


@pytest.mark.parametrize("wanted", [[50, 52, 54], [0, 0, 0, 0], [300, 299], [10, 20, 200, 300]])
def test_names_never_meet_and_keep_their_order(wanted: list[float]) -> None:
    places = spread_labels(wanted, 0, 300)
    in_order = [places[i] for i in sorted(range(len(wanted)), key=wanted.__getitem__)]
    assert all(after - before >= LINE - 1e-9 for before, after in pairwise(in_order))
    assert 0 <= min(places) <= max(places) <= 300


def test_name_with_room_stands_where_it_wants() -> None:
    assert spread_labels([10, 100], 0, 300) == [10, 100]
