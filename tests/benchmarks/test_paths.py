"""What `python -m benchmarks paths` decides, and that packets take its path."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from rich.console import Console
from rich.progress import Progress

from benchmarks.__main__ import main
from benchmarks.paths import network, run
from benchmarks.paths.cases import (
    CEILING,
    PROFILES,
    ROWS,
    SUBJECTS,
    Load,
    Profile,
    Settings,
    loads_in_order,
    percentile,
    received_between,
    subject_order,
)
from benchmarks.paths.network import check_machine, open_network, stale_names
from benchmarks.paths.report import PathsReport, late_share
from benchmarks.paths.run import PathsPlan, bulk_sample, echo_sample, run_paths
from benchmarks.paths.shaping import Shaper
from benchmarks.paths.sides import STARTERS
from benchmarks.processes import BenchmarkError
from benchmarks.stats import Summary

LINK = Profile("link", "a link", megabits=8, round_trip_ms=100)
"""A million bytes a second, so that the arithmetic can be done by heart."""


def missing() -> str:
    try:
        check_machine()
    except BenchmarkError as error:
        return str(error)
    return ""


needs_network = pytest.mark.skipif(bool(missing()), reason=missing())


def shaper(*, queue_bytes: int = 100_000, loss: float = 0.0) -> Shaper:
    return Shaper(LINK.rate, LINK.delay, queue_bytes, loss)


def test_a_packet_takes_its_length_and_the_delay() -> None:
    assert shaper().admit(1000, now=5.0) == pytest.approx(5.0 + 0.001 + 0.050)


def test_packets_leave_one_after_the_other() -> None:
    link = shaper()
    arrivals = [link.admit(1000, now=5.0) for _ in range(3)]
    assert arrivals == pytest.approx([5.051, 5.052, 5.053])


def test_an_idle_link_saves_nothing_up() -> None:
    link = shaper()
    link.admit(1000, now=5.0)
    assert link.admit(1000, now=9.0) == pytest.approx(9.051)


def test_a_full_queue_drops_and_has_room_again_later() -> None:
    link = shaper(queue_bytes=2500)
    assert [link.admit(1000, now=5.0) is None for _ in range(3)] == [False, False, True]
    assert link.admit(1000, now=5.001) is not None
    assert (link.passed_count, link.full_count) == (3, 1)


def test_loss_is_as_often_as_asked_for_and_the_same_each_time() -> None:
    fates = []
    for _ in range(2):
        link = shaper(loss=0.1)
        fates.append([link.admit(100, now=float(now)) is None for now in range(2000)])
        assert link.lost_count == sum(fates[-1])
    assert fates[0] == fates[1]
    assert 140 < sum(fates[0]) < 260


def test_a_lost_packet_has_used_the_link() -> None:
    link = shaper(queue_bytes=1500, loss=1.0)
    link.admit(1000, now=5.0)
    link.admit(1000, now=5.0)
    assert (link.lost_count, link.full_count) == (1, 1)


def test_the_queue_holds_one_round_trip_of_the_link() -> None:
    assert LINK.queue_bytes == 100_000


def test_a_short_path_has_a_queue_all_the_same() -> None:
    assert Profile("x", "", megabits=10, round_trip_ms=1).queue_bytes == 20 * 1500


def test_names_of_profiles_and_rows_are_unique() -> None:
    for names in ([profile.name for profile in PROFILES], [row.name for row in ROWS]):
        assert len(names) == len(set(names))


def test_every_subject_can_be_started() -> None:
    assert set(SUBJECTS) == set(STARTERS)


def test_two_rows_of_one_load_are_measured_once() -> None:
    assert loads_in_order(["echo_beside", "bulk", "echo"]) == [Load.BULK, Load.ECHO]


def test_each_subject_is_first_in_some_round() -> None:
    assert [subject_order("abc", index)[0] for index in range(4)] == ["a", "b", "c", "a"]


def test_a_long_path_gives_a_stream_more_time_to_find_its_rate() -> None:
    assert Settings.quick().lead_of(LINK) == pytest.approx(2.0)
    assert Settings.quick().bulk_seconds(LINK) == pytest.approx(4.0)


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (99, 4), (1, 1), (100, 4)])
def test_percentiles_are_values_that_were_seen(percent: float, expected: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_no_value_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no value"):
        percentile([], 50)


def test_the_rate_is_that_of_the_seconds_asked_for() -> None:
    reports = [(10.5, 50), (11.0, 100), (12.0, 300), (14.0, 400)]
    assert received_between(reports, 11.0, 1.0) == 200
    assert received_between(reports, 11.5, 1.0) == 325 - 200


def test_what_arrived_before_the_first_report_counts_as_nothing() -> None:
    assert received_between([(10.0, 50), (12.0, 70)], 9.0, 2.0) == 30


def test_reports_that_end_too_early_give_no_rate() -> None:
    assert received_between([(10.0, 50)], 9.0, 2.0) is None
    assert received_between([], 9.0, 2.0) is None


def test_a_bulk_sample_tells_its_share_of_the_link() -> None:
    found = {"start": 10.0, "reports": [(11.0, 0), (13.0, 1_000_000)]}
    sample = bulk_sample(LINK, found, lead=1.0, seconds=2.0)
    assert sample.value == pytest.approx(0.004)
    assert sample.extras["share"] == pytest.approx(0.5)


def test_a_stalled_bulk_stream_is_no_sample() -> None:
    with pytest.raises(BenchmarkError, match="stalled"):
        bulk_sample(LINK, {"start": 10.0, "reports": []}, lead=1.0, seconds=2.0)


def test_an_echo_sample_is_its_median() -> None:
    sample = echo_sample([3.0, 1.0, 2.0])
    assert (sample.value, sample.extras) == (2.0, {"p99_ms": 3.0, "count": 3.0})


def test_only_namespaces_of_dead_runs_are_stale() -> None:
    names = ["bench-5-entry", "bench-6-exit", "bench-5-other", "bench-x-exit", "mine", ""]
    assert stale_names(names, live={6}) == ["bench-5-entry"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(network, "find_program", lambda name: None)
    monkeypatch.setattr(network, "_TUN", tmp_path / "tun")
    with pytest.raises(BenchmarkError, match=r"root .*sudo.*, ip .*system-deps.*, .*tun .*module"):
        check_machine()


async def reports_of(plan: PathsPlan, folder: Path) -> list[PathsReport]:
    kept: list[PathsReport] = []
    await run_paths(plan, folder, Progress(disable=True), kept.append)
    return kept


def report(*, late: int = 0) -> PathsReport:
    figures = {"ours": Summary("Gbit/s", (0.004, 0.006), (("share", 0.5),))}
    counts = {"passed": 100, "late": late}
    return PathsReport(
        machine={},
        settings={"rounds": 2},
        profiles=[LINK],
        rows=ROWS,
        results={"link": {"bulk": figures}},
        relays={"link": [counts, counts]},
    )


def test_report_is_plain_json() -> None:
    read = json.loads(json.dumps(report().to_json()))
    assert read["scenario"] == "paths"
    assert read["profiles"]["link"]["queue_bytes"] == 100_000
    assert read["results"]["link"]["bulk"]["ours"]["median"] == pytest.approx(0.005)
    assert read["relay"]["link"][0]["passed"] == 100


@pytest.mark.parametrize(("late", "is_told"), [(0, False), (50, True)])
def test_a_busy_machine_is_told(late: int, is_told: bool) -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    report(late=late).show(console)
    assert ("50% of the packets were late" in console.export_text()) is is_told


def test_nothing_passed_is_not_late() -> None:
    assert late_share([{"passed": 0, "late": 0}]) == 0.0


def test_json_into_no_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paths", "--json", "/nowhere/at/all.json"]) == 2
    assert "does not exist" in capsys.readouterr().err


@needs_network
async def test_a_run_measures_the_path_itself(tmp_path: Path) -> None:
    settings = Settings(rounds=1, seconds=1, lead_seconds=0.2)
    plan = PathsPlan(["city"], ["bulk", "echo_beside", "echo"], [CEILING], settings)
    (found,) = await reports_of(plan, tmp_path)
    assert found.is_complete, (found.failures, found.skipped)
    assert 20 <= found.results["city"]["echo"][CEILING].median < 40
    assert 0.02 < found.results["city"]["bulk"][CEILING].median < 0.1
    assert set(found.results["city"]) == {"bulk", "echo_beside", "echo"}


@needs_network
async def test_without_wrk_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "find_program", lambda name: None if name == "wrk" else name)
    settings = Settings(rounds=1, seconds=1, lead_seconds=0.2)
    plan = PathsPlan(["city"], ["rps_32", "echo"], [CEILING], settings)
    (found,) = await reports_of(plan, tmp_path)
    assert "wrk not installed" in found.skipped["rps_32"]
    assert set(found.results["city"]) == {"echo"}
    assert not found.failures


@needs_network
async def test_stopped_run_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = PathsPlan(["city"], ["echo"], [CEILING], Settings(3, seconds=1, lead_seconds=0.2))
    kept: list[PathsReport] = []
    progress = Progress(disable=True)
    with trio.CancelScope() as scope:
        monkeypatch.setattr(progress, "advance", lambda *_: scope.cancel())
        await run_paths(plan, tmp_path, progress, kept.append)
    assert kept[0].to_json()["incomplete"] is True
    assert len(kept[0].results["city"]["echo"][CEILING].rounds) == 1


@needs_network
async def test_namespaces_are_removed_also_when_the_run_is_cancelled() -> None:
    folder = Path("/run/netns")
    with trio.move_on_after(5) as scope:
        async with open_network() as made:
            names = [side.namespace for side in made.sides]
            assert all((folder / name).exists() for name in names)
            scope.cancel()
            await trio.sleep_forever()
    assert not any((folder / name).exists() for name in names)


@needs_network
async def test_an_interrupted_command_leaves_no_namespace() -> None:
    command = [sys.executable, "-m", "benchmarks", "paths", "--profiles", "city"]
    process = await trio.lowlevel.open_process(
        [*command, "--subjects", CEILING], stderr=subprocess.DEVNULL
    )
    ours = trio.Path(f"/run/netns/bench-{process.pid}-entry")
    with trio.fail_after(30):
        while not await ours.exists():  # noqa: ASYNC110 # another process
            await trio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert not await ours.exists()
