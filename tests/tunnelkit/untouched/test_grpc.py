"""Real gRPC, by grpcio: what no rule takes is untouched, and a service can go to a branch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from tests.tunnelkit.pairs import RING, clock, make_identity
from tests.tunnelkit.untouched import grpc_party
from tests.tunnelkit.untouched.test_untouched import HOST, sidecar_before
from tunnelkit.addresses import Address
from tunnelkit.sidecar import Branch, PortSpec, Rule, Speaks, open_sidecar, read_conditions

PARTY = [sys.executable, grpc_party.__file__]


@asynccontextmanager
async def grpc_server(name: str) -> AsyncGenerator[int]:
    """Run a server; gives its port."""
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, [*PARTY, "serve", name], check=False)
        process = await nursery.start(partial(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        try:
            with trio.fail_after(30):
                yield int(await process.stdout.receive_some())
        finally:
            process.terminate()
            await process.stdout.aclose()
            await process.stdin.aclose()


async def called(port: int, user: str = "nobody", authority: str = "") -> dict[str, Any]:
    """Return what a client got."""
    command = [*PARTY, "call", f"{HOST}:{port}", user, authority]
    with trio.fail_after(60):
        done = await trio.run_process(command, capture_stdout=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("speaks", [Speaks.HTTP, Speaks.AUTO], ids=lambda speaks: speaks.value)
async def test_calls_are_answered_as_by_the_server_itself(speaks: Speaks) -> None:
    async with grpc_server("cart") as port, sidecar_before(port, speaks) as before:
        straight = await called(port)
        assert straight["unary"][0] == f"cart {grpc_party.LARGE}"
        assert await called(before) == straight


async def test_service_of_a_user_goes_to_a_branch() -> None:
    async with grpc_server("main") as main, grpc_server("blue") as blue:
        conditions = read_conditions([f"grpc={grpc_party.SERVICE}/Add", "header:x-user=ada"])
        spec = PortSpec("web", Address("tcp", HOST, 0), Address("tcp", HOST, main))
        async with open_sidecar(make_identity("side"), RING, ports=[spec], clock=clock) as sidecar:
            await sidecar.add_rule("web", Rule("blue", Branch(HOST, blue), conditions))
            port = sidecar.port_addresses()["web"].port
            found, others = await called(port, "ada"), await called(port)
    assert (found["unary"][0], others["unary"][0]) == ("blue 300000", "main 300000")
    assert found["both ways"] == [20, 10_000, [["x-last", "main"]]]
