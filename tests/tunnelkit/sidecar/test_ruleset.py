"""Which rule takes a request, why, and which rules are in each other's way."""

from __future__ import annotations

import pytest

from tests.tunnelkit.sidecar.test_conditions import facts
from tunnelkit.errors import ConfigurationError
from tunnelkit.sidecar import ruleset
from tunnelkit.sidecar.conditions import read_conditions
from tunnelkit.sidecar.ruleset import (
    Branch,
    Conflict,
    Developer,
    Local,
    Rule,
    RuleSet,
    Tier,
    overlap_of,
)

ADA = Developer("devbox/ada", "web")


def rule(name: str, *conditions: str, owner: str = "", **more: float) -> Rule:
    return Rule(name, ADA, read_conditions(conditions), owner or name, **more)  # type: ignore[arg-type] # seconds


def rules(*several: Rule, is_forced: bool = False) -> RuleSet:
    made = RuleSet()
    for one in several:
        made.add(one, 0, is_forced=is_forced)
    return made


def taken_by(made: RuleSet, text: str, now: float = 0) -> str | None:
    choice = made.choose(facts(text), now)
    return choice.rule.name if choice.rule is not None else None


USER = rule("user", "header:x-user=ada")
PATH = rule("path", "path^=/api/")
ALL = rule("all")

# --- who takes it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_text", "name"),
    [
        ("GET /\nx-user: ada", "user"),
        ("GET /api/a", "path"),
        ("GET /api/a\nx-user: ada", "user"),
        ("GET /", "all"),
    ],
)
def test_tiers(request_text: str, name: str) -> None:
    assert taken_by(rules(ALL, PATH, USER), request_text) == name


def test_tier_of_a_rule() -> None:
    both = rule("both", "path=/a", "tracestate:env=blue")
    assert [one.tier for one in (ALL, PATH, USER, both)] == [
        Tier.ALL,
        Tier.WHAT,
        Tier.WHOSE,
        Tier.WHOSE,
    ]


def test_more_conditions_come_first_and_then_the_older_rule() -> None:
    narrow = rule("narrow", "header:x-user=ada", "path^=/api/", created_at=9)
    later = rule("later", "header:x-user^=a", created_at=5)
    made = rules(later, USER, narrow, is_forced=True)
    assert [one.name for one in made] == ["narrow", "user", "later"]


def test_no_rule_takes_it() -> None:
    choice = rules(USER).choose(facts("GET /"), 0)
    assert (choice.rule, choice.target, choice.why) == (None, Local(), "no rule takes it")


def test_probe_goes_to_the_workload_whatever_the_rules() -> None:
    choice = rules(ALL).choose(facts("GET /\nUser-Agent: kube-probe/1.30"), 0)
    assert (choice.rule, "probe" in choice.why) == (None, True)


def test_rule_ends_with_its_time() -> None:
    made = rules(rule("short", expires_at=10))
    assert taken_by(made, "GET /", now=9.9) == "short"
    assert taken_by(made, "GET /", now=10) is None
    assert [one.name for one in made.drop_expired(10)] == ["short"]
    assert len(made) == 0


def test_rule_is_replaced_by_its_name() -> None:
    made = rules(USER)
    made.add(rule("user", "header:x-user=bob"), 0)
    assert taken_by(made, "GET /\nx-user: ada") is None
    assert made.remove("user") is not None
    assert made.remove("user") is None


def test_rules_without_conditions_need_no_http() -> None:
    assert not rules(ALL).needs_http
    assert not rules(rule("tls", "sni=a.example.com")).needs_http
    assert rules(PATH).needs_http


