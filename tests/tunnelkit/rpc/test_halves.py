"""Each direction has its own backpressure: a half that stands still never stops the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.rpc.test_peer import Clock, RealClock
from tests.tunnelkit.rpc.test_transports import Wrap, as_lines, as_websocket, in_tls
from tunnelkit.rpc import Peer, open_peer


class Gate:
    """Holds up what one end of a pair sends, while it is shut."""

    def __init__(self, sending: Any) -> None:
        self._open = trio.Event()
        self._open.set()
        self._pass = sending.send_all_hook
        sending.send_all_hook = self._wait

    async def _wait(self) -> None:
        await self._open.wait()
        await self._pass()

    def shut(self) -> None:
        self._open = trio.Event()

    def open(self) -> None:
        self._open.set()


Stalling = tuple[Peer, RealClock, Peer, RealClock, Gate]


@asynccontextmanager
async def stalling(wrap: Wrap) -> AsyncGenerator[Stalling]:
    """Two peers with their clocks, both of which have called; and the gate of the first one."""
    left, right = memory_stream_pair()
    gate, channels = Gate(left.send_stream), dict[bool, Any]()

    async def open_end(stream: trio.abc.Stream, is_client: bool) -> None:
        channels[is_client] = await wrap(stream, is_client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_end, left, True)
        nursery.start_soon(open_end, right, False)
    ours, theirs = RealClock(), RealClock()
    async with (
        open_peer(channels[True], serve=[ours]) as a,
        open_peer(channels[False], serve=[theirs]) as b,
    ):
        await a.proxy(Clock).now()
        await b.proxy(Clock).now()
        yield a, ours, b, theirs, gate


WAYS = pytest.mark.parametrize(
    "wrap", [as_lines, as_websocket, in_tls(as_lines)], ids=["lines", "WebSocket", "TLS"]
)


async def call_all(peer: Peer, seconds: float, answered: list[float]) -> None:
    async def call() -> None:
        await peer.proxy(Clock).wait(seconds)
        answered.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(call)


@WAYS
async def test_answers_come_while_nothing_can_be_sent(
    wrap: Wrap, autojump_clock: MockClock
) -> None:
    early, late = list[float](), list[float]()
    async with stalling(wrap) as (a, _, _, _, gate), trio.open_nursery() as nursery:
        started = trio.current_time()
        nursery.start_soon(call_all, a, 5, early)
        await trio.sleep(1)
        gate.shut()
        nursery.start_soon(call_all, a, 5, late)
        await trio.sleep(99)
        assert early == [started + 5] * 100
        assert late == []
        gate.open()
    assert late == [started + 105] * 100


@WAYS
async def test_calls_are_carried_out_while_no_answer_can_be_sent(
    wrap: Wrap, autojump_clock: MockClock
) -> None:
    answered: list[float] = []
    async with stalling(wrap) as (_, ours, b, _, gate), trio.open_nursery() as nursery:
        started = trio.current_time()
        gate.shut()
        nursery.start_soon(call_all, b, 0, answered)
        await trio.sleep(50)
        assert (len(ours.lefts), answered) == (100, [])
        gate.open()
    assert answered == [started + 50] * 100


@WAYS
async def test_cancel_is_heard_while_no_answer_can_be_sent(
    wrap: Wrap, autojump_clock: MockClock
) -> None:
    async with stalling(wrap) as (_, ours, b, _, gate):
        gate.shut()
        with trio.move_on_after(3):
            await b.proxy(Clock).wait(3600)
        await trio.sleep(1)
        assert ours.cancelled == 1
        gate.open()
        await b.proxy(Clock).now()


@WAYS
async def test_items_flow_against_a_direction_that_stands_still(
    wrap: Wrap, autojump_clock: MockClock
) -> None:
    """The one that cannot send still takes all that it had given leave for."""
    seen: list[float] = []
    async with stalling(wrap) as (a, _, _, theirs, gate), trio.open_nursery() as nursery:

        async def take() -> None:
            async for tick in a.proxy(Clock).ticks(500):
                seen.append(tick.seconds)
                if len(seen) == 100:
                    gate.shut()

        nursery.start_soon(take)
        await trio.sleep(50)
        held = len(seen)
        assert 100 < held == theirs.ticked - 1 < 500
        gate.open()
    assert seen == list(range(500))
