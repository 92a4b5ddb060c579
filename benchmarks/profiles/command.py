"""The command `python -m benchmarks profile`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks.commands import Choice, Command, Kept
from benchmarks.profiles.run import PROFILED, ProfilePlan, run_profile

__all__ = ["PROFILE"]

SECONDS: Final = 8
QUICK_SECONDS: Final = 2


async def _measure(
    options: argparse.Namespace, folder: Path, progress: Progress, keep: Callable[[Kept], None]
) -> None:
    seconds = QUICK_SECONDS if options.quick else SECONDS
    await run_profile(
        ProfilePlan(tuple(options.only), seconds, options.quick), folder, progress, keep
    )


PROFILE: Final = Command(
    "profile",
    "where the time goes: stacks (py-spy) and system calls (strace) of our programs under load",
    _measure,
    quick="2 s of each load, in half a minute",
    choices=(Choice("--only", "LOAD", "loads to watch under", PROFILED),),
)
