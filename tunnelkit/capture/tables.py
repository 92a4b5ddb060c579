"""What the command prints: for people, and as JSON (no I/O)."""

from __future__ import annotations

from collections.abc import Sequence

from .comparing import Difference
from .pairing import Pairing
from .reading import Call
from .replay import Outcome

__all__ = [
    "HEADINGS",
    "call_json",
    "call_row",
    "outcome_json",
    "outcome_lines",
    "pairing_json",
    "pairing_lines",
    "plain_table",
    "printable",
    "summary",
]

HEADINGS = ("", "status", "method", "target", "type", "size", "time", "remark")

MAX_TARGET_CHARS = 80
"""Most characters of a target in a table."""


def printable(text: str) -> str:
    """Escape what could move the terminal's cursor: a file's texts come from anywhere."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TARGET_CHARS else f"{text[: MAX_TARGET_CHARS - 3]}..."


def call_row(call: Call) -> Sequence[str]:
    """Return a request as a row below `HEADINGS`."""
    answer = call.answer
    remarks = [call.comment, call.why_not and f"not replayed: {call.why_not}"]
    cells = (
        str(call.number),
        "-" if answer is None else str(answer.status),
        call.method,
        _shortened(call.path),
        "" if answer is None else answer.kind.partition(";")[0],
        "-" if answer is None or answer.body is None else str(len(answer.body)),
        f"{call.milliseconds:.0f} ms",
        "; ".join(filter(None, remarks)),
    )
    return [printable(cell) for cell in cells]


def call_json(call: Call) -> dict[str, object]:
    """Return a request for programs."""
    answer = call.answer
    body = None if answer is None else answer.body
    return {
        "number": call.number,
        "method": call.method,
        "url": call.url,
        "status": None if answer is None else answer.status,
        "type": "" if answer is None else answer.kind,
        "size": None if body is None else len(body),
        "milliseconds": call.milliseconds,
        "comment": call.comment,
        "why_not": call.why_not,
    }


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _named(call: Call) -> str:
    return printable(f"{call.number} {call.method} {_shortened(call.path)}")


def outcome_lines(outcome: Outcome) -> list[str]:
    """Return what came of a request, for people: a line, and what is different below it."""
    status = "" if outcome.answer is None else f" ({outcome.answer.status})"
    below: list[str] = []
    if outcome.skipped:
        word = f"not sent: {outcome.skipped}"
    elif outcome.error:
        word = f"failed: {outcome.error}"
    else:
        word = f"differs{status}" if outcome.differences else f"same{status}"
        below = [f"    {printable(str(one))}" for one in outcome.differences]
    if outcome.call.left_out and not outcome.skipped:
        names = ", ".join(outcome.call.left_out)
        below.append(f"    left out, as it was redacted: {printable(names)}")
    return [f"{_named(outcome.call)}: {printable(word)}", *below]


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """Return what came of a request, for programs."""
    return {
        "number": outcome.call.number,
        "method": outcome.call.method,
        "target": outcome.call.path,
        "status": None if outcome.answer is None else outcome.answer.status,
        "is_same": outcome.is_same,
        "error": outcome.error,
        "skipped": outcome.skipped,
        "left_out": list(outcome.call.left_out),
        "differences": _differences(outcome.differences),
    }


def _differences(found: Sequence[Difference]) -> list[dict[str, object]]:
    return [{"what": one.what, "was": one.was, "now": one.now} for one in found]


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return how many requests came to what."""
    counts = {
        "the same": sum(o.is_same and not o.skipped for o in outcomes),
        "different": sum(bool(o.differences) for o in outcomes),
        "failed": sum(bool(o.error) for o in outcomes),
        "not sent": sum(bool(o.skipped) for o in outcomes),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def pairing_lines(pairing: Pairing) -> list[str]:
    """Return what two files say of a request, for people; nothing where they agree."""
    if not pairing.differences:
        return []
    return [_named(pairing.call), *(f"    {printable(str(d))}" for d in pairing.differences)]


def pairing_json(pairing: Pairing) -> dict[str, object]:
    """Return what two files say of a request, for programs."""
    return {
        "left": None if pairing.left is None else pairing.left.number,
        "right": None if pairing.right is None else pairing.right.number,
        "method": pairing.call.method,
        "target": pairing.call.path,
        "differences": _differences(pairing.differences),
    }
