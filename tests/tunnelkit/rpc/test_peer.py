"""Two peers in one process: both serve and call at the same time, under virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from tunnelkit.errors import ConfigurationError
from tunnelkit.rpc.channels import LineChannel
from tunnelkit.rpc.codes import PeerGone, RpcCode, RpcError
from tunnelkit.rpc.dispatch import Bound, Caller, Handler, Stateful
from tunnelkit.rpc.peer import Peer, open_peer
from tunnelkit.rpc.service import NotServed, Service, rpc_method
from tunnelkit.rpc.wholes import MAX_COLLECTED


@attrs.frozen
class Moment:
    zone: str
    seconds: float


class Clock(Service, name="clock"):
    async def now(self, zone: str = "UTC") -> Moment:
        raise NotServed

    async def wait(self, seconds: float) -> None:
        raise NotServed

    async def fail(self, how: str) -> None:
        raise NotServed

    def ticks(self, count: int) -> AsyncIterator[Moment]:
        raise NotServed

    async def missing(self) -> None:
        raise NotServed


class RealClock(Clock):
    def __init__(self) -> None:
        self.cancelled = 0
        self.ticked = 0
        self.closed = 0
        self.lefts: list[float] = []

    async def now(self, zone: str = "UTC") -> Moment:
        await trio.lowlevel.checkpoint()
        return Moment(zone, 1.5)

    async def wait(self, seconds: float) -> None:
        self.lefts.append(trio.current_effective_deadline() - trio.current_time())
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise

    async def fail(self, how: str) -> None:
        await trio.lowlevel.checkpoint()
        raise {
            "refuse": RpcError(RpcCode.NOT_FOUND, "no such thing", {"name": "x"}),
            "ours": ConfigurationError("the setting is wrong"),
            "bug": ValueError("secret"),
        }[how]

    async def ticks(self, count: int) -> AsyncIterator[Moment]:
        try:
            for number in range(count):
                self.ticked += 1
                yield Moment("UTC", number)
                await trio.lowlevel.checkpoint()
        finally:
            self.closed += 1


@asynccontextmanager
async def peers(**settings: Any) -> AsyncGenerator[tuple[Peer, Peer, RealClock]]:
    """Open two peers; the second one serves a clock."""
    left, right = memory_stream_pair()
    clock = RealClock()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[clock], **settings) as server,
    ):
        yield caller, server, clock


async def test_call() -> None:
    async with peers() as (caller, _, _):
        assert await caller.proxy(Clock).now() == Moment("UTC", 1.5)
        assert await caller.proxy(Clock).now(zone="CET") == Moment("CET", 1.5)


async def test_both_sides_call_at_the_same_time() -> None:
    left, right = memory_stream_pair()
    zones: dict[Peer, list[str]] = {}
    async with (
        open_peer(LineChannel(left), serve=[RealClock()]) as a,
        open_peer(LineChannel(right), serve=[RealClock()]) as b,
        trio.open_nursery() as nursery,
    ):

        async def call(peer: Peer, zone: str) -> None:
            moment = await peer.proxy(Clock).now(zone)
            zones.setdefault(peer, []).append(f"{zone} {moment.zone}")

        for number in range(50):
            for peer in (a, b):
                nursery.start_soon(call, peer, str(number))
    wanted = {f"{number} {number}" for number in range(50)}
    assert (set(zones[a]), set(zones[b])) == (wanted, wanted)
    assert len(zones[a]) == len(zones[b]) == 50


async def test_answers_come_in_any_order(autojump_clock: MockClock) -> None:
    async with peers() as (caller, _, _):
        with trio.fail_after(3.5):
            async with trio.open_nursery() as nursery:
                for seconds in (3, 2, 1):
                    nursery.start_soon(caller.proxy(Clock).wait, seconds)


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("refuse", RpcCode.NOT_FOUND, "no such thing"),
        ("ours", RpcCode.REFUSED, "the setting is wrong"),
        ("bug", RpcCode.INTERNAL_ERROR, "internal error"),
    ],
)
async def test_errors_of_a_handler_become_codes(how: str, code: int, text: str) -> None:
    async with peers() as (caller, _, _):
        with pytest.raises(RpcError) as error:
            await caller.proxy(Clock).fail(how)
    assert (error.value.code, text in error.value.text) == (code, True)
    assert "secret" not in str(error.value)


async def test_data_of_an_error_comes_along() -> None:
    async with peers() as (caller, _, _):
        with pytest.raises(RpcError) as error:
            await caller.proxy(Clock).fail("refuse")
    assert error.value.data == {"name": "x", "code": "NOT_FOUND"}


async def test_method_that_nobody_serves() -> None:
    async with peers() as (caller, _, _):
        with pytest.raises(RpcError) as error:
            await caller.proxy(Clock).missing()
    assert error.value.code == RpcCode.NOT_SERVED


# --- leaving a call -----------------------------------------------------------------------------


async def test_deadline_of_the_caller_ends_the_handler(autojump_clock: MockClock) -> None:
    async with peers() as (caller, _, clock):
        with trio.move_on_after(2) as scope:
            await caller.proxy(Clock).wait(100)
        await trio.sleep(0.1)
    assert scope.cancelled_caught
    assert (clock.cancelled, clock.lefts) == (1, [2.0])


async def test_cancelling_the_caller_cancels_the_handler(autojump_clock: MockClock) -> None:
    async with peers() as (caller, _, clock):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.proxy(Clock).wait, 100)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)
        assert clock.cancelled == 1
        assert await caller.proxy(Clock).now() == Moment("UTC", 1.5)


async def test_peer_that_is_gone_ends_all_calls(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(left)) as caller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_gone, caller.proxy(Clock).wait, 100)
            await trio.sleep(1)
            await right.aclose()
        await _expect_gone(caller.proxy(Clock).wait, 1)
        await caller.wait_closed()


async def _expect_gone(call: Callable[[float], Any], seconds: float) -> None:
    with pytest.raises(PeerGone):
        await call(seconds)


async def test_call_is_answered_after_the_peer_has_ended_its_side(
    autojump_clock: MockClock,
) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right), serve=[RealClock()]):
        call = {"jsonrpc": "2.0", "method": "clock.wait", "params": [1], "id": 1}
        await left.send_all(json.dumps(call).encode() + b"\n")
        await left.send_eof()
        answer = b"".join([chunk async for chunk in left])
    assert json.loads(answer) == {"jsonrpc": "2.0", "id": 1, "result": None}


# --- streamed results ---------------------------------------------------------------------------


async def test_items_come_in_order() -> None:
    async with peers() as (caller, _, clock):
        found = [moment.seconds async for moment in caller.proxy(Clock).ticks(200)]
    assert found == list(range(200))
    assert clock.closed == 1


async def test_slow_consumer_slows_the_producer(autojump_clock: MockClock) -> None:
    async with peers() as (caller, _, clock):
        async with aclosing(caller.proxy(Clock).ticks(10_000)) as ticks:  # type: ignore[type-var]
            await anext(ticks)
            await trio.sleep(1)
            assert clock.ticked < 100
        await trio.sleep(1)
        assert clock.closed == 1


async def test_other_calls_go_on_beside_a_stalled_stream(autojump_clock: MockClock) -> None:
    async with peers() as (caller, _, _):
        ticks = caller.proxy(Clock).ticks(10_000)
        await anext(ticks)
        for _ in range(100):
            await caller.proxy(Clock).now()


# --- plain JSON-RPC clients ---------------------------------------------------------------------


class Plain:
    """A client that knows JSON-RPC 2.0 and nothing of ours."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._channel = LineChannel(stream)

    async def ask(self, message: object) -> Any:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self._channel.send([data])
        answer = await self._channel.receive()
        assert answer is not None
        return json.loads(answer)


