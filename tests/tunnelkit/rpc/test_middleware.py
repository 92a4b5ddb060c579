"""The middleware that comes along: who may call, how often, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.rpc.test_peer import Clock, peers
from tunnelkit.rpc import (
    Caller,
    Middleware,
    Outcome,
    RpcCode,
    RpcError,
    audited,
    authenticated,
    counted,
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


async def test_counts_have_no_names_of_callers() -> None:
    seen: list[tuple[str, str]] = []

    def count(method: str, code: str, seconds: float) -> None:
        seen.append((method, code))

    assert await code_of_call(counted(count), authenticated, caller=Caller("x")) is not None
    assert seen == [("clock.now", "UNAUTHENTICATED")]
