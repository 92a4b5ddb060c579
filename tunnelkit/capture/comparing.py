"""Say what is different between two answers (no I/O).

Fields are compared by name, without regard to case and order of names; those of `NOT_COMPARED` say
something else every time, or belong to one connection.  Bodies of JSON are compared as values,
others as bytes.  What was redacted is equal to anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tunnelkit.http.head import Fields

from .reading import Answer
from .redact import MARK

__all__ = ["NOT_COMPARED", "Difference", "compare", "matches"]

NOT_COMPARED: Final = frozenset(
    {
        # times, and what is counted or made for each answer
        *("date", "age", "expires", "server-timing", "x-runtime", "x-response-time"),
        *("x-request-id", "x-correlation-id", "x-amzn-trace-id", "traceparent", "tracestate"),
        # of one connection (RFC 9110 §7.6.1), or of the way of one answer
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "via", "alt-svc", "nel", "report-to"),
        # how the body was carried: the body is compared without that
        *("content-length", "content-encoding"),
    }
)
"""Names of fields that are not compared, in lower case."""

MAX_SHOWN: Final = 10
"""Most differences of one body that are told.  Stops: pages of them where a list has shifted."""

MAX_TEXT: Final = 60
"""Most characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was."""

    what: str
    """``status``, ``header NAME``, ``body`` or ``body PATH``."""
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: was {self.was}, is {self.now}"


def compare(was: Answer, now: Answer, ignored: frozenset[str] = NOT_COMPARED) -> list[Difference]:
    """Return what is different.

    Args:
        ignored: names of fields that are not compared, in lower case.
    """
    found = []
    if was.status != now.status:
        found.append(Difference("status", str(was.status), str(now.status)))
    found += _fields(was.fields, now.fields, ignored)
    if was.body is not None and now.body is not None:
        found += _bodies(was, now, was.body, now.body)
    return found


def _fields(was: Fields, now: Fields, ignored: frozenset[str]) -> Iterator[Difference]:
    before, after = _by_name(was), _by_name(now)
    for name in sorted((before.keys() | after.keys()) - ignored):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or not matches(old, new):
            yield Difference(f"header {name}", _shown(old), _shown(new))


def _by_name(fields: Fields) -> dict[str, str]:
    """Return the values of each name, in their order, as one text."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}


def _shown(value: str | None) -> str:
    if value is None:
        return "not there"
    return repr(value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}...")


def matches(was: str, now: str, *, is_prefix: bool = False) -> bool:
    """Return whether a text is as it was; what was redacted stands for any text.

    Args:
        is_prefix: whether *now* may go on.
    """
    pieces = MARK.split(was)
    if len(pieces) == 1:
        return now.startswith(was) if is_prefix else now == was
    first, *middle, last = pieces
    if not now.startswith(first):
        return False
    place = len(first)
    for piece in middle:  # the first place is as good as any: nothing between is compared
        place = now.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    if is_prefix:
        return now.find(last, place) >= 0
    return now.endswith(last) and len(now) - len(last) >= place


# --- bodies -------------------------------------------------------------------------------------


def _bodies(was: Answer, now: Answer, old: bytes, new: bytes) -> list[Difference]:
    if old == new:
        return []
    if was.is_whole and now.is_whole and _is_json(was.kind) and _is_json(now.kind):
        try:
            return _values(json.loads(old), json.loads(new))
        except (ValueError, RecursionError):
            pass  # no JSON after all, or a strange one
    before, after = old.decode("latin-1"), new.decode("latin-1")
    if matches(before, after, is_prefix=not was.is_whole):
        return []
    return [_first_difference(before, after)]


def _is_json(kind: str) -> bool:
    essence = kind.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _first_difference(old: str, new: str) -> Difference:
    place = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    begin = max(0, place - 10)
    return Difference(
        f"body at byte {place}",
        f"{len(old)} bytes, {_shown(old[begin : place + 30])}",
        f"{len(new)} bytes, {_shown(new[begin : place + 30])}",
    )


def _values(was: object, now: object) -> list[Difference]:
    """Return where two values of JSON are different; as deep as they are, so without recursion."""
    found: list[Difference] = []
    waiting: list[tuple[str, object, object]] = [("$", was, now)]
    while waiting and len(found) < MAX_SHOWN:
        path, old, new = waiting.pop()
        if isinstance(old, str) and isinstance(new, str) and matches(old, new):
            continue
        if isinstance(old, str) and MARK.fullmatch(old):
            continue  # it could have been a number, or an object
        if isinstance(old, dict) and isinstance(new, dict):
            for name in sorted(old.keys() - new.keys()):
                found.append(Difference(f"body {path}.{name}", _json(old[name]), "not there"))
            for name in sorted(new.keys() - old.keys()):
                found.append(Difference(f"body {path}.{name}", "not there", _json(new[name])))
            both = [name for name in old if name in new]
            waiting += [(f"{path}.{name}", old[name], new[name]) for name in reversed(both)]
        elif isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                found.append(Difference(f"body {path}", _items(old), _items(new)))
            pairs = enumerate(zip(old, new, strict=False))
            waiting += reversed([(f"{path}[{i}]", a, b) for i, (a, b) in pairs])
        elif isinstance(old, bool) is not isinstance(new, bool) or old != new:
            found.append(Difference(f"body {path}", _json(old), _json(new)))
    return found[:MAX_SHOWN]


def _items(values: list[object]) -> str:
    return f"{len(values)} items"


def _json(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else _items(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
