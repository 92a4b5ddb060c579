"""Calls between two endpoints in this process: what they carry, and how each ending is told."""

from __future__ import annotations

import os
import select
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from tests.tunnelkit.pairs import Pair, echo, open_pair, open_world, receive_all, wait_until
from tunnelkit.addresses import Destination
from tunnelkit.connect import Call, Ending, Exit
from tunnelkit.connect.call import refusal_of
from tunnelkit.errors import ErrorCode
from tunnelkit.stream import Stream
from tunnelkit.testing import no_leaks
from tunnelkit.wire.stream import StreamCore

DATA = bytes(range(256)) * 8192
BOB = Destination("test", "bob")

Handler = Callable[[Stream], Awaitable[object]]


@dataclass
class Running:
    """A call whose stdin and stdout are pipes of the test."""

    call: Call
    stdin: trio.lowlevel.FdStream
    stdout: trio.lowlevel.FdStream
    ended: trio.Event
    ending: Ending | None = None
    was_seen: bool | None = None
    """Whether the reader of stdout could see the end before it was told."""

    def told(self, ending: Ending) -> None:
        if self.stdout.fileno() < 0:
            return
        poller = select.poll()
        poller.register(self.stdout.fileno(), select.POLLIN)
        self.was_seen = any(mask & select.POLLHUP for _, mask in poller.poll(0))

    async def wait(self) -> Ending:
        await self.ended.wait()
        assert self.ending is not None  # set before the event
        return self.ending


@asynccontextmanager
async def calling(
    handler: Handler, destination: Destination = BOB, timeout: float = 5
) -> AsyncGenerator[tuple[Running, Pair]]:
    """Let alice call bob, who serves every stream with *handler*; that it may break is its risk."""

    async def serve(stream: Stream) -> None:
        with suppress(trio.BrokenResourceError):
            await handler(stream)

    async with (
        open_world("unix") as world,
        open_pair(world) as pair,
        trio.open_nursery() as nursery,
    ):
        await pair.session.aclose()  # the call opens one of its own
        nursery.start_soon(pair.bob.serve, serve)
        await trio.testing.wait_all_tasks_blocked()
        (inner_in, outer_in), (outer_out, inner_out) = os.pipe(), os.pipe()
        call = Call(pair.alice, destination, timeout=timeout, tell=lambda e: running.told(e))
        ends = trio.lowlevel.FdStream(outer_in), trio.lowlevel.FdStream(outer_out)
        running = Running(call, *ends, trio.Event())

        async def run() -> None:
            running.ending = await call.run(inner_in, inner_out)
            running.ended.set()

        nursery.start_soon(run)
        async with ends[0], ends[1]:
            yield running, pair
        nursery.cancel_scope.cancel()


# --- what is carried -----------------------------------------------------------------------


async def test_bytes_go_both_ways_and_both_ends_arrive() -> None:
    async with no_leaks(), calling(echo) as (running, _), trio.open_nursery() as nursery:

        async def send() -> None:
            async with running.stdin:
                await running.stdin.send_all(DATA)

        nursery.start_soon(send)
        assert await receive_all(running.stdout) == DATA
        assert await running.wait() == Ending(Exit.OK)


async def test_end_of_stdin_leaves_the_way_back_open() -> None:
    async def answer(stream: Stream) -> None:
        asked = await receive_all(stream)
        await stream.send_all(b"answer to " + asked)

    async with calling(answer) as (running, _):
        await running.stdin.send_all(b"question")
        await running.stdin.aclose()
        assert await receive_all(running.stdout) == b"answer to question"
        assert (await running.wait()).exit is Exit.OK


async def test_end_of_the_far_side_leaves_stdin_open() -> None:
    received: list[bytes] = []

    async def listen(stream: Stream) -> None:
        await stream.send_eof()
        received.append(await receive_all(stream))

    async with calling(listen) as (running, _):
        assert await receive_all(running.stdout) == b""
        await running.stdin.send_all(b"more")
        await running.stdin.aclose()
        assert (await running.wait()).exit is Exit.OK
        assert received == [b"more"]


# --- endings that are not clean ------------------------------------------------------------


