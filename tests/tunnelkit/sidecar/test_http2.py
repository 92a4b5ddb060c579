"""Streams of one HTTP/2 connection that go to different places, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded
from trio.testing import MockClock

from tests.tunnelkit.faults.wires import Service, Wire
from tests.tunnelkit.http.h2_parties import fields
from tests.tunnelkit.sidecar.test_visitor import ADA, rule, shop
from tunnelkit.sidecar import Speaks


async def web2(service: Service, wire: Wire) -> None:
    """Serve HTTP/2, sending settings first: each answer names the service and the body's size."""
    machine = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    machine.initiate_connection()
    sizes: dict[int, int] = {}
    while True:
        await wire.send_all(machine.data_to_send())
        data = await service.receive(wire)
        if not data:
            return
        for event in machine.receive_data(data):
            if isinstance(event, RequestReceived):
                sizes[event.stream_id or 0] = 0
            elif isinstance(event, DataReceived):
                sizes[event.stream_id or 0] += len(event.data or b"")
                size = event.flow_controlled_length or 0
                machine.acknowledge_received_data(size, event.stream_id or 0)
            elif isinstance(event, StreamEnded):
                stream_id = event.stream_id or 0
                machine.send_headers(stream_id, [(":status", "200")])
                body = f"{service.name} {sizes[stream_id]}".encode()
                machine.send_data(stream_id, body, end_stream=True)


class Client2:
    """One connection of a client of HTTP/2."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._machine = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._machine.initiate_connection()

    async def ask(self, *bodies: bytes, **headers: str) -> list[str]:
        """Send requests at once; return the bodies of their answers, behind the status."""
        found: dict[int, str] = {}
        for body in bodies:
            stream_id = self._machine.get_next_available_stream_id()
            self._machine.send_headers(stream_id, fields("/", "POST", **headers))
            self._machine.send_data(stream_id, body, end_stream=True)
            found[stream_id] = ""
        left = set(found)
        while left:
            await self._wire.send_all(self._machine.data_to_send())
            for event in self._machine.receive_data(await self._wire.receive_some()):
                stream_id = getattr(event, "stream_id", 0)
                if isinstance(event, ResponseReceived):
                    texts: Any = event.headers  # decoded, as asked for
                    found[stream_id] += dict(texts)[":status"]
                elif isinstance(event, DataReceived):
                    found[stream_id] += f" {(event.data or b'').decode()}"
                elif isinstance(event, StreamEnded):
                    left.discard(stream_id)
        return list(found.values())


async def test_streams_go_different_ways(autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=web2, speaks=Speaks.AUTO) as (stage, _):
        client = Client2(await stage.dial())
        assert await client.ask(b"x", b"xy") == ["200 local 1", "200 local 2"]
        assert await client.ask(b"x", b"xy", x_user="ada") == ["200 copy 1", "200 copy 2"]
        assert await client.ask(b"") == ["200 local 0"]
        assert (stage.copy.connections, stage.port.counts["peer"]) == (1, 2)


@pytest.mark.parametrize("speaks", [Speaks.HTTP, Speaks.H2C, Speaks.GRPC])
async def test_port_that_is_declared(speaks: Speaks, autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=web2, speaks=speaks) as (stage, _):
        client = Client2(await stage.dial())
        assert await client.ask(b"x", x_user="ada") == ["200 copy 1"]


async def test_rule_about_grpc(autojump_clock: MockClock) -> None:
    cart = rule("cart", "grpc=orders.Cart")
    async with shop(cart, handler=web2) as (stage, _):
        await Client2(await stage.dial()).ask(b"")
        facts = stage.port.decisions[-1]
        assert (facts.method, facts.path, facts.rule) == ("POST", "/", "")


async def test_developer_who_is_away_is_passed_by(autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=web2) as (stage, _):
        stage.copy.listener.close()
        client = Client2(await stage.dial())
        assert await client.ask(b"x", b"", x_user="ada") == ["200 local 1", "200 local 0"]
        assert stage.port.counts["fell-back"] >= 1


async def test_rule_that_fails_closed_refuses(autojump_clock: MockClock) -> None:
    closed = rule("ada", "header:x-user=ada", fail_open=False)
    async with shop(closed, handler=web2) as (stage, _):
        stage.copy.listener.close()
        client = Client2(await stage.dial())
        (answer,) = await client.ask(b"x", x_user="ada")
        assert answer.startswith("503 503 Service Unavailable: dev does not take the request")
        assert await client.ask(b"x") == ["200 local 1"]


async def test_client_that_leaves_ends_everything(autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=web2) as (stage, other):
        other.wire.reset()
        wire = await stage.dial()
        await Client2(wire).ask(b"x")
        wire.reset()
        await trio.sleep(1)
        assert stage.port.open_count == 0
