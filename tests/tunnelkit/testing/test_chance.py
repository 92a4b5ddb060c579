"""Random pieces change nothing but where reads end, and the seed decides them."""

from __future__ import annotations

import itertools

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.testing.recorder import Recorder, Writer
from tunnelkit.carriers import Pipe
from tunnelkit.pump import acquire_pump, release_pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair

DATA = bytes(range(256)) * 100


def trace_of(seed: int, *, disturbed: bool = False) -> list[tuple[float, str]]:
    """Return what the reader of one transfer saw."""

    async def main() -> list[tuple[float, str]]:
        pump = acquire_pump()
        network = MemoryNetwork(seed, latency=0.1, bandwidth=50_000, fragment=True)
        (a, b), (c, d) = memory_pipe_pair(pump, network), memory_pipe_pair(pump, network)
        reader = Recorder(b)
        Writer(a, DATA)
        if disturbed:
            await trio.sleep(0.05)
            Recorder(c)
            Writer(d, DATA)
        await trio.sleep(100)
        assert reader.data == DATA
        await release_pump(pump)
        return reader.trace

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_same_seed_gives_the_same_trace() -> None:
    assert trace_of(1) == trace_of(1)


def test_other_seed_gives_another_trace() -> None:
    assert trace_of(1) != trace_of(2)


def test_other_connections_do_not_change_the_trace() -> None:
    assert trace_of(1, disturbed=True) == trace_of(1)


class Pair:
    """Sends and reads in the sizes that it is told."""

    def __init__(self, a: Pipe, b: Pipe, sends: list[int], reads: list[int]) -> None:
        self.a, self.b = a, b
        self.left = memoryview(DATA)[: sum(sends)]
        self.got = bytearray()
        self._sends, self._reads = itertools.cycle(sends), itertools.cycle(reads)
        a.start(self._send)
        a.want(False, True)
        b.start(self._receive)
        b.want(True, False)

    def _send(self, readable: bool, writable: bool) -> None:
        self.left = self.left[self.a.try_send(self.left[: next(self._sends)]) :]
        if not self.left:
            self.a.close()

    def _receive(self, readable: bool, writable: bool) -> None:
        part = self.b.try_receive(next(self._reads))
        assert part is not None
        self.got += part
        if not part:
            self.b.close()


SIZES = st.lists(st.integers(1, 3000), min_size=1, max_size=8)


@given(st.integers(0, 2**32), st.integers(1, 5000), SIZES, SIZES, st.booleans())
def test_any_sends_and_reads_deliver_the_exact_bytes(
    seed: int, capacity: int, sends: list[int], reads: list[int], slow: bool
) -> None:
    async def main() -> None:
        pump = acquire_pump()
        network = MemoryNetwork(seed, capacity_bytes=capacity, fragment=True)
        if slow:
            network.latency, network.bandwidth = 0.5, 700
        pair = Pair(*memory_pipe_pair(pump, network), sends, reads)
        await trio.sleep(80_000)
        assert pair.got == DATA[: sum(sends)]
        assert pump.live_timers == 0
        await release_pump(pump)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
