"""Patterns: what they take, beside Python's own; and what several of them take together."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunnelkit.errors import ConfigurationError
from tunnelkit.http.patterns import (
    MAX_PATTERN_CHARS,
    MAX_STATES,
    Pattern,
    Undecided,
    common,
    exact,
    prefix,
    read_pattern,
)


def taken_by_python(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII) is not None


# --- beside Python's own ------------------------------------------------------------------------

ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "/",
        "-",
        r"\.",
        ".",
        "[ab]",
        "[^a]",
        "[a-c0-9]",
        "[]a]",
        "[a-]",
        r"\d",
        r"\W",
        r"[\w-]",
    ]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.builds(
            lambda part, count: f"(?:{part}){count}",
            inner,
            st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}"]),
        ),
    ),
    max_leaves=8,
)
TEXTS = st.text(st.sampled_from("abcAB0./-_ \n\xe4"), max_size=8)


@settings(max_examples=500)
@given(PATTERNS, TEXTS)
@example("(a|)*", "aa")
@example("", "")
@example("(?i)Ab[c-d]", "aBC")
def test_takes_what_python_takes(pattern: str, text: str) -> None:
    assert read_pattern(pattern).matches(text) == taken_by_python(pattern, text)


@settings(max_examples=300)
@given(PATTERNS, PATTERNS, st.lists(TEXTS, max_size=5))
def test_common_text_is_one_that_all_take(one: str, other: str, texts: list[str]) -> None:
    try:
        found = common([read_pattern(one), read_pattern(other)])
    except Undecided:
        return
    for text in texts if found is None else [found]:
        both = taken_by_python(one, text) and taken_by_python(other, text)
        assert both is (found is not None)


# --- what is common -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ([exact("ada")], "ada"),
        ([exact("ada"), exact("bob")], None),
        ([exact("ada"), prefix("a")], "ada"),
        ([prefix("/api/"), prefix("/api/v1")], "/api/v1"),
        ([prefix("/api/"), prefix("/web")], None),
        ([read_pattern("user-[0-9]+"), prefix("user-1")], "user-1"),
        ([read_pattern("[a-m]+x"), read_pattern("[m-z]+")], "mx"),
        ([read_pattern("(ab)*"), read_pattern("(aba|b)+")], "abab"),
        ([read_pattern(".*a"), read_pattern("[^a]*")], None),
        ([], ""),
    ],
)
def test_shortest_common_text(patterns: list[Pattern], text: str | None) -> None:
    assert common(patterns) == text


def test_example_is_of_ordinary_characters() -> None:
    assert common([read_pattern("[^/]{3}")]) == "aaa"


def test_search_without_end_is_given_up() -> None:
    huge = [read_pattern(f".*a.{{{n}}}b.{{{n}}}c") for n in (17, 19)]
    with pytest.raises(Undecided):
        common([*huge, read_pattern("[ab]*")])


# --- what is no pattern -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a)", "without its"),
        ("(a", "without its"),
        ("[a", "ends too early"),
        ("*a", "nothing before it"),
        ("a**", "repetition of a repetition"),
        ("a*?", "repetition of a repetition"),
        ("^a", "about all of a text"),
        ("a$", "about all of a text"),
        ("(?=a)", "only"),
        (r"(a)\1", "not known"),
        (r"\b", "not known"),
        ("a{2", "ends too early"),
        ("a{b}", "a count is"),
        ("a{3,2}", "ends before it begins"),
        ("[z-a]", "ends before it begins"),
        ("\u4e2d", "no header can hold"),
        ("((a{99}){99})", "too large"),
        ("a" * (MAX_PATTERN_CHARS + 1), "at most"),
    ],
)
def test_what_is_no_pattern(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read_pattern(text)


def test_place_of_a_fault_is_told() -> None:
    with pytest.raises(ConfigurationError, match="at character 4"):
        read_pattern("ab(*c)")


def test_text_beyond_what_a_header_holds_is_never_taken() -> None:
    assert not prefix("").matches("\u4e2d")


def test_no_text_is_slow() -> None:
    pattern = read_pattern("(a|aa)*(a|aa)*(a|aa)*b")  # Python's own takes longer than anybody waits
    steps = 0
    step = pattern.step

    def counting(states: frozenset[int], code: int) -> frozenset[int]:
        nonlocal steps
        steps += 1
        return step(states, code)

    pattern.step = counting  # type: ignore[method-assign] # to count what it costs
    assert not pattern.matches("a" * 3000)
    assert steps == 3000
    assert len(pattern.moves_from(pattern.begin)) < MAX_STATES
