"""What `python -m benchmarks idle` holds, counts and says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio
from rich.progress import Progress

from benchmarks.__main__ import main
from benchmarks.idle.cases import (
    CASES,
    PROGRAM_CASE,
    Case,
    Row,
    Sample,
    Settings,
    Summary,
    Thing,
    affordable,
    known_cases,
    rows_of,
    warm_count,
)
from benchmarks.idle.ends import open_host
from benchmarks.idle.gauge import parse_status, read_process
from benchmarks.idle.holder import Desk
from benchmarks.idle.makers import open_maker
from benchmarks.idle.report import IdleReport, format_bytes, format_target
from benchmarks.idle.run import IdlePlan, run_idle
from tunnelkit.auth import generate_key

STATUS = "Name:\tpython\nVmRSS:\t   42860 kB\nvoluntary_ctxt_switches:\t17\n"


def summary(*sizes: float, target: int | None = None) -> Summary:
    return Summary(Row("x", "a thing", target), [Sample(10, size, 1.0, 0.1) for size in sizes])


def test_links_are_as_many_as_there_are_descriptors() -> None:
    count = affordable(Thing.LINK, 5000, 3300)
    assert count + warm_count(count) <= 3000
    assert count > 2800


def test_enough_descriptors_take_nothing_away() -> None:
    assert affordable(Thing.LINK, 5000, 20_000) == 5000


@pytest.mark.parametrize("thing", [Thing.STREAM, Thing.SERVED, Thing.SESSION])
def test_what_needs_no_descriptor_is_not_limited(thing: Thing) -> None:
    assert affordable(thing, 50_000, 1024) == 50_000


def test_few_descriptors_leave_at_least_one_link() -> None:
    assert affordable(Thing.LINK, 5000, 100) == 1


def test_rows_follow_the_order_of_the_report() -> None:
    names = [row.name for row in rows_of([PROGRAM_CASE, "streams"])]
    assert names == ["stream_accepted", "stream_opened", "sidecar", "devbox", "broker"]


def test_row_names_are_unique() -> None:
    names = [row.name for row in rows_of(known_cases())]
    assert len(names) == len(set(names))


def test_quick_holds_a_tenth() -> None:
    for case in CASES:
        assert Settings.quick().count(case) * 10 == Settings.full().count(case)


def test_the_median_round_is_judged() -> None:
    assert summary(1000, 3500, 2000, target=3072).excess_bytes == 0


def test_missed_target_says_by_how_much() -> None:
    assert "over by 1 KiB (50%)" in format_target(summary(3072, target=2048))


def test_no_target_is_no_verdict() -> None:
    assert "met" not in format_target(summary(3072))


@pytest.mark.parametrize(
    ("count", "text"), [(753, "753 B"), (3072, "3 KiB"), (-2048, "-2 KiB"), (48339354, "46.1 MiB")]
)
def test_bytes_are_shown_in_the_unit_that_fits(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_status_is_read_by_name() -> None:
    assert parse_status(STATUS, "VmRSS") == 42860
    assert parse_status(STATUS, "voluntary_ctxt_switches") == 17
    assert parse_status(STATUS, "Missing") == 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux counts this")
def test_a_wait_is_a_wake_up() -> None:
    before = read_process(os.getpid())
    for _ in range(3):
        trio.run(trio.sleep, 0.002)
    after = read_process(os.getpid())
    assert after.wake_ups >= before.wake_ups + 3
    assert after.rss_bytes > 1_000_000
    assert after.cpu_seconds >= before.cpu_seconds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_host_and_maker_hold_the_same(case: Case) -> None:
    thing, is_broker = case.thing, case.is_broker
    key = generate_key()
    async with (
        open_host(thing, is_broker=is_broker, key=key) as host,
        open_maker(thing, host.address, key) as maker,
    ):
        await maker.grow(2)
        await maker.grow(5)
        with trio.fail_after(5):
            while host.count() < 7:  # noqa: ASYNC110 # no event tells it
                await trio.sleep(0.01)
        assert (host.count(), maker.count()) == (7, 7)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux counts this")
async def test_a_run_measures_both_ends_of_a_stream(tmp_path: Path) -> None:
    settings = Settings(rounds=1, idle_seconds=0.1, settle_seconds=0.0, divisor=1000)
    kept: list[IdleReport] = []
    plan = IdlePlan(["streams"], settings, is_traced=False)
    await run_idle(plan, tmp_path, Progress(disable=True), kept.append)
    (report,) = kept
    found = {summary.row.name: summary for summary in report.summaries}
    assert report.is_complete, report.failures
    assert set(found) == {"stream_accepted", "stream_opened"}
    assert found["stream_opened"].samples[0].count == 50


async def test_orders_are_carried_out() -> None:
    key = generate_key()
    async with (
        open_host(Thing.STREAM, is_broker=False, key=key) as host,
        open_maker(Thing.STREAM, host.address, key) as maker,
    ):
        desk = Desk(maker)
        assert await desk.answer({"grow": 3}) == {"count": 3}
        assert await desk.answer({"rest": True}) == {"count": 3}
        assert await desk.answer({"trace": True}) == {"places": {}}


def test_report_is_plain_json() -> None:
    report = IdleReport(
        machine={},
        settings={"rounds": 2},
        summaries=[summary(1000, 2000, target=1024)],
        shortages=["a note"],
    )
    read = json.loads(json.dumps(report.to_json()))
    assert read["results"]["x"]["bytes_each"] == 1500
    assert read["results"]["x"]["met"] is False
    assert read["notes"] == ["a note"]


async def test_stopped_run_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = IdlePlan(["streams"], Settings.quick())
    kept: list[IdleReport] = []
    progress = Progress(disable=True)
    with trio.CancelScope() as scope:
        monkeypatch.setattr(progress, "update", lambda *_, **__: scope.cancel())
        await run_idle(plan, tmp_path, progress, kept.append)
    (report,) = kept
    assert report.to_json()["incomplete"] is True


def test_json_into_no_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["idle", "--json", "/nowhere/at/all.json"]) == 2
    assert "does not exist" in capsys.readouterr().err
