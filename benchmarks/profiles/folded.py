"""What profilers print, read: folded stacks, and counts of system calls (no I/O)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from benchmarks.processes import BenchmarkError

__all__ = ["Stacks", "parse_folded", "parse_strace", "pruned", "short_frame"]

Stacks = Mapping[tuple[str, ...], int]
"""How often each stack was met, the outermost function first."""

_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)")
_ROOTS: Final = ("tunnelkit/", "examples/", "benchmarks/")
"""How the paths of our own files begin; of others only the package is told."""

_PACKAGE = re.compile(r".*/(?:site-packages|dist-packages|python3\.\d+)/(.*)")


def parse_folded(text: str) -> Counter[tuple[str, ...]]:
    """Read stacks in py-spy's raw format, ``frame;frame COUNT`` in each line, and merge equal ones.

    What stands before the first function of the program (its process, its thread) is left out.

    Raises:
        BenchmarkError: a line has no count.
    """
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in filter(None, text.splitlines()):
        frames, _, count = line.rpartition(" ")
        if not count.isdigit():
            raise BenchmarkError(f"the profiler printed no count: {line[:80]}")
        named = [short_frame(frame) for frame in frames.split(";")]
        stacks[tuple(frame for frame in named if frame)] += int(count)
    return stacks


def short_frame(frame: str) -> str:
    """Return a frame as ``place function``, or "" for a process or a thread.

    The place is the file as seen from the project, or the package of somebody else.
    """
    found = _FRAME.fullmatch(frame)
    if found is None or frame.startswith(("process ", "thread ")):
        return ""
    path = found["file"].replace("\\", "/")
    for root in _ROOTS:
        _, is_ours, rest = path.rpartition(f"/{root}")
        if is_ours or path.startswith(root):
            return f"{root}{rest if is_ours else path.removeprefix(root)} {found['function']}"
    other = _PACKAGE.fullmatch(path)
    if other is not None:
        path = other[1]
    elif path.startswith("/"):
        path = path.rpartition("/")[2]
    place = path.partition("/")[0]
    return f"{place.removesuffix('.py')} {found['function']}"


def pruned(stacks: Stacks, least_share: float) -> dict[tuple[str, ...], int]:
    """Cut off the ends of stacks that were met less often than that share of all; no count is lost.

    What is cut off counts for the function above it.
    """
    least = least_share * sum(stacks.values())
    below: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        for depth in range(1, len(stack) + 1):
            below[stack[:depth]] += count
    kept: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        depth = len(stack)
        while depth and below[stack[:depth]] < least:
            depth -= 1
        kept[stack[:depth]] += count
    return dict(sorted(kept.items()))


def parse_strace(text: str) -> dict[str, int]:
    """Read the table of ``strace -c``: how often each system call was made.

    Raises:
        BenchmarkError: there is none.
    """
    counts: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and re.fullmatch(r"\d+\.\d+", words[0]) and words[3].isdigit():
            counts[words[-1]] = int(words[3])
    counts.pop("total", None)
    if not counts:
        raise BenchmarkError(f"strace printed no table: {text.strip()[-120:]}")
    return counts
