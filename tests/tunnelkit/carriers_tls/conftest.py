"""Joined TLS pipes: over memory in virtual time, or over TCP on both pumps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest
import trio

from tests.tunnelkit.carriers_tls.ends import join_memory, run, up
from tests.tunnelkit.certificates import tls_settings
from tests.tunnelkit.test_carriers import Joined
from tunnelkit.addresses import Address
from tunnelkit.carriers import Pipe, SocketNetwork, connect
from tunnelkit.pump import Pump, acquire_pump, release_pump, use_pump


@pytest.fixture(params=["epoll", "tasks"])
async def pump(request: pytest.FixtureRequest) -> AsyncGenerator[Pump]:
    with use_pump(request.param):
        pump = acquire_pump()
        yield pump
        await release_pump(pump)


async def _join_tcp(pump: Pump) -> Joined:
    network = SocketNetwork(tls_settings())
    accepted: list[Pipe] = []

    def accept(pipe: Pipe) -> None:
        accepted.append(pipe)
        run(pipe)  # a connect is over when the handshake is, which needs both sides

    listener = await network.listen(Address("tls", "127.0.0.1", 0), pump, accept)
    left = await connect(network, listener.address, pump)
    while not accepted:  # noqa: ASYNC110 # the listener has no event
        await trio.sleep(0.001)
    return Joined(left, accepted[0], listener)


@pytest.fixture(params=["memory", "tcp"])
async def joined(request: pytest.FixtureRequest, pump: Pump) -> AsyncGenerator[Joined]:
    make: Callable[[Pump], Joined] | None = join_memory if request.param == "memory" else None
    joined = make(pump) if make else await _join_tcp(pump)
    await up(joined.left, joined.right)
    yield joined
    joined.close()
    for end in (joined.left, joined.right):
        end.reset()
