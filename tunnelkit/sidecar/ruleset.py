"""Which rule takes a request, which ones nearly do, and which two could take the same (no I/O).

Rules stand in *tiers*: those with conditions about headers, who tell whose request it is, come
before those that only tell what is asked for (path, method, host), and these before one without
conditions.  In a tier the rule with more conditions comes first, and then the older one.

So only rules of one tier can be in each other's way.  Two of them are where there is a request that
both would take: the set looks for one before it takes a rule in, shows it, and refuses the rule
unless it is forced.  `header:x-user=ada` and `header:x-user=bob` are not in each other's way;
`header:x-user=ada`, and the same with `header:x-session=7` beside it, are.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import Final, TypeAlias

from tunnelkit.errors import ConfigurationError
from tunnelkit.http.patterns import Undecided

from .conditions import Condition, example_of
from .requests import RequestFacts, is_probe

__all__ = [
    "Branch",
    "Choice",
    "Conflict",
    "Developer",
    "Local",
    "Near",
    "Overlap",
    "Rule",
    "RuleSet",
    "Target",
    "Tier",
    "overlap_of",
]

MAX_RULES: Final = 500
"""Most rules of a port.  Stops: rules that cost every request much."""

MAX_OVERLAPS: Final = 5
"""Most overlaps that are looked for: who is in the way of so many need not see them all.  Stops:
searches that keep the program busy."""


@dataclass(frozen=True, slots=True)
class Local:
    """The workload itself."""

    def __str__(self) -> str:
        return "the workload"


@dataclass(frozen=True, slots=True)
class Branch:
    """A service that stands beside the workload."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Developer:
    """What a developer serves in their session."""

    peer: str
    """The subject of the developer's endpoint."""
    target: str
    """The name that it serves."""

    def __str__(self) -> str:
        return f"{self.peer} as {self.target}"


Target: TypeAlias = Local | Branch | Developer


class Tier(IntEnum):
    """Which rules come before which."""

    ALL = 0
    WHAT = 1
    """It tells what is asked for."""
    WHOSE = 2
    """It tells whose request it is."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests with all conditions go to the target."""

    name: str
    """Unique in its set."""
    target: Target
    conditions: tuple[Condition, ...] = ()
    owner: str = ""
    """Who wants it; for people."""
    fail_open: bool = True
    """Whether requests go to the workload while the target cannot be reached."""
    created_at: float = 0.0
    """Seconds of the clock with which the set is asked."""
    expires_at: float | None = None
    """When it ends; None: it does not."""

    @property
    def tier(self) -> Tier:
        """Where it stands among others."""
        if not self.conditions:
            return Tier.ALL
        is_whose = any(condition.is_about_headers for condition in self.conditions)
        return Tier.WHOSE if is_whose else Tier.WHAT

    @property
    def rank(self) -> tuple[int, int, float, str]:
        """The least comes first."""
        return -self.tier, -len(self.conditions), self.created_at, self.name

    def is_over(self, now: float) -> bool:
        """Return whether its time has ended."""
        return self.expires_at is not None and now >= self.expires_at

    def missing(self, facts: RequestFacts) -> Condition | None:
        """Return the first condition that a request does not have; None: it has all."""
        return next((one for one in self.conditions if not one.holds(facts)), None)

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions)) or "every request"


@dataclass(frozen=True, slots=True)
class Near:
    """A rule that did not take a request, and why not."""

    rule: Rule
    why: str
    missed: int = 0
    """How many of its conditions the request does not have."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a request goes."""

    rule: Rule | None
    """Which rule takes it; None: none, it goes to the workload."""
    why: str
    near: tuple[Near, ...] = ()
    """The other rules, those that missed least first; only where they were asked for."""

    @property
    def target(self) -> Target:
        """Where it goes."""
        return self.rule.target if self.rule is not None else Local()


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two rules that are in each other's way."""

    rule: Rule
    other: Rule
    request: RequestFacts | None
    """One that both would take; None: the patterns are too large to find one, or to find none."""

    def __str__(self) -> str:
        whose = f" of {self.other.owner}" if self.other.owner else ""
        text = f"rule {self.other.name!r}{whose} ({self.other}) "
        if self.request is None:
            return text + "may take the same requests: the patterns are too large to tell"
        return text + f"would take this one too: {curl_of(self.request)}"


class Conflict(ConfigurationError):
    """A rule is in the way of others."""

    def __init__(self, rule: Rule, overlaps: tuple[Overlap, ...]) -> None:
        listed = "; ".join(map(str, overlaps))
        super().__init__(
            f"rule {rule.name!r} ({rule}) is in the way of another one: {listed}. "
            "Make it narrower, or force it"
        )
        self.overlaps = overlaps


def curl_of(facts: RequestFacts) -> str:
    """Return a request as a command line."""
    words = ["curl"] if facts.method == "GET" else ["curl", "-X", facts.method]
    host = "HOST"
    for raw, value in facts.fields:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        if name == "host":
            host = text
        else:
            words += ["-H", f"{name}: {text}" if text else f"{name};"]
    scheme = "http" if not facts.server_name else "https"
    return shlex.join([*words, f"{scheme}://{facts.server_name or host}{facts.path}"])


