"""The command `python -m benchmarks paths`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks.commands import Choice, Command, Kept
from benchmarks.paths.cases import PROFILES, ROWS, SUBJECTS, Settings
from benchmarks.paths.run import PathsPlan, run_paths

__all__ = ["PATHS"]


async def _measure(
    options: argparse.Namespace, folder: Path, progress: Progress, keep: Callable[[Kept], None]
) -> None:
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = PathsPlan(options.profiles, options.only, options.subjects, settings, options.quick)
    await run_paths(plan, folder, progress, keep)


PATHS: Final = Command(
    "paths",
    "bytes, requests and latency over long and slow paths, beside other tunnels (root)",
    _measure,
    quick="one round of 1 s, in six minutes",
    rounds="3, or 1 with --quick",
    choices=(
        Choice("--profiles", "PROFILE", "paths to measure", [one.name for one in PROFILES]),
        Choice("--only", "ROW", "rows to measure", [row.name for row in ROWS]),
        Choice("--subjects", "SUBJECT", "subjects to measure", SUBJECTS),
    ),
)
