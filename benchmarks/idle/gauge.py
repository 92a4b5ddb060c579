"""What the kernel counts of a process: resident memory, waits that ended, processor time (Linux).

A wake-up is a voluntary context switch: a thread that slept in the kernel (in `epoll_wait`, while
it idles) went on.  Our programs have one thread; the switches of all threads are summed.
"""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError

__all__ = ["Reading", "allow_descriptors", "parse_status", "read_process"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a process."""

    rss_bytes: int
    wake_ups: int
    cpu_seconds: float


def read_process(pid: int) -> Reading:
    """Return what the kernel says of a process.

    Raises:
        BenchmarkError: it is gone, or this is not Linux.
    """
    folder = Path(f"/proc/{pid}")
    try:
        rss = parse_status((folder / "status").read_text(), "VmRSS") * 1024
        wake_ups, nanoseconds = 0, 0
        for thread in (folder / "task").iterdir():
            text = (thread / "status").read_text()
            wake_ups += parse_status(text, "voluntary_ctxt_switches")
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    except OSError as error:
        raise BenchmarkError(f"process {pid} cannot be looked at: {error}") from error
    return Reading(rss, wake_ups, nanoseconds / 1e9)


def parse_status(text: str, name: str) -> int:
    """Return a number of /proc/PID/status (proc_pid_status(5)); 0 where it is missing."""
    found = re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def allow_descriptors() -> int:
    """Let this process, and those that it starts, open as many files as it may; return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 1 << 20
