"""Captures at a sidecar, a gateway and a devbox, by the methods of their admin sockets."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.wires import Service, Wire, echo
from tests.tunnelkit.gateway.house import open_house, public
from tests.tunnelkit.http.h2_peer import ALL, GET, SETTINGS, headers
from tests.tunnelkit.http.test_h2_proxy import frame
from tests.tunnelkit.sidecar.stage import open_stage
from tests.tunnelkit.sidecar.test_opening import greet
from tests.tunnelkit.sidecar.test_visitor import ADA, Client, shop, web
from tunnelkit.admin import Method
from tunnelkit.devbox.methods import devbox_methods
from tunnelkit.errors import ConfigurationError
from tunnelkit.gateway.methods import gateway_methods
from tunnelkit.http.h2_frames import PREFACE
from tunnelkit.sidecar import Speaks
from tunnelkit.sidecar.methods import sidecar_methods


async def entries(methods: Mapping[str, Method], file: Path) -> list[Any]:
    """Stop a capture; return what is in its file."""
    await methods["capture.stop"]()
    assert (await trio.Path(file).stat()).st_mode & 0o777 == 0o600
    found: list[Any] = json.loads(await trio.Path(file).read_text())["log"]["entries"]
    return found


def uris_in(file: Path) -> list[str]:
    """Return what tshark takes for the targets of requests."""
    command = ["tshark", "-r", str(file), "-Y", "http.request", "-T", "fields"]
    command += ["-e", "http.request.uri"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()


def asked(found: list[Any]) -> list[tuple[str, int]]:
    """Return the targets and the statuses of entries."""
    return [
        (one["request"]["url"].partition("shop")[2], one["response"]["status"]) for one in found
    ]


async def test_requests_at_a_sidecar(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with shop(speaks=Speaks.AUTO) as (stage, _):
        methods = sidecar_methods(stage.sidecar)
        await methods["capture.start"]("web", str(tmp_path / "a.har"), path_prefix="/p")
        client = Client(await stage.dial())  # no rule needs its requests to be read
        for target in ("/price", "/other"):
            assert await client.ask(target) == f"200 local POST {target} 0"
        found = await entries(methods, tmp_path / "a.har")
        assert asked(found) == [("/price", 200)]
        assert await client.ask("/late") == "200 local POST /late 0"


async def test_rule_that_took_a_request_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with shop(ADA) as (stage, client):
        methods = sidecar_methods(stage.sidecar)
        await methods["capture.start"]("web", str(tmp_path / "a.har"))
        assert await client.ask(x_user="ada", authorization="Bearer secret") == "200 copy POST / 0"
        (found,) = await entries(methods, tmp_path / "a.har")
        assert found["_rule"] == "ada"
        assert "secret" not in (tmp_path / "a.har").read_text()


async def test_requests_at_a_gateway(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_house(shop=public()) as house:
        methods = gateway_methods(house.gateway)
        await methods["capture.start"]("gateway", str(tmp_path / "a.har"))
        await house.get("/a")
        (found,) = await entries(methods, tmp_path / "a.har")
    assert found["request"]["url"].endswith("/a")
    assert "web GET /a" in found["response"]["content"]["text"]


async def test_requests_at_a_devbox(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(web) as stage:
        methods = devbox_methods(stage.devbox)
        await methods["capture.start"]("targets", str(tmp_path / "a.har"))
        client = Client(await stage.dial())
        for target in ("/a", "/b"):
            assert await client.ask(target, b"body") == f"200 copy POST {target} 4"
        found = await entries(methods, tmp_path / "a.har")
    assert asked(found) == [("/a", 200), ("/b", 200)]
    assert found[0]["request"]["postData"]["text"] == "body"


@pytest.mark.parametrize("handler", [echo, greet])
async def test_other_protocols_go_by_at_a_devbox(
    handler: Any, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(handler) as stage:
        methods = devbox_methods(stage.devbox)
        await methods["capture.start"]("targets", str(tmp_path / "a.har"))
        wire = await stage.dial()
        if handler is greet:
            assert await wire.receive_some() == b"220 copy\r\n"
        await wire.send_all(b"\x00\x01\x02")
        assert await wire.receive_some() == b"copy:\x00\x01\x02"
        await wire.send_eof()
        assert await wire.receive_some() == b""
        assert await entries(methods, tmp_path / "a.har") == []


async def settle_first(service: Service, wire: Wire) -> None:
    """Say the settings of HTTP/2 at once, as many servers do, and listen."""
    await wire.send_all(frame(SETTINGS))
    while await service.receive(wire):
        pass


@pytest.mark.parametrize("is_client_first", [True, False])
async def test_settings_of_a_server_do_not_cut_a_connection_at_a_devbox(
    is_client_first: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(settle_first) as stage:
        methods = devbox_methods(stage.devbox)
        await methods["capture.start"]("targets", str(tmp_path / "a.har"))
        wire = await stage.dial()
        await trio.sleep(0 if is_client_first else 1)
        await wire.send_all(PREFACE + frame(SETTINGS))
        await trio.sleep(1)
        await wire.send_all(headers(1, GET, ALL))
        await trio.sleep(1)
        assert bytes(stage.copy.received).startswith(PREFACE)
        await wire.aclose()
        await trio.sleep(1)
        assert len(await entries(methods, tmp_path / "a.har")) == 1


@pytest.mark.parametrize("where", ["web", "gateway", "targets"])
async def test_bytes(where: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"

    async def record(methods: Mapping[str, Method], talk: Any) -> None:
        await methods["capture.start"](where, str(file), as_bytes=True)
        await talk()
        await methods["capture.stop"]()

    if where == "gateway":
        async with open_house(shop=public()) as house:
            await record(gateway_methods(house.gateway), house.get)
    else:
        async with open_stage(web) as stage:
            is_sidecar = where == "web"
            methods = sidecar_methods(stage.sidecar) if is_sidecar else devbox_methods(stage.devbox)

            async def talk() -> None:
                client = Client(await stage.dial())
                await client.ask("/bytes")
                await client.wire.aclose()
                await trio.sleep(1)

            await record(methods, talk)
    assert uris_in(file) == ["/" if where == "gateway" else "/bytes"]


async def test_one_capture_at_a_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with shop() as (stage, _):
        methods = sidecar_methods(stage.sidecar)
        with pytest.raises(ConfigurationError, match="no capture runs"):
            await methods["capture.stop"]()
        await methods["capture.start"]("web", str(tmp_path / "a.har"))
        with pytest.raises(ConfigurationError, match="stop it first"):
            await methods["capture.start"]("web", str(tmp_path / "b.har"))
        status: Any = await methods["capture.status"]()
        assert (status["running"], status["kind"], status["exchanges"]) == (True, "har", 0)
        await methods["capture.stop"]()


@pytest.mark.parametrize(
    ("port", "file", "named"),
    [
        ("none", "a.har", "there is no port 'none'; the ports are: web"),
        ("web", "none/a.har", "no such file or directory"),
        ("web", ".", "exists"),
    ],
)
async def test_capture_that_cannot_begin_changes_nothing(
    port: str, file: str, named: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with shop() as (stage, _):
        methods = sidecar_methods(stage.sidecar)
        with pytest.raises(ConfigurationError, match=named):
            await methods["capture.start"](port, str(tmp_path / file))
        assert await methods["capture.status"]() == {"running": False}
        assert stage.port.recorder is None


async def test_workload_that_hangs_up_at_a_devbox(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async def hang_up(service: Service, wire: Wire) -> None:
        await service.receive(wire)

    async with open_stage(hang_up) as stage:
        methods = devbox_methods(stage.devbox)
        await methods["capture.start"]("targets", str(tmp_path / "a.har"))
        wire = await stage.dial()
        await wire.send_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert await wire.receive_some() == b""  # as without a capture
        (found,) = await entries(methods, tmp_path / "a.har")
    assert found["response"]["status"] == 0


@pytest.mark.parametrize("is_reset", [False, True])
async def test_target_that_leaves_before_the_first_request_is_whole(
    is_reset: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async def leave(service: Service, wire: Wire) -> None:
        await trio.sleep(1)
        if is_reset:
            wire.reset()

    async with open_stage(leave) as stage:
        methods = devbox_methods(stage.devbox)
        await methods["capture.start"]("targets", str(tmp_path / "a.har"))
        wire = await stage.dial()
        await wire.send_all(b"GET / HTTP/1.1\r\nHost: shop\r\n")
        await trio.sleep(2)
        with contextlib.suppress(trio.BrokenResourceError):
            await wire.send_all(b"\r\n")
            assert await wire.receive_some() == b""
        await methods["capture.stop"]()
        assert stage.devbox.exit.open_count == 0
