"""The load that wrk and iperf3 cannot make, an echo beside bulk streams: a small program in Go.

`main.go` says how it works.  It needs nothing but Go's standard library.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from benchmarks.processes import BenchmarkError, run_tool

__all__ = ["build_mixed_load", "program_in"]

SOURCES: Final = ("main.go", "client.go", "target.go")

BUILD_SECONDS: Final = 120.0
"""How long a build may take where nothing of Go's library was compiled before."""


def program_in(folder: Path) -> Path:
    """Return where the program of a run lies."""
    return folder / "mixed_load"


async def build_mixed_load(folder: Path) -> Path:
    """Compile the program; return where it lies.

    Raises:
        BenchmarkError: Go is not installed, or the build failed.

    Cancellation: atomic.
    """
    if shutil.which("go") is None:
        raise BenchmarkError("go is not installed; `make system-deps` installs it")
    settings = ["GO111MODULE=off"]
    if "GOCACHE" not in os.environ and "HOME" not in os.environ:
        settings.append(f"GOCACHE={folder / 'go-cache'}")
    program = program_in(folder)
    sources = [str(Path(__file__).with_name(name)) for name in SOURCES]
    command = ["env", *settings, "go", "build", "-o", str(program), *sources]
    await run_tool(command, timeout_seconds=BUILD_SECONDS)
    return program
