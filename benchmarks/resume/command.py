"""The command `python -m benchmarks resume`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks.commands import Choice, Command, Kept
from benchmarks.resume.cases import CASES, SUBJECTS, Settings
from benchmarks.resume.run import ResumePlan, run_resume

__all__ = ["RESUME"]


async def _measure(
    options: argparse.Namespace, folder: Path, progress: Progress, keep: Callable[[Kept], None]
) -> None:
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = ResumePlan(options.only, options.subjects, settings, options.quick)
    await run_resume(plan, folder, progress, keep)


RESUME: Final = Command(
    "resume",
    "how long bytes stop when a link, a broker or a path is lost, and whether all arrive",
    _measure,
    quick="two rounds, in two minutes",
    rounds="7, or 2 with --quick",
    choices=(
        Choice("--only", "CASE", "cases to measure", [case.name for case in CASES]),
        Choice("--subjects", "SUBJECT", "subjects to measure", SUBJECTS),
    ),
)