@asynccontextmanager
async def plain(*services: Service) -> AsyncGenerator[Plain]:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right), serve=services or [RealClock()]):
        yield Plain(left)


def call_of(method: str, params: object, request_id: object = 1) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": request_id}


async def test_plain_client_is_answered_without_extras() -> None:
    async with plain() as client:
        answer = await client.ask(call_of("clock.now", {"zone": "CET"}))
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": {"zone": "CET", "seconds": 1.5}}


async def test_plain_client_gets_a_streamed_result_as_a_list() -> None:
    async with plain() as client:
        answer = await client.ask(call_of("clock.ticks", [3]))
    assert [moment["seconds"] for moment in answer["result"]] == [0, 1, 2]


async def test_list_of_items_is_bounded() -> None:
    async with plain() as client:
        answer = await client.ask(call_of("clock.ticks", [MAX_COLLECTED + 1]))
    assert answer["error"]["data"]["code"] == "TOO_LARGE"


async def test_batch_is_answered_as_one() -> None:
    batch = [
        call_of("clock.now", [], "a"),
        {"jsonrpc": "2.0", "method": "clock.now"},
        5,
        call_of("clock.nothing", [], "b"),
    ]
    async with plain() as client:
        answers = await client.ask(batch)
    by_id = {answer["id"]: answer for answer in answers}
    assert set(by_id) == {"a", "b", None}
    assert by_id["a"]["result"]["zone"] == "UTC"
    assert by_id["b"]["error"]["code"] == RpcCode.METHOD_NOT_FOUND


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", RpcCode.PARSE_ERROR),
        (b"[]", RpcCode.INVALID_REQUEST),
        (call_of("clock.now", {"colour": 1}), RpcCode.INVALID_PARAMS),
        (call_of("clock.now", {"zone": 5}), RpcCode.INVALID_PARAMS),
        (call_of("nothing.now", {}), RpcCode.METHOD_NOT_FOUND),
        (call_of("rpc.nothing", {}), RpcCode.METHOD_NOT_FOUND),
    ],
)
async def test_wrong_messages_are_answered_and_the_next_one_too(message: Any, code: int) -> None:
    async with plain() as client:
        answer = await client.ask(message)
        assert answer["error"]["code"] == code
        assert "result" in await client.ask(call_of("clock.now", {}))


