"""The middleware that comes along: who may call, how often, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from tests.tunnelkit.rpc.test_peer import Clock, Door, RealClock, RealDoor, call_of, peers
from tunnelkit.rpc import (
    Bound,
    Caller,
    Handler,
    LineChannel,
    Middleware,
    NotServed,
    Outcome,
    RpcCode,
    RpcError,
    Service,
    audited,
    authenticated,
    counted,
    open_peer,
    rate_limited,
)
from tunnelkit.rpc import middleware as module

ADA = Caller("laptop", "ada")


async def code_of_call(*chain: Middleware, caller: Caller = ADA) -> int | None:
    """Call once through a chain, and return the code of the error."""
    async with peers(middleware=chain, caller=caller) as (client, _, _):
        try:
            await client.proxy(Clock).now()
        except RpcError as error:
            return error.code
    return None


@pytest.mark.parametrize(
    ("caller", "code"), [(ADA, None), (Caller("laptop"), RpcCode.UNAUTHENTICATED)]
)
async def test_who_has_proven_nothing_is_refused(caller: Caller, code: int | None) -> None:
    assert await code_of_call(authenticated, caller=caller) == code


async def codes_of(calls: Sequence[tuple[float, Caller]], limit: Middleware) -> list[int | None]:
    """Call at these times, and return the codes."""
    found = []
    for at, caller in calls:
        await trio.sleep_until(at)
        found.append(await code_of_call(limit, caller=caller))
    return found


async def test_rate_of_one_caller_is_limited(autojump_clock: MockClock) -> None:
    start, bob = trio.current_time(), Caller("laptop", "bob")
    calls = [(start, ADA), (start, ADA), (start, ADA), (start, bob), (start + 10, ADA)]
    codes = await codes_of(calls, rate_limited(0.1, burst=2))
    assert codes == [None, None, RpcCode.RATE_LIMITED, None, None]


async def test_callers_whose_rates_are_remembered_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CALLERS", 1)
    bob = Caller("laptop", "bob")
    codes = await codes_of([(0, ADA), (0, bob), (0, ADA)], rate_limited(0.1, burst=1))
    assert codes == [None, None, None]  # ada was forgotten when bob came


async def test_streamed_call_is_told_when_it_is_over(autojump_clock: MockClock) -> None:
    told: list[Outcome] = []
    async with peers(middleware=[audited(told.append)]) as (client, _, _):
        assert len([tick async for tick in client.proxy(Clock).ticks(3)]) == 3
        async for _tick in client.proxy(Clock).ticks(10**6):
            break
        await trio.sleep(1)
    assert [outcome.code for outcome in told] == ["OK", "CANCELLED"]


async def test_streamed_call_that_is_refused_is_told_so() -> None:
    told: list[Outcome] = []
    left, right = memory_stream_pair()
    async with (
        open_peer(LineChannel(left)) as client,
        open_peer(LineChannel(right), serve=[RealDoor()], middleware=[audited(told.append)]),
    ):
        with pytest.raises(RpcError, match="WRONG_STATE"):
            await anext(client.proxy(Door).visitors())
    assert [outcome.code for outcome in told] == ["WRONG_STATE"]


@pytest.mark.parametrize(
    ("method", "outcome"),
    [
        ("clock.no_such", ("rpc.unknown", "METHOD_NOT_FOUND")),
        ("x" * 100, ("rpc.unknown", "METHOD_NOT_FOUND")),
        ("clock.wait", ("clock.wait", "INVALID_PARAMS")),
    ],
)
async def test_calls_that_are_none_are_told(method: str, outcome: tuple[str, str]) -> None:
    told: list[tuple[str, str]] = []
    left, right = memory_stream_pair()
    channel = LineChannel(left)
    count = counted(lambda name, code, _: told.append((name, code)))
    async with open_peer(LineChannel(right), serve=[RealClock()], middleware=[count]):
        await channel.send([json.dumps(call_of(method, {})).encode()])
        assert b"error" in (await channel.receive() or b"")
        await channel.aclose()
    assert told == [outcome]


async def test_each_call_is_told_whatever_became_of_it(autojump_clock: MockClock) -> None:
    told: list[Outcome] = []
    async with peers(middleware=[audited(told.append)], caller=ADA) as (client, _, _):
        clock = client.proxy(Clock)
        await clock.wait(2)
        for how in ("refuse", "ours", "bug"):
            with pytest.raises(RpcError):
                await clock.fail(how)
        with trio.move_on_after(3):
            await clock.wait(60)
        await trio.sleep(1)
    codes = ["OK", "NOT_FOUND", "REFUSED", "INTERNAL_ERROR", "CANCELLED"]
    assert [outcome.code for outcome in told] == codes
    assert [round(outcome.seconds) for outcome in told] == [2, 0, 0, 0, 3]
    assert told[0].caller == ADA


# --- checking arguments -------------------------------------------------------------------------


@attrs.frozen
class Route:
    port: int
    weight: float = 1.0


class Routes(Service, name="routes"):
    async def add(self, route: Route, note: str = "none") -> str:
        raise NotServed

    async def total(self, numbers: AsyncIterable[int]) -> int:
        raise NotServed


class RealRoutes(Routes):
    async def add(self, route: Route, note: str = "none") -> str:
        return f"{route.port} {note}"

    async def total(self, numbers: AsyncIterable[int]) -> int:
        return sum([number async for number in numbers])


@asynccontextmanager
async def checking(check: Middleware) -> AsyncGenerator[Routes]:
    left, right = memory_stream_pair()
    async with (
        open_peer(LineChannel(left)) as client,
        open_peer(LineChannel(right), serve=[RealRoutes()], middleware=[check]),
    ):
        yield client.proxy(Routes)


async def test_middleware_checks_decoded_arguments() -> None:
    async def check(bound: Bound, rest: Handler) -> Any:
        if bound.arguments["route"].weight > 1:
            raise RpcError(RpcCode.INVALID_PARAMS, "too heavy - at `$.route.weight`")
        return await rest(bound)

    async with checking(check) as routes:
        assert await routes.add(Route(80)) == "80 none"
        with pytest.raises(RpcError, match=r"\$\.route\.weight") as error:
            await routes.add(Route(80, 1.5))
    assert error.value.code == RpcCode.INVALID_PARAMS


async def test_middleware_sees_defaults_and_why_a_call_is_wrong() -> None:
    seen: list[tuple[dict[str, Any], int | None]] = []

    async def check(bound: Bound, rest: Handler) -> Any:
        seen.append((dict(bound.arguments), bound.error.code if bound.error else None))
        return await rest(bound)

    wrong: Any = Route("80")  # type: ignore[arg-type]
    async with checking(check) as routes:
        await routes.add(Route(80))
        with pytest.raises(RpcError, match=r"\$\.route\.port"):
            await routes.add(wrong)
    assert seen == [
        ({"route": Route(80), "note": "none"}, None),
        ({}, RpcCode.INVALID_PARAMS),
    ]


async def test_middleware_may_change_arguments() -> None:
    async def check(bound: Bound, rest: Handler) -> Any:
        return await rest(replace(bound, arguments={**bound.arguments, "note": "changed"}))

    async with checking(check) as routes:
        assert await routes.add(Route(80)) == "80 changed"


async def test_middleware_checks_the_items_of_an_argument() -> None:
    async def positive(numbers: AsyncIterable[int]) -> AsyncIterator[int]:
        async for number in numbers:
            if number < 0:
                raise RpcError(RpcCode.INVALID_PARAMS, "numbers are positive")
            yield number

    async def check(bound: Bound, rest: Handler) -> Any:
        numbers = positive(bound.arguments["numbers"])
        return await rest(replace(bound, arguments={"numbers": numbers}))

    async def given(*numbers: int) -> AsyncIterator[int]:
        for number in numbers:
            yield number

    async with checking(check) as routes:
        assert await routes.total(given(1, 2)) == 3
        with pytest.raises(RpcError, match="numbers are positive"):
            await routes.total(given(1, -2))


async def test_counts_have_no_names_of_callers() -> None:
    seen: list[tuple[str, str]] = []

    def count(method: str, code: str, seconds: float) -> None:
        seen.append((method, code))

    assert await code_of_call(counted(count), authenticated, caller=Caller("x")) is not None
    assert seen == [("clock.now", "UNAUTHENTICATED")]
