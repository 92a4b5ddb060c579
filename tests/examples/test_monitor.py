"""Programs that are watched by HTTP, as a kubelet and Prometheus do."""

from __future__ import annotations

import signal

from tests.examples.started import LAPTOP, Program, Programs
from tests.tunnelkit.monitoring.test_monitor import ask

MONITOR = ("--monitor", "127.0.0.1:0")


def port_of(program: Program) -> int:
    return int(program.ready["monitor"].rpartition(":")[2])


async def test_sidecar_is_ready_without_a_broker_and_explains(programs: Programs) -> None:
    port = ("--port", "web=127.0.0.1:0,127.0.0.1:1")
    sidecar = await programs.sidecar("--link", "tcp://127.0.0.1:1", *port, *MONITOR)
    assert await ask(port_of(sidecar), "/readyz") == (200, "ready\n")
    assert "there are no rules" in (await ask(port_of(sidecar), "/explain?port=web"))[1]
    numbers = (await ask(port_of(sidecar), "/metrics"))[1]
    assert 'tunnelkit_port_routed_total{port="web",way="local"} 0' in numbers


async def test_devbox_is_ready_once_it_has_a_link(programs: Programs) -> None:
    broker = await programs.broker(*MONITOR)
    address = broker.ready["links"][0]
    devbox = await programs.devbox("--link", address, "--target", "web=127.0.0.1:1", *MONITOR)
    await devbox.wait_log("is up")
    assert await ask(port_of(devbox), "/readyz") == (200, "ready\n")
    assert LAPTOP not in (await ask(port_of(broker), "/metrics"))[1]
    await broker.end(signal.SIGKILL)
    await devbox.wait_log(" lost: ")
    assert await ask(port_of(devbox), "/readyz") == (503, "there is no link to a broker\n")
