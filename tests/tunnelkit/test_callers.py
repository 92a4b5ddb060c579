"""Callers: processes that open sessions, and with which nobody begins one."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import address, open_lab, serve_exchange
from tests.tunnelkit.impostors import EVIL, open_stage
from tunnelkit.errors import SessionError


async def test_a_caller_answers_nobody_not_even_where_it_can_be_dialled(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        lab, there = stage.lab, address(EVIL)
        identity = lab.identity("laptop", is_caller=True)
        caller = await lab.endpoint(
            "laptop", identity=identity, host=EVIL, listen=[there], advertise=[there]
        )
        lab.nursery.start_soon(serve_exchange, caller)
        await trio.sleep(1)
        await caller.open_session("alice")
        await trio.sleep(1)
        with pytest.raises(SessionError):
            await stage.alice.open_session("laptop", timeout=3)


async def test_a_caller_that_listens_answers_nobody(autojump_clock: MockClock) -> None:
    """Who accepts a link shows no token: only the session can tell."""
    async with open_lab(latency=0.01) as lab:
        identity, there = lab.identity("laptop", is_caller=True), address("laptop")
        lab.network.host("nobody")
        await lab.endpoint("laptop", "nobody", identity=identity, listen=[there])
        alice = await lab.endpoint("alice", "laptop")
        await trio.sleep(1)
        with pytest.raises(SessionError):
            await alice.open_session("laptop", timeout=3)


async def test_a_session_of_a_caller_outlives_another_process_of_its_subject(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        lab = stage.lab
        await lab.endpoint("laptop")
        caller = await lab.endpoint("caller", identity=lab.identity("laptop", is_caller=True))
        await trio.sleep(1)
        session = await caller.open_session("bob")
        lab.end("laptop")
        await trio.sleep(1)
        await lab.endpoint("again", identity=lab.identity("laptop"))
        await trio.sleep(1)
        assert session.state == "open"
