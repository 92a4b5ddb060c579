"""Profiles: what py-spy and strace print, the flame graph, and one small real run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from benchmarks.page.flames import flame, kind_of, tree_of
from benchmarks.peers import find_program
from benchmarks.processes import BenchmarkError
from benchmarks.profiles.folded import Stacks, parse_folded, parse_strace, pruned, short_frame
from benchmarks.profiles.report import Profiled, ProfileReport, own_shares
from benchmarks.profiles.run import ProfilePlan, run_profile

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 51.20    0.100000           9     10991           sendto
 40.00    0.080000           8     11000        17 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.180000                 21991        17 total
"""


@pytest.mark.parametrize(
    ("frame", "short"),
    [
        ("send (/home/a/tunnelkit/tunnelkit/wire/sending.py)", "tunnelkit/wire/sending.py send"),
        ("run (/v/lib/python3.11/site-packages/trio/_core/_run.py)", "trio run"),
        ("poll (/usr/lib/python3.11/selectors.py)", "selectors poll"),
        ("main (examples/sidecar_proxy.py)", "examples/sidecar_proxy.py main"),
        ("A.run (trio/_core/_run.py:120)", "trio A.run"),
        ("B.put (tunnelkit/outbox.py:12)", "tunnelkit/outbox.py B.put"),
        ("sleep (/home/a/x.py:3)", "x sleep"),
        ('process 12:"python x.py"', ""),
    ],
)
def test_frame_names_no_folder_of_the_machine(frame: str, short: str) -> None:
    assert short_frame(frame) == short


def test_equal_stacks_are_merged() -> None:
    text = "a (x.py);b (y.py) 3\na (x.py);b (y.py) 4\na (x.py) 1\n"
    assert parse_folded(text) == {("x a", "y b"): 7, ("x a",): 1}


def test_line_without_a_count_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="no count"):
        parse_folded("a (x.py);b (y.py)\n")


def test_rare_ends_of_stacks_are_cut_off_and_counted() -> None:
    stacks = {("a", "b", "c"): 1, ("a", "b"): 60, ("a", "d"): 39}
    assert pruned(stacks, 0.05) == {("a", "b"): 61, ("a", "d"): 39}


def test_calls_are_read_without_their_total() -> None:
    assert parse_strace(STRACE) == {"sendto": 10991, "recvfrom": 11000}


def test_strace_that_says_something_else_is_quoted() -> None:
    with pytest.raises(BenchmarkError, match="not permitted"):
        parse_strace("strace: attach: Operation not permitted")


def test_own_share_counts_the_innermost_function() -> None:
    assert own_shares({("a", "b"): 3, ("a",): 1}) == [("b", 0.75), ("a", 0.25)]


def test_tree_begins_where_stacks_part() -> None:
    root = tree_of({"main;run;a": 50, "main;run;b": 49, "main": 1})
    assert (root.name, root.count, sorted(root.below)) == ("run", 99, ["a", "b"])


def test_colour_tells_the_part_of_the_program() -> None:
    names = ("tunnelkit/pump/epoll.py x", "tunnelkit/link.py x", "trio run", "selectors poll")
    assert [kind_of(name) for name in names] == ["s1", "ours", "s4", "other"]


def profiled() -> Profiled:
    stacks: Stacks = {
        ("trio run", "tunnelkit/link.py _ready"): 70,
        ("trio run", "selectors poll"): 30,
    }
    return Profiled("request", 5.5, 6.5, {"sendto": 1.1}, stacks)


def test_report_is_plain_json_and_draws() -> None:
    report = ProfileReport(
        machine={}, settings={"seconds": 1}, results={"rps_32": {"sidecar": profiled()}}
    )
    read = json.loads(json.dumps(report.to_json()))["results"]["rps_32"]
    assert read["sidecar"]["stacks"]["trio run;tunnelkit/link.py _ready"] == 70
    drawn = flame("where", read).render()
    assert "_ready (tunnelkit/link.py): 70.0%" in drawn
    assert "5.5 µs user and 6.5 µs system time for one request" in drawn


async def test_programs_are_watched(tmp_path: Path) -> None:
    beside = Path(sys.executable).with_name("py-spy")
    needed = {name: find_program(name) for name in ("strace", "nginx", "wrk", "iperf3")}
    needed["py-spy"] = str(beside) if beside.is_file() else None
    missing = [name for name, path in needed.items() if path is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} not installed: make system-deps; pip install -e '.[bench]'"
        )
    kept: list[ProfileReport] = []
    plan = ProfilePlan(("rps_32",), 1, is_quick=True)
    await run_profile(plan, tmp_path, Progress(disable=True), kept.append)
    found = kept[0].results["rps_32"]
    assert set(found) == {"sidecar", "devbox"}
    assert all(one.calls["sendto"] > 0.5 for one in found.values())
    assert any("tunnelkit/pump" in frame for stack in found["sidecar"].stacks for frame in stack)
