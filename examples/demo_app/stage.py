"""The processes of the demo: started, watched, and gone at the end whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import trio

ROOT = Path(__file__).resolve().parents[2]

READY_SECONDS = 20.0
TAIL_LINES = 12
MAX_PLACE_LETTERS = 60


class DemoFailed(Exception):
    """A step was not seen to work; the text says what was seen instead."""


class Child:
    """One process of the demo."""

    def __init__(self, name: str, process: trio.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.ready: dict[str, Any] = {}
        self._waiting = bytearray()

    async def next_line(self) -> dict[str, Any] | None:
        """Return the next JSON line that the process prints; None when it closed its stdout.

        Cancellation: keeps.
        """
        stdout = self.process.stdout
        assert stdout is not None  # `Stage.spawn` asks for a pipe
        while (end := self._waiting.find(b"\n")) < 0:
            data = await stdout.receive_some(65536)
            if not data:
                return None
            self._waiting += data
        line = json.loads(self._waiting[:end])
        del self._waiting[: end + 1]
        return cast(dict[str, Any], line)

    async def wait(self) -> int:
        """Wait until the process has ended, and let go of it; return its exit status.

        Cancellation: keeps.
        """
        code = await self.process.wait()
        if self.process.stdout is not None:
            await self.process.stdout.aclose()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    def lines(self) -> list[str]:
        """Return the log."""
        try:
            return self.log.read_text(errors="replace").splitlines()
        except OSError:
            return []

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.lines()[-TAIL_LINES:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing was logged)"


class Stage:
    """All processes of one run, and the folder they share.  Made by `open_stage`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}
        self._all: list[Child] = []
        self._log_count = 0
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TUNNELKIT_")}
        self._environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    async def start(self, name: str, script: str, *arguments: object, **variables: str) -> Child:
        """Start a Python program that prints a ready line, and wait for the line.

        Args:
            variables: what its environment has in addition.

        Raises:
            DemoFailed: it ended, or did not say so in time.
        Cancellation: keeps; the stage ends the process.
        """
        child = await self.spawn(name, script, *arguments, **variables)
        with trio.move_on_after(READY_SECONDS):
            line = await child.next_line()
            if line is not None:
                child.ready = line
                return child
            code = await child.wait()
            raise DemoFailed(f"{name} ended with status {code} before it was ready")
        raise DemoFailed(f"{name} was not ready within {READY_SECONDS:g} s")

    async def spawn(self, name: str, script: str, *arguments: object, **variables: str) -> Child:
        """Start a Python program of `examples`; what it prints can be read line by line."""
        command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
        return await self.launch(name, command, subprocess.PIPE, variables)

    async def launch(
        self,
        name: str,
        command: Sequence[str],
        stdout: int = subprocess.STDOUT,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        """Start a program in a session of its own: Ctrl-C is for the demo alone.

        Args:
            stdout: `subprocess.PIPE`, or `subprocess.STDOUT` for where the log goes.
        """
        self._log_count += 1
        log = self.folder / f"{self._log_count:02}-{name.replace('/', '-')}.log"
        with log.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stderr if stdout == subprocess.STDOUT else stdout,
                stderr=stderr,
                env={**self._environment, **variables},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.children[name] = child
        self._all.append(child)
        return child

    async def tool(self, module: str, *arguments: object) -> str:
        """Run ``python -m MODULE ...`` to its end; return what it printed.

        Raises:
            DemoFailed: it failed; the text is its own.
        """
        command = [sys.executable, "-m", module, *map(str, arguments)]
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, env=self._environment
        )
        if done.returncode:
            raise DemoFailed(f"{module}: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    async def end(self, name: str, seconds: float) -> int:
        """Ask a process to end by SIGTERM; return its exit status.

        Raises:
            DemoFailed: it did not end in time.
        """
        child = self.children[name]
        child.signal(signal.SIGTERM)
        with trio.move_on_after(seconds):
            return await child.wait()
        raise DemoFailed(f"{name} did not end within {seconds:g} s after SIGTERM")

    def tails(self) -> str:
        """Return the last lines of the logs, for a failed run."""
        shown = self.children.values()
        return "\n".join(f"  {child.name} ({_state(child)}):\n{child.tail()}" for child in shown)

    async def aclose(self) -> None:
        """Kill and reap whatever is left."""
        for child in self._all:
            child.signal(signal.SIGKILL)  # ends a stopped process as well
        for child in self._all:
            await child.wait()


def _state(child: Child) -> str:
    code = child.process.returncode
    return "running" if code is None else f"ended with status {code}"


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """Make a folder for keys, sockets and logs; at the end remove it, and every process."""
    # The kernel takes paths of sockets up to 107 bytes; some temporary folders lie deep.
    place = tempfile.gettempdir() if len(tempfile.gettempdir()) < MAX_PLACE_LETTERS else "/tmp"
    with tempfile.TemporaryDirectory(prefix="tunnelkit-demo-", dir=place) as folder:
        stage = Stage(Path(folder))
        try:
            yield stage
        finally:
            with trio.CancelScope(shield=True):
                await stage.aclose()
