"""A peer that sends whatever it likes: everybody else is served, or the connection ends."""

from __future__ import annotations

import json
import logging
import tracemalloc
from collections.abc import AsyncIterable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from tests.tunnelkit.rpc.test_flow import RealAdder
from tests.tunnelkit.rpc.test_payload import Files, RealFiles, pieces
from tests.tunnelkit.rpc.test_peer import Clock, RealClock, call_of
from tests.tunnelkit.rpc.test_websocket import URL
from tunnelkit.rpc.channels import Channel, LineChannel
from tunnelkit.rpc.codes import PeerGone, RpcCode, RpcError
from tunnelkit.rpc.flow import ITEMS_AHEAD
from tunnelkit.rpc.inflight import MAX_INCOMING
from tunnelkit.rpc.messages import MAX_BATCH
from tunnelkit.rpc.payload import BYTES_AHEAD, Binary, encode_piece
from tunnelkit.rpc.peer import Peer, open_peer
from tunnelkit.rpc.sessions import PayloadStreams
from tunnelkit.rpc.websocket import accept_websocket, open_websocket

END = "the end"

# --- what a hostile peer says -------------------------------------------------------------------

LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
)
ANY = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
IDS = st.integers(0, 6) | st.sampled_from(["a", "hello", None, 1.5, True]) | ANY
NUMBERS = st.sampled_from([0, 1, 2, ITEMS_AHEAD, BYTES_AHEAD, -1, 2**70]) | ANY
METHODS = st.sampled_from(
    [
        *("clock.now", "clock.wait", "clock.ticks", "adder.add", "adder.never", "files.read"),
        *(
            "files.write",
            "files.turn",
            "rpc.describe",
            "rpc.hello",
            "clock.never",
            "rpc.cancel",
            "",
        ),
    ]
)
CONTROLS = st.sampled_from(
    ["cancel", "credit", "item", "value", "value_end", "value_credit", "stream", "else"]
)
PARAMS = st.sampled_from([{}, [], ["UTC"], [1], [3, -1], ["x", [1]], {"name": "x"}, [10**9]]) | ANY
TK = st.dictionaries(
    st.sampled_from(["epoch", "timeout", "trace", "items", "values", "binary", "stream"]),
    NUMBERS | st.booleans(),
)

CALLS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": METHODS, "params": PARAMS},
    optional={"id": IDS, "tk": TK | ANY},
)
NOTICES = st.builds(
    lambda method, params: {"jsonrpc": "2.0", "method": f"rpc.{method}", "params": params},
    CONTROLS,
    st.fixed_dictionaries(
        {"id": IDS}, optional={"n": NUMBERS, "upto": NUMBERS, "count": NUMBERS, "value": ANY}
    ),
)
RESULTS = ANY | NUMBERS | st.just({"tk": 1})
ERRORS = ANY | st.just({"code": 5, "message": "x"})
REPLIES = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "1.0"]), "id": IDS},
    optional={
        "result": ANY | NUMBERS | st.just({"tk": 1}),
        "error": ANY | st.just({"code": 5, "message": "x"}),
    },
)
MESSAGES = CALLS | NOTICES | REPLIES
TEXTS = (MESSAGES | st.lists(MESSAGES, max_size=5) | ANY).map(lambda one: json.dumps(one).encode())
PIECES = st.builds(
    encode_piece,
    is_argument=st.booleans(),
    call_id=st.integers(0, 6),
    offset=st.sampled_from([0, 1, 3, 2**63]),
    data=st.binary(max_size=3),
)
SAID = st.lists(TEXTS | st.binary(max_size=20) | PIECES, max_size=12)


class SturdyClock(RealClock):
    """Fails at nothing that its types allow: whatever is logged is a fault of ours."""

    async def wait(self, seconds: float) -> None:
        await super().wait(max(0.0, seconds))