# --- in each other's way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["header:x-user=ada"], ["header:x-user=bob"]),
        (["header:x-user=ada", "path=/a"], ["header:x-user=ada", "path=/b"]),
        (["header:x-user=ada"], ["path=/a"]),
        (["path=/a"], []),
        (["path^=/a/"], ["path^=/b/"]),
        (["header:x~=[0-9]+"], ["header:x~=[a-z]+"]),
        (["grpc=a.B/C"], ["grpc=a.B/D"]),
    ],
)
def test_rules_that_are_not_in_each_others_way(one: list[str], other: list[str]) -> None:
    assert overlap_of(rule("one", *one), rule("other", *other)) is None


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ([], [], "curl http://HOST/"),
        (
            ["header:x-user=ada"],
            ["header:x-user=ada", "header:x-session=7"],
            "curl -H 'x-user: ada' -H 'x-session: 7' http://HOST/",
        ),
        (
            ["header:x-user=ada"],
            ["header:x-session=7"],
            "curl -H 'x-user: ada' -H 'x-session: 7' http://HOST/",
        ),
        (["path^=/api/"], ["path=/api/v1"], "curl http://HOST/api/v1"),
        (["method=POST"], ["grpc=a.B"], "curl -X POST http://HOST/a.B/"),
        (
            ["header:x~=user-[0-9]+"],
            ["header:x^=user-1"],
            "curl -H 'x: user-1' http://HOST/",
        ),
        (
            ["tracestate:env=blue"],
            ["baggage:user=ada", "host=shop.example.com"],
            "curl -H 'tracestate: env=blue' -H 'baggage: user=ada' http://shop.example.com/",
        ),
    ],
)
def test_request_that_both_would_take(one: list[str], other: list[str], shown: str) -> None:
    found = overlap_of(rule("one", *one), rule("other", *other))
    assert found is not None
    assert shown in str(found)


def test_rules_of_one_owner_that_lead_to_one_place_are_not_in_the_way() -> None:
    made = rules(rule("ada", "header:x-user=ada"))
    again = rule("ada-env", "header:x-env=ada", owner="ada")
    assert made.add(again, 0) == ()
    with pytest.raises(Conflict):
        made.add(rule("bob", "header:x-env=ada", owner="bob"), 0)


def test_rule_in_the_way_is_refused_and_changes_nothing() -> None:
    made = rules(USER)
    later = rule("later", "header:x-user^=a", owner="bob")
    with pytest.raises(Conflict, match="rule 'user' of user .* too: curl -H 'x-user: ada'"):
        made.add(later, 0)
    assert [one.name for one in made] == ["user"]


def test_rule_in_the_way_is_taken_in_where_it_is_forced() -> None:
    made = rules(USER)
    (found,) = made.add(rule("later", "header:x-user^=a", created_at=5), 0, is_forced=True)
    assert found.other == USER
    assert taken_by(made, "GET /\nx-user: ada") == "user"  # the older one


def test_rule_whose_time_is_over_is_in_nobodys_way() -> None:
    made = rules(rule("short", "header:x-user=ada", expires_at=10))
    assert made.add(USER, 11) == ()


def test_patterns_that_are_too_large_to_tell_are_refused() -> None:
    large = [rule(f"r{n}", f"header:x~=.*a.{{{n}}}b.{{{n}}}c") for n in (17, 19)]
    with pytest.raises(Conflict, match="too large to tell"):
        rules(*large)


def test_rules_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset, "MAX_RULES", 1)
    with pytest.raises(ConfigurationError, match="at most 1 rules"):
        rules(USER, PATH)


# --- why ----------------------------------------------------------------------------------------


def test_explanation_names_who_took_it_and_who_nearly_did() -> None:
    branch = Rule("blue", Branch("blue", 80), read_conditions(["tracestate:env=blue"]))
    made = rules(USER, branch, PATH, is_forced=True)
    found = made.explain(facts("GET /api/a\nx-user: bob"), 0)
    assert found.rule == PATH
    told = {near.rule.name: near.why for near in found.near}
    assert told == {
        "user": "it has header:x-user=bob, and not header:x-user=ada",
        "blue": "it has no tracestate:env, and not tracestate:env=blue",
    }


def test_explanation_of_a_rule_that_comes_later() -> None:
    found = rules(PATH, USER).explain(facts("GET /api/\nx-user: ada"), 0)
    assert [near.why for near in found.near] == ["rule 'user' comes before it"]


def test_nearest_rules_come_first() -> None:
    far = rule("far", "header:a=1", "header:b=2")
    near = rule("near", "header:c=1")
    found = rules(far, near, is_forced=True).explain(facts("GET /"), 0)
    assert [one.rule.name for one in found.near] == ["near", "far"]
