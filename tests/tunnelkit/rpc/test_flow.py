"""Streamed arguments: numbered items under credit, from the caller to the method."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec import Raw
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from tests.tunnelkit.rpc.test_peer import call_of, plain
from tunnelkit.errors import LocalProtocolError
from tunnelkit.rpc.backlog import Backlog
from tunnelkit.rpc.channels import LineChannel
from tunnelkit.rpc.codes import PeerGone, RpcCode, RpcError
from tunnelkit.rpc.flow import FIRST_ITEMS, ITEMS_AHEAD, Feed
from tunnelkit.rpc.peer import open_peer
from tunnelkit.rpc.service import NotServed, Service, methods_of


class Adder(Service, name="adder"):
    async def add(self, name: str, numbers: AsyncIterable[int]) -> int:
        raise NotServed

    async def first(self, numbers: AsyncIterable[int]) -> int:
        raise NotServed

    async def never(self, numbers: AsyncIterable[int]) -> None:
        raise NotServed


class RealAdder(Adder):
    def __init__(self) -> None:
        self.cancelled = 0

    async def add(self, name: str, numbers: AsyncIterable[int]) -> int:
        return sum([number async for number in numbers])

    async def first(self, numbers: AsyncIterable[int]) -> int:
        async for number in numbers:
            return number
        raise RpcError(RpcCode.NOT_FOUND, "there is none")

    async def never(self, numbers: AsyncIterable[int]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1


class Numbers:
    """Yields numbers, and remembers how far it came."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.asked = 0
        self._count = count
        self._error = error

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(self._count):
            self.asked += 1
            await trio.lowlevel.checkpoint()
            yield number
        if self._error is not None:
            raise self._error


@asynccontextmanager
async def adding() -> AsyncGenerator[tuple[Adder, RealAdder]]:
    left, right = memory_stream_pair()
    adder = RealAdder()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[adder]),
    ):
        yield caller.proxy(Adder), adder


@pytest.mark.parametrize("count", [0, 1, ITEMS_AHEAD, 500])
async def test_all_items_arrive_in_order(count: int) -> None:
    async with adding() as (adder, _):
        assert await adder.add("x", Numbers(count)) == sum(range(count))


async def test_method_that_has_had_enough_answers(autojump_clock: MockClock) -> None:
    async with adding() as (adder, _):
        assert await adder.first(Numbers(1_000_000)) == 0


async def test_slow_method_slows_the_caller(autojump_clock: MockClock) -> None:
    numbers = Numbers(1_000_000)
    async with adding() as (adder, real):
        with trio.move_on_after(5):
            await adder.never(numbers)
        await trio.sleep(1)
        assert numbers.asked <= ITEMS_AHEAD + 1
        assert real.cancelled == 1


async def test_error_of_the_items_ends_the_call(autojump_clock: MockClock) -> None:
    async with adding() as (adder, real):
        with pytest.raises(ValueError, match="no more"):
            await adder.never(Numbers(FIRST_ITEMS, ValueError("no more")))
        await trio.sleep(1)
        assert real.cancelled == 1


async def test_peer_that_is_gone_ends_a_call_with_one_error(autojump_clock: MockClock) -> None:
    async def large() -> AsyncIterator[str]:
        while True:
            yield "x" * 300_000
            await trio.lowlevel.checkpoint()

    async def call(adder: Any) -> None:
        with pytest.raises(PeerGone):
            await adder.never(large())

    left, right = lockstep_stream_pair()
    async with open_peer(LineChannel(left)) as caller, trio.open_nursery() as nursery:
        caller._greeting.shown()
        nursery.start_soon(call, caller.proxy(Adder))
        assert b"adder.never" in await right.receive_some()
        credit = b'{"jsonrpc":"2.0","method":"rpc.value_credit","params":{"id":1,"upto":99}}\n'
        await right.send_all(credit)
        await trio.sleep(1)  # now the argument waits for room
        caller.end("cut")


async def test_items_of_a_peer_that_is_gone_end_the_call_with_its_error() -> None:
    async def relayed() -> AsyncIterator[int]:
        yield 1
        raise PeerGone("the other one")

    async with adding() as (adder, _):
        with pytest.raises(PeerGone, match="the other one"):
            await adder.never(relayed())
        assert await adder.add("x", Numbers(2)) == 1


async def test_items_that_fail_to_close_after_the_answer_say_so() -> None:
    async def stubborn() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise OSError("the disk is gone")

    async with adding() as (adder, _):
        with pytest.raises(OSError, match="the disk is gone"):
            await adder.first(stubborn())
        assert await adder.add("x", Numbers(2)) == 1


async def test_plain_client_sends_a_list() -> None:
    async with plain(RealAdder()) as client:
        answer = await client.ask(call_of("adder.add", {"name": "x", "numbers": [1, 2, 3]}))
    assert answer["result"] == 6


@pytest.mark.parametrize("params", [{"name": "x"}, {"name": "x", "numbers": ["1"]}])
async def test_plain_client_that_sends_something_else(params: dict[str, Any]) -> None:
    async with plain(RealAdder()) as client:
        answer = await client.ask(call_of("adder.add", params))
    assert answer["error"]["code"] == RpcCode.INVALID_PARAMS


async def test_refused_call_gives_no_leave_to_send(autojump_clock: MockClock) -> None:
    call = {**call_of("adder.never", {}, "x"), "tk": {"values": True}}
    async with plain(RealAdder()) as client:
        assert (await client.ask(call))["method"] == "rpc.value_credit"
        assert (await client.ask(call))["error"]["code"] == RpcCode.INVALID_REQUEST


async def test_notification_has_no_id_to_send_values_for(autojump_clock: MockClock) -> None:
    told = {"jsonrpc": "2.0", "method": "adder.never", "tk": {"values": True}}
    adder = RealAdder()
    async with plain(adder) as client:
        answers = await client.ask([told, call_of("adder.add", ["x", [2, 3]])])
    assert [answer["result"] for answer in answers] == [5]
    assert adder.cancelled == 0  # it never began


async def test_item_of_a_wrong_type_is_an_error_of_the_method() -> None:
    async with adding() as (adder, _):
        with pytest.raises(RpcError, match="item 1 of numbers"):
            await adder.add("x", _mixed())  # type: ignore[arg-type]


async def _mixed() -> AsyncIterator[object]:
    yield 1
    yield "two"


def test_only_one_parameter_is_streamed() -> None:
    class Bad(Service, name="bad"):
        async def go(self, a: AsyncIterable[int], b: AsyncIterable[int]) -> None:
            raise NotServed

    with pytest.raises(LocalProtocolError, match="only one parameter"):
        methods_of(Bad)


def test_streamed_parameter_comes_last() -> None:
    class Bad(Service, name="bad"):
        async def go(self, a: AsyncIterable[int], b: int) -> None:
            raise NotServed

    with pytest.raises(LocalProtocolError, match="does not come last"):
        methods_of(Bad)


@pytest.mark.parametrize("number", [1, -1, ITEMS_AHEAD])
def test_item_that_was_not_due_is_refused(number: int) -> None:
    feed: Feed[int] = Feed("x", int, lambda _: None, Backlog())
    feed.open()
    with pytest.raises(RpcError, match="not due"):
        feed.arrived(number, Raw(b"1"))


def test_no_more_items_than_were_allowed() -> None:
    feed: Feed[int] = Feed("x", int, lambda _: None, Backlog())
    feed.open()
    for number in range(FIRST_ITEMS):
        feed.arrived(number, Raw(b"1"))
    with pytest.raises(RpcError, match="not due"):
        feed.arrived(FIRST_ITEMS, Raw(b"1"))
