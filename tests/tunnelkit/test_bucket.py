"""The token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.bucket import Bucket, Seldom


def test_so_many_at_once_and_no_more() -> None:
    bucket = Bucket(3, 1)
    assert [bucket.take(5.0) for _ in range(4)] == [True, True, True, False]


def test_it_fills_with_time() -> None:
    bucket = Bucket(1, 2)
    assert [bucket.take(now) for now in (0.0, 0.25, 0.5, 0.75)] == [True, False, True, False]


@given(st.lists(st.floats(0, 2), max_size=60))
def test_never_more_than_the_rate_allows(pauses: list[float]) -> None:
    bucket, now, taken = Bucket(5, 3), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= 5 + 3 * now + 1e-6


def test_the_first_is_told_and_then_how_many_more() -> None:
    seldom = Seldom(1.0)
    assert [seldom.count(now) for now in (0.0, 0.1, 0.9, 1.0, 1.5, 2.5)] == [1, 0, 0, 3, 0, 2]


def test_what_a_line_ends_with() -> None:
    seldom = Seldom(1.0)
    endings = [seldom.ending(now) for now in (0.0, 0.5, 1.0)]
    assert endings == ["", None, " (1 more since the last line)"]
