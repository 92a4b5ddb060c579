"""A pipe of two descriptors: every kind of descriptor, its ends and its errors."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import tty
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.tunnelkit.pairs import wait_until
from tunnelkit.carriers import PipeBroken
from tunnelkit.connect import DescriptorPipe, take_over
from tunnelkit.pump import Pump
from tunnelkit.splice import PipeEnd
from tunnelkit.testing import no_leaks
from tunnelkit.wire.stream import Buffer, NullEnd

DATA = bytes(range(256)) * 1200  # more than any pipe holds


class Collector(NullEnd):
    """The other end of a splice: keeps what arrives; takes nothing while it is paused."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self.is_paused = False
        self.offers = 0

    def offer(self, data: Buffer) -> int:
        self.offers += 1
        if self.is_paused:
            return 0
        self.received += data
        return len(data)

    def finish(self) -> None:
        self.events.append("finish")

    def reset(self, code: int, text: str) -> None:
        self.events.append(f"reset: {text}")

    def resume(self) -> None:
        self.events.append("resume")


@dataclass
class Joined:
    """A pipe over two descriptors, spliced with a collector."""

    pipe: DescriptorPipe
    end: PipeEnd
    other: Collector

    async def send(self, data: bytes) -> None:
        """Write all of *data*, as the core of a stream would."""
        rest = memoryview(data)
        while rest:
            before = self.other.events.count("resume")
            rest = rest[self.end.offer(rest) :]
            if rest:
                await wait_until(lambda: self.other.events.count("resume") > before)  # noqa: B023


@asynccontextmanager
async def joined(pump: Pump, stdin: int, stdout: int) -> AsyncGenerator[Joined]:
    async with trio.open_nursery() as nursery:
        pipe = DescriptorPipe(stdin, stdout, pump, nursery)
        made = Joined(pipe, PipeEnd(pipe), Collector())
        made.end.join(made.other)
        yield made
        pipe.close()
        nursery.cancel_scope.cancel()


def nowhere(mode: int = os.O_RDWR) -> int:
    return os.open(os.devnull, mode)


def is_nonblocking(fileno: int) -> bool:
    return bool(fcntl.fcntl(fileno, fcntl.F_GETFL) & os.O_NONBLOCK)


@dataclass
class Kind:
    """Two descriptors of one kind: one for the pipe, and its other end for the test."""

    inner: int
    outer: int

    def close_outer(self) -> None:
        if self.outer >= 0:
            os.close(self.outer)
            self.outer = -1


def make_pipe(is_source: bool) -> Kind:
    reader, writer = os.pipe()
    return Kind(reader, writer) if is_source else Kind(writer, reader)


def make_socket(is_source: bool) -> Kind:
    inner, outer = socket.socketpair()
    return Kind(inner.detach(), outer.detach())


def make_terminal(is_source: bool) -> Kind:
    outer, inner = pty.openpty()
    tty.setraw(inner)
    return Kind(inner, outer)


MAKERS: dict[str, Callable[[bool], Kind]] = {
    "pipe": make_pipe,
    "socket": make_socket,
    "terminal": make_terminal,
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[bool], Kind]:
    return MAKERS[request.param]


@pytest.fixture
def silent() -> Generator[int]:
    """A stdin that says nothing and does not end."""
    kind = make_socket(True)
    yield kind.inner
    kind.close_outer()


# --- reading -------------------------------------------------------------------------------


async def test_bytes_are_read_in_order(pump: Pump, make: Callable[[bool], Kind]) -> None:
    kind = make(True)
    async with joined(pump, kind.inner, nowhere()) as made:
        await trio.to_thread.run_sync(write_all, kind.outer, DATA)
        await wait_until(lambda: len(made.other.received) == len(DATA))
    assert made.other.received == DATA
    kind.close_outer()


def write_all(fileno: int, data: bytes) -> None:
    with open(fileno, "wb", closefd=False, buffering=0) as file:
        done = 0
        while done < len(data):
            done += file.write(data[done:]) or 0


@pytest.mark.parametrize("name", ["pipe", "socket"])
async def test_end_of_file_is_passed_on(pump: Pump, name: str) -> None:
    kind = MAKERS[name](True)
    async with joined(pump, kind.inner, nowhere()) as made:
        os.write(kind.outer, b"last")
        kind.close_outer()
        await wait_until(lambda: made.other.events)
    assert (bytes(made.other.received), made.other.events) == (b"last", ["finish"])


async def test_reading_stops_where_nobody_takes(pump: Pump) -> None:
    kind = make_socket(True)
    async with joined(pump, kind.inner, nowhere()) as made:
        made.other.is_paused = True
        os.write(kind.outer, b"one")
        await wait_until(lambda: made.other.offers)
        os.write(kind.outer, b"two")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert made.other.offers == 1
        made.other.is_paused = False
        made.end.resume()
        await wait_until(lambda: made.other.received == b"onetwo")
    kind.close_outer()