class Heard:
    """A channel on which is heard what a test makes up, and which keeps what is said."""

    def __init__(self, messages: list[bytes], *, is_greeted: bool) -> None:
        self.carries_binary = True
        self.is_greeted = is_greeted
        self.streams: PayloadStreams | None = None
        self.on_output: Callable[[], None] = lambda: None
        self.said: list[Any] = []
        self.unheard = messages

    async def send(self, messages: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.said += [json.loads(one) for one in messages if not isinstance(one, Binary)]

    async def receive(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.unheard.pop(0) if self.unheard else None

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def _call_back(peer: Peer) -> None:
    """Call the hostile peer in every way; ids of these calls are 1 to 4."""

    async def drain(items: AsyncIterable[object]) -> None:
        async for _ in items:
            pass

    async def quietly(function: Any, *args: Any) -> None:
        try:
            await function(*args)
        except (RpcError, PeerGone):
            pass

    clock, files = peer.proxy(Clock), peer.proxy(Files)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quietly, clock.now)
        nursery.start_soon(quietly, drain, clock.ticks(5))
        nursery.start_soon(quietly, drain, files.read(5))
        nursery.start_soon(quietly, files.write, "x", pieces(b"abc", 1))


@settings(max_examples=300, deadline=None)
@given(SAID, st.booleans())
def test_everybody_is_answered_or_the_connection_ends(said: list[bytes], is_greeted: bool) -> None:
    last = json.dumps(call_of("clock.now", {}, END)).encode()
    channel = Heard([*said, last], is_greeted=is_greeted)
    why: list[str] = []

    async def main() -> None:
        serve = [SturdyClock(), RealAdder(), RealFiles()]
        async with open_peer(channel, serve=serve) as peer:
            with trio.fail_after(1000):
                await _call_back(peer)
                await peer.wait_closed()
                why.append(str(peer._sending.gone))

    with catching_logs() as logged:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    answers = [one["result"]["zone"] for one in _flat(channel.said) if one.get("id") == END]
    # An item that was not due ends the connection, and nothing else does.
    assert answers == ([] if "was not due" in why[0] else ["UTC"])
    assert not logged


@contextmanager
def catching_logs() -> Generator[list[logging.LogRecord]]:
    """Collect what is logged, which are faults of ours."""
    logged: list[logging.LogRecord] = []
    logger = logging.getLogger("tunnelkit.rpc")

    def keep(record: logging.LogRecord) -> bool:
        logged.append(record)
        return False

    logger.addFilter(keep)
    try:
        yield logged
    finally:
        logger.removeFilter(keep)


def _flat(said: list[Any]) -> list[dict[str, Any]]:
    return [one for some in said for one in (some if isinstance(some, list) else [some])]


# --- floods -------------------------------------------------------------------------------------


async def test_flood_of_calls_is_refused_beyond_a_bound(autojump_clock: MockClock) -> None:
    left, right = memory_stream_pair()
    calls = [call_of("clock.wait", [3600], number) for number in range(MAX_INCOMING + 10)]
    async with open_peer(LineChannel(right), serve=[RealClock()]):
        await left.send_all(b"".join(json.dumps(call).encode() + b"\n" for call in calls))
        channel = LineChannel(left)
        codes = [json.loads(await channel.receive() or b"")["error"]["code"] for _ in range(10)]
    assert codes == [RpcCode.BUSY] * 10


DEEP_AND_LONG = pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","method":"clock.now","id":1,"params":' + b'{"a":' * 50_000,
        b'{"jsonrpc":"2.0","method":"clock.now","id":1,"params":['
        + b"[" * 900
        + b"]" * 900
        + b"]}",
        b'{"jsonrpc":"2.0","method":"clock.now","id":' + b"9" * 100_000 + b"}",
        b'{"jsonrpc":"2.0","method":"' + b"x" * 100_000 + b'","id":1}',
        b"\xff\xfe" * 1000,
    ],
)


@DEEP_AND_LONG
async def test_deep_and_long_messages_are_answered(line: bytes) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right), serve=[RealClock()]):
        await _expect_refused(LineChannel(left), line)


async def _expect_refused(channel: Channel, line: bytes) -> None:
    await channel.send([line, json.dumps(call_of("clock.now", {}, END)).encode()])
    wrong, good = [json.loads(await channel.receive() or b"") for _ in range(2)]
    assert wrong["error"]["code"] in (-32700, -32600, -32602)
    assert len(json.dumps(wrong)) < 1000
    assert (good["id"], good["result"]["zone"]) == (END, "UTC")


@DEEP_AND_LONG
@pytest.mark.parametrize("kind", [bytes, Binary], ids=["text", "binary"])
async def test_deep_and_long_messages_of_a_websocket(line: bytes, kind: type[bytes]) -> None:
    left, right = memory_stream_pair()

    async def serve() -> None:
        async with open_peer(await accept_websocket(right), serve=[RealClock()]) as peer:
            await peer.wait_closed()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        channel = await open_websocket(left, URL)
        await _expect_refused(channel, kind(line))
        await channel.aclose()


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","method":"clock.wait","params":[3600]}',
        b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":7}}',
        b'{"jsonrpc":"2.0","result":5,"id":7}',
        b"[" + b",".join([b'{"jsonrpc":"2.0","id":7,"result":5}'] * MAX_BATCH) + b"]",
    ],
    ids=["notification", "cancel", "reply", "batch of replies"],
)
async def test_flood_that_is_not_answered_takes_no_memory(
    line: bytes, autojump_clock: MockClock
) -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right), serve=[RealClock()]):
        await _send_many(left, line, 2)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await _send_many(left, line, 5)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 1024 * 1024


async def _send_many(
    stream: trio.StapledStream[MemorySendStream, MemoryReceiveStream], line: bytes, count: int
) -> None:
    for _ in range(count):
        await stream.send_all((line + b"\n") * (300_000 // len(line)))
        await trio.testing.wait_all_tasks_blocked()


async def test_line_that_never_ends_ends_the_connection() -> None:
    left, right = memory_stream_pair()
    async with open_peer(LineChannel(right, max_message_bytes=1000), serve=[RealClock()]) as peer:
        await left.send_all(bytes(70_000))
        await peer.wait_closed()
    answer = json.loads(await left.receive_some())
    assert answer["error"]["data"]["code"] == "TOO_LARGE"
