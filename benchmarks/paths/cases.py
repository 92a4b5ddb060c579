"""Which paths there are, what is sent over them, and what the figures mean (no I/O).

How it works
------------
A *profile* is a path: a rate, a round trip, the queue of the router before the link, a loss.  All
subjects of a profile share one path and are measured one after the other, in rounds that rotate.
One *load* yields one or two *rows*: while one stream sends all it can, a second one asks for an
echo now and then, so that the row `bulk` and the row `echo_beside` are of the same seconds.

The queue holds one bandwidth-delay product, as routers' queues are commonly sized, but at least
some packets.  A tunnel that puts more than that under way finds its packets dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from benchmarks.stats import Summary

__all__ = [
    "CEILING",
    "PROFILES",
    "ROWS",
    "SUBJECTS",
    "Load",
    "Profile",
    "Results",
    "Row",
    "Settings",
    "loads_in_order",
    "percentile",
    "received_between",
    "subject_order",
]

CEILING: Final = "direct"
"""The subject without a tunnel: what the path itself carries in the same run."""

SUBJECTS: Final = ("ours", "ours_wss", "yamux", "smux", "openssh_l", CEILING)

LEAST_QUEUE_PACKETS: Final = 20

LEAD_ROUND_TRIPS: Final = 10
"""In which TCP doubles what it sends from 10 packets to more than any path here holds."""

COUNTED_ROUND_TRIPS: Final = 40


@dataclass(frozen=True, slots=True)
class Profile:
    """One path between the two sides of a tunnel."""

    name: str
    about: str
    megabits: int
    """Rate of the link in each direction, with the headers of IP and TCP in it."""
    round_trip_ms: int
    loss: float = 0.0
    """Share of the packets that are lost in each direction."""
    mtu: int = 1500

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.megabits * 1e6 / 8

    @property
    def delay(self) -> float:
        """One way, seconds."""
        return self.round_trip_ms / 2000

    @property
    def queue_bytes(self) -> int:
        """How much may wait before the link."""
        product = self.rate * self.round_trip_ms / 1000
        return max(round(product), LEAST_QUEUE_PACKETS * self.mtu)


PROFILES: Final = (
    Profile("lan", "1 Gbit/s, 1 ms, packets of 9000 bytes", 1000, 1, mtu=9000),
    Profile("city", "100 Mbit/s, 20 ms", 100, 20),
    Profile("country", "50 Mbit/s, 60 ms", 50, 60),
    Profile("ocean", "10 Mbit/s, 200 ms", 10, 200),
    Profile("lossy", "50 Mbit/s, 60 ms, 0.5 % lost", 50, 60, loss=0.005),
)


class Load(StrEnum):
    """One way of pressing on a path."""

    BULK = "bulk"
    """One stream that sends all it can, and an echo beside it."""
    REQUESTS = "rps_32"
    ECHO = "echo"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a profile's table."""

    name: str
    about: str
    load: Load
    unit: str


ROWS: Final = (
    Row("bulk", "one stream", Load.BULK, "Gbit/s"),
    Row("echo_beside", "64 bytes and back, beside it", Load.BULK, "ms"),
    Row("rps_32", "HTTP, 32 connections", Load.REQUESTS, "requests/s"),
    Row("echo", "64 bytes and back, alone", Load.ECHO, "ms"),
)

Results = Mapping[str, Mapping[str, Mapping[str, Summary]]]
"""Profile, row, subject; what was not measured is absent."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often."""

    rounds: int
    seconds: int
    """Of each measurement, see `bulk_seconds`; whole, because wrk takes no fractions."""
    lead_seconds: float
    """How long a bulk stream runs before it counts, see `lead_of`."""

    @classmethod
    def full(cls, rounds: int | None = None) -> Settings:
        """The run whose figures are published."""
        return cls(rounds or 3, seconds=2, lead_seconds=2.0)

    @classmethod
    def quick(cls, rounds: int | None = None) -> Settings:
        """A run that shows the order of magnitude, about six minutes for everything."""
        return cls(rounds or 1, seconds=1, lead_seconds=1.0)

    def lead_of(self, profile: Profile) -> float:
        """How long a bulk stream runs before it counts: it has to find the rate of the path."""
        return self.lead_seconds + LEAD_ROUND_TRIPS * profile.round_trip_ms / 1000

    def bulk_seconds(self, profile: Profile) -> float:
        """How long a bulk stream counts: much longer than what one lost packet holds back."""
        return max(self.seconds, COUNTED_ROUND_TRIPS * profile.round_trip_ms / 1000)


def loads_in_order(names: Sequence[str]) -> list[Load]:
    """Return the loads behind rows of these names, each once."""
    return list(dict.fromkeys(row.load for row in ROWS if row.name in names))


def subject_order(subjects: Sequence[str], round_index: int) -> list[str]:
    """Return the subjects of one round, rotated, so that none is always the first."""
    start = round_index % len(subjects)
    return [*subjects[start:], *subjects[:start]]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that *percent* of the values do not exceed (nearest rank).

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no value, no percentile")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


def received_between(
    reports: Sequence[tuple[float, int]], start: float, seconds: float
) -> float | None:
    """Return the bytes a second that arrived in `seconds` from *start* on.

    Args:
        reports: time and count of bytes so far, as the receiving side noted them.
        start: on the same clock.

    Returns:
        The rate; None where the reports do not reach to the end.
    """
    end = start + seconds
    if not reports or reports[-1][0] < end:
        return None
    return (_count_at(reports, end) - _count_at(reports, start)) / seconds


def _count_at(reports: Sequence[tuple[float, int]], moment: float) -> float:
    """Return the count at a moment, on the line between the reports around it."""
    before = (-math.inf, 0)
    for report in reports:
        if report[0] >= moment:
            if before[0] == -math.inf:
                return 0.0
            share = (moment - before[0]) / (report[0] - before[0])
            return before[1] + (report[1] - before[1]) * share
        before = report
    return before[1]
