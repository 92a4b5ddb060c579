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


@pytest.mark.deadline(180)
async def test_demo_sees_every_step_work(folder: Path) -> None:
    report = folder / "report.json"
    # Not smaller: the broker is to be killed between 25 % and 75 %, on a busy machine as well.
    async with open_demo(folder, "--size-mib", 256, "--json", report) as process:
        seen = await read_until(process, "\0")
        assert await process.wait() == 0, seen
    facts = json.loads(report.read_text())["facts"]
    assert facts["sha256"] == facts["expected_sha256"]
    assert 25 <= facts["kill_percent"] <= 75
    assert facts["replayed_bytes"] > 0
    assert facts["target_connections"] == 1
    assert "everything was seen to work" in seen
    assert os.listdir(folder) == ["report.json"]


@pytest.mark.parametrize("moment", ["[1/6]", "[2/6]", "[4/6]", "20 %", "[5/6]"])
async def test_ctrl_c_leaves_nothing_behind(folder: Path, moment: str) -> None:
    async with open_demo(folder, "--size-mib", 256) as process:
        await read_until(process, moment)
        process.send_signal(signal.SIGINT)
        rest = await read_until(process, "\0")
        assert await process.wait() == 130
    assert "Traceback" not in rest
    assert "interrupted" in rest
    assert processes_of(folder) == []
    assert os.listdir(folder) == []


async def test_failure_names_the_step_and_shows_the_logs(folder: Path) -> None:
    async with open_demo(folder, "--size-mib", 256) as process:
        await read_until(process, "[2/6]")
        os.kill(child_of(process.pid, "shop.py"), signal.SIGKILL)
        seen = await read_until(process, "\0")
        assert await process.wait() == 1
    assert "FAILED at" in seen
    assert "last lines of the logs" in seen
    assert os.listdir(folder) == []
