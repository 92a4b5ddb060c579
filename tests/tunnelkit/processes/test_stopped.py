"""Processes that are stopped and killed by signals: what the others notice of it."""

from __future__ import annotations

import signal

import trio

from tests.examples.started import Programs
from tests.tunnelkit.faults.lab import pattern
from tests.tunnelkit.processes.stage import Copy, build

MIB = 1024 * 1024


async def test_a_stopped_devbox_costs_a_connection_a_second_and_no_byte(
    programs: Programs, nursery: trio.Nursery
) -> None:
    stage = await build(programs, nursery, "dev")
    stage.devboxes["dev"].send(signal.SIGSTOP)
    with trio.fail_after(5):  # 1.2 s, and patience with a busy machine
        assert await stage.call("dev", b"POST 1") == b"local:POST 1"


async def test_a_stopped_devbox_executes_nothing_when_it_goes_on(
    programs: Programs, nursery: trio.Nursery
) -> None:
    stage = await build(programs, nursery, "dev")
    before = len(stage.copies["dev"].received)
    stage.devboxes["dev"].send(signal.SIGSTOP)
    for number in range(3):
        request = b"POST %d " % number + pattern("body", 200_000)
        assert await stage.call("dev", request) == b"local:" + request
        assert stage.local.executed(request) == 1
    stage.devboxes["dev"].send(signal.SIGCONT)
    await stage.wait_intercepted("dev")
    seen = stage.copies["dev"].received[before:]
    assert {bytes(data) for data in seen} <= {b"", b"probe"}


async def test_a_stopped_devbox_does_not_slow_another_session(
    programs: Programs, nursery: trio.Nursery
) -> None:
    stage = await build(programs, nursery, "dev", "eve")
    slow, fast = pattern("slow", 16 * MIB), pattern("fast", 48 * MIB)
    async with trio.open_nursery() as transfers:

        async def upload() -> None:
            assert await stage.call("dev", slow) == b"dev:" + slow

        transfers.start_soon(upload)
        await wait_size(stage.copies["dev"], 1)
        stage.devboxes["dev"].send(signal.SIGSTOP)
        with trio.fail_after(30):
            assert await stage.call("eve", fast) == b"eve:" + fast
        stage.devboxes["dev"].send(signal.SIGCONT)


async def test_a_broker_that_is_killed_again_and_again_loses_nothing(
    programs: Programs, nursery: trio.Nursery
) -> None:
    stage = await build(programs, nursery, "dev", "eve")
    data = {name: pattern(name, 32 * MIB) for name in ("dev", "eve")}
    (link,) = stage.broker.ready["links"]
    broker = stage.broker
    async with trio.open_nursery() as transfers:

        async def transfer(name: str) -> None:
            assert await stage.call(name, data[name]) == name.encode() + b":" + data[name]

        for name in data:
            transfers.start_soon(transfer, name)
        for share in (1, 2, 3):
            await wait_size(stage.copies["dev"], share * 8 * MIB)
            broker.process.kill()
            await broker.wait()
            broker = await programs.broker(listen=link)


async def wait_size(copy: Copy, size: int) -> None:
    """Wait until so many bytes have reached a copy."""
    while copy.size < size:  # noqa: ASYNC110 # no event tells it
        await trio.sleep(0.001)
