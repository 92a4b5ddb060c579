"""Comparing answers: what counts as different, and what does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.capture import Answer
from tunnelkit.capture.comparing import MAX_SHOWN, NOT_COMPARED, compare, matches

TYPE = (b"Content-Type", b"application/json")


def answer(body: bytes | None = b"", *fields: tuple[bytes, bytes], status: int = 200) -> Answer:
    return Answer(status, fields, body)


def told(was: Answer, now: Answer) -> list[str]:
    return [str(one) for one in compare(was, now)]


def json_told(was: str, now: str) -> list[str]:
    return told(answer(was.encode(), TYPE), answer(now.encode(), TYPE))


def test_same_is_no_difference() -> None:
    assert told(answer(b"a", TYPE), answer(b"a", TYPE)) == []


def test_status_is_compared() -> None:
    assert told(answer(status=200), answer(status=503)) == ["status: was 200, is 503"]


def test_fields_are_compared_by_name() -> None:
    was = answer(b"", (b"X-A", b"1"), (b"X-B", b"2"))
    now = answer(b"", (b"x-b", b"3"), (b"x-c", b"4"))
    assert told(was, now) == [
        "header x-a: was '1', is not there",
        "header x-b: was '2', is '3'",
        "header x-c: was not there, is '4'",
    ]


def test_case_and_order_of_names_are_not_compared() -> None:
    was = answer(b"", (b"X-A", b"1"), (b"X-B", b"2"), (b"X-A", b"3"))
    assert told(was, answer(b"", (b"x-b", b"2"), (b"x-a", b"1"), (b"x-a", b"3"))) == []


@pytest.mark.parametrize("name", sorted(NOT_COMPARED))
def test_field_that_always_differs_is_not_compared(name: str) -> None:
    assert told(answer(b"", (name.title().encode(), b"1")), answer(b"")) == []


def test_more_fields_can_be_ignored() -> None:
    was, now = answer(b"", (b"X-A", b"1")), answer(b"", (b"X-A", b"2"))
    assert compare(was, now, NOT_COMPARED | {"x-a"}) == []


@pytest.mark.parametrize(
    ("was", "now", "differences"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1.0}', []),
        ('{"a": 1}', '{"a": 2}', ["body $.a: was 1, is 2"]),
        ('{"a": 1}', '{"a": true}', ["body $.a: was 1, is true"]),
        ('{"a": [1, {"b": "x"}]}', '{"a": [1, {"b": "y"}]}', ['body $.a[1].b: was "x", is "y"']),
        ("[1, 2]", "[1]", ["body $: was 2 items, is 1 items"]),
        ('{"a": 1}', "{}", ["body $.a: was 1, is not there"]),
        ("{}", '{"a": {}}', ["body $.a: was not there, is an object"]),
        ('{"a": "[redacted]"}', '{"a": 17}', []),
        ('{"a": "[redacted]"}', "{}", ['body $.a: was "[redacted]", is not there']),
        ('"a"', "{", ["body at byte 0: was 3 bytes, '\"a\"', is 1 bytes, '{'"]),
    ],
)
def test_json_is_compared_as_values(was: str, now: str, differences: list[str]) -> None:
    assert json_told(was, now) == differences


def test_few_differences_of_a_body_are_told() -> None:
    assert len(json_told(json.dumps([1] * 100), json.dumps([2] * 100))) == MAX_SHOWN


def test_json_that_is_nested_deeply_is_compared() -> None:
    deep = "[" * 900 + "%d" + "]" * 900
    assert len(json_told(deep % 1, deep % 2)) == 1
    assert len(json_told("[" * 100_000, "[" * 100_001)) == 1


def test_other_bodies_are_compared_as_bytes() -> None:
    assert told(answer(b"abcdef"), answer(b"abcdeX!")) == [
        "body at byte 5: was 6 bytes, 'abcdef', is 7 bytes, 'abcdeX!'"
    ]


def test_body_that_is_not_known_is_not_compared() -> None:
    assert told(answer(None), answer(b"a")) == []


def test_of_a_body_that_was_cut_the_beginning_is_compared() -> None:
    was = Answer(200, (TYPE,), b'{"a', is_whole=False)
    assert told(was, answer(b'{"a": 1}', TYPE)) == []
    assert told(was, answer(b'{"b": 1}', TYPE)) != []
    assert told(was, answer(b"{", TYPE)) != []


@pytest.mark.parametrize(
    ("was", "now", "is_prefix", "is_same"),
    [
        ("a", "a", False, True),
        ("a", "ab", False, False),
        ("a", "ab", True, True),
        ("a=[redacted]; b", "a=x; b", False, True),
        ("a=[redacted]; b", "a=x; c", False, False),
        ("[redacted]aa", "a", False, False),
        ("a[redacted]a", "a", False, False),
        ("a[redacted]a", "aa", False, True),
        ("[redacted]b[redacted:0123abcd]", "xby", False, True),
        ("[redacted]b[redacted]", "xy", False, False),
        ("a[redacted]b", "axbc", True, True),
        ("a[redacted]b", "axc", True, False),
    ],
)
def test_what_was_redacted_is_equal_to_anything(
    was: str, now: str, is_prefix: bool, is_same: bool
) -> None:
    assert matches(was, now, is_prefix=is_prefix) is is_same


@given(st.lists(st.text(), min_size=1), st.data())
def test_text_matches_whatever_stood_for_its_marks(pieces: list[str], data: st.DataObject) -> None:
    fills = [data.draw(st.text()) for _ in pieces[1:]] + [""]
    now = "".join(piece + fill for piece, fill in zip(pieces, fills, strict=True))
    assert matches("[redacted]".join(pieces), now)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
def test_value_is_equal_to_itself(value: object) -> None:
    assert json_told(json.dumps(value), json.dumps(value, indent=1)) == []
