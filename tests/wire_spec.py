"""Read the tables of docs/wire-protocol.md, so that tests can compare the code with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPECIFICATION = ROOT / "docs" / "wire-protocol.md"

_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": 1}


@dataclass(frozen=True)
class SpecFrame:
    """A row of the table of frame types (§4)."""

    name: str
    number: int
    scope: str
    is_sequenced: bool
    fields: tuple[tuple[str, str], ...]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _tables() -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each table as (the last text line before it, rows of cells, the heads first)."""
    before, rows = "", list[list[str]]()
    for line in [*SPECIFICATION.read_text().splitlines(), ""]:
        if line.startswith("|"):
            rows.append(_cells(line))
        else:
            if rows:
                yield before, [rows[0], *rows[2:]]
                rows = []
            before = line or before


def _table(*heads: str) -> list[list[str]]:
    """Return the rows of the only table with these heads."""
    (rows,) = [rows[1:] for _, rows in _tables() if rows[0] == list(heads)]
    return rows


def frames() -> list[SpecFrame]:
    """Return the table of frame types."""
    found = []
    for name, number, scope, sequenced, fields in _table(
        "type", "number", "scope", "sequenced", "fields"
    ):
        pairs = re.findall(r"(\w+) ([a-z]+\d*)(?:,|$)", fields) if name != "data" else []
        items = tuple((str(field), str(kind)) for field, kind in pairs)
        found.append(SpecFrame(name, int(number, 16), scope, sequenced == "yes", items))
    return found


def states(name: str) -> dict[tuple[str, str], str]:
    """Return the state table *name* as (state, input) -> next state."""
    found: dict[tuple[str, str], str] = {}
    for before, rows in _tables():
        if not before.startswith(f"State table {name}:"):
            continue
        for state, inputs, after in rows[1:]:
            for each in inputs.split(","):
                key = state, each.strip().strip("`")
                assert key not in found, f"{name} has {key} twice"
                found[key] = after
    return found


def codes() -> dict[str, int]:
    """Return the table of error codes as name -> number."""
    return {row[1]: int(row[0]) for row in _table("number", "name", "meaning", "ends")}


def limits() -> dict[str, float]:
    """Return the table of limits as name -> value in bytes, seconds or pieces."""
    found = {}
    for name, value, *_ in _table("name", "value", "kind", "what it bounds, and what it stops"):
        number, _, unit = value.partition(" ")
        found[name] = float(number) * _UNITS[unit or "bytes"]
    return found


def reserved() -> dict[int, str]:
    """Return the reserved frame types as number -> name."""
    return {int(number, 16): name for number, name, _ in _table("number", "name", "use")}


def metadata_keys() -> dict[int, str]:
    """Return the metadata keys as number -> name."""
    return {int(number): name for number, name, _ in _table("key", "name", "content")}
