"""Numbers as Prometheus reads them: its text format, version 0.0.4 (no I/O)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["CONTENT_TYPE", "Metric", "write_metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True)
class Metric:
    """One number, or one for each set of labels."""

    name: str
    """With the unit at its end; of a counter, with ``_total`` behind it."""
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> None:
        """Add a sample."""
        self.samples.append((labels, value))


def write_metrics(metrics: Iterable[Metric]) -> str:
    """Return metrics as text; those without a sample are left out."""
    return "".join(_lines_of(metric) for metric in metrics if metric.samples)


def _lines_of(metric: Metric) -> str:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
    for labels, value in metric.samples:
        listed = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
        number = str(int(value)) if value == int(value) else repr(float(value))
        lines.append(f"{metric.name}{{{listed}}} {number}" if listed else f"{metric.name} {number}")
    return "\n".join(lines) + "\n"
