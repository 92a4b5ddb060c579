"""Conditions of rules: written as text, held against requests, and against each other (no I/O).

header:x-user=ada          is
path^=/api/                begins with
header:x-user~=ada|bob     is what a pattern says (`tunnelkit.http.patterns`)
grpc=orders.Cart/Add       short for path=/orders.Cart/Add
grpc=orders.Cart           short for path^=/orders.Cart/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tunnelkit.errors import ConfigurationError
from tunnelkit.http.patterns import Pattern, Undecided, common, exact, prefix, read_pattern

from .requests import RequestFacts

__all__ = ["MAX_CONDITIONS", "Condition", "example_of", "read_condition", "read_conditions"]

MAX_CONDITIONS: Final = 16
"""Most conditions of a rule.  Stops: rules that cost every request much."""

_TEXT: Final = re.compile(r"([a-z]+)(?::([^=~^]+))?(\^=|~=|=)(.*)", re.DOTALL)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z/@-]+")
_PLAIN: Final = ("method", "path", "host", "sni", "grpc")
_NAMED: Final = ("header", "tracestate", "baggage")
_MAKERS: Final = {"=": exact, "^=": prefix, "~=": read_pattern}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a request has to have."""

    subject: str
    how: str
    """``=``, ``^=`` or ``~=``."""
    value: str

    def __str__(self) -> str:
        return f"{self.subject}{self.how}{self.value}"

    @property
    def pattern(self) -> Pattern:
        """The texts that fulfil it."""
        return _pattern_of(self.how, self.value)

    @property
    def is_about_headers(self) -> bool:
        """Whether it tells who asks, and not what is asked for."""
        return self.subject.partition(":")[0] in _NAMED

    def holds(self, facts: RequestFacts) -> bool:
        """Return whether a request has it."""
        value = facts.value_of(self.subject)
        if value is None:
            return False
        if self.how == "=":
            return value == self.value
        if self.how == "^=":
            return value.startswith(self.value)
        return self.pattern.matches(value)


@lru_cache(maxsize=1024)
def _pattern_of(how: str, value: str) -> Pattern:
    return _MAKERS[how](value)


def read_condition(text: str) -> Condition:
    """Return the condition that *text* says.

    Raises:
        ConfigurationError: it says none; with the forms there are.
    """
    found = _TEXT.fullmatch(text)
    kind = found[1] if found else ""
    if found is None or kind not in (*_PLAIN, *_NAMED):
        subjects = ", ".join([*_PLAIN, *(f"{one}:NAME" for one in _NAMED)])
        raise ConfigurationError(
            f"{text[:80]!r} is no condition: write SUBJECT=VALUE, SUBJECT^=PREFIX or "
            f"SUBJECT~=PATTERN; the subjects are {subjects}"
        )
    name, how, value = found[2], found[3], found[4]
    if (name is None) is (kind in _NAMED) or (name and not _NAME.fullmatch(name)):
        raise ConfigurationError(f"{text[:80]!r}: write {kind}{':NAME' * (kind in _NAMED)}{how}...")
    if kind == "grpc":
        return _of_grpc(text, how, value)
    if kind == "header":
        name = name.lower()
        if name == "host":
            kind, name = "host", None
    made = Condition(f"{kind}:{name}" if name else kind, how, _folded(kind, how, value))
    try:
        _ = made.pattern
    except ConfigurationError as error:
        raise ConfigurationError(f"{text[:80]!r}: {error}") from None
    return made


def _folded(kind: str, how: str, value: str) -> str:
    """Hosts have no case; what is compared with them has none either."""
    return value.lower() if kind in ("host", "sni") and how != "~=" else value


def _of_grpc(text: str, how: str, value: str) -> Condition:
    service, slash, method = value.partition("/")
    if how != "=" or not service or (slash and not method) or "/" in method:
        raise ConfigurationError(f"{text[:80]!r}: write grpc=SERVICE or grpc=SERVICE/METHOD")
    if slash:
        return Condition("path", "=", f"/{value}")
    return Condition("path", "^=", f"/{service}/")


def read_conditions(texts: Iterable[str]) -> tuple[Condition, ...]:
    """Return the conditions that texts say, all of which are to hold.

    Raises:
        ConfigurationError: one is none, there are too many, or no request has all of them.
    """
    found = tuple(dict.fromkeys(map(read_condition, texts)))
    if len(found) > MAX_CONDITIONS:
        raise ConfigurationError(f"a rule has at most {MAX_CONDITIONS} conditions")
    try:
        if example_of(found) is None:
            raise ConfigurationError(f"no request has {' and '.join(map(str, found))}")
    except Undecided:
        pass
    return found


def example_of(conditions: Iterable[Condition]) -> dict[str, str] | None:
    """Return a value for each subject, with which all conditions hold; None: there are none.

    Raises:
        Undecided: the patterns are too large to tell.
    """
    patterns: dict[str, list[Pattern]] = {}
    for condition in conditions:
        patterns.setdefault(condition.subject, []).append(condition.pattern)
    found: dict[str, str] = {}
    for subject, several in patterns.items():
        value = common([*several, _POSSIBLE[subject.partition(":")[0]]])
        if value is None:
            return None
        found[subject] = value
    return found


_POSSIBLE: Final = {
    "method": read_pattern(r"[!#$%&'*+.\^_`|~0-9A-Za-z\-]+"),
    "path": read_pattern(r"/[!-\"$->@-~]*|\*"),
    "host": read_pattern(r"[!-~]*"),
    "sni": read_pattern(r"[!-~]+"),
    "header": read_pattern("([!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?)?"),
    "tracestate": read_pattern(r"[!-+\--<>-~]([ -+\--<>-~]*[!-+\--<>-~])?"),
    "baggage": read_pattern(r"[!-~]+"),
}
"""By kind of subject, what a request can hold."""
