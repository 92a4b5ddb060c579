"""One run of `resume`: for each trial a scene of its own, a download, and what happens in it.

How it works
------------
Rounds go through all cases and subjects.  Each trial starts its processes anew, because what
happens leaves traces.  The client starts; at its first byte the clock of the trial begins; some
time later the scene's own thing happens; the client goes on to the end of the download, or to the
moment at which it breaks.  Both read the same monotonic clock.

That a stream of ours breaks is a failure.  That one of a peer does is a result.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from rich.progress import Progress

from benchmarks import programs
from benchmarks.machine import describe_machine
from benchmarks.paths.network import check_machine
from benchmarks.processes import BenchmarkError, Child
from benchmarks.resume.cases import (
    CASES,
    OURS,
    Case,
    Settings,
    Summary,
    Trial,
    subjects_of,
    trial_of,
)
from benchmarks.resume.crew import Plot
from benchmarks.resume.report import ResumeReport
from benchmarks.resume.scenes import SCENES, Scene

__all__ = ["ResumePlan", "run_resume"]

LONGEST_SECONDS: Final = 90.0
"""How long a download may take: longer than a session waits for a lost peer."""

NEEDS_NETWORK: Final = "path_silent"

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """What one run is asked to do."""

    names: Collection[str]
    subjects: Sequence[str]
    settings: Settings
    is_quick: bool = False


async def run_resume(
    plan: ResumePlan, folder: Path, progress: Progress, keep: Callable[[ResumeReport], None]
) -> None:
    """Run the plan with files in *folder*, and give what was found to *keep*.

    Raises:
        BenchmarkError: keys and tokens could not be made.

    Cancellation: breaks. Processes are ended first, then *keep* is given what there is, marked
    incomplete; files are left in the folder.
    """
    machine = await describe_machine()
    run = _Run(plan, folder, progress)
    is_incomplete = True
    try:
        await run.measure_all()
        is_incomplete = False
    finally:
        keep(_report(plan, machine, run, is_incomplete=is_incomplete))


def _report(
    plan: ResumePlan, machine: Mapping[str, object], run: _Run, *, is_incomplete: bool
) -> ResumeReport:
    results = {
        case.name: {
            subject: Summary(run.trials[case.name, subject])
            for subject in subjects_of(case, plan.subjects)
            if (case.name, subject) in run.trials
        }
        for case in CASES
    }
    return ResumeReport(
        machine=machine,
        settings={"quick": plan.is_quick, **dataclasses.asdict(plan.settings)},
        results={case: subjects for case, subjects in results.items() if subjects},
        skipped=run.skipped,
        failures=run.failures,
        is_incomplete=is_incomplete,
    )


class _Run:
    """One pass through a plan: what was found so far."""

    def __init__(self, plan: ResumePlan, folder: Path, progress: Progress) -> None:
        self.trials: dict[tuple[str, str], list[Trial]] = {}
        self.skipped: dict[str, str] = {}
        self.failures: list[str] = []
        self._plan = plan
        self._settings = plan.settings
        self._folder = folder
        self._progress = progress

    async def measure_all(self) -> None:
        """Make all trials; what goes wrong is noted."""
        wanted = [
            (case, subject)
            for case in CASES
            if case.name in self._plan.names
            for subject in subjects_of(case, self._plan.subjects)
            if self._is_possible(case)
        ]
        total = len(wanted) * self._settings.rounds
        task = self._progress.add_task("resume", total=total)
        source_seconds = self._settings.before_seconds + self._settings.after_seconds
        credentials = await programs.make_credentials(self._folder)
        names = itertools.count()
        for number in range(1, self._settings.rounds + 1):
            for case, subject in wanted:
                what = f"round {number}/{self._settings.rounds}, {case.name} {subject}"
                self._progress.update(task, description=what)
                # A short name, because the path of a socket may have 107 bytes.
                folder = self._folder / str(next(names))
                folder.mkdir(mode=0o700)
                await self._take(case, subject, Plot(folder, credentials, source_seconds), what)
                self._progress.advance(task)

    def _is_possible(self, case: Case) -> bool:
        """Tell whether this machine can show a case; if not, note why."""
        try:
            if case.name == NEEDS_NETWORK:
                check_machine()
        except BenchmarkError as error:
            self.skipped[case.name] = str(error)
            return False
        return True

    async def _take(self, case: Case, subject: str, plot: Plot, what: str) -> None:
        """Make one trial; a subject that could not even be started is left out from then on."""
        name = f"{case.name} {subject}"
        if name in self.skipped:
            return
        is_ready = False
        try:
            async with SCENES[case.name, subject](plot) as scene:
                is_ready = True
                trial = await self._download(scene, plot.folder / "told.json")
        except* BenchmarkError as group:
            texts = "; ".join(_texts(group))
            if is_ready or (case.name, subject) in self.trials:
                self.failures.append(f"{what}: {texts}")
            else:
                self.skipped[name] = texts
        else:
            self.trials.setdefault((case.name, subject), []).append(trial)
            if subject == OURS and not trial.is_intact:
                self.failures.append(f"{what}: harmed, {trial.received_bytes:,} bytes arrived")

    async def _download(self, scene: Scene, told: Path) -> Trial:
        command = [
            *scene.within,
            sys.executable,
            str(_HERE / "sink.py"),
            str(scene.door),
            str(told),
        ]
        sink = await scene.fleet.start("sink", command, is_ready=lambda line: line == "started")
        await trio.sleep(self._settings.before_seconds)
        moment = time.monotonic()
        missing = await scene.happen()
        with trio.move_on_after(LONGEST_SECONDS):
            await sink.process.wait()
        trial = trial_of(_read(told, sink), moment, missing)
        if trial.end_ms < 0:
            raise BenchmarkError("the download ended before anything happened")
        return trial


def _read(told: Path, sink: Child) -> dict[str, Any]:
    if not told.exists():
        raise BenchmarkError(f"the download neither ended nor broke: {sink.last_words()}")
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def _texts(error: BaseException) -> list[str]:
    """Return the texts of an error, or of all errors of a group."""
    if isinstance(error, BaseExceptionGroup):
        return [text for inner in error.exceptions for text in _texts(inner)]
    return [str(error)]