async def test_file_is_read_by_a_thread(pump: Pump, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    async with no_leaks(), joined(pump, os.open(tmp_path / "file", os.O_RDONLY), nowhere()) as made:
        await wait_until(lambda: made.other.events)
    assert made.other.events == ["finish"]
    assert made.other.received == DATA


async def test_dev_null_is_at_its_end(pump: Pump) -> None:
    async with joined(pump, nowhere(os.O_RDONLY), nowhere()) as made:
        await wait_until(lambda: made.other.events)
    assert made.other.events == ["finish"]


async def test_what_cannot_be_read_is_no_clean_end(pump: Pump, tmp_path: Path) -> None:
    async with joined(pump, os.open(tmp_path, os.O_RDONLY), nowhere()) as made:
        await wait_until(lambda: made.other.events)
    assert made.other.events == ["reset: stdin: is a directory"]


# --- writing -------------------------------------------------------------------------------


async def test_bytes_are_written_in_order(
    pump: Pump, make: Callable[[bool], Kind], silent: int
) -> None:
    kind = make(False)
    async with joined(pump, silent, kind.inner) as made, trio.open_nursery() as n:
        n.start_soon(made.send, DATA)
        received = bytearray()
        while len(received) < len(DATA):
            received += await trio.to_thread.run_sync(os.read, kind.outer, 1 << 20)
    assert received == DATA
    kind.close_outer()


@pytest.mark.parametrize("name", ["pipe", "socket"])
async def test_end_is_seen_by_the_reader_at_once(pump: Pump, name: str) -> None:
    kind, source = MAKERS[name](False), make_socket(True)
    async with joined(pump, source.inner, kind.inner) as made:
        await made.send(b"last")
        made.end.finish()
        await made.pipe.wait_written()
        assert (os.read(kind.outer, 10), os.read(kind.outer, 10)) == (b"last", b"")
        os.write(source.outer, b"still")
        await wait_until(lambda: made.other.received == b"still")
    kind.close_outer()
    source.close_outer()


async def test_one_socket_for_both_is_half_closed(pump: Pump) -> None:
    inner, outer = socket.socketpair()
    with outer:
        async with joined(pump, os.dup(inner.fileno()), inner.detach()) as made:
            made.end.finish()
            await made.pipe.wait_written()
            assert outer.recv(10) == b""
            outer.sendall(b"still")
            await wait_until(lambda: made.other.received == b"still")


async def test_file_is_complete_when_it_is_closed(pump: Pump, tmp_path: Path, silent: int) -> None:
    path = tmp_path / "file"
    async with joined(pump, silent, os.open(path, os.O_WRONLY | os.O_CREAT)) as made:
        await made.send(DATA)
        made.end.finish()
        await made.pipe.wait_written()
    assert path.read_bytes() == DATA


async def test_reader_that_left_is_told_from_other_errors(pump: Pump, silent: int) -> None:
    kind = make_pipe(False)
    async with joined(pump, silent, kind.inner) as made:
        kind.close_outer()
        made.end.offer(b"x")
        await wait_until(lambda: made.other.events)
    assert made.pipe.is_deserted
    assert made.other.events == ["reset: stdout: broken pipe"]


async def test_full_disk_is_an_error_even_at_the_last_byte(pump: Pump, silent: int) -> None:
    async with joined(pump, silent, os.open("/dev/full", os.O_WRONLY)) as made:
        await made.send(b"last")
        made.end.finish()
        with pytest.raises(PipeBroken, match="stdout: no space left on device"):
            await made.pipe.wait_written()
    assert not made.pipe.is_deserted


# --- what is shared with others ------------------------------------------------------------


async def test_what_others_share_never_becomes_nonblocking(
    pump: Pump, make: Callable[[bool], Kind]
) -> None:
    kinds = [make(True), make(False)]
    shared = [os.dup(kind.inner) for kind in kinds]
    async with joined(pump, kinds[0].inner, kinds[1].inner) as made:
        os.write(kinds[0].outer, b"x")
        await wait_until(lambda: made.other.received)
        await made.send(b"y")
        assert [is_nonblocking(fileno) for fileno in shared] == [False, False]
    for fileno in [*shared, *(kind.outer for kind in kinds)]:
        os.close(fileno)


async def test_terminal_that_cannot_be_opened_again_is_read_by_a_thread(
    pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnelkit.connect.sides._open_again", lambda fileno, mode: None)
    kind = make_pipe(True)
    async with joined(pump, kind.inner, nowhere()) as made:
        os.write(kind.outer, b"slow")
        kind.close_outer()
        await wait_until(lambda: made.other.events)
    assert made.other.received == b"slow"


def test_taken_descriptor_leads_nowhere_and_its_end_is_seen() -> None:
    reader, writer = os.pipe()
    taken = take_over(writer)
    os.write(writer, b"lost")
    os.write(taken, b"kept")
    os.close(taken)
    assert (os.read(reader, 10), os.read(reader, 10)) == (b"kept", b"")
    for fileno in (reader, writer):
        os.close(fileno)


def test_closed_descriptor_cannot_be_taken() -> None:
    reader, writer = os.pipe()
    for fileno in (reader, writer):
        os.close(fileno)
    with pytest.raises(OSError, match="Bad file"):
        take_over(writer)
