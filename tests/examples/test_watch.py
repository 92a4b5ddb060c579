"""`python -m tunnelkit.admin ... status --watch` with real programs, on a terminal and off."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.examples.started import WAIT_SECONDS, Program, Programs, environment

ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "admin.sock")


class Terminal:
    """`status --watch` on a terminal of its own."""

    def __init__(self, socket_path: str, **variables: str) -> None:
        self.text = ""
        self._own, theirs = pty.openpty()
        self.resize(100, 30)
        command = [sys.executable, "-m", "tunnelkit.admin", socket_path, "status", "--watch"]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**environment(), "TERM": "xterm-256color", **variables},
        )
        os.close(theirs)

    def resize(self, width: int, height: int) -> None:
        """Change the size, as a user does; the program gets SIGWINCH."""
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press_ctrl_c(self) -> None:
        os.write(self._own, b"\x03")

    async def wait_text(self, text: str) -> None:
        """Wait until the program has written *text* since the last call."""
        with trio.fail_after(WAIT_SECONDS):
            while text not in self.text:
                await trio.lowlevel.wait_readable(self._own)
                self.text += os.read(self._own, 65536).decode()
        self.text = self.text.partition(text)[2]

    async def wait_end(self) -> int:
        """Wait for the end; return the exit status, and keep the last text."""
        with trio.fail_after(WAIT_SECONDS):
            while True:
                await trio.lowlevel.wait_readable(self._own)
                try:
                    self.text += os.read(self._own, 65536).decode()
                except OSError:
                    break  # all ends of the other side are closed
            return await trio.to_thread.run_sync(self.process.wait)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)


@asynccontextmanager
async def watching(socket_path: str, **variables: str) -> AsyncGenerator[Terminal]:
    terminal = Terminal(socket_path, **variables)
    try:
        yield terminal
    finally:
        terminal.close()


async def knock_until(broker: Program, wait: Callable[[], Awaitable[object]]) -> None:
    """Let strangers be turned away, each of them an event, until *wait* returns."""
    port = int(broker.ready["links"][0].rpartition(":")[2])

    async def knock() -> None:
        while True:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                await trio.sleep(0.2)

    with trio.fail_after(WAIT_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(knock)
            await wait()
            nursery.cancel_scope.cancel()


async def test_screen_shows_what_happens_until_ctrl_c(programs: Programs, socket_path: str) -> None:
    broker = await programs.broker("--admin", socket_path)
    async with watching(socket_path) as terminal:
        await terminal.wait_text(ENTER_SCREEN)
        await terminal.wait_text("nothing has happened")
        await programs.devbox("--link", broker.ready["links"][0])
        await terminal.wait_text("link to devbox/alice")
        terminal.resize(60, 20)
        await terminal.wait_text("is up")
        terminal.press_ctrl_c()
        assert await terminal.wait_end() == 130
    assert LEAVE_SCREEN in terminal.text
    assert SHOW_CURSOR in terminal.text
    assert "Traceback" not in terminal.text


async def test_screen_says_that_the_program_ended(programs: Programs, socket_path: str) -> None:
    broker = await programs.broker("--admin", socket_path)
    async with watching(socket_path) as terminal:
        await terminal.wait_text("nothing has happened")
        await broker.end(signal.SIGKILL)
        assert await terminal.wait_end() == 1
    _, _, after = terminal.text.partition(LEAVE_SCREEN)
    assert "error: the program at" in after
    assert after.count("\n") == 1


async def test_terminal_that_cannot_be_drawn_on_gets_lines(
    programs: Programs, socket_path: str
) -> None:
    broker = await programs.broker("--admin", socket_path)
    async with watching(socket_path, TERM="dumb") as terminal:
        await knock_until(broker, lambda: terminal.wait_text("HTTP"))
        terminal.press_ctrl_c()
        assert await terminal.wait_end() == 130
    assert "\x1b" not in terminal.text
    assert "Traceback" not in terminal.text


async def start_lines(socket_path: str, *flags: str) -> trio.Process:
    """Start the command with a pipe for its output."""
    command = [sys.executable, "-m", "tunnelkit.admin", socket_path, "status", "--watch", *flags]
    return await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )


async def read_events(process: trio.Process, kinds: set[str]) -> list[dict[str, Any]]:
    """Read events, one on a line, until each of *kinds* was among them."""
    assert process.stdout is not None  # `start_lines` asks for a pipe
    data = b""
    events: list[dict[str, Any]] = []
    with trio.fail_after(WAIT_SECONDS):
        while not kinds <= {event["kind"] for event in events}:
            chunk = await process.stdout.receive_some(65536)
            assert chunk, "ended too early"
            data += chunk
            events = [json.loads(line) for line in data.split(b"\n")[:-1]]
    return events


async def test_pipe_gets_an_object_a_line(programs: Programs, socket_path: str) -> None:
    broker = await programs.broker()
    link = broker.ready["links"][0]
    await programs.devbox("--link", link, "--admin", socket_path)
    process = await start_lines(socket_path, "--json")
    first = await read_events(process, {"link-up"})
    await broker.end(signal.SIGKILL)
    later = await read_events(process, {"link-down", "link-failed"})
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert first[0]["link"]["address"] == link
    assert any(event["will_retry"] for event in later)


async def test_reader_of_the_lines_may_go(programs: Programs, socket_path: str) -> None:
    broker = await programs.broker("--admin", socket_path)
    process = await start_lines(socket_path, "--json")
    assert process.stdout is not None  # `start_lines` asks for a pipe
    assert process.stderr is not None
    await process.stdout.aclose()
    await knock_until(broker, process.wait)
    assert process.returncode == 0
    assert await process.stderr.receive_some() == b""
