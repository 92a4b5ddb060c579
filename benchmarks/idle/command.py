"""The command `python -m benchmarks idle`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks.commands import Choice, Command, Kept
from benchmarks.idle.cases import Settings, known_cases
from benchmarks.idle.run import IdlePlan, run_idle

__all__ = ["IDLE"]


async def _measure(
    options: argparse.Namespace, folder: Path, progress: Progress, keep: Callable[[Kept], None]
) -> None:
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    await run_idle(IdlePlan(options.only, settings, options.trace), folder, progress, keep)


IDLE: Final = Command(
    "idle",
    "the memory of idle streams, links, sessions and programs, and how often they wake up",
    _measure,
    quick="a tenth as many, within a minute",
    rounds="3, or 1 with --quick",
    choices=(Choice("--only", "CASE", "cases to run", known_cases()),),
    switches={"--trace": "also name the lines that allocated the memory; it changes other figures"},
)
