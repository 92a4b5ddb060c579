"""The load that wrk and iperf3 cannot make, an echo beside bulk streams: a small program in Go.

`main.go` says how it works.  It needs nothing but Go's standard library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.golang import build_program

__all__ = ["build_mixed_load", "program_in"]

SOURCES: Final = ("main.go", "client.go", "target.go")


def program_in(folder: Path) -> Path:
    """Return where the program of a run lies."""
    return folder / "mixed_load"


async def build_mixed_load(folder: Path) -> Path:
    """Compile the program; return where it lies.

    Raises:
        BenchmarkError: Go is not installed, or the build failed.

    Cancellation: atomic.
    """
    sources = [Path(__file__).with_name(name) for name in SOURCES]
    return await build_program(program_in(folder), sources)
