"""Taps: everything goes on unchanged, and what was taken is told, once and in order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tunnelkit.capture import tap
from tunnelkit.pump import Pump
from tunnelkit.splice import PipeEnd
from tunnelkit.testing import MemoryPipe, memory_pipe_pair
from tunnelkit.wire.stream import Buffer


@dataclass
class Notes:
    """A listener that notes what it is told."""

    said_bytes: dict[bool, bytes] = field(default_factory=lambda: {True: b"", False: b""})
    told: list[object] = field(default_factory=list)

    def said(self, from_client: bool, data: Buffer) -> None:
        self.said_bytes[from_client] += bytes(data)

    def finished(self, from_client: bool) -> None:
        self.told.append(("finished", from_client))

    def ended(self, is_reset: bool, *, by_client: bool = False) -> None:
        self.told.append(("ended", is_reset, by_client))


@dataclass
class Reader:
    """An end that takes as much as it is told to, and notes every call."""

    takes: list[int] = field(default_factory=list)
    taken: bytes = b""
    calls: list[object] = field(default_factory=list)

    def offer(self, data: Buffer) -> int:
        count = min(self.takes.pop(0) if self.takes else len(data), len(data))
        self.taken += bytes(data[:count])
        return count

    def finish(self) -> None:
        self.calls.append("finish")

    def abort(self, code: int, text: str) -> None:
        self.calls.append(("abort", code, text))

    def stop(self, code: int, text: str) -> None:
        self.calls.append(("stop", code, text))

    def reset(self, code: int, text: str) -> None:
        self.calls.append(("reset", code, text))

    def resume(self) -> None:
        self.calls.append("resume")


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=30)), max_size=20),
    st.lists(st.integers(0, 12), max_size=60),
    st.lists(st.integers(0, 12), max_size=60),
    st.sampled_from([bytes, bytearray, memoryview]),
)
def test_what_was_taken_is_told(
    offers: list[tuple[bool, bytes]],
    client_takes: list[int],
    server_takes: list[int],
    kind: type[Buffer],
) -> None:
    client, server, notes = Reader(client_takes), Reader(server_takes), Notes()
    to_server, to_client = tap(client, server, notes)
    for from_client, data in offers:
        end, rest = to_server if from_client else to_client, data
        while rest:
            rest = rest[end.offer(kind(rest)) :]
    assert server.taken == notes.said_bytes[True] == b"".join(d for side, d in offers if side)
    assert client.taken == notes.said_bytes[False] == b"".join(d for s, d in offers if not s)


def test_every_call_is_handed_on() -> None:
    server = Reader()
    to_server, _ = tap(Reader(), server, Notes())
    to_server.resume()
    to_server.stop(1, "a")
    to_server.finish()
    to_server.abort(2, "b")
    to_server.reset(3, "c")
    assert server.calls == [
        "resume",
        ("stop", 1, "a"),
        "finish",
        ("abort", 2, "b"),
        ("reset", 3, "c"),
    ]


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        (["cf", "sf"], [("finished", True), ("finished", False), ("ended", False, False)]),
        (["cf", "cf"], [("finished", True)]),
        (["cr", "sr", "cf"], [("ended", True, True)]),
        (["cf", "sr"], [("finished", True), ("ended", True, False)]),
        (["ca"], []),
        (["ca", "sf"], [("finished", False), ("ended", True, False)]),
        (["ss", "sf"], [("finished", True), ("finished", False), ("ended", False, False)]),
        (["cf", "sf", "sr"], [("finished", True), ("finished", False), ("ended", False, False)]),
    ],
)
def test_endings_are_told_once(calls: list[str], told: list[object]) -> None:
    notes = Notes()
    to_server, to_client = tap(Reader(), Reader(), notes)
    for call in calls:
        end = to_server if call[0] == "c" else to_client
        if call[1] == "f":
            end.finish()
        else:
            {"r": end.reset, "a": end.abort, "s": end.stop}[call[1]](1, "")
    assert notes.told == told


async def read_to_end(pipe: MemoryPipe) -> bytes:
    """Return what comes, a little at a time, so that the splice has to wait for its reader."""
    found = b""
    while (piece := pipe.try_receive(1000)) != b"":
        found += bytes(piece or b"")
        if piece is None:
            await trio.sleep(0.001)
    return found


async def send_all(pipe: MemoryPipe, data: bytes) -> None:
    """Send as the pipe has room, then the end."""
    while data:
        data = data[pipe.try_send(data) :]
        await trio.sleep(0.001)
    pipe.send_eof()


async def test_splice_with_taps_carries_everything(autojump_clock: MockClock, pump: Pump) -> None:
    (left, client), (right, server) = memory_pipe_pair(pump), memory_pipe_pair(pump)
    over: list[PipeEnd] = []
    ends, notes = (PipeEnd(left, over.append), PipeEnd(right, over.append)), Notes()
    to_server, to_client = tap(*ends, notes)
    ends[0].other = to_server
    ends[1].join(to_client)
    ends[0].join(to_server)
    question, answer = bytes(range(256)) * 1000, bytes(range(255)) * 2000
    async with trio.open_nursery() as nursery:
        for pipe in (client, server):
            pipe.start(lambda readable, writable: None)
        nursery.start_soon(send_all, client, question)
        nursery.start_soon(send_all, server, answer)
        assert await read_to_end(server) == question
        assert await read_to_end(client) == answer
    assert notes.said_bytes == {True: question, False: answer}
    assert set(notes.told[:2]) == {("finished", True), ("finished", False)}
    assert len(over) == 2
