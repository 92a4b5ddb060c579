"""A whole cluster in virtual time: a broker, three sidecars, three devboxes, and random faults.

For ten minutes clients call, and the network and the broker fail in every way that the memory
network knows.  Each answer must be exact, and each request must be executed once.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.faults.wires import Service, Wire, call, dial, serve
from tests.tunnelkit.sidecar.stage import intercept, run_devbox, run_sidecar

MINUTES = 10
TRIOS = range(3)
HOSTS = [f"{kind}{number}" for kind in ("side", "dev") for number in TRIOS]


class Cluster:
    """Three sidecars with a workload and a developer each, behind one broker."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.chance = Random(seed)
        self.executed: Counter[bytes] = Counter()
        self.served_by: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.calls = 0
        self.ticks = 0
        self.resets = 0

    async def build(self) -> None:
        """Start everything."""
        await self.lab.broker()
        for number in TRIOS:
            await serve(self.lab, f"pod{number}", 8080, self.execute)
            await serve(self.lab, f"copy{number}", 9080, self.execute)
            await serve(self.lab, f"copy{number}", 9081, tick)
            await self.run_developer(number)
            sidecar = await run_sidecar(
                self.lab, f"side{number}", pod=f"pod{number}", ports=(("web", 80), ("tick", 81))
            )
            sidecar.set_intercept("web", intercept(peer=f"dev{number}"))
            sidecar.set_intercept("tick", intercept(peer=f"dev{number}", target="tick"))
        await trio.sleep(2)

    async def execute(self, service: Service, wire: Wire) -> None:
        """Execute a request, which begins with a number of its own: answer with what was sent."""
        data = bytearray()
        while chunk := await wire.receive_some():
            data += chunk
        self.executed[bytes(data[:8])] += 1
        self.served_by[service.name.rstrip("012")] += 1
        await wire.send_all(data)
        await wire.send_eof()

    async def keep_calling(self, number: int) -> None:
        """Call one sidecar again and again."""
        chance = Random(self.chance.random())
        while True:
            self.calls += 1
            data = b"%08d" % self.calls + chance.randbytes(chance.choice([0, 100, 5_000, 150_000]))
            try:
                assert await call(self.lab, address(f"side{number}", 80), data) == data
            except trio.BrokenResourceError:
                self.resets += 1
            await trio.sleep(chance.uniform(0, 3))

    async def keep_listening(self, number: int) -> None:
        """Read one endless response, all the ten minutes."""
        wire = await dial(self.lab, address(f"side{number}", 81))
        expected, received = 0, b""
        while True:
            received += await wire.receive_some()
            while len(received) >= 8:
                assert received[:8] == b"%08d" % expected
                received, expected = received[8:], expected + 1
                self.ticks += 1

    async def break_things(self) -> None:
        """Break one thing after another; no fault lasts as long as the grace time."""
        faults = [self.restart_broker, self.stall, self.cut, self.cut, self.partition, self.slow]
        while True:
            await trio.sleep(self.chance.uniform(0.5, 15))
            fault = self.chance.choice(faults)
            self.faults[fault.__name__] += 1
            await fault()

    async def keep_restarting(self) -> None:
        """Kill developers' machines, and start them again."""
        while True:
            await trio.sleep(self.chance.uniform(1, 20))
            number = self.chance.choice(TRIOS)
            self.lab.kill(f"dev{number}")
            await trio.sleep(self.chance.uniform(0, 10))
            self.lab.network.host(f"dev{number}").restart()
            await self.run_developer(number)

    async def run_developer(self, number: int) -> None:
        """Start a devbox."""
        copy = f"copy{number}"
        targets = {"web": address(copy, 9080), "tick": address(copy, 9081)}
        await run_devbox(self.lab, f"dev{number}", copy=copy, targets=targets)

    async def restart_broker(self) -> None:
        self.lab.kill("broker")
        await trio.sleep(self.chance.uniform(0, 12))
        await self.lab.broker()

    async def stall(self) -> None:
        host = self.chance.choice(HOSTS)
        self.lab.network.stall(host, "broker")
        await trio.sleep(self.chance.uniform(0, 20))
        self.lab.network.unstall(host, "broker")

    async def cut(self) -> None:
        ends = [self.chance.choice(HOSTS), "broker"]
        self.chance.shuffle(ends)
        how = self.chance.choice(["reset", "eof", "silent"])
        after = self.chance.choice([0, 1, 30, 5_000, 50_000])
        self.lab.network.cut(*ends, after_bytes=after, how=how)  # type: ignore[arg-type]

    async def partition(self) -> None:
        apart = self.chance.sample(HOSTS, 3)
        self.lab.network.partition(apart, ["broker"])
        await trio.sleep(self.chance.uniform(0, 15))
        self.lab.network.heal()

    async def slow(self) -> None:
        host = self.chance.choice(HOSTS)
        latency, bandwidth = self.chance.uniform(0, 0.3), self.chance.choice([20e3, 1e6, None])
        self.lab.network.set_path(host, "broker", latency=latency, bandwidth=bandwidth)


async def tick(service: Service, wire: Wire) -> None:
    """Send a number every half second, in order, for ever."""
    number = 0
    while True:
        await wire.send_all(b"%08d" % number)
        number += 1
        await trio.sleep(0.5)


@pytest.mark.parametrize("seed", range(2))
async def test_ten_minutes_of_faults_change_no_byte(seed: int, autojump_clock: MockClock) -> None:
    async with open_lab(seed, latency=0.002, bandwidth=1e6) as lab:
        cluster = Cluster(lab, seed)
        await cluster.build()
        with trio.move_on_after(MINUTES * 60):
            async with trio.open_nursery() as nursery:
                for number in TRIOS:
                    nursery.start_soon(cluster.keep_calling, number)
                    nursery.start_soon(cluster.keep_listening, number)
                nursery.start_soon(cluster.break_things)
        assert max(cluster.executed.values()) == 1
        assert cluster.resets == 0
        assert len(cluster.executed) >= cluster.calls - len(TRIOS)
        assert len(cluster.faults) >= 5
        assert cluster.served_by["copy"] > cluster.served_by["pod"] > 0
        assert cluster.ticks > 3 * MINUTES * 60


async def test_developers_who_die_leave_exact_answers_or_resets(
    autojump_clock: MockClock,
) -> None:
    async with open_lab(latency=0.002, bandwidth=1e6) as lab:
        cluster = Cluster(lab, 0)
        await cluster.build()
        with trio.move_on_after(MINUTES * 60):
            async with trio.open_nursery() as nursery:
                for number in TRIOS:
                    nursery.start_soon(cluster.keep_calling, number)
                nursery.start_soon(cluster.break_things)
                nursery.start_soon(cluster.keep_restarting)
        assert max(cluster.executed.values()) == 1
        assert cluster.resets < cluster.calls / 4
        assert cluster.served_by["copy"] > 0
        assert cluster.served_by["pod"] > 0
