"""Medians, ratios and verdicts (no I/O).

A ratio is the quotient of two medians.  Both sides were measured in the same rounds, minutes
apart at most, so that a ratio is worth more than either figure: compare ratios between machines,
never requests per second.

A target is about such a ratio: of the figure of a case, or of a latency or a cost that was found
beside it.  `targets.py` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from benchmarks.cases import OURS, Case

__all__ = [
    "VALUE",
    "Summary",
    "Target",
    "Verdict",
    "ratio_name",
    "ratios_of",
    "reached_of",
    "summarise",
    "verdicts_of",
    "with_added",
]

VALUE: Final = "value"
"""The metric of a target that is about the figure of a case itself."""


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
    """What a figure of a subject must reach, as a multiple of a peer's."""

    case: str
    peer: str
    ratio: float
    subject: str = OURS
    metric: str = VALUE
    """VALUE for the median of the case, else the name of an extra, such as `p99_us`."""
    is_at_most: bool = False
    """Whether less is better: the ratio is then the most that it may be."""
    rivals: tuple[str, ...] = ()
    """Further peers: what counts is the best of them and of `peer`."""
    base_case: str = ""
    """The case that the peer's figure is taken from, if it is another one."""

    @property
    def peers(self) -> tuple[str, ...]:
        """All peers whose figures it needs."""
        return (self.peer, *self.rivals)

    @property
    def name(self) -> str:
        """The name of the ratio that it is about."""
        peer = f"best of {', '.join(self.peers)}" if self.rivals else self.peer
        where = f" in {self.base_case}" if self.base_case else ""
        metric = "" if self.metric == VALUE else f"{self.metric} "
        return metric + ratio_name(self.subject, peer) + where


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was reached; `reached` is None where a figure is missing."""

    target: Target
    reached: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached, or None if that cannot be told."""
        if self.reached is None:
            return None
        if self.target.is_at_most:
            return self.reached <= self.target.ratio
        return self.reached >= self.target.ratio

    @property
    def shortfall(self) -> float:
        """By how much it was missed, as a share of the target: 0.25 means a quarter too slow."""
        if self.reached is None or self.met:
            return 0.0
        return abs(1 - self.reached / self.target.ratio)


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


def with_added(figures: Mapping[str, Summary], base: str) -> dict[str, Summary]:
    """Return *figures* of latencies, with what each adds to that of *base* among the extras.

    Both are medians of the same rounds; less than nothing is added where they cannot be told apart.
    """
    if base not in figures:
        return dict(figures)
    least = dict(figures[base].extras)
    found: dict[str, Summary] = {}
    for name, summary in figures.items():
        extras = dict(summary.extras)
        keys = [key for key in ("p50_us", "p99_us") if key in extras and key in least]
        added = {f"added_{key}": extras[key] - least[key] for key in keys if name != base}
        found[name] = replace(summary, extras=tuple((extras | added).items()))
    return found


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


def reached_of(results: Results, target: Target) -> float | None:
    """Return the ratio that *target* is about, or None where one of its figures is missing."""
    base = target.base_case or target.case
    own = _figure(results, target.case, target.subject, target.metric)
    others = [_figure(results, base, peer, target.metric) for peer in target.peers]
    found = [figure for figure in others if figure is not None and figure > 0]
    if own is None or len(found) < len(others):
        return None
    return own / (min(found) if target.is_at_most else max(found))


def _figure(results: Results, case: str, subject: str, metric: str) -> float | None:
    summary = results.get(case, {}).get(subject)
    if summary is None:
        return None
    return summary.median if metric == VALUE else dict(summary.extras).get(metric)


def verdicts_of(
    results: Results, targets: Sequence[Target], cases: Sequence[Case]
) -> tuple[Verdict, ...]:
    """Return a verdict for each of *targets* whose case was run, in their order."""
    names = {case.name for case in cases}
    return tuple(
        Verdict(target, reached_of(results, target)) for target in targets if target.case in names
    )
