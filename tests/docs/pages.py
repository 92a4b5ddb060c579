"""Run what a page of the documentation shows, and compare what it prints.

Fenced blocks are marked by a second word after the language, which viewers ignore:

=====================  ======================================================================
``python run``         a whole program; it is run
``python file=NAME``   a whole program; it is saved as NAME, for the commands that follow
``sh file=NAME``       the same for a shell script
``sh run``             commands; they are run
``text output``        what the block before it prints, exactly; ``...`` stands for any text
=====================  ======================================================================

All blocks of a page run in order in one shell and one new folder, so that a page can start programs
and go on with them.  Every ``127.0.0.1:PORT`` of a page gets a port that is free.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "PageFailed", "blocks_of", "page_files", "run_page"]

ROOT = Path(__file__).resolve().parents[2]
MARK = "=== block ends ==="
PAGE_SECONDS = 120.0

_FENCE = re.compile(r"^```([a-z]+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"127\.0\.0\.1:(\d{4,5})\b")


class PageFailed(AssertionError):
    """A block of a page did not do what the page says."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it is, how it is marked, what is in it."""

    line: int
    language: str
    mark: str
    text: str


def page_files() -> list[Path]:
    """Return README and every page below docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(line, found[1], found[2] or "", found[3])


def run_page(page: Path, folder: Path) -> int:
    """Run the marked blocks of *page* in *folder*; return how many ran.

    Raises:
        PageFailed: a block failed, or printed something else than the page says.
    """
    blocks = [block for block in blocks_of(with_free_ports(page.read_text())) if block.mark]
    (folder / "examples").symlink_to(ROOT / "examples")
    steps = [block for block in blocks if block.mark != "output"]
    if not steps:
        return 0
    outputs = _run_script("".join(_step(block, folder) for block in steps), folder)
    for number, block in enumerate(steps):
        following = blocks.index(block) + 1
        if number >= len(outputs):
            raise PageFailed(f"{page.name}:{block.line}: the block failed\n{_errors(folder)}")
        if following < len(blocks) and blocks[following].mark == "output":
            _compare(page, blocks[following], outputs[number], folder)
    return len(steps)


def with_free_ports(text: str) -> str:
    """Return *text* with each of its ports on 127.0.0.1 replaced by one that is free."""
    chosen: dict[str, str] = {}
    doors = []
    for port in sorted(set(_PORT.findall(text))):
        door = socket.socket()
        door.bind(("127.0.0.1", 0))
        doors.append(door)
        chosen[port] = str(door.getsockname()[1])
    for door in doors:
        door.close()
    return re.sub(r"\b\d{4,5}\b", lambda found: chosen.get(found[0], found[0]), text)


def _step(block: Block, folder: Path) -> str:
    kind, _, name = block.mark.partition("=")
    if kind == "file":
        (folder / "files").mkdir(exist_ok=True)
        saved = f"files/{block.line}"
        (folder / saved).write_text(block.text)
        command = f"cp {saved} {name}"
    elif block.language == "python":
        name = f"block_{block.line}.py"
        (folder / name).write_text(block.text)
        command = f"python {name}"
    else:
        command = block.text.rstrip("\n")
    return f"{command}\necho '{MARK}'\n"


def _run_script(script: str, folder: Path) -> list[str]:
    """Run *script*; return what each block printed, up to the one that failed."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("python", "python3"):
        shim = programs / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        shim.chmod(0o755)
    paths = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with (folder / "out.txt").open("wb") as out, (folder / "errors.txt").open("wb") as errors:
        shell = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env=os.environ | paths,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )
        try:
            shell.wait(PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    printed = (folder / "out.txt").read_text()
    return printed.split(f"{MARK}\n")[:-1]


def _compare(page: Path, expected: Block, printed: str, folder: Path) -> None:
    pattern = re.escape(expected.text.strip()).replace(re.escape("..."), "[^\n]*")
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    if not re.fullmatch(pattern, "\n".join(lines)):
        raise PageFailed(
            f"{page.name}:{expected.line}: the page shows\n{expected.text}\n"
            f"but this was printed:\n{printed}\n{_errors(folder)}"
        )


def _errors(folder: Path) -> str:
    return "\n".join(
        f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
        for path in [folder / "errors.txt", *sorted(folder.glob("*.log"))]
        if path.exists()
    )