async def test_reset_is_no_clean_end() -> None:
    async def break_off(stream: Stream) -> None:
        await stream.send_all(b"part")
        stream.reset(ErrorCode.CONNECTION_RESET, "the disk is full")

    async with calling(break_off) as (running, _):
        assert await receive_all(running.stdout) == b"part"
        ending = await running.wait()
    assert ending.exit is Exit.RESET
    assert "the disk is full [connection-reset]" in ending.text
    assert str(BOB) in ending.text


async def test_reset_is_told_before_the_reader_sees_an_end() -> None:
    async def break_off(stream: Stream) -> None:
        stream.reset()

    async with calling(break_off) as (running, _):
        await running.wait()
    assert running.was_seen is False


async def test_far_side_that_stops_reading_is_told() -> None:
    async def leave(stream: Stream) -> None:
        await stream.receive_some(1)

    async with calling(leave) as (running, _):
        await running.stdin.send_all(b"unread")
        ending = await running.wait()
    assert ending == Ending(Exit.RESET, "test@bob stopped reading before the end of stdin")


async def test_lost_session_is_told() -> None:
    async with calling(echo) as (running, pair):
        await running.stdin.send_all(b"x")
        await running.stdout.receive_some()
        for session in list(pair.bob.sessions.values()):
            session.end(ErrorCode.STATE_LOST, "bob forgot")
        ending = await running.wait()
    assert ending.exit is Exit.RESET
    assert "bob forgot [state-lost]" in ending.text


async def test_reader_that_leaves_ends_it_without_a_word() -> None:
    async with calling(echo) as (running, _):
        await running.stdout.aclose()
        await running.stdin.send_all(b"x")
        assert await running.wait() == Ending(Exit.CUT_SHORT)


async def test_refusal_is_told_with_its_reason() -> None:
    def refuse(session: object, core: StreamCore) -> None:
        core.refuse(ErrorCode.UNKNOWN_TARGET, "no such thing")

    async with calling(echo) as (running, pair):
        pair.bob.on_stream = refuse
        ending = await running.wait()
    assert ending == Ending(Exit.REFUSED, "test@bob: no such thing [unknown-target]")


async def test_answer_that_does_not_come_is_waited_for_no_longer_than_told() -> None:
    async with calling(echo, timeout=0.5) as (running, pair):
        pair.bob.on_stream = lambda session, core: None
        ending = await running.wait()
    assert ending.exit is Exit.UNAVAILABLE
    assert "no answer within 0.5 s" in ending.text


async def test_peer_that_is_not_there_is_told() -> None:
    async with calling(echo, Destination("test", "carol"), timeout=0.01) as (running, _):
        ending = await running.wait()
    assert ending.exit is Exit.UNAVAILABLE
    assert "carol" in ending.text


# --- stopping ------------------------------------------------------------------------------


async def test_stopped_call_is_reset_at_the_far_side() -> None:
    seen: list[str] = []

    async def watch(stream: Stream) -> None:
        await stream.send_all(b"here")
        try:
            await receive_all(stream)
        except trio.BrokenResourceError as error:
            seen.append(str(error))

    async with calling(watch) as (running, _):
        await running.stdout.receive_some()
        running.call.stop(Ending(Exit.CUT_SHORT))
        assert await running.wait() == Ending(Exit.CUT_SHORT)
        await wait_until(lambda: seen)
    assert "the caller was stopped" in seen[0]


async def test_hung_up_call_delivers_what_is_under_way() -> None:
    async with calling(echo) as (running, _):
        await running.stdin.send_all(b"last words")
        running.call.hang_up()
        await running.stdin.aclose()
        assert await receive_all(running.stdout) == b"last words"
        assert await running.wait() == Ending(Exit.OK)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.FORBIDDEN, Exit.REFUSED),
        (ErrorCode.TOKEN_REVOKED, Exit.REFUSED),
        (ErrorCode.UNKNOWN_TARGET, Exit.REFUSED),
        (ErrorCode.TARGET_REFUSED, Exit.UNAVAILABLE),
        (ErrorCode.UNKNOWN_PEER, Exit.UNAVAILABLE),
        (ErrorCode.GOING_AWAY, Exit.UNAVAILABLE),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(code: ErrorCode, status: Exit) -> None:
    assert refusal_of("x", code, "why").exit is status
