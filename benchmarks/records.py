"""Results files: where they go, how they are read, and what figures they hold.

How it works
------------
A scenario writes what it found as JSON (`scenario`, `machine`, `settings`, `results`, ...).  A run
of everything puts these under `scenarios.NAME` of one file, beside the date and the machine.  Both
kinds are read here into a `Record`, so that nobody else has to know which of the two a file is.

Scenarios nest their results as they like.  What counts as a figure is what has `rounds`: a list of
numbers, or a list of samples that name several numbers each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import BenchmarkError
from benchmarks.stats import Summary

__all__ = [
    "RESULTS",
    "Json",
    "Record",
    "figures_of",
    "free_name",
    "joined",
    "newest",
    "read_record",
    "record_of",
    "write_json_file",
]

RESULTS: Final = Path(__file__).with_name("results")
"""The folder of the committed results files."""

NO_FIGURES: Final = ("count", "received_bytes")

Json = Mapping[str, Any]
"""An object of JSON."""

_FULL_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:-(\d+))?\.json")


@dataclass(frozen=True, slots=True)
class Record:
    """What one results file says, or several that were joined."""

    scenarios: Mapping[str, Json]
    machine: Json
    date: str = ""
    """The day it was measured, or "" where nothing tells it."""
    incomplete: Sequence[str] = ()
    """Scenarios that were stopped, or did not come to run."""
    sources: Sequence[str] = ()
    """The names of the files."""

    def results(self, scenario: str) -> Json:
        """Return the results of a scenario; nothing if it was not run."""
        found: Json = self.scenarios.get(scenario, {}).get("results", {})
        return found


def record_of(document: object, name: str) -> Record:
    """Return what a file of this name holds, be it of one scenario or of all.

    Raises:
        BenchmarkError: this is not what a scenario writes.
    """
    if not isinstance(document, dict):
        raise BenchmarkError(f"{name} is no results file: it holds no object")
    day = re.match(r"\d{4}-\d\d-\d\d", str(document.get("date") or name))
    scenarios = document.get("scenarios")
    if not isinstance(scenarios, dict):
        if not isinstance(document.get("scenario"), str) or "results" not in document:
            raise BenchmarkError(f"{name} is no results file: it names no scenario")
        scenarios = {document["scenario"]: document}
    stopped = [key for key, one in scenarios.items() if one.get("incomplete")]
    return Record(
        scenarios,
        document.get("machine", {}),
        day.group() if day else "",
        tuple(dict.fromkeys([*stopped, *_names(document.get("incomplete"))])),
        (name,),
    )


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def read_record(path: Path) -> Record:
    """Return what a results file says.

    Raises:
        BenchmarkError: it cannot be read, or is not one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BenchmarkError(f"{path} is no JSON: {error}") from None
    return record_of(document, path.name)


def joined(records: Sequence[Record]) -> Record:
    """Return one record of several; a later one replaces the scenarios of those before it."""
    if len(records) == 1:
        return records[0]
    scenarios = {name: one for record in records for name, one in record.scenarios.items()}
    incomplete: list[str] = []
    for record in records:
        incomplete = [name for name in incomplete if name not in record.scenarios]
        incomplete += record.incomplete
    return Record(
        scenarios,
        {key: value for record in records for key, value in record.machine.items() if value != ""},
        max((record.date for record in records), default=""),
        incomplete,
        [name for record in records for name in record.sources],
    )


def free_name(day: str, taken: Collection[str]) -> str:
    """Return the name of a new results file: a second run on a day overwrites nothing."""
    name, number = f"{day}.json", 2
    while name in taken:
        name, number = f"{day}-{number}.json", number + 1
    return name


def newest(names: Collection[str]) -> str | None:
    """Return which of these files was written last by a run of everything; None: none of them."""
    found = [(one[1], int(one[2] or 1), one[0]) for one in map(_FULL_NAME.fullmatch, names) if one]
    return max(found)[2] if found else None


def write_json_file(document: Json, path: Path) -> None:
    """Write a results file in one step, so that a reader never meets half of one.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def figures_of(results: Json) -> dict[tuple[str, ...], Summary]:
    """Return every figure below *results*, by the names that lead to it, in the order of the file.

    A list of samples yields a figure for each number that they name, but for those that only say
    how much was held or sent.
    """
    return dict(_walk(results, ()))


def _walk(node: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Summary]]:
    rounds = node.get("rounds")
    if isinstance(rounds, list) and rounds:
        yield from _figures(node, rounds, path)
        return
    for name, below in node.items():
        if isinstance(below, dict):
            yield from _walk(below, (*path, name))


def _figures(
    node: Json, rounds: Sequence[Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Summary]]:
    if all(_is_number(one) for one in rounds):
        extras = ((key, value) for key, value in node.items() if _is_number(value))
        others = tuple((key, value) for key, value in extras if key != "median")
        yield path, Summary(str(node.get("unit", "")), tuple(rounds), others)
    elif all(isinstance(one, dict) for one in rounds):
        for key in rounds[0]:
            found = tuple(one[key] for one in rounds if _is_number(one.get(key)))
            if found and key not in NO_FIGURES:
                yield (*path, key), Summary("", found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
