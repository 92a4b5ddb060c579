"""Medians, ratios and targets (no I/O).

A ratio is the quotient of two medians.  Both sides were measured in the same rounds, minutes
apart at most, so that a ratio is worth more than either figure: compare ratios between machines,
never requests per second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.cases import BASE_CARRIER, OURS, Case

__all__ = [
    "CARRIER_TARGETS",
    "SPINE_TARGETS",
    "Summary",
    "Target",
    "Verdict",
    "ratio_name",
    "ratios_of",
    "summarise",
    "verdicts_of",
]


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one subject in one case, all in `unit`."""

    unit: str
    rounds: tuple[float, ...]
    extras: tuple[tuple[str, float], ...] = ()
    """Medians of what else the load generator reported, such as latencies in microseconds."""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The slowest and the fastest round."""
        return min(self.rounds), max(self.rounds)


@dataclass(frozen=True, slots=True)
class Target:
    """What a subject's median must reach, as a multiple of a peer's median."""

    case: str
    peer: str
    ratio: float
    subject: str = OURS

    @property
    def name(self) -> str:
        """The name of the ratio that it is about."""
        return ratio_name(self.subject, self.peer)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was reached; `reached` is None where a figure is missing."""

    target: Target
    reached: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached, or None if that cannot be told."""
        return None if self.reached is None else self.reached >= self.target.ratio

    @property
    def shortfall(self) -> float:
        """What is missing, as a share of the target: 0.25 means a quarter too slow."""
        if self.reached is None or self.reached >= self.target.ratio:
            return 0.0
        return 1 - self.reached / self.target.ratio


SPINE_TARGETS = (
    Target("rps_32", "yamux", 1.8),
    Target("rps_32", "haproxy", 0.7),
    Target("rps_128", "yamux", 1.4),
    Target("rps_128", "haproxy", 0.65),
    Target("new_conns", "yamux", 1.2),
    Target("new_conns", "haproxy", 0.5),
    Target("bulk", "yamux", 1.5),
    Target("bulk", "haproxy", 0.9),
    Target("broker_rps_32", "yamux", 1.2),
    Target("broker_rps_128", "yamux", 1.2),
    Target("broker_new_conns", "yamux", 1.0),
    Target("broker_bulk", "yamux", 1.0),
    Target("pass_rps_32", "haproxy", 0.7),
)

# A WebSocket masks what goes from the client to the server: `bulk`, not `bulk_back`.  There is no
# target for `wss`, which pays for both, nor for `unix`.
CARRIER_TARGETS = (
    Target("rps_32", BASE_CARRIER, 0.65, "tls"),
    Target("rps_32", BASE_CARRIER, 0.9, "ws"),
    Target("bulk", BASE_CARRIER, 0.5, "tls"),
    Target("bulk", BASE_CARRIER, 0.65, "ws"),
    Target("bulk_back", BASE_CARRIER, 0.5, "tls"),
    Target("bulk_back", BASE_CARRIER, 0.65, "ws"),
)

Results = Mapping[str, Mapping[str, Summary]]
"""Case, then subject, to its summary; what was not measured is absent."""


def summarise(
    unit: str, values: Sequence[float], extras: Sequence[Mapping[str, float]] = ()
) -> Summary:
    """Gather the rounds of one subject; extras are reduced to their medians, key by key.

    Raises:
        ValueError: there is no round at all.
    """
    if not values:
        raise ValueError("no round was measured: leave the subject out of the results instead")
    keys = sorted({key for extra in extras for key in extra})
    reduced = tuple((key, median(e[key] for e in extras if key in e)) for key in keys)
    return Summary(unit, tuple(values), reduced)


def ratio_name(subject: str, peer: str) -> str:
    """Return what the quotient of two subjects is called."""
    return f"{subject}/{peer}"


def ratios_of(results: Results, cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    """Return {case: {"SUBJECT/PEER": ratio}} for every pair that a case compares and has."""
    ratios: dict[str, dict[str, float]] = {}
    for case in cases:
        found = results.get(case.name, {})
        pairs = [pair for pair in case.ratios if pair[0] in found and pair[1] in found]
        for subject, peer in pairs:
            if found[peer].median > 0:
                ratio = found[subject].median / found[peer].median
                ratios.setdefault(case.name, {})[ratio_name(subject, peer)] = ratio
    return ratios


def verdicts_of(
    ratios: Mapping[str, Mapping[str, float]], targets: Sequence[Target], cases: Sequence[Case]
) -> tuple[Verdict, ...]:
    """Return a verdict for each of *targets* whose case was run, in their order."""
    names = {case.name for case in cases}
    return tuple(
        Verdict(target, ratios.get(target.case, {}).get(target.name))
        for target in targets
        if target.case in names
    )
