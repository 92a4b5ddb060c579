"""Which ids of requests a workload passes on, and which it drops."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.faults.wires import Service, Wire, dial, serve
from tests.tunnelkit.pairs import RING
from tests.tunnelkit.sidecar.test_visitor import Client, web
from tunnelkit.admin.tables import plain, tables_of_command
from tunnelkit.monitoring.gather import metrics_of
from tunnelkit.monitoring.metrics import write_metrics
from tunnelkit.sidecar import Audit, PortSpec, RequestFacts, Sidecar, open_sidecar
from tunnelkit.sidecar.audit import Fate, Ids, ids_of
from tunnelkit.sidecar.methods import sidecar_methods

ONE, TWO = "1" * 32, "2" * 32


def facts(trace: str = "", environment: str = "") -> RequestFacts:
    """Return a request with these ids."""
    fields = [(b"traceparent", f"00-{trace}-{'3' * 16}-01".encode())] if trace else []
    fields += [(b"tracestate", f"a=1,env={environment}".encode())] if environment else []
    return RequestFacts("GET", "/", tuple(fields))


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ((), Ids()),
        (((b"Traceparent", f"00-{ONE}-3-01".encode()),), Ids(ONE)),
        (((b"traceparent", b"00-short-3-01"),), Ids()),
        (((b"tracestate", b"env=e1"),), Ids("", "e1")),
        (((b"baggage", b"x=y;p, env = e2"),), Ids("", "e2")),
    ],
)
def test_ids(fields: tuple[tuple[bytes, bytes], ...], ids: Ids) -> None:
    assert ids_of(RequestFacts("GET", "/", fields), "env") == ids


@pytest.mark.parametrize(
    ("came", "left", "fate"),
    [
        ([ONE], ONE, Fate.KEPT),
        ([ONE], "", Fate.DROPPED),
        ([ONE], TWO, Fate.CHANGED),
        ([ONE, TWO], TWO, Fate.KEPT),
        ([], "", Fate.UNKNOWN),
        ([], ONE, Fate.UNKNOWN),
        ([ONE, ""], "", Fate.UNKNOWN),
    ],
)
def test_fates(came: list[str], left: str, fate: Fate) -> None:
    audit = Audit("env")
    for trace in came:
        audit.arrives("web", facts(trace))
    audit.leaves("prices", facts(left))
    assert [found for _, what, found in audit.left if what == "trace"] == [fate]


def test_nothing_is_expected_once_all_are_answered() -> None:
    audit = Audit("env")
    audit.arrives("web", facts(ONE)).over("")
    audit.leaves("prices", facts())
    assert audit.findings() == []


def test_finding_says_how_many_of_how_many() -> None:
    audit = Audit("env")
    audit.arrives("web", facts(ONE, "e1"))
    for trace in (ONE, "", TWO):
        audit.leaves("prices", facts(trace, "e1"))
    (found,) = audit.findings()
    assert (found.what, found.lost, found.expected) == ("trace", 2, 3)
    assert "2 of 3 requests that left by port prices" in str(found)


# --- a pod --------------------------------------------------------------------------------------


async def run_pod(lab: Lab, *, passes_on: bool) -> Sidecar:
    """Run a shop that asks "prices" for each request, with a sidecar on both of its sides."""

    async def ask_prices(service: Service, wire: Wire) -> None:
        connection = h11.Connection(h11.SERVER)
        while not isinstance(event := connection.next_event(), h11.Request):
            connection.receive_data(await service.receive(wire))
        kept = {name.decode(): value.decode() for name, value in event.headers}
        prices = Client(await dial(lab, address("side", 81)))
        if passes_on:
            answer = await prices.ask("/price", traceparent=kept["traceparent"])
        else:
            answer = await prices.ask("/price")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}"
        await wire.send_all(head.encode())

    await serve(lab, "pod", 8080, ask_prices, "shop")
    await serve(lab, "prices", 80, web, "prices")
    ports = [
        PortSpec("web", address("side", 80), address("pod", 8080)),
        PortSpec("prices", address("side", 81), address("prices", 80), is_outbound=True),
    ]
    network = lab.network.host("side")
    opened = open_sidecar(lab.identity("side"), RING, ports=ports, audit="env", network=network)
    return await lab.run("side", opened)


@pytest.mark.parametrize(("passes_on", "fate"), [(True, "kept"), (False, "dropped")])
async def test_workload_that_drops_ids_is_named(
    passes_on: bool, fate: str, autojump_clock: MockClock
) -> None:
    async with open_lab() as lab:
        sidecar = await run_pod(lab, passes_on=passes_on)
        client = Client(await dial(lab, address("side", 80)))
        answer = await client.ask(traceparent=f"00-{ONE}-{'3' * 16}-01")
        assert answer == "200 200 prices POST /price 0"
        methods = sidecar_methods(sidecar)
        status: Any = await methods["status"]()
        explained: Any = await methods["explain"]("web")
    text = "\n".join(plain(*table) for table in tables_of_command("explain", explained))
    named = "the workload behind side: 1 of 1 requests that left by port prices"
    assert (named in text) is not passes_on
    metrics = write_metrics(list(metrics_of(status)))
    assert f'left_total{{port="prices",id="trace",fate="{fate}"}} 1' in metrics
