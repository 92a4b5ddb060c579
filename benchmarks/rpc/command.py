"""The command `python -m benchmarks rpc`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks.commands import Choice, Command, Kept
from benchmarks.rpc.cases import RPC, SUBJECTS, Settings
from benchmarks.rpc.run import RpcPlan, run_rpc

__all__ = ["RPC_COMMAND"]


async def _measure(
    options: argparse.Namespace, folder: Path, progress: Progress, keep: Callable[[Kept], None]
) -> None:
    cases = RPC.cases_named(options.only, is_quick=options.quick)
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = RpcPlan(cases, options.subjects, settings, options.quick)
    await run_rpc(plan, folder, progress, keep)


RPC_COMMAND: Final = Command(
    RPC.name,
    RPC.about,
    _measure,
    quick="one round of 0.5 s of the main cases, in half a minute",
    rounds="5, or 1 with --quick",
    choices=(
        Choice("--only", "CASE", "cases to run", [case.name for case in RPC.cases], default=()),
        Choice("--subjects", "SUBJECT", "subjects to measure", SUBJECTS),
    ),
)
