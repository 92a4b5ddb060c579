"""The loads of the guard, in *lock-step*, which is what makes their counts repeat.

The client sends on every connection, and nothing more until all of that has arrived at the target;
the target answers on every connection; and so on.  Bulk goes by writes of a fixed size, each only
once the one before has arrived.  So a count says what a given batch costs, and not how large
batches become under pressure: that is for the benchmarks.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import process_time
from typing import Final

from .counting import Counts, counting
from .stage import Pair, Stage, run_on_stage, until

__all__ = ["LOADS", "TIMED", "Load", "cost_ratio", "count"]

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: target\r\n\r\n".ljust(100, b"x")
ANSWER: Final = b"HTTP/1.1 200 OK\r\n\r\n".ljust(800, b"y")
MIB: Final = 1 << 20

WARM_UP_ROUNDS: Final = 5
WARM_UP_WRITES: Final = 64
"""So many that windows and the kernel's buffers have stopped to grow."""

COST_RUNS: Final = 5
"""The least of so many runs is what a load costs; the others had company."""

Measured = Callable[[], AbstractContextManager[object]]
"""Returns the block inside of which a load counts."""


@dataclass(frozen=True, slots=True)
class Load:
    """One load, and what its counts are divided by."""

    name: str
    unit: str
    units: int
    run: Callable[[Stage, Measured], Awaitable[None]]


async def _exchange(stage: Stage, pairs: Sequence[Pair], rounds: int) -> None:
    """Send a request on each connection and answer all of them, so many times."""
    for _ in range(rounds):
        await _send_round(pairs, REQUEST)
        await _send_round([(target, client) for client, target in pairs], ANSWER)
        stage.end_round()


async def _send_round(pairs: Sequence[Pair], data: bytes) -> None:
    """Send *data* from the first to the second of each pair, and wait until all has arrived."""
    wanted = [receiver.received + len(data) for _, receiver in pairs]
    unsent = [data[sender.send(data) :] for sender, _ in pairs]

    def have_arrived() -> bool:
        for index, (sender, _) in enumerate(pairs):
            if unsent[index]:
                unsent[index] = unsent[index][sender.send(unsent[index]) :]
        arrived = [receiver.receive() for _, receiver in pairs]
        return all(has >= wants for has, wants in zip(arrived, wanted, strict=True))

    await until(have_arrived, "a round")


def _requests(connections: int, rounds: int) -> Load:
    async def run(stage: Stage, measured: Measured) -> None:
        pairs = await stage.connect(connections)
        await _exchange(stage, pairs, WARM_UP_ROUNDS)
        with measured():
            await _exchange(stage, pairs, rounds)

    return Load(f"requests_{connections}", "request", connections * rounds, run)


def _connections(number: int, rounds: int) -> Load:
    """Connect, exchange one request, close: so many connections at a time."""

    async def run(stage: Stage, measured: Measured) -> None:
        for index in range(rounds + 1):
            with measured() if index else nullcontext():
                pairs = await stage.connect(number)
                await _exchange(stage, pairs, 1)
                await _end(stage, pairs)

    return Load(f"connections_{number}", "connection", number * rounds, run)


async def _end(stage: Stage, pairs: Sequence[Pair]) -> None:
    """Let the clients end their halves, then the targets theirs."""
    for sides in zip(*pairs, strict=True):
        for side in sides:
            side.sock.shutdown(socket.SHUT_WR)
        others = [b if a in sides else a for a, b in pairs]
        await until(lambda o=others: all(side.is_over() for side in o), "closing")  # type: ignore[misc]
    stage.close()


def _bulk(name: str, streams: int, write_bytes: int, mib: int, *, is_back: bool = False) -> Load:
    data = bytes(write_bytes)
    writes = mib * MIB // (streams * write_bytes)

    async def run(stage: Stage, measured: Measured) -> None:
        pairs = await stage.connect(streams)
        if is_back:
            pairs = [(target, client) for client, target in pairs]
        await _write(stage, pairs, data, WARM_UP_WRITES // streams)
        with measured():
            await _write(stage, pairs, data, writes)

    return Load(name, "MiB", mib, run)


async def _write(stage: Stage, pairs: Sequence[Pair], data: bytes, writes: int) -> None:
    for _ in range(writes):
        await _send_round(pairs, data)
        stage.end_round()


LOADS: Final = (
    _requests(1, rounds=200),
    _requests(32, rounds=25),
    _connections(32, rounds=5),
    _bulk("bulk", 1, MIB, mib=32),
    _bulk("bulk_back", 1, MIB, mib=32, is_back=True),
    _bulk("bulk_16", 16, 65536, mib=32),
)

TIMED: Final = tuple(load for load in LOADS if load.unit != "MiB")
"""Loads whose cost repeats: that of bulk varies by a third with where its buffers lie."""


def count(load: Load) -> dict[str, float]:
    """Return what the library does for one unit of *load*.

    Raises:
        BenchmarkError: the load did not get through.
    """
    counts = Counts()
    run_on_stage(lambda stage: load.run(stage, lambda: counting(counts)))
    return counts.per(load.units)


def cost_ratio(load: Load) -> float:
    """Return the processor time of *load* through us, as a multiple of that straight to the target.

    Both include what the load itself costs.  This is a time, and may only warn.

    Raises:
        BenchmarkError: the load did not get through.
    """
    ours, straight = (
        min(_cpu_seconds(load, straight=straight) for _ in range(COST_RUNS))
        for straight in (False, True)
    )
    return round(ours / straight, 2)


def _cpu_seconds(load: Load, *, straight: bool) -> float:
    used = 0.0

    @contextmanager
    def timing() -> Generator[None]:
        nonlocal used
        before = process_time()
        yield
        used += process_time() - before

    run_on_stage(lambda stage: load.run(stage, timing), straight=straight)
    return used
