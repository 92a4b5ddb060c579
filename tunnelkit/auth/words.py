"""How the command line reads and writes times (no I/O)."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime

from .capability import MAX_LIFETIME_SECONDS

__all__ = ["PROGRAM", "lifetime", "moment", "table"]

PROGRAM = "python -m tunnelkit.auth"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def lifetime(text: str) -> int:
    """Read ``90s``, ``30m``, ``12h`` or ``7d`` as seconds."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= MAX_LIFETIME_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a lifetime: write for example 90s, 30m, 12h or 7d (366d at most)"
        )
    return seconds


def moment(seconds: int, now: float) -> str:
    """Return a time as a date with its distance from *now*, in the largest two units."""
    try:
        date = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        date = f"second {seconds}"
    left, words = abs(int(seconds - now)), []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}{'s' if count > 1 else ''}")
    distance = " ".join(words[:2]) or "0 seconds"
    return f"{date} ({'in ' + distance if seconds > now else distance + ' ago'})"


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
