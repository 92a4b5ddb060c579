"""Small programs in Go, compiled for a run: they need nothing but Go's standard library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.processes import BenchmarkError, run_tool

__all__ = ["build_program"]

BUILD_SECONDS: Final = 120.0
"""How long a build may take where nothing of Go's library was compiled before."""


async def build_program(program: Path, sources: Iterable[Path]) -> Path:
    """Compile *sources* into *program*, and return where it lies.

    Raises:
        BenchmarkError: Go is not installed, or the build failed.

    Cancellation: atomic.
    """
    if shutil.which("go") is None:
        raise BenchmarkError("go is not installed; `make system-deps` installs it")
    settings = ["GO111MODULE=off"]
    if "GOCACHE" not in os.environ and "HOME" not in os.environ:
        settings.append(f"GOCACHE={program.parent / 'go-cache'}")
    command = ["env", *settings, "go", "build", "-o", str(program), *map(str, sources)]
    await run_tool(command, timeout_seconds=BUILD_SECONDS)
    return program