async def test_id_of_a_call_under_way_is_refused(autojump_clock: MockClock) -> None:
    async with plain() as client:
        with trio.move_on_after(1):
            await client.ask(call_of("clock.wait", [5], "x"))
        answer = await client.ask(call_of("clock.wait", [5], "x"))
    assert answer["error"]["code"] == RpcCode.INVALID_REQUEST


async def test_cancel_before_the_call_cancels_nothing() -> None:
    cancel = {"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": 1}}
    async with plain() as client:
        answer = await client.ask([cancel, call_of("clock.now", {}, 1)])
    assert [one["id"] for one in answer] == [1]


async def test_reply_that_nobody_asked_for_is_counted(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right)) as peer:
        await left.send_all(b'{"jsonrpc":"2.0","id":9,"result":1}\n')
        await trio.sleep(1)
        assert peer.stray_replies == 1


@pytest.mark.parametrize("wrong", ['"error": 5', '"result": 1, "error": {"code": 1}'])
async def test_wrong_answer_ends_its_call_and_is_not_answered(wrong: str) -> None:
    left, right = memory_stream_pair()
    stranger = LineChannel(left)
    async with open_peer(LineChannel(right)) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(_expect_code, peer.proxy(Clock).now, RpcCode.INTERNAL_ERROR)
        await stranger.receive()
        await stranger.send([b'{"jsonrpc": "2.0", "id": "hello", "result": {"tk": 1}}'])
        call = json.loads(await stranger.receive() or b"")
        await stranger.send([f'{{"jsonrpc": "2.0", "id": {call["id"]}, {wrong}}}'.encode()])
    assert await stranger.receive() is None  # an answer would end a call of the stranger's own


async def test_notification_in_a_batch_holds_up_nobody(autojump_clock: MockClock) -> None:
    batch = [
        {"jsonrpc": "2.0", "method": "clock.wait", "params": [50]},
        call_of("clock.now", []),
    ]
    async with plain() as client:
        with trio.fail_after(1):
            (answer,) = await client.ask(batch)
    assert answer["result"]["zone"] == "UTC"


@pytest.mark.parametrize(
    ("timeout", "is_answered"), [(-5, False), (0, False), (1e-9, False), (2, True), (1e300, True)]
)
async def test_timeout_that_is_no_time_harms_nobody(
    timeout: float, is_answered: bool, autojump_clock: MockClock
) -> None:
    async with plain() as client:
        answer = await client.ask({**call_of("clock.wait", [1]), "tk": {"timeout": timeout}})
        code = answer.get("error", {}).get("code")
        assert code == (None if is_answered else RpcCode.DEADLINE_EXCEEDED)
        assert "result" in await client.ask(call_of("clock.now", []))


async def test_what_was_queued_is_sent_before_the_end() -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right), serve=[RealClock()]) as peer:
        await left.send_all(b"{\n")
        await trio.testing.wait_all_tasks_blocked()
        await peer.flush()
    assert b"-32700" in await left.receive_some()


# --- state and middleware -----------------------------------------------------------------------


