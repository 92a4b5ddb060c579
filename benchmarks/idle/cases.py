"""What is held while it idles, how much of it, and what it may cost (no I/O).

How it works
------------
Two processes make a case: the *host* and the *maker*, who dials it and opens what is wanted.  Each
holds one end of everything, so that its memory belongs to ends of one kind.  The maker opens some
first (they pay for modules, tables and buffers that exist once), then the rest; a *row* is what the
rest added to the resident memory of one of the two, divided by its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Final

__all__ = [
    "CASES",
    "PROGRAM_CASE",
    "PROGRAM_ROWS",
    "Case",
    "Row",
    "Sample",
    "Settings",
    "Summary",
    "Thing",
    "affordable",
    "known_cases",
    "rows_of",
    "warm_count",
]

KIB: Final = 1024
MIB: Final = 1024 * 1024

SPARE_DESCRIPTORS: Final = 300
"""What a process needs beside its links: modules, the pump, standard streams, what comes first."""

WARM_FRACTION: Final = 20
"""One in so many is opened before the first look at the memory."""


class Thing(StrEnum):
    """What is held."""

    STREAM = "stream"
    SERVED = "served"
    """A stream that a handler of `Endpoint.serve` waits on: with a task."""
    LINK = "link"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the report: what one thing costs in one process."""

    name: str
    about: str
    target_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Two processes, and what one opens to the other."""

    name: str
    thing: Thing
    is_broker: bool
    """Whether the host is a broker; otherwise it is an endpoint."""
    full: int
    """How many a full run holds."""
    host: Row
    maker: Row | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often."""

    rounds: int
    idle_seconds: float
    """How long nothing happens while wake-ups are counted: several times the 3 s of a ping."""
    settle_seconds: float
    divisor: int
    """One in so many of what a full run holds."""

    @classmethod
    def full(cls, rounds: int | None = None) -> Settings:
        """The run whose figures are published."""
        return cls(rounds or 3, idle_seconds=15.0, settle_seconds=4.0, divisor=1)

    @classmethod
    def quick(cls, rounds: int | None = None) -> Settings:
        """A run that shows the order of magnitude, within a minute."""
        return cls(rounds or 1, idle_seconds=6.0, settle_seconds=1.0, divisor=10)

    def count(self, case: Case) -> int:
        """How many a case holds."""
        return max(1, case.full // self.divisor)


CASES: Final = (
    Case(
        "streams",
        Thing.STREAM,
        is_broker=False,
        full=50_000,
        host=Row("stream_accepted", "stream, where it was accepted", 3 * KIB),
        maker=Row("stream_opened", "stream, where it was opened", 3 * KIB),
    ),
    Case(
        "served_streams",
        Thing.SERVED,
        is_broker=False,
        full=20_000,
        host=Row("stream_served", "stream with the task of its handler"),
    ),
    Case(
        "links",
        Thing.LINK,
        is_broker=False,
        full=5_000,
        host=Row("link_endpoint", "link, at an endpoint that listens", 24 * KIB),
    ),
    Case(
        "broker_links",
        Thing.LINK,
        is_broker=True,
        full=5_000,
        host=Row("link_broker", "link, at a broker", 24 * KIB),
    ),
    Case(
        "broker_sessions",
        Thing.SESSION,
        is_broker=True,
        full=5_000,
        host=Row("session_broker", "session, in a broker", 4 * KIB),
    ),
)

PROGRAM_CASE: Final = "programs"
PROGRAM_ROWS: Final = (
    Row("sidecar", "sidecar_proxy, one session, no traffic", 40 * MIB),
    Row("devbox", "devbox_proxy, one session, no traffic"),
    Row("broker", "broker, one session, no traffic"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round found out about one row."""

    count: int
    bytes_each: float
    wake_ups_per_s: float
    """Of the whole process, with everything that it holds."""
    cpu_s_per_minute: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The rounds of one row."""

    row: Row
    samples: Sequence[Sample]
    places: Mapping[str, float] = field(default_factory=dict)
    """With --trace: source lines, to the bytes that each holds for one thing."""

    @property
    def bytes_each(self) -> float:
        """The median of the rounds."""
        return median(sample.bytes_each for sample in self.samples)

    @property
    def wake_ups_per_s(self) -> float:
        """The median of the rounds."""
        return median(sample.wake_ups_per_s for sample in self.samples)

    @property
    def cpu_s_per_minute(self) -> float:
        """The median of the rounds."""
        return median(sample.cpu_s_per_minute for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and most bytes of the rounds."""
        found = [sample.bytes_each for sample in self.samples]
        return min(found), max(found)

    @property
    def excess_bytes(self) -> float:
        """By how much the target is missed; 0 where it is met or where there is none."""
        target = self.row.target_bytes
        return 0.0 if target is None else max(0.0, self.bytes_each - target)


def known_cases() -> list[str]:
    """Return the names that --only takes."""
    return [*(case.name for case in CASES), PROGRAM_CASE]


def rows_of(names: Sequence[str]) -> list[Row]:
    """Return the rows of these cases, in the order of the report."""
    rows: list[Row] = []
    for case in CASES:
        if case.name in names:
            rows += [case.host] if case.maker is None else [case.host, case.maker]
    return [*rows, *PROGRAM_ROWS] if PROGRAM_CASE in names else rows


def warm_count(count: int) -> int:
    """Return how many are opened before the first look at the memory."""
    return max(1, count // WARM_FRACTION)


def affordable(thing: Thing, count: int, descriptors: int) -> int:
    """Return how many of *count* things a process with so many descriptors can hold.

    Only a link needs a descriptor of its own, and those that are opened first need one as well.
    """
    if thing is not Thing.LINK:
        return count
    free = max(2, descriptors - SPARE_DESCRIPTORS)
    while count > 1 and count + warm_count(count) > free:
        count = min(count - 1, free * WARM_FRACTION // (WARM_FRACTION + 1))
    return count
