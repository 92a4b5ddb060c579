"""What a peer sends is bounded in bytes over all its calls: held back, or refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from tests.tunnelkit.rpc.test_peer import call_of
from tunnelkit.rpc import LineChannel, NotServed, Peer, RpcCode, RpcError, Service, open_peer
from tunnelkit.rpc.backlog import MAX_WAITING_BYTES, Backlog
from tunnelkit.rpc.flow import FIRST_ITEMS, ITEM_BYTES_AHEAD, ITEMS_AHEAD, Feed
from tunnelkit.rpc.payload import BYTES_AHEAD, PIECE_BYTES, ByteFeed

MIB = 1024 * 1024
LARGE = "x" * MIB
FITTING = MAX_WAITING_BYTES // MIB - 1  # large ones, with what stands around the text


class Store(Service, name="store"):
    async def keep(self, data: str = "") -> None:
        """Hold on to the data until the store is opened."""
        raise NotServed

    async def take(self, items: AsyncIterable[str]) -> int:
        """Take items once the store is opened; return how many."""
        raise NotServed

    async def echo(self, size: int) -> str:
        """Return a text."""
        raise NotServed

    def give(self, size: int, count: int) -> AsyncIterator[str]:
        """Return texts."""
        raise NotServed

    def pour(self, size: int) -> AsyncIterator[bytes]:
        """Return zeros."""
        raise NotServed


class RealStore(Store):
    def __init__(self) -> None:
        self.held = 0
        self.is_open = trio.Event()

    async def keep(self, data: str = "") -> None:
        self.held += len(data)
        try:
            await self.is_open.wait()
        finally:
            self.held -= len(data)

    async def take(self, items: AsyncIterable[str]) -> int:
        await self.is_open.wait()
        return len([item async for item in items])

    async def echo(self, size: int) -> str:
        await trio.lowlevel.checkpoint()
        return "x" * size

    async def give(self, size: int, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield "x" * size

    async def pour(self, size: int) -> AsyncIterator[bytes]:
        yield bytes(size)


@asynccontextmanager
async def stores() -> AsyncGenerator[tuple[Peer, Peer, RealStore]]:
    left, right = memory_stream_pair()
    store = RealStore()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[store]) as server,
    ):
        yield caller, server, store


async def test_flood_of_large_calls_is_refused(autojump_clock: MockClock) -> None:
    codes: list[int] = []
    async with stores() as (caller, server, store), trio.open_nursery() as nursery:

        async def keep() -> None:
            try:
                await caller.proxy(Store).keep(LARGE)
            except RpcError as error:
                codes.append(error.code)

        for _ in range(FITTING + 19):
            nursery.start_soon(keep)
        await trio.sleep(1)
        assert store.held == FITTING * MIB
        assert codes == [RpcCode.BUSY] * 19
        store.is_open.set()
        await trio.sleep(1)
        await caller.proxy(Store).keep(LARGE)
        assert server._backlog.used == 0


async def test_flood_of_large_notifications_is_dropped(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    store = RealStore()
    told = json.dumps({"jsonrpc": "2.0", "method": "store.keep", "params": [LARGE]}).encode()
    async with open_peer(LineChannel(right), serve=[store]) as server:
        for _ in range(FITTING + 19):
            await left.send_all(told + b"\n")
        await trio.sleep(1)
        assert store.held == FITTING * MIB
        store.is_open.set()
        await trio.sleep(1)
        assert server._backlog.used == 0


async def test_flood_of_large_items_ends_their_calls(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    channel, store, answers = LineChannel(left), RealStore(), list[dict[str, Any]]()
    async with open_peer(LineChannel(right), serve=[store]) as server:
        for number in range(40):
            call = {**call_of("store.take", {}, number), "tk": {"values": True}}
            item = {"id": number, "n": 0, "value": 3 * LARGE}
            value = {"jsonrpc": "2.0", "method": "rpc.value", "params": item}
            end = {
                "jsonrpc": "2.0",
                "method": "rpc.value_end",
                "params": {"id": number, "count": 1},
            }
            await channel.send([json.dumps(one).encode() for one in (call, value, end)])
            assert "upto" in json.loads(await channel.receive() or b"")["params"]
            assert server._backlog.used <= MAX_WAITING_BYTES
        await trio.testing.wait_all_tasks_blocked()
        store.is_open.set()
        while len(answers) < 40:
            answers.append(json.loads(await channel.receive() or b""))
        counts = [one["result"] for one in answers if "result" in one]
        codes = [one["error"]["code"] for one in answers if "error" in one]
        assert (len(counts), set(counts)) == (MAX_WAITING_BYTES // (3 * MIB), {1})
        assert set(codes) == {RpcCode.BUSY}
        assert server._backlog.used == 0


async def take_slowly(items: AsyncIterator[Any], opened: trio.Event) -> int:
    count = len(await anext(items))
    await opened.wait()
    async for item in items:
        count += len(item)
    return count


@pytest.mark.parametrize(("method", "size"), [("give", 700_000), ("give", 10), ("pour", 3 * MIB)])
async def test_streams_that_stall_are_held_back_and_all_go_on(
    method: str, size: int, autojump_clock: MockClock
) -> None:
    opened, counts = trio.Event(), list[int]()
    async with stores() as (caller, _, _), trio.open_nursery() as nursery:
        store = caller.proxy(Store)

        async def take() -> None:
            items: Any = store.pour(size) if method == "pour" else store.give(size, 30)
            counts.append(await take_slowly(items, opened))

        for _ in range(20):
            nursery.start_soon(take)
        await trio.sleep(1)
        assert caller._backlog.used <= MAX_WAITING_BYTES
        assert await store.echo(3) == "xxx"
        opened.set()
    assert counts == [size if method == "pour" else 30 * size] * 20
    assert caller._backlog.used == 0


async def test_call_that_cannot_begin_counts_for_nothing() -> None:
    wrong: Any = object()
    async with stores() as (caller, _, _):
        for _ in range(3):
            with pytest.raises(TypeError):
                await anext(caller.proxy(Store).pour(wrong))
        assert caller._backlog.used == 0


async def test_answers_of_batches_are_bounded(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    channel, store = LineChannel(left), RealStore()
    async with open_peer(LineChannel(right), serve=[store]) as server:
        for at in range(0, 300, 10):
            batch = [call_of("store.keep", [], at), call_of("store.echo", [3 * MIB], at + 1)]
            await channel.send([json.dumps(batch).encode()])
            await trio.sleep(1)
            assert server._backlog.used <= MAX_WAITING_BYTES + 20_000
        store.is_open.set()
        answers = [json.loads(await channel.receive() or b"") for _ in range(30)]
        errors = [one["error"]["code"] for some in answers for one in some if "error" in one]
        assert errors == [RpcCode.TOO_LARGE] * (30 - MAX_WAITING_BYTES // (3 * MIB))
        assert server._backlog.used == 0


async def test_answers_that_nobody_reads_are_bounded(autojump_clock: MockClock) -> None:
    left, right = lockstep_stream_pair()  # nothing is in between: what is not read is not sent
    channel = LineChannel(left)
    async with open_peer(LineChannel(right), serve=[RealStore()]) as server:
        for number in range(40):
            await channel.send([json.dumps(call_of("store.echo", [3 * MIB], number)).encode()])
        await trio.sleep(1)
        assert server._backlog.used <= MAX_WAITING_BYTES + 20_000
        answers = [json.loads(await channel.receive() or b"") for _ in range(40)]
        codes = [one["error"]["code"] for one in answers if "error" in one]
        assert set(codes) == {RpcCode.BUSY}
        assert 40 - len(codes) >= MAX_WAITING_BYTES // (3 * MIB)
        await trio.sleep(1)
        assert server._backlog.used == 0


async def test_what_stands_beside_the_arguments_is_not_kept(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right), serve=[RealStore()]):
        tracemalloc.start()
        for number in range(50):
            call = {**call_of("store.keep", [], number), "beside": LARGE}
            await left.send_all(json.dumps(call).encode() + b"\n")
            await trio.sleep(1)
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert grown < 10 * MIB


# --- the feeds ----------------------------------------------------------------------------------


def feeds(kind: type, backlog: Backlog) -> tuple[Feed[Any], list[int]]:
    """Return an open feed, and the leave that it gives."""
    allowed: list[int] = []
    make: Any = ByteFeed if kind is bytes else None
    feed = make("x", allowed.append, backlog) if make else Feed("x", kind, allowed.append, backlog)
    allowed.append(feed.open())
    return feed, allowed


async def test_large_items_get_little_leave() -> None:
    feed, allowed = feeds(str, Backlog())
    for number in range(FIRST_ITEMS):
        feed.arrived(number, Raw(b'"' + b"x" * ITEM_BYTES_AHEAD + b'"'))
    for _ in range(FIRST_ITEMS):
        await feed.take()
    assert allowed == [FIRST_ITEMS, FIRST_ITEMS + 1]  # one at a time after these


async def test_small_items_get_much_leave() -> None:
    feed, allowed = feeds(str, Backlog())
    feed.arrived(0, Raw(b'"x"'))
    await feed.take()
    assert allowed == [FIRST_ITEMS, 1 + ITEMS_AHEAD]


def test_full_backlog_gives_each_feed_a_little_leave() -> None:
    backlog = Backlog(10)
    backlog.add(9)
    assert [feeds(kind, backlog)[1] for kind in (str, bytes)] == [[1], [PIECE_BYTES]]


def test_item_that_is_too_much_ends_its_feed_and_frees_it() -> None:
    backlog = Backlog(10)
    feed, _ = feeds(str, backlog)
    assert feed.arrived(0, Raw(b'"1234"'))
    assert not feed.arrived(1, Raw(b'"1234"'))
    assert (backlog.used, feed.end is not None) == (0, True)


STEPS = st.lists(st.sampled_from(["arrive", "take", "wrong", "finish"]), max_size=30)


@given(STEPS, st.sampled_from([str, bytes]), st.sampled_from([50, MAX_WAITING_BYTES]))
def test_nothing_is_counted_after_the_end(steps: list[str], kind: type, most: int) -> None:
    async def main() -> None:
        backlog = Backlog(most)
        feed, _ = feeds(kind, backlog)
        for step in steps:
            if step == "take" and (feed.arrived_count == 0 or feed.end is not None):
                continue
            await _step(feed, step)
            assert backlog.used >= 0
        feed.close()
        assert backlog.used == 0

    trio.run(main)


async def _step(feed: Feed[Any], step: str) -> None:
    if step == "take":
        with trio.move_on_after(0):
            await feed.take()
    elif step == "finish":
        feed.finish_after(feed.arrived_count)
    elif feed.arrived_count < feed.credit:
        feed.arrived(feed.arrived_count, Raw(b'"abcd"' if step == "arrive" else b"{}"))


def test_credit_of_a_payload_counts_until_its_end() -> None:
    backlog = Backlog()
    feed, _ = feeds(bytes, backlog)
    assert backlog.used == BYTES_AHEAD
    feed.arrived(0, Raw(b'"AAAA"'))
    assert backlog.used == BYTES_AHEAD
    feed.finish_after(3)
    assert backlog.used == 3
