"""What a caller knows of a state: it never goes backwards, and nobody else renews it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.rpc.test_peer import Door, RealDoor
from tunnelkit.rpc import LineChannel, Peer, RpcCode, RpcError, open_peer
from tunnelkit.rpc.epochs import Epoch


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_epoch_never_goes_backwards(steps: list[tuple[int, int]]) -> None:
    """Answers of a service that only counts up come in any order."""
    epoch, service, calls = Epoch(), 0, list[tuple[int, int | None]]()
    for changes, which in steps:
        calls.append((service, epoch.known))
        service += changes
        before = epoch.known
        epoch.learn(*calls.pop(min(which, len(calls) - 1)))
        assert before is None or (epoch.known is not None and epoch.known >= before)


def test_service_that_begins_anew_counts() -> None:
    epoch = Epoch(57)
    epoch.learn(2, carried=57)
    assert epoch.known == 2


@asynccontextmanager
async def doors(*, count: int) -> AsyncGenerator[tuple[RealDoor, list[Door]]]:
    """A door, and so many proxies of it."""
    left, right = memory_stream_pair()
    door = RealDoor()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[door]),
    ):
        yield door, [caller.proxy(Door) for _ in range(count)]


async def test_look_of_another_task_renews_nothing() -> None:
    async with doors(count=2) as (door, (mine, other)):
        assert await mine.look() == "closed"
        door.change_state("open")
        assert await other.look() == "open"
        with pytest.raises(RpcError) as error:
            await mine.toggle()  # it was decided upon before the door was opened
        assert error.value.code == RpcCode.STALE_EPOCH
        assert await mine.toggle() == "closed"


async def test_new_proxy_begins_with_what_was_told_last() -> None:
    left, right = memory_stream_pair()
    door = RealDoor()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[door]),
    ):
        await caller.proxy(Door).look()
        proxy = caller.proxy(Door)
        door.change_state("open")
        with pytest.raises(RpcError, match="STALE_EPOCH"):
            await proxy.toggle()


class Wire:
    """The other end of a peer, as messages."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._channel = LineChannel(stream)

    async def hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(await self._channel.receive() or b"")
        return heard

    async def answer(self, call: dict[str, Any], result: object, **tk: object) -> None:
        told = {"jsonrpc": "2.0", "id": call["id"], "result": result, "tk": tk}
        await self._channel.send([json.dumps(told).encode()])


@asynccontextmanager
async def wired() -> AsyncGenerator[tuple[Peer, Wire, trio.Nursery]]:
    left, right = memory_stream_pair()
    wire = Wire(right)
    async with open_peer(LineChannel(left)) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.proxy(Door).look)
        await wire.answer(await wire.hear(), {"tk": 1})
        await wire.answer(await wire.hear(), "closed")
        yield peer, wire, nursery
        nursery.cancel_scope.cancel()


async def test_older_answer_after_a_newer_one_changes_nothing(autojump_clock: MockClock) -> None:
    async with wired() as (peer, wire, nursery):
        door = peer.proxy(Door)
        for _ in range(3):
            nursery.start_soon(door.look)
        calls = [await wire.hear() for _ in range(3)]
        assert [call["tk"] for call in calls] == [{}, {}, {}]
        for call, epoch in zip(calls, (4, 5, 3), strict=True):
            await wire.answer(call, "open", epoch=epoch)
        await trio.sleep(1)
        nursery.start_soon(door.toggle)
        assert (await wire.hear())["tk"] == {"epoch": 5}


async def test_call_carries_what_was_known_when_it_was_made(autojump_clock: MockClock) -> None:
    async with wired() as (peer, wire, nursery):
        mine, other = peer.proxy(Door), peer.proxy(Door)
        for proxy, epoch in ((mine, 4), (other, 9)):
            nursery.start_soon(proxy.look)
            await wire.answer(await wire.hear(), "open", epoch=epoch)
            await trio.sleep(1)
        for proxy in (mine, other, peer.proxy(Door)):
            nursery.start_soon(proxy.toggle)
            await trio.sleep(1)
        assert [(await wire.hear())["tk"]["epoch"] for _ in range(3)] == [4, 9, 9]
