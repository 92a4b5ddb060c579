"""What happens to a download, and what a trial of it says (no I/O).

How it works
------------
A trial is one download of some seconds through a tunnel, by programs of their own.  In its middle
something happens.  The client notes every wait for bytes; the *pause* is the longest one that ends
after the moment at which it happened, with nothing subtracted.  The last bytes of the download are
the checksum of all before, so that a lost, doubled or misplaced byte is seen.

A tunnel that does not survive breaks the download instead; then it is told when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

__all__ = [
    "CASES",
    "CUT",
    "OURS",
    "PEERS",
    "SUBJECTS",
    "Case",
    "Settings",
    "Summary",
    "Trial",
    "longest_wait",
    "subjects_of",
    "trial_of",
]

OURS: Final = "ours"
PEERS: Final = ("yamux", "smux", "openssh_l")
SUBJECTS: Final = (OURS, *PEERS)
CUT: Final = "link_reset"
"""The case that peers take part in: they know no broker."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that can happen."""

    name: str
    about: str


CASES: Final = (
    Case("nothing", "direct link, nothing happens: the usual wait"),
    Case(CUT, "direct link, its TCP connection is reset"),
    Case("broker_restart", "the only broker is killed, and started again at once"),
    Case("broker_second", "the broker that carries the session is killed; there is another"),
    Case("path_silent", "direct link, all packets are dropped for 1 s"),
    Case("moved", "the session is moved to another broker by command"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often."""

    rounds: int
    before_seconds: float
    """How long a download runs before something happens."""
    after_seconds: float
    """How long its source goes on from then."""

    @classmethod
    def full(cls, rounds: int | None = None) -> Settings:
        """The run whose figures are published."""
        return cls(rounds or 7, before_seconds=1.0, after_seconds=3.0)

    @classmethod
    def quick(cls, rounds: int | None = None) -> Settings:
        """A run that shows the order of magnitude, about two minutes."""
        return cls(rounds or 2, before_seconds=0.5, after_seconds=1.5)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one download found out."""

    pause_ms: float
    """The longest wait for bytes; of a broken download, up to its end."""
    missing_ms: float
    """How long something was really away: a broker until it was ready again, a silent path."""
    end_ms: float
    """From what happened to the end of the download, whole or broken."""
    received_bytes: int
    is_intact: bool
    """Whether all bytes arrived, each once and in its place."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The trials of one subject in one case."""

    trials: Sequence[Trial]

    @property
    def intact_count(self) -> int:
        """How many downloads were not harmed."""
        return sum(trial.is_intact for trial in self.trials)

    @property
    def pause_ms(self) -> float | None:
        """The median pause of the downloads that were not harmed; None if there is none."""
        pauses = self._pauses
        return median(pauses) if pauses else None

    @property
    def spread(self) -> tuple[float, float]:
        """The shortest and the longest of these pauses; ask only where there is one."""
        return min(self._pauses), max(self._pauses)

    @property
    def missing_ms(self) -> float:
        """The median of what was really away."""
        return median(trial.missing_ms for trial in self.trials)

    @property
    def broken_after_ms(self) -> float | None:
        """The median time until a harmed download broke; None if none did."""
        ends = [trial.end_ms for trial in self.trials if not trial.is_intact]
        return median(ends) if ends else None

    @property
    def _pauses(self) -> list[float]:
        return [trial.pause_ms for trial in self.trials if trial.is_intact]


def longest_wait(waits: Sequence[tuple[float, float]], moment: float) -> float:
    """Return the longest of the *waits* that end after *moment*, seconds; 0: none was worth noting.

    Args:
        waits: begin and end of each, on one clock.
        moment: on the same clock.
    """
    return max((end - begin for begin, end in waits if end > moment), default=0.0)


def trial_of(told: Mapping[str, Any], moment: float, missing: float) -> Trial:
    """Return what a download found out.

    Args:
        told: by its client, see `sink.py`.
        moment: when something happened, on the client's clock.
        missing: how long something was away, seconds.
    """
    return Trial(
        pause_ms=longest_wait(told["waits"], moment) * 1000,
        missing_ms=missing * 1000,
        end_ms=(told["ended_at"] - moment) * 1000,
        received_bytes=told["received"],
        is_intact=told["is_intact"],
    )


def subjects_of(case: Case, subjects: Sequence[str]) -> list[str]:
    """Return those of *subjects* that take part in a case."""
    return [name for name in subjects if name == OURS or case.name == CUT]
