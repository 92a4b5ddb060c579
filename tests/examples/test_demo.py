"""The demo, whole, with a smaller download; and what is left when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.examples.started import ROOT, environment


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder whose path is short: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="tk-") as name:
        yield Path(name)


@asynccontextmanager
async def open_demo(folder: Path, *arguments: object) -> AsyncGenerator[trio.Process]:
    """Start the demo with *folder* for its temporary files; kill it if the test failed."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(ROOT / "examples" / "demo.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment(), "TMPDIR": str(folder)},
    )
    assert process.stdout is not None  # asked for above
    async with process.stdout:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()  # it ends its children itself
            with trio.CancelScope(shield=True):
                await process.wait()


async def read_until(process: trio.Process, text: str) -> str:
    """Read what the demo prints until *text* comes, or to its end."""
    assert process.stdout is not None
    seen = ""
    while text not in seen and (data := await process.stdout.receive_some()):
        seen += data.decode()
    return seen


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that mention *folder*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def child_of(parent: int, script: str) -> int:
    """Return the process that runs *script* for the process *parent*."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_child = path.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(
                parent
            )
            command = path.joinpath("cmdline").read_text()
        except OSError:
            continue
        if is_child and script in command:
            return int(path.name)
    raise AssertionError(f"no {script} runs")


async def report_of(folder: Path, *arguments: object) -> dict[str, Any]:
    """Run the whole demo; return the facts of its report."""
    report = folder / "report.json"
    async with open_demo(folder, *arguments, "--json", report) as process:
        seen = await read_until(process, "\0")
        assert await process.wait() == 0, seen
    assert "everything was seen to work" in seen
    assert os.listdir(folder) == ["report.json"]
    facts = json.loads(report.read_text())["facts"]
    assert isinstance(facts, dict)
    return facts


@pytest.mark.deadline(180)
async def test_demo_sees_every_step_work(folder: Path) -> None:
    # Not smaller: the broker is to be killed between 25 % and 75 %, on a busy machine as well.
    facts = await report_of(folder, "--size-mib", 256)
    kill, move = facts["kill"], facts["move"]
    assert 25 <= kill["at_percent"] <= 75
    assert kill["replayed_bytes"] > 0
    assert (move["from"], move["to"]) == (kill["to"], kill["from"])
    for download in (kill, move):
        assert download["sha256"] == download["expected_sha256"]
        assert download["target_connections"] == 1


@pytest.mark.deadline(180)
async def test_demo_runs_in_wss_through_a_proxy(folder: Path) -> None:
    facts = await report_of(folder, "--over", "wss-proxy", "--size-mib", 128)
    assert facts["proxy_tunnels"] >= 4
    for name in ("kill", "move", "proxy_kill"):
        assert facts[name]["sha256"] == facts[name]["expected_sha256"]


@pytest.mark.parametrize(
    ("moment", "number", "arguments"),
    [
        ("[1/13]", signal.SIGINT, ()),
        ("[2/13]", signal.SIGTERM, ()),
        ("20 %", signal.SIGINT, ()),
        ("[7/13]", signal.SIGINT, ()),
        ("20 %", signal.SIGTERM, ("--over", "wss-proxy")),
    ],
)
async def test_signal_leaves_nothing_behind(
    folder: Path, moment: str, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    async with open_demo(folder, "--size-mib", 256, *arguments) as process:
        await read_until(process, moment)
        process.send_signal(number)
        rest = await read_until(process, "\0")
        assert await process.wait() == 130
    assert "Traceback" not in rest
    assert "interrupted" in rest
    assert processes_of(folder) == []
    assert os.listdir(folder) == []


async def test_failure_names_the_step_and_shows_the_logs(folder: Path) -> None:
    async with open_demo(folder, "--size-mib", 256) as process:
        await read_until(process, "[2/13]")
        os.kill(child_of(process.pid, "shop.py"), signal.SIGKILL)
        seen = await read_until(process, "\0")
        assert await process.wait() == 1
    assert "FAILED at" in seen
    assert "last lines of the logs" in seen
    assert os.listdir(folder) == []