class Door(Service, name="door"):
    async def toggle(self) -> str:
        raise NotServed

    @rpc_method(read_only=True)
    async def look(self) -> str:
        raise NotServed

    @rpc_method(requires_state=("open",))
    async def enter(self) -> None:
        raise NotServed

    @rpc_method(requires_state=("open",))
    def visitors(self) -> AsyncIterator[str]:
        raise NotServed


class RealDoor(Stateful, Door):
    state = "closed"

    async def toggle(self) -> str:
        self.change_state("open" if self.state == "closed" else "closed")
        return self.state

    async def look(self) -> str:
        return self.state

    async def enter(self) -> None:
        pass

    async def visitors(self) -> AsyncIterator[str]:
        yield "ada"


async def test_stale_epoch_is_refused_and_the_client_learns() -> None:
    left, right = memory_stream_pair()
    door = RealDoor()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[door]),
    ):
        proxy = caller.proxy(Door)
        assert await proxy.toggle() == "open"
        door.change_state("closed")
        with pytest.raises(RpcError) as error:
            await proxy.toggle()
        assert (error.value.code, door.epoch) == (RpcCode.STALE_EPOCH, 2)
        assert await proxy.toggle() == "open"


async def test_stale_epoch_keeps_nobody_from_looking() -> None:
    left, right = memory_stream_pair()
    door = RealDoor()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[door]),
    ):
        proxy = caller.proxy(Door)
        await proxy.toggle()
        door.change_state("closed")
        assert await proxy.look() == "closed"


async def test_only_one_of_two_calls_that_saw_the_same_state_is_carried_out() -> None:
    door = RealDoor()
    calls = [{**call_of("door.toggle", [], number), "tk": {"epoch": 0}} for number in (1, 2)]
    async with plain(door) as client:
        answers = await client.ask(calls)
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert sorted(codes, key=str) == [RpcCode.STALE_EPOCH, None]
    assert door.epoch == 1


async def test_state_is_checked_after_what_middleware_waits_for(autojump_clock: MockClock) -> None:
    async def slow(bound: Bound, rest: Handler) -> Any:
        await trio.sleep(1)
        return await rest(bound)

    left, right = memory_stream_pair()
    door = RealDoor()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[door], middleware=[slow]),
        trio.open_nursery() as nursery,
    ):
        await caller.proxy(Door).toggle()
        nursery.start_soon(_expect_code, caller.proxy(Door).enter, RpcCode.STALE_EPOCH)
        await trio.sleep(0.5)
        door.change_state("closed")


async def _expect_code(call: Callable[[], Any], code: RpcCode) -> None:
    with pytest.raises(RpcError) as error:
        await call()
    assert error.value.code == code


async def test_streamed_method_that_needs_another_state_is_refused() -> None:
    async with plain(RealDoor()) as client:
        answer = await client.ask(call_of("door.visitors", []))
    assert answer["error"]["data"]["code"] == "WRONG_STATE"


async def test_method_that_needs_another_state_is_refused() -> None:
    async with plain(RealDoor()) as client:
        answer = await client.ask(call_of("door.enter", []))
    assert answer["error"]["data"] == {"state": "closed", "epoch": 0, "code": "WRONG_STATE"}


async def test_middleware_sees_each_call_and_may_refuse() -> None:
    seen: list[str] = []

    async def note(bound: Bound, rest: Handler) -> Any:
        seen.append(f"{bound.caller.name} {bound.spec.wire_name}")
        return await rest(bound)

    async def guard(bound: Bound, rest: Handler) -> Any:
        if bound.spec.name == "now":
            raise RpcError(RpcCode.FORBIDDEN, "not you")
        return await rest(bound)

    settings: dict[str, Any] = {"middleware": [note, guard], "caller": Caller("alice")}
    async with peers(**settings) as (caller, _, _):
        with pytest.raises(RpcError, match="not you"):
            await caller.proxy(Clock).now()
        await caller.proxy(Clock).wait(0)
    assert seen == ["alice clock.now", "alice clock.wait"]


@pytest.mark.parametrize(
    "line", [b"{\n", b'{"jsonrpc":"2.0","id":1,"method":"rpc.hello"}\n'], ids=["wrong", "hello"]
)
async def test_peer_that_sends_and_does_not_read_loses_the_connection(
    line: bytes, autojump_clock: MockClock
) -> None:
    left, right = lockstep_stream_pair()  # nothing fits in between
    async with open_peer(LineChannel(right), serve=[RealClock()]) as peer:
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await left.send_all(line * 10_000)
        await peer.wait_closed()