def overlap_of(rule: Rule, other: Rule) -> Overlap | None:
    """Return how two rules are in each other's way; None: they are not."""
    ends = [(one.owner, one.target, one.fail_open) for one in (rule, other)]
    if rule.tier is not other.tier or ends[0] == ends[1]:
        return None  # whichever of them takes it, the request is the same owner's, and goes there
    try:
        values = example_of((*rule.conditions, *other.conditions))
    except Undecided:
        return Overlap(rule, other, None)
    if values is None:
        return None
    facts = _request_with(values)
    is_shown = rule.missing(facts) is None and other.missing(facts) is None
    return Overlap(rule, other, facts if is_shown else None)


def _request_with(values: dict[str, str]) -> RequestFacts:
    fields: list[tuple[bytes, bytes]] = []
    members: dict[str, list[str]] = {}
    for subject, value in values.items():
        kind, _, name = subject.partition(":")
        if kind == "header":
            fields.append((name.encode(), value.encode("latin-1")))
        elif kind in ("tracestate", "baggage"):
            members.setdefault(kind, []).append(f"{name}={value}")
        elif kind == "host":
            fields.append((b"host", value.encode("latin-1")))
    fields += [(kind.encode(), ",".join(some).encode("latin-1")) for kind, some in members.items()]
    method, path = values.get("method", "GET"), values.get("path", "/")
    return RequestFacts(method, path, tuple(fields), values.get("sni", ""))


@dataclass(slots=True)
class RuleSet:
    """The rules of one port."""

    _rules: dict[str, Rule] = field(default_factory=dict)
    _ordered: tuple[Rule, ...] = ()
    _may_expire: bool = False
    needs_http: bool = False
    """Whether requests have to be read: a rule looks at something in them."""
    needs_look: bool = False
    """Whether a rule looks at anything: a request, or the server name of TLS."""

    def __iter__(self) -> Iterator[Rule]:
        """Yield the rules, the one that is asked first first."""
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._rules)

    def choose_whole(self, server_name: str) -> Rule | None:
        """Return the rule that takes a connection as a whole; None: there is none."""
        for rule in self._ordered:
            if not rule.conditions:
                return rule  # as an intercept has it, for every connection
            facts = RequestFacts(server_name=server_name)
            is_whole = all(condition.subject == "sni" for condition in rule.conditions)
            if is_whole and rule.missing(facts) is None:
                return rule
        return None

    def add(self, rule: Rule, now: float, *, is_forced: bool = False) -> tuple[Overlap, ...]:
        """Take a rule in, in the place of one of the same name; return what it overlaps with.

        Args:
            is_forced: whether it is taken in although it is in the way of others.

        Raises:
            Conflict: it is in the way of others; nothing was changed.
            ConfigurationError: there are too many rules.
        """
        self.drop_expired(now)
        if len(self._rules) >= MAX_RULES and rule.name not in self._rules:
            raise ConfigurationError(f"a port has at most {MAX_RULES} rules: remove one first")
        others = [other for other in self._ordered if other.name != rule.name]
        overlaps = filter(None, (overlap_of(rule, other) for other in others))
        found = tuple(islice(overlaps, MAX_OVERLAPS))
        if found and not is_forced:
            raise Conflict(rule, found)
        self._rules[rule.name] = rule
        self._order()
        return found

    def remove(self, name: str) -> Rule | None:
        """Take a rule out and return it; None: there is none of that name."""
        rule = self._rules.pop(name, None)
        self._order()
        return rule

    def drop_expired(self, now: float) -> list[Rule]:
        """Take out the rules whose time has ended, and return them."""
        if not self._may_expire:
            return []
        over = [rule for rule in self._ordered if rule.is_over(now)]
        for rule in over:
            del self._rules[rule.name]
        if over:
            self._order()
        return over

    def _order(self) -> None:
        """The rules have changed."""
        self._ordered = tuple(sorted(self._rules.values(), key=lambda rule: rule.rank))
        subjects = {one.subject for rule in self._ordered for one in rule.conditions}
        self.needs_look = subjects != set()
        self.needs_http = not subjects <= {"sni"}
        self._may_expire = any(rule.expires_at is not None for rule in self._ordered)

    def choose(self, facts: RequestFacts, now: float) -> Choice:
        """Return where a request goes."""
        if is_probe(facts):
            return Choice(None, "a kubelet's probe: the workload always answers it")
        for rule in self._ordered:
            if not rule.is_over(now) and rule.missing(facts) is None:
                return Choice(rule, f"rule {rule.name!r} takes {rule}")
        why = "no rule takes it" if self._ordered else "there are no rules"
        return Choice(None, why)

    def explain(self, facts: RequestFacts, now: float) -> Choice:
        """Return where a request goes, and why no other rule took it."""
        choice = self.choose(facts, now)
        near = [
            self._near(rule, facts, now, choice)
            for rule in self._ordered
            if rule is not choice.rule
        ]
        near.sort(key=lambda one: one.missed)
        return Choice(choice.rule, choice.why, tuple(near))

    def _near(self, rule: Rule, facts: RequestFacts, now: float, choice: Choice) -> Near:
        missed = [one for one in rule.conditions if not one.holds(facts)]
        if rule.is_over(now):
            return Near(rule, "its time is over", len(missed))
        if not missed:
            first = choice.rule.name if choice.rule is not None else ""
            why = f"rule {first!r} comes before it" if first else choice.why
            return Near(rule, why)
        told = [f"it has {_told(one, facts)}, and not {one}" for one in missed]
        return Near(rule, "; ".join(told), len(missed))


def _told(condition: Condition, facts: RequestFacts) -> str:
    value = facts.value_of(condition.subject)
    return f"no {condition.subject}" if value is None else f"{condition.subject}={value[:80]}"
