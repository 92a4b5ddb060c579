"""The trace of a call goes along with it, and with the calls that it makes in turn."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from tests.tunnelkit.rpc.test_peer import call_of, plain
from tunnelkit.rpc import LineChannel, NotServed, Service, current_caller, open_peer
from tunnelkit.rpc.context import current_trace, traced

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Echo(Service, name="echo"):
    async def trace(self) -> str:
        """Return the trace that the call is a part of."""
        raise NotServed

    async def through(self) -> str:
        """Return the trace of a call that this one makes."""
        raise NotServed


class RealEcho(Echo):
    next: Echo

    async def trace(self) -> str:
        await trio.lowlevel.checkpoint()
        return current_trace()

    async def through(self) -> str:
        return await self.next.trace()


async def test_trace_goes_along_and_on() -> None:
    left, right = memory_stream_pair()
    echo = RealEcho()
    async with (
        open_peer(LineChannel(left), serve=[RealEcho()]) as caller,
        open_peer(LineChannel(right), serve=[echo]) as peer,
    ):
        echo.next = peer.proxy(Echo)
        proxy = caller.proxy(Echo)
        with traced(TRACE):
            assert [await proxy.trace(), await proxy.through()] == [TRACE, TRACE]
        assert await proxy.through() == ""


@pytest.mark.parametrize("trace", ["", "x", TRACE + "-", TRACE.upper(), "ff" + TRACE[2:], 5])
async def test_what_is_no_trace_is_left_alone(trace: object) -> None:
    call = {**call_of("echo.trace", []), "tk": {"trace": str(trace)}}
    async with plain(RealEcho()) as client:
        answer = await client.ask(call)
    assert answer["result"] == ""


def test_trace_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="traceparent"), traced("00-xyz"):
        pass


def test_nobody_calls_here() -> None:
    with pytest.raises(LookupError):
        current_caller()
