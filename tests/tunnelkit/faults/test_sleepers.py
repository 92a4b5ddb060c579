"""One who does not read never slows another down: measured in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab, pattern
from tests.tunnelkit.faults.wires import Service, Wire, answer, call, dial, serve
from tests.tunnelkit.sidecar.stage import intercept, run_devbox, run_sidecar
from tunnelkit import limits

BANDWIDTH = 2e6
PIPE_BYTES = 16 * 1024
SIZE = 4_000_000
DATA = pattern("download", SIZE)


async def give(service: Service, wire: Wire) -> None:
    """Send everything to whoever connects."""
    await wire.send_all(DATA)
    await wire.send_eof()


@asynccontextmanager
async def open_two(handler: object = give) -> AsyncGenerator[Lab]:
    """Run one sidecar with two ports, and a developer for each: "dev" and "eve"."""
    async with open_lab(latency=0.001) as lab:
        await lab.broker()
        sidecar = await run_sidecar(lab, ports=(("web", 80), ("api", 81)))
        for name, port, copy in (("dev", "web", "copy"), ("eve", "api", "other")):
            await run_devbox(lab, name, copy=copy)
            await serve(lab, copy, 9080, handler)  # type: ignore[arg-type]
            lab.network.set_path(
                name, "broker", latency=0.001, bandwidth=BANDWIDTH, capacity_bytes=PIPE_BYTES
            )
            sidecar.set_intercept(port, intercept(peer=name))
        await trio.sleep(2)
        yield lab


async def download(lab: Lab, port: int) -> float:
    """Download through a port of the sidecar; return the seconds it took."""
    begun = trio.current_time()
    assert await call(lab, address("side", port), b"") == DATA
    return trio.current_time() - begun


async def test_a_client_that_sleeps_does_not_slow_another_developer_s_client(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as lab:
        alone = await download(lab, 81)
        sleeper = await dial(lab, address("side", 80))
        await sleeper.receive_some(1)
        await trio.sleep(5)
        assert await download(lab, 81) == pytest.approx(alone, rel=0.1)


async def test_a_client_that_sleeps_does_not_slow_another_client_of_the_same_session(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as lab:
        alone = await download(lab, 80)
        sleepers = [await dial(lab, address("side", 80)) for _ in range(5)]
        for sleeper in sleepers:
            await sleeper.receive_some(1)
        await trio.sleep(10)
        assert await download(lab, 80) == pytest.approx(alone, rel=0.1)


async def test_a_developer_who_sleeps_does_not_slow_another_one(
    autojump_clock: MockClock,
) -> None:
    async with open_two(answer) as lab:

        async def upload(port: int) -> float:
            begun = trio.current_time()
            name = b"copy:" if port == 80 else b"other:"
            assert await call(lab, address("side", port), DATA) == name + DATA
            return trio.current_time() - begun

        alone = await upload(81)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, 80)
            await trio.sleep(0.5)
            lab.network.stall("dev", "broker")
            assert await upload(81) == pytest.approx(alone, rel=0.1)
            lab.network.unstall("dev", "broker")


async def test_the_broker_keeps_no_more_for_a_sleeper_than_its_cap(
    autojump_clock: MockClock,
) -> None:
    async with open_two(answer) as lab:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(call, lab, address("side", 80), DATA[:300_000])
            await trio.sleep(0.5)
            lab.network.stall("dev", "broker")
            await trio.sleep(3)
            links = lab.brokers["broker"].links
            queued = sum(leg.queued for link in links for leg in link.legs.values())
            assert 0 < queued <= limits.BROKER_MAX_CAP_BYTES
            assert lab.brokers["broker"].overruns == 0
            lab.network.unstall("dev", "broker")


async def test_a_small_request_beside_a_bulk_transfer_stays_fast(
    autojump_clock: MockClock,
) -> None:
    async with open_two(answer) as lab:
        lab.network.set_path("dev", "broker", latency=0.001, bandwidth=20e6)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, lab, address("side", 80), DATA)
            await trio.sleep(0.05)
            begun = trio.current_time()
            assert await call(lab, address("side", 81), b"small") == b"other:small"
            assert trio.current_time() - begun < 0.1
