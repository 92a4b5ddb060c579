"""What the demo says while it runs, and its report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

import attrs

BAR_CELLS = 30


@attrs.frozen
class Finding:
    """A line of the report: what was seen, and whether it is what had to be seen."""

    what: str
    seen: str
    is_good: bool = True
    step: str = ""


@attrs.define
class Teller:
    """Progress: one line that changes on a terminal, plain lines elsewhere."""

    out: TextIO = attrs.Factory(lambda: sys.stdout)
    started: float = attrs.Factory(time.monotonic)
    title: str = ""
    """The step that runs, with its number."""
    _is_open: bool = False
    _last_tenth: int = -1

    def step(self, number: int, count: int, text: str) -> None:
        """A step begins."""
        self.finish_line()
        self._last_tenth = -1
        self.title = f"[{number}/{count}] {text}"
        self._print(self.title)

    def note(self, text: str) -> None:
        """Something was seen in this step."""
        self.finish_line()
        self._print(f"      {text}")

    def bar(self, done: int, total: int, text: str) -> None:
        """How far a download is, bytes."""
        if self.out.isatty():
            filled = BAR_CELLS * done // total
            cells = "#" * filled + "-" * (BAR_CELLS - filled)
            self.out.write(f"\r      [{cells}] {100 * done // total:3d} %  {text}\x1b[K")
            self.out.flush()
            self._is_open = True
        elif 10 * done // total > self._last_tenth and 10 * done // total % 2 == 0:
            self._last_tenth = 10 * done // total
            self._print(f"      {100 * done // total:3d} %  {text}")

    def finish_line(self) -> None:
        """End the line that changes."""
        if self._is_open:
            self.out.write("\n")
            self._is_open = False

    def report(self, findings: Sequence[Finding]) -> None:
        """Print the table at the end, step by step."""
        self.finish_line()
        width = max(len(finding.what) for finding in findings)
        self._print("\nreport")
        step = ""
        for finding in findings:
            if finding.step != step:
                step = finding.step
                self._print(f"  {step}")
            mark = "ok  " if finding.is_good else "BAD "
            self._print(f"    {mark}  {finding.what.ljust(width)}  {finding.seen}")
        self._print(f"\n  {time.monotonic() - self.started:.1f} s in all")

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)
