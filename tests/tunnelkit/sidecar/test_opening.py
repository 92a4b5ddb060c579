"""Connections whose protocol nobody has declared: who speaks first decides, and nobody waits."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.wires import Service, Wire, answer, echo, receive_all
from tests.tunnelkit.http.test_detect import HELLO
from tests.tunnelkit.sidecar.stage import Stage
from tests.tunnelkit.sidecar.test_visitor import ADA, rule, shop
from tunnelkit.errors import ConfigurationError
from tunnelkit.sidecar import Intercept, Speaks

AUTO = Speaks.AUTO
SETTINGS = b"\0\0\6\4\0\0\0\0\0" + b"\0\3\0\0\0\x64"


async def greet(service: Service, wire: Wire) -> None:
    """Speak first, as servers of SSH, SMTP and MySQL do, and then echo."""
    await wire.send_all(f"220 {service.name}\r\n".encode())
    await echo(service, wire)


async def test_requests_are_routed(autojump_clock: MockClock) -> None:
    async with shop(ADA, speaks=AUTO) as (stage, client):
        assert await client.ask() == "200 local POST / 0"
        assert await client.ask(x_user="ada") == "200 copy POST / 0"
        assert stage.local.connections == 1  # the one that was made before anything was known


async def test_first_request_may_go_to_a_developer(autojump_clock: MockClock) -> None:
    async with shop(ADA, speaks=AUTO) as (stage, client):
        assert await client.ask(x_user="ada") == "200 copy POST / 0"
        await trio.sleep(1)
        assert stage.local.received == b""


async def test_server_that_speaks_first_is_not_held_back(autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=greet, speaks=AUTO) as (_, client):
        begun = trio.current_time()
        assert await client.wire.receive_some() == b"220 local\r\n"
        assert trio.current_time() - begun < 0.1
        await client.wire.send_all(b"EHLO me\r\n")
        assert await client.wire.receive_some() == b"local:EHLO me\r\n"


async def test_silent_client_is_connected_at_once(autojump_clock: MockClock) -> None:
    async with shop(ADA, speaks=AUTO) as (stage, _):
        await stage.dial()
        await trio.sleep(0.1)
        assert stage.local.connections >= 1


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-x\r\n", b"NICK ada\r\n", b"\x00\x00\x00\x08\x04\xd2\x16\x2f", HELLO],
)
async def test_what_is_no_http_1_goes_to_the_workload(
    data: bytes, autojump_clock: MockClock
) -> None:
    async with shop(ADA, handler=echo, speaks=AUTO) as (_, client):
        await client.wire.send_all(data)
        assert await client.wire.receive_some() == b"local:" + data


async def settle(service: Service, wire: Wire) -> None:
    """Speak first, as a server of HTTP/2 does, and then echo."""
    await wire.send_all(SETTINGS)
    await echo(service, wire)


async def test_settings_that_were_kept_are_delivered(autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=settle, speaks=AUTO) as (_, client):
        await trio.sleep(1)
        await client.wire.send_all(b"\x00\x01\x02")
        got = b""
        while not got.endswith(b"local:\x00\x01\x02"):
            got += await client.wire.receive_some()
        assert got.startswith(SETTINGS)


@pytest.mark.parametrize("first", [b"", b"G", b"GET"])
async def test_client_that_ends_before_anything_is_known(
    first: bytes, autojump_clock: MockClock
) -> None:
    async with shop(ADA, handler=answer, speaks=AUTO) as (_, client):
        await client.wire.send_all(first)
        await client.wire.send_eof()
        assert await receive_all(client.wire) == b"local:" + first


async def _intercepted(stage: Stage) -> None:
    """Let everything that no rule takes go to the developer."""
    stage.sidecar.set_intercept("web", Intercept("dev", "web"))
    await stage.wait_session()


async def test_other_protocols_follow_an_intercept_of_everything(
    autojump_clock: MockClock,
) -> None:
    bob = rule("bob", "header:x-user=bob")
    async with shop(bob, handler=echo, speaks=AUTO) as (stage, _):
        await _intercepted(stage)
        wire = await stage.dial()
        await wire.send_all(b"NICK ada\r\n")
        assert await wire.receive_some() == b"copy:NICK ada\r\n"


async def test_greeting_is_that_of_who_takes_the_connection(autojump_clock: MockClock) -> None:
    bob = rule("bob", "header:x-user=bob")
    async with shop(bob, handler=greet, speaks=AUTO) as (stage, _):
        await _intercepted(stage)
        wire = await stage.dial()
        assert await wire.receive_some() == b"220 copy\r\n"


@pytest.mark.parametrize("is_ended", [False, True])
async def test_client_that_sends_on_is_counted_once(
    is_ended: bool, autojump_clock: MockClock
) -> None:
    bob = rule("bob", "header:x-user=bob")
    async with shop(bob, handler=echo, speaks=AUTO) as (stage, _):
        await _intercepted(stage)
        before = stage.port.counts["peer"]
        wire = await stage.dial()
        await wire.send_all(bytes(200_000))
        await wire.send_eof() if is_ended else None
        got = await wire.receive_some()
        while len(got) < 200_000:
            got += await wire.receive_some()
        assert stage.port.counts["peer"] == before + 1


async def test_rule_about_the_server_name_takes_tls(autojump_clock: MockClock) -> None:
    name = rule("name", "sni=shop.example.com")
    async with shop(name, handler=echo, speaks=AUTO) as (_, client):
        await client.wire.send_all(HELLO[:50])
        await trio.sleep(1)
        await client.wire.send_all(HELLO[50:])
        assert await client.wire.receive_some() == b"copy:" + HELLO


async def test_port_that_is_declared_to_be_tls(autojump_clock: MockClock) -> None:
    name = rule("name", "sni=shop.example.com")
    async with shop(name, handler=echo, speaks=Speaks.TLS) as (stage, client):
        await client.wire.send_all(HELLO)
        assert await client.wire.receive_some() == b"copy:" + HELLO
        assert stage.local.connections == 0
        with pytest.raises(ConfigurationError, match="only server names are seen"):
            await stage.sidecar.add_rule("web", ADA)


async def test_rule_about_another_server_name_does_not(autojump_clock: MockClock) -> None:
    name = rule("name", "sni=other.example.com")
    async with shop(name, handler=echo, speaks=AUTO) as (_, client):
        await client.wire.send_all(HELLO)
        assert await client.wire.receive_some() == b"local:" + HELLO


async def test_workload_that_is_away_resets(autojump_clock: MockClock) -> None:
    async with shop(ADA, speaks=AUTO) as (stage, _):
        stage.local.listener.close()
        wire = await stage.dial()
        await wire.send_all(b"NICK ada\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await wire.receive_some()
        assert stage.port.counts["target-failed"] == 1


async def test_workload_that_hangs_up_first_does_so_for_the_client(
    autojump_clock: MockClock,
) -> None:
    async def hang_up(service: Service, wire: Wire) -> None:
        await trio.lowlevel.checkpoint()

    async with shop(ADA, handler=hang_up, speaks=AUTO) as (_, client):
        assert await client.wire.receive_some() == b""


async def test_client_that_leaves_ends_everything(autojump_clock: MockClock) -> None:
    async with shop(ADA, handler=echo, speaks=AUTO) as (stage, client):
        wire = await stage.dial()
        await trio.sleep(0.1)
        wire.reset()
        client.wire.reset()
        await trio.sleep(1)
        assert stage.port.open_count == 0
