"""What `python -m benchmarks resume` does to a download, and what it says of it."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import threading
from pathlib import Path

import pytest
import trio
import trio.testing
from rich.console import Console
from rich.progress import Progress

from benchmarks.__main__ import main
from benchmarks.load import Address
from benchmarks.peers import HOST
from benchmarks.processes import BenchmarkError
from benchmarks.resume import scenes
from benchmarks.resume.cases import (
    CASES,
    CUT,
    OURS,
    PEERS,
    SUBJECTS,
    Case,
    Settings,
    Summary,
    Trial,
    longest_wait,
    subjects_of,
    trial_of,
)
from benchmarks.resume.crew import carrier_of, is_joined
from benchmarks.resume.cutter import open_cutter
from benchmarks.resume.report import ResumeReport, format_outcome, format_pause
from benchmarks.resume.run import ResumePlan, run_resume
from benchmarks.resume.scenes import SCENES
from benchmarks.resume.sink import Download
from benchmarks.resume.source import send

WAITS = [(1.0, 1.4), (2.0, 2.1), (2.5, 2.7)]


def trial(pause_ms: float = 100.0, *, is_intact: bool = True, missing_ms: float = 0.0) -> Trial:
    return Trial(pause_ms, missing_ms, end_ms=2000.0, received_bytes=10, is_intact=is_intact)


@pytest.mark.parametrize(("moment", "expected"), [(0.0, 0.4), (1.2, 0.4), (1.4, 0.2), (3.0, 0.0)])
def test_the_longest_wait_is_one_that_ends_afterwards(moment: float, expected: float) -> None:
    assert longest_wait(WAITS, moment) == pytest.approx(expected)


def test_nothing_is_subtracted_from_a_pause() -> None:
    told = {"waits": WAITS, "ended_at": 3.0, "received": 7, "is_intact": True}
    found = trial_of(told, moment=1.3, missing=0.25)
    assert found.pause_ms == pytest.approx(400)
    assert found.end_ms == pytest.approx(1700)
    assert (found.missing_ms, found.received_bytes, found.is_intact) == (250, 7, True)


def test_only_whole_downloads_have_a_pause() -> None:
    summary = Summary([trial(100), trial(300), trial(9000, is_intact=False)])
    assert summary.pause_ms == 200
    assert list(summary.spread) == [100, 300]
    assert summary.intact_count == 2
    assert summary.broken_after_ms == 2000


def test_broken_downloads_alone_have_no_pause() -> None:
    summary = Summary([trial(is_intact=False)])
    assert summary.pause_ms is None
    assert format_pause(summary) == "[dim]-[/]"
    assert "1 of 1 broken[/], after 2 s" in format_outcome(summary)


def test_whole_downloads_are_told_as_such() -> None:
    summary = Summary([trial(100), trial(1500)])
    assert "2 of 2 intact" in format_outcome(summary)
    assert "800 ms" in format_pause(summary)
    assert "100 ms - 1.5 s" in format_pause(summary)


def test_peers_take_part_where_no_broker_is_needed() -> None:
    taking_part = {case.name: subjects_of(case, SUBJECTS) for case in CASES}
    assert taking_part.pop(CUT) == [OURS, *PEERS]
    assert set(map(tuple, taking_part.values())) == {(OURS,)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_has_its_scenes(case: Case) -> None:
    for subject in subjects_of(case, SUBJECTS):
        assert (case.name, subject) in SCENES


def test_a_session_and_all_links_make_a_joined_endpoint() -> None:
    links = [{"state": "up"}, {"state": "dialling"}]
    sessions = [{"state": "lost", "link": "a"}, {"state": "open", "link": "b"}]
    status = {"links": links, "sessions": sessions}
    assert carrier_of(status) == "b"
    assert is_joined(status, 1)
    assert not is_joined(status, 2)
    assert not is_joined({"links": links, "sessions": sessions[:1]}, 1)


def download(*chunks: bytes) -> Download:
    """Download what a server sends in these pieces."""
    near, far = socket.socketpair()
    found = Download()
    with near:
        with far:
            for chunk in chunks:
                far.sendall(chunk)
        found.run(near)
    return found


def test_a_download_with_its_checksum_is_intact(capsys: pytest.CaptureFixture[str]) -> None:
    found = download(b"some bytes", hashlib.sha256(b"some bytes").digest())
    assert found.is_intact
    assert found.received == 42
    assert capsys.readouterr().out == "started\n"


@pytest.mark.parametrize("data", [b"some byte", b"some bytess", b"soem bytes", b""])
def test_a_lost_doubled_or_misplaced_byte_is_seen(data: bytes) -> None:
    assert not download(data, hashlib.sha256(b"some bytes").digest()).is_intact


def test_a_download_that_stops_early_is_not_intact() -> None:
    assert not download(b"some bytes" * 10).is_intact
    assert not download().is_intact


def test_what_the_source_sends_is_intact_at_the_sink() -> None:
    near, far = socket.socketpair()
    found = Download()
    sender = threading.Thread(target=send, args=(far, 0.05))
    sender.start()
    with near:
        found.run(near)
    sender.join()
    assert found.is_intact
    assert found.received > 1024 * 1024


async def test_a_cut_resets_both_sides_and_lets_new_ones_in() -> None:
    listener = (await trio.open_tcp_listeners(0, host=HOST))[0]
    target = Address(HOST, listener.socket.getsockname()[1])
    async with listener, open_cutter(target, HOST) as cutter:
        for _ in range(2):
            async with await trio.open_tcp_stream(HOST, cutter.address.port) as client:
                async with await listener.accept() as server:
                    await client.send_all(b"x")
                    assert await server.receive_some() == b"x"
                    assert cutter.cut() == 1
                    for stream in (client, server):
                        with pytest.raises(trio.BrokenResourceError):
                            await stream.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        assert cutter.cut() == 0
        assert cutter.accepted_count == 2


async def test_a_relayed_connection_ends_as_its_target_does() -> None:
    listener = (await trio.open_tcp_listeners(0, host=HOST))[0]
    target = Address(HOST, listener.socket.getsockname()[1])
    async with listener, open_cutter(target, HOST) as cutter:
        async with await trio.open_tcp_stream(HOST, cutter.address.port) as client:
            async with await listener.accept() as server:
                await server.send_all(b"all")
            assert await client.receive_some() == b"all"
            assert await client.receive_some() == b""


async def reports_of(plan: ResumePlan, folder: Path) -> list[ResumeReport]:
    kept: list[ResumeReport] = []
    await run_resume(plan, folder, Progress(disable=True), kept.append)
    return kept


def test_report_is_plain_json() -> None:
    results = {CUT: {OURS: Summary([trial(100), trial(300)])}}
    report = ResumeReport(machine={}, settings={"rounds": 2}, results=results)
    read = json.loads(json.dumps(report.to_json()))
    assert read["scenario"] == "resume"
    found = read["results"][CUT][OURS]
    assert (found["pause_ms"], found["intact"], found["broken_after_ms"]) == (200, 2, None)
    assert len(found["rounds"]) == 2


def test_report_shows_what_was_not_measured() -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    ResumeReport(
        machine={},
        settings={},
        results={CUT: {OURS: Summary([trial()])}},
        skipped={"path_silent": "needs root"},
        failures=["round 1: no"],
    ).show(console)
    shown = console.export_text()
    assert "path_silent: needs root" in shown
    assert "round 1: no" in shown


def test_json_into_no_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "--json", "/nowhere/at/all.json"]) == 2
    assert "does not exist" in capsys.readouterr().err


async def test_a_run_survives_a_reset_of_the_link(tmp_path: Path) -> None:
    settings = Settings(rounds=1, before_seconds=0.3, after_seconds=0.7)
    plan = ResumePlan([CUT], [OURS], settings)
    (report,) = await reports_of(plan, tmp_path)
    assert report.is_complete, (report.failures, report.skipped)
    assert report.results[CUT][OURS].intact_count == 1


async def test_stopped_run_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ResumePlan(["nothing"], [OURS], Settings(3, before_seconds=0.2, after_seconds=0.3))
    kept: list[ResumeReport] = []
    progress = Progress(disable=True)
    with trio.CancelScope() as scope:
        monkeypatch.setattr(progress, "advance", lambda *_: scope.cancel())
        await run_resume(plan, tmp_path, progress, kept.append)
    assert kept[0].to_json()["incomplete"] is True
    assert len(kept[0].results["nothing"][OURS].trials) == 1


async def test_a_subject_that_cannot_be_started_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> str:
        raise BenchmarkError(f"{name} is not installed")

    monkeypatch.setattr(scenes, "require_program", refuse)
    settings = Settings(rounds=2, before_seconds=0.3, after_seconds=0.7)
    plan = ResumePlan([CUT], ["openssh_l"], settings)
    (report,) = await reports_of(plan, tmp_path)
    assert report.skipped == {f"{CUT} openssh_l": "sshd is not installed"}
    assert not report.failures


async def test_what_a_machine_cannot_show_is_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    settings = Settings(rounds=1, before_seconds=0.3, after_seconds=0.7)
    plan = ResumePlan(["path_silent"], [OURS], settings)
    (report,) = await reports_of(plan, tmp_path)
    assert not report.is_complete
    assert "root" in report.skipped["path_silent"]
