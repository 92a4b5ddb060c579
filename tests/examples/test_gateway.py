"""The gateway as a program: served, watched, loaded anew, ended."""

from __future__ import annotations

import shutil
import signal
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.examples.started import Program, Programs
from tests.examples.test_monitor import MONITOR, port_of
from tests.tunnelkit.certificates import authority
from tests.tunnelkit.monitoring.test_monitor import ask

SITES = '[paths.{name}]\nupstream = "tcp://127.0.0.1:1"\naccess = "public"\n'


def write_sites(folder: Path, name: str) -> Path:
    """Write a directory with one path; return its file."""
    file = folder / "sites.toml"
    file.write_text(SITES.format(name=name))
    return file


async def gateway(programs: Programs, file: Path, *flags: object, scheme: str = "http") -> Program:
    """Start a gateway that reads a file."""
    serve = ("--serve", f"{scheme}://127.0.0.1:0", "--directory", file)
    identity = programs.credentials.identity("gateway/main")
    return await programs.start("gateway", *identity, *serve, *flags)


def door_of(program: Program) -> int:
    return int(program.ready["listeners"]["web0"].rpartition(":")[2])


async def test_gateway_is_watched(programs: Programs, tmp_path: Path) -> None:
    program = await gateway(programs, write_sites(tmp_path, "shop"), *MONITOR)
    assert (await ask(door_of(program), "/shop/"))[0] == 502
    assert await ask(port_of(program), "/healthz") == (200, "ok\n")
    assert (await ask(port_of(program), "/readyz"))[0] == 200
    numbers = (await ask(port_of(program), "/metrics"))[1]
    assert 'tunnelkit_gateway_requests_total{kind="pathroute"} 1' in numbers
    assert "shop" not in numbers


async def test_directory_is_read_again(programs: Programs, tmp_path: Path) -> None:
    program = await gateway(programs, write_sites(tmp_path, "shop"))
    write_sites(tmp_path, "blog")
    program.send(signal.SIGHUP)
    await program.wait_log("the directory is reloaded")
    statuses = [(await ask(door_of(program), f"/{name}/"))[0] for name in ("shop", "blog")]
    assert statuses == [404, 502]
    (tmp_path / "sites.toml").write_text("[")
    program.send(signal.SIGHUP)
    await program.wait_log("the old one stays in use")
    assert (await ask(door_of(program), "/blog/"))[0] == 502


async def test_certificate_is_read_again(programs: Programs, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"{kind}.pem" for kind in ("certificate", "key")}

    async def serial() -> str:
        context = ssl.create_default_context(cafile=authority().file)
        open_stream = partial(trio.open_ssl_over_tcp_stream, ssl_context=context)
        async with await open_stream("127.0.0.1", door_of(program)) as stream:
            await stream.do_handshake()
            return str(stream.getpeercert()["serialNumber"])

    def issue() -> None:
        for kind, file in authority().issue("127.0.0.1").items():
            shutil.copyfile(file, files[kind])

    issue()
    flags = ("--tls-cert", files["certificate"], "--tls-key", files["key"])
    sites = write_sites(tmp_path, "shop")
    program = await gateway(programs, sites, *flags, scheme="https")
    before = await serial()
    issue()
    program.send(signal.SIGHUP)
    await program.wait_log("are reloaded")
    assert await serial() != before


async def test_gateway_ends_though_a_client_stays(programs: Programs, tmp_path: Path) -> None:
    program = await gateway(programs, write_sites(tmp_path, "shop"), "--drain-seconds", 1)
    async with await trio.open_tcp_stream("127.0.0.1", door_of(program)) as stream:
        await stream.send_all(b"GET /none HTTP/1.1\r\nHost: x\r\n")  # a head that is not whole
        assert await program.end() == 4  # cut short


@pytest.mark.parametrize(
    ("text", "named"),
    [("[", "cannot be used"), ('[paths.a]\nupstream = "tcp://a:1"', "paths.a: access is for")],
)
async def test_directory_that_cannot_be_used(
    text: str, named: str, programs: Programs, tmp_path: Path
) -> None:
    (tmp_path / "sites.toml").write_text(text)
    serve = ("--serve", "http://127.0.0.1:0", "--directory", tmp_path / "sites.toml")
    identity = programs.credentials.identity("gateway/main")
    program = await programs.spawn("gateway", *identity, *serve)
    assert await program.wait() == 2
    assert named in program.log
