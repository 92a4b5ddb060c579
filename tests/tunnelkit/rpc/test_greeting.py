"""Nothing beyond JSON-RPC goes to a peer that has not shown that it knows it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.rpc.strict import StrictServer, calling
from tests.tunnelkit.rpc.test_flow import Adder, Numbers, RealAdder
from tests.tunnelkit.rpc.test_payload import Files, pieces
from tests.tunnelkit.rpc.test_peer import Clock, Moment, RealClock, call_of, plain
from tests.tunnelkit.rpc.test_websocket import URL
from tunnelkit.rpc import LineChannel, Peer, PeerGone, RpcCode, RpcError, open_peer, traced
from tunnelkit.rpc.channels import MAX_MESSAGE_BYTES
from tunnelkit.rpc.greeting import HELLO_SECONDS
from tunnelkit.rpc.websocket import accept_websocket, open_websocket
from tunnelkit.rpc.wholes import MAX_COLLECTED, MAX_COLLECTED_BYTES

MOMENT = {"zone": "UTC", "seconds": 1.5}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def strict(**results: object) -> StrictServer:
    """Return a server of these results; ``clock__now`` is the method ``clock.now``."""
    return StrictServer({name.replace("__", "."): value for name, value in results.items()})


# --- a peer that knows nothing of it ------------------------------------------------------------


async def test_strict_server_is_called_without_extras() -> None:
    server = strict(clock__now=MOMENT)
    async with calling(server) as peer:
        with traced(TRACE), trio.fail_after(50):
            assert await peer.proxy(Clock).now("UTC") == Moment("UTC", 1.5)
    assert (server.refused, [call["params"] for call in server.calls]) == ([], [{"zone": "UTC"}])


async def test_strict_server_sends_a_stream_as_a_list() -> None:
    server = strict(clock__ticks=[MOMENT, MOMENT], files__read=b64encode(b"all").decode())
    async with calling(server) as peer:
        assert len([tick async for tick in peer.proxy(Clock).ticks(2)]) == 2
        assert [piece async for piece in peer.proxy(Files).read(3)] == [b"all"]
    assert server.refused == []


async def test_strict_server_is_sent_a_stream_as_a_list() -> None:
    server = strict(adder__add=6, files__write=3, files__lengths=[3])
    async with calling(server) as peer:
        assert await peer.proxy(Adder).add("x", Numbers(4)) == 6
        assert await peer.proxy(Files).write("x", pieces(b"abc", 1)) == 3
        assert [size async for size in peer.proxy(Files).lengths(pieces(b"abc", 2))] == [3]
    params = [call["params"] for call in server.calls]
    content = b64encode(b"abc").decode()
    assert params == [
        {"name": "x", "numbers": [0, 1, 2, 3]},
        {"name": "x", "content": content},
        {"content": content},
    ]
    assert server.refused == []


async def test_strict_server_hears_nothing_of_a_call_that_is_left(
    autojump_clock: MockClock,
) -> None:
    server = strict()
    async with calling(server) as peer:
        with pytest.raises(RpcError, match="Method not found"):
            await peer.proxy(Clock).now()
        server.answers_unknown = False
        with trio.move_on_after(3) as scope:
            await peer.proxy(Clock).wait(9)
        await trio.sleep(1)
    assert (scope.cancelled_caught, server.refused) == (True, [])


async def endless(size: int) -> AsyncIterator[str]:
    while True:
        yield "x" * size
        await trio.lowlevel.checkpoint()


async def endless_bytes() -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("size", "text"), [(1, f"{MAX_COLLECTED} items"), (99_999, f"{MAX_MESSAGE_BYTES} bytes")]
)
async def test_list_for_a_strict_server_is_bounded(size: int, text: str) -> None:
    server = strict(adder__add=6)
    async with calling(server) as peer:
        with pytest.raises(RpcError, match=f"{text}: the peer does not stream") as error:
            await peer.proxy(Adder).add("x", endless(size))  # type: ignore[arg-type]
    assert (error.value.code, server.calls) == (RpcCode.TOO_LARGE, [])


async def test_payload_for_a_strict_server_is_bounded() -> None:
    server = strict(files__turn="")
    async with calling(server) as peer:
        with pytest.raises(RpcError, match=f"{MAX_COLLECTED_BYTES} bytes: the peer does not"):
            await anext(peer.proxy(Files).turn(endless_bytes()))
    assert server.calls == []


async def test_argument_that_fails_is_raised_and_nothing_is_sent() -> None:
    server = strict(adder__add=6)
    async with calling(server) as peer:
        with pytest.raises(ValueError, match="no more"):
            await peer.proxy(Adder).add("x", Numbers(3, ValueError("no more")))
    assert server.calls == []


async def test_server_that_answers_only_what_it_knows(autojump_clock: MockClock) -> None:
    server = strict(clock__now=MOMENT)
    server.answers_unknown = False
    async with calling(server) as peer:
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.proxy(Clock).now)
            await peer.proxy(Clock).now()
        await peer.proxy(Clock).now()
        assert trio.current_time() - started == HELLO_SECONDS  # once, for all of them
    assert (len(server.calls), server.refused) == (3, [])


# --- a peer that knows it -----------------------------------------------------------------------


@asynccontextmanager
async def overheard() -> AsyncGenerator[tuple[Peer, list[dict[str, Any]]]]:
    """Open a peer and one that serves it; give what the first one says."""
    left, right = memory_stream_pair()
    heard: list[dict[str, Any]] = []

    class Ear(LineChannel):
        async def receive(self) -> bytes | None:
            data = await super().receive()
            heard.extend([json.loads(data)] if data else [])
            return data

    async with (
        open_peer(LineChannel(left), serve=[RealClock()]) as peer,
        open_peer(Ear(right), serve=[RealClock(), RealAdder()]) as other,
    ):
        yield peer, heard
        assert await other.proxy(Clock).now() == Moment("UTC", 1.5)


async def test_hello_goes_once_before_all_calls() -> None:
    async with overheard() as (peer, heard):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(peer.proxy(Clock).now)
        assert await peer.proxy(Adder).add("x", Numbers(4)) == 6
        methods = [one.get("method") for one in heard]
        assert methods[:4] == ["rpc.hello", *["clock.now"] * 3]
        assert ["tk" in one for one in heard[:4]] == [False, True, True, True]


async def test_who_was_asked_does_not_ask() -> None:
    async with overheard() as (peer, heard):
        await peer.proxy(Clock).now()
    assert heard[-1]["id"] == 1  # the answer to the call of the other end: it was not asked
    assert [one["id"] for one in heard] == ["hello", 1, 1]


async def test_caller_that_is_cancelled_leaves_the_question_to_others(
    autojump_clock: MockClock,
) -> None:
    left, right = memory_stream_pair()
    stranger = LineChannel(right)
    async with open_peer(LineChannel(left)) as peer, trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await peer.proxy(Clock).now()
        nursery.start_soon(peer.proxy(Clock).now)
        assert b"rpc.hello" in (await stranger.receive() or b"")
        await stranger.send([b'{"jsonrpc":"2.0","id":"hello","result":{"tk":1}}'])
        call = json.loads(await stranger.receive() or b"")
        assert (call["method"], call["tk"]) == ("clock.now", {})
        nursery.cancel_scope.cancel()


async def test_peer_that_is_gone_ends_who_waits_for_its_hello(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(left)) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(_expect_error, peer.proxy(Clock).now)
        await trio.sleep(1)
        await right.aclose()
        with trio.fail_after(HELLO_SECONDS - 2):
            await peer.wait_closed()


async def _expect_error(call: Any) -> None:
    with pytest.raises(Exception, match="closed the connection"):
        await call()


@pytest.mark.parametrize("result", ["null", "{}", "[]", '{"tk":0}', '{"tk":"1"}', "9" * 999])
async def test_answer_that_says_something_else_is_a_no(result: str) -> None:
    left, right = memory_stream_pair()
    stranger = LineChannel(right)
    async with open_peer(LineChannel(left)) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.proxy(Clock).now)
        assert b"rpc.hello" in (await stranger.receive() or b"")
        await stranger.send([f'{{"jsonrpc":"2.0","id":"hello","result":{result}}}'.encode()])
        assert "tk" not in json.loads(await stranger.receive() or b"")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        '{"jsonrpc":"2.0","id":"hello","error":5}',
        '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}',
    ],
)
async def test_answer_that_is_none_is_a_no(answer: str, autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    stranger = LineChannel(right)
    async with open_peer(LineChannel(left)) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.proxy(Clock).now)
        await stranger.receive()
        await stranger.send([answer.encode()])
        with trio.fail_after(HELLO_SECONDS - 1):
            assert "tk" not in json.loads(await stranger.receive() or b"")
        nursery.cancel_scope.cancel()


async def test_argument_is_not_taken_for_a_peer_that_is_gone() -> None:
    left, right = memory_stream_pair()
    numbers = Numbers(5)
    async with open_peer(LineChannel(left)) as peer:
        await right.aclose()
        await peer.wait_closed()
        with pytest.raises(PeerGone):
            await peer.proxy(Adder).add("x", numbers)
    assert numbers.asked == 0


async def test_stranger_may_say_hello() -> None:
    async with plain() as client:
        answer = await client.ask(call_of("rpc.hello", {}))
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": {"tk": 1}}


async def test_subprotocol_of_a_websocket_says_it() -> None:
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            assert (await accept_websocket(right)).is_greeted

        nursery.start_soon(accept)
        assert (await open_websocket(left, URL)).is_greeted
