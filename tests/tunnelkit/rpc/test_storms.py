"""Many calls of every kind, left at any moment: nothing is left behind, nobody else is harmed."""

from __future__ import annotations

import random
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from tests.tunnelkit.rpc.test_backlog import LARGE, RealStore, Store
from tests.tunnelkit.rpc.test_flow import Adder, Numbers, RealAdder
from tests.tunnelkit.rpc.test_hostile import catching_logs
from tests.tunnelkit.rpc.test_payload import (
    DATA,
    Files,
    RealFiles,
    Way,
    over_lines,
    over_session,
    over_websocket,
    pieces,
)
from tests.tunnelkit.rpc.test_peer import Clock, Door, RealClock, RealDoor
from tunnelkit.rpc import LineChannel, Peer, RpcError, open_peer

WAYS = pytest.mark.parametrize("way", [over_lines, over_websocket, over_session])


async def _drain(items: Any) -> None:
    async with aclosing(items):
        async for _ in items:
            await trio.lowlevel.checkpoint()


def _calls(peer: Peer) -> list[Any]:
    """Return functions that make calls of every kind that payloads allow."""
    files = peer.proxy(Files)
    return [
        partial(files.add, 1, 2),
        lambda: files.write("x", pieces(DATA[:300_000])),
        lambda: files.peek(pieces(DATA[:300_000])),
        lambda: _drain(files.read(300_000)),
        lambda: _drain(files.read(300_000, fail_at=100_000)),
        lambda: _drain(files.turn(pieces(DATA[:300_000], 10_000))),
        lambda: _drain(files.lengths(pieces(DATA[:100_000], 1000))),
    ]


async def _left(call: Any, seconds: float) -> None:
    with trio.move_on_after(seconds):
        with suppress(RpcError):  # BUSY, or what the method says
            await call()


def _nothing_is_left(peer: Peer) -> bool:
    streams = peer._channel.streams
    halves = (len(peer._serving), len(peer._asking._calls), peer._backlog.used)
    return halves == (0, 0, 0) and (streams is None or not streams._done)


@WAYS
async def test_storm_of_calls_that_are_left_leaves_nothing(
    way: Way, autojump_clock: MockClock
) -> None:
    chance = random.Random(5)
    with catching_logs() as logged:
        async with way() as pair:
            for _ in range(5):
                async with trio.open_nursery() as nursery:
                    for _ in range(100):
                        call = chance.choice(_calls(chance.choice(pair[:2])))
                        nursery.start_soon(_left, call, chance.choice([0, 0.001, 0.1, 50]))
            await trio.sleep(60)
            assert [_nothing_is_left(peer) for peer in pair[:2]] == [True, True]
            assert [await peer.proxy(Files).add(1, 2) for peer in pair[:2]] == [3, 3]
    assert not logged


@WAYS
@pytest.mark.parametrize("kind", range(7))
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13, 21])
async def test_call_that_is_left_at_any_step_leaves_nothing(
    way: Way, kind: int, steps: int, autojump_clock: MockClock
) -> None:
    async with way() as pair:
        await pair[0].proxy(Files).add(1, 2)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_left, _calls(pair[0])[kind], 50)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        await trio.sleep(60)
        assert [_nothing_is_left(peer) for peer in pair[:2]] == [True, True]
        assert await pair[0].proxy(Files).add(1, 2) == 3


# --- states that change while many look and act -------------------------------------------------

Acts = st.lists(st.sampled_from(["look", "toggle", "change"]), min_size=1, max_size=5)


class SlowDoor(RealDoor):
    """Takes a while to look."""

    async def look(self) -> str:
        await trio.sleep(0.3)
        return await super().look()


@settings(max_examples=40)
@given(st.lists(Acts, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_nobody_acts_on_an_old_picture(plans: list[list[str]], chance: random.Random) -> None:
    door = SlowDoor()

    async def act(proxy: Door, plan: list[str]) -> None:
        for step in plan:
            await trio.sleep(chance.random())
            if step == "change":
                door.change_state("open" if door.state == "closed" else "closed")
                continue
            seen = proxy._epoch.known  # type: ignore[attr-defined]
            try:
                await getattr(proxy, step)()
                is_refused = False
            except RpcError:
                is_refused = True
            known = proxy._epoch.known  # type: ignore[attr-defined]
            assert seen is None or known >= seen
            if step == "toggle" and seen is not None:
                assert known > seen if is_refused else known == seen + 1

    async def main() -> None:
        left, right = memory_stream_pair()
        async with (
            open_peer(LineChannel(left)) as caller,
            open_peer(LineChannel(right), serve=[door]),
            trio.open_nursery() as nursery,
        ):
            for plan in plans:
                nursery.start_soon(act, caller.proxy(Door), plan)

    trio.run(main, clock=MockClock(autojump_threshold=0))


# --- peers that stop reading --------------------------------------------------------------------


async def test_peer_that_stops_reading_holds_up_its_own_connection_alone(
    autojump_clock: MockClock,
) -> None:
    store = RealStore()
    asker, right = lockstep_stream_pair()  # nothing fits in between
    good, other = memory_stream_pair()
    async with (
        open_peer(LineChannel(right), serve=[store]) as stalled,
        open_peer(LineChannel(other), serve=[store]),
        open_peer(LineChannel(good)) as caller,
    ):
        for number in range(100):
            call = f'{{"jsonrpc":"2.0","id":{number},"method":"store.give","params":[1000000,99],'
            await asker.send_all(call.encode() + b'"tk":{"items":99}}\n')
        await trio.sleep(1000)
        assert stalled._sending._bytes < 8 * len(LARGE)
        assert await caller.proxy(Store).echo(3) == "xxx"
        stalled.end("enough")


async def test_caller_whose_peer_stops_reading_can_leave(autojump_clock: MockClock) -> None:
    left, _ = lockstep_stream_pair()
    async with open_peer(LineChannel(left)) as caller:
        caller._greeting.shown()
        with trio.move_on_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(500):
                    nursery.start_soon(caller.proxy(Store).keep, LARGE)
        assert caller._sending._bytes < 3 * len(LARGE)
        assert len(caller._asking._calls) == 0


async def test_argument_of_a_call_that_is_over_is_not_asked_for(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    numbers = Numbers(10**6)
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[RealAdder(), RealClock(), RealFiles()]),
    ):
        with trio.move_on_after(0.5):
            await caller.proxy(Adder).never(numbers)
        asked = numbers.asked
        await trio.sleep(5)
        assert numbers.asked == asked < 5
        assert (await caller.proxy(Clock).now()).seconds == 1.5


@pytest.mark.parametrize("way", [over_lines, over_websocket, over_session])
async def test_end_of_the_connection_in_a_storm_ends_every_call(
    way: Way, autojump_clock: MockClock
) -> None:
    chance, ends = random.Random(7), list[str]()

    async def call(peer: Peer) -> None:
        try:
            await chance.choice(_calls(peer))()
            ends.append("done")
        except Exception as error:
            ends.append(type(error).__name__)

    async with way() as pair:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(call, chance.choice(pair[:2]))
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
                pair[0].end("cut")
    assert len(ends) == 100
    assert set(ends) <= {"done", "PeerGone", "RpcError"}
