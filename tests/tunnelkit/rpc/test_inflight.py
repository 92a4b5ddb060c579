"""Calls under way: each ends once, whoever ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.rpc.codes import RpcCode, RpcError
from tunnelkit.rpc.inflight import Incoming, Outgoing


def test_ids_are_never_used_again() -> None:
    calls: Outgoing[str] = Outgoing()
    first = calls.begin("a")
    calls.end(first)
    assert calls.begin("b") > first


def test_call_ends_once() -> None:
    calls: Outgoing[str] = Outgoing()
    number = calls.begin("a")
    assert [calls.end(number), calls.end(number)] == ["a", None]


@pytest.mark.parametrize("number", ["1", None, 99, True, 1.0])
def test_reply_that_nobody_asked_for_ends_nothing(number: str | float | None) -> None:
    calls: Outgoing[str] = Outgoing()
    calls.begin("a")
    assert calls.end(number) is None
    assert len(calls) == 1


def test_outgoing_calls_are_bounded() -> None:
    calls: Outgoing[str] = Outgoing(most=2)
    calls.begin("a")
    calls.begin("b")
    with pytest.raises(RpcError, match="BUSY"):
        calls.begin("c")


def test_all_calls_end_when_the_peer_is_gone() -> None:
    calls: Outgoing[str] = Outgoing()
    calls.begin("a")
    calls.begin("b")
    assert (calls.end_all(), calls.end_all(), len(calls)) == (["a", "b"], [], 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_every_call_ends_exactly_once(steps: list[tuple[bool, int]]) -> None:
    calls: Outgoing[int] = Outgoing()
    begun: list[int] = []
    ended: list[int] = []
    for is_begin, value in steps:
        if is_begin:
            begun.append(calls.begin(value))
        elif calls.end(value) is not None:
            ended.append(value)
    assert len(ended) == len(set(ended))
    assert len(ended) + len(calls) == len(begun)


def test_id_of_a_call_under_way_is_refused() -> None:
    calls: Incoming[str] = Incoming()
    calls.begin("x", "a")
    with pytest.raises(RpcError) as error:
        calls.begin("x", "b")
    assert error.value.code == RpcCode.INVALID_REQUEST


def test_id_may_be_used_again_after_its_answer() -> None:
    calls: Incoming[str] = Incoming()
    calls.begin(1, "a")
    calls.end(1, "a")
    calls.begin(1, "b")
    assert len(calls) == 1


def test_number_and_text_are_different_ids() -> None:
    calls: Incoming[str] = Incoming()
    calls.begin(1, "a")
    calls.begin("1", "b")
    assert (calls.get(1), calls.get("1")) == ("a", "b")


def test_call_ends_no_other_one_of_its_id() -> None:
    calls: Incoming[str] = Incoming()
    calls.begin(5, "a")
    calls.end(5, "a")
    calls.begin(5, "b")
    calls.end(5, "a")
    assert calls.get(5) == "b"


def test_incoming_calls_are_bounded() -> None:
    calls: Incoming[str] = Incoming(most=1)
    calls.begin(1, "a")
    with pytest.raises(RpcError, match="BUSY"):
        calls.begin(2, "b")
