"""Forwards and SOCKS5 with the programs that people use, and links that die meanwhile."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.examples.started import LAPTOP, SIDECAR, Program, Programs, wait_until
from tunnelkit.admin import call_admin

MIB = 1 << 20
SIZE = 32 * MIB

PYTHON_CLIENT = """\
import socks, sys
host, _, port = sys.argv[1].rpartition(":")
client = socks.socksocket()
client.set_proxy(socks.SOCKS5, host, int(port), rdns=True)
client.connect(("localhost", int(sys.argv[2])))
client.sendall(b"GET /price HTTP/1.0\\r\\n\\r\\n")
while data := client.recv(4096):
    sys.stdout.buffer.write(data)
"""


async def output_of(*command: str, check: bool = True, text: bytes = b"") -> bytes:
    """Run a command; return what it printed, errors included where it may fail."""
    with trio.fail_after(30):
        done = await trio.run_process(
            command, stdin=text, capture_stdout=True, capture_stderr=True, check=check
        )
    return done.stdout if check else done.stdout + done.stderr


@asynccontextmanager
async def server(*command: str, until: Path) -> AsyncGenerator[None]:
    """Run a server until the block is left; it is there when the file *until* is."""
    quiet = subprocess.DEVNULL
    run = partial(trio.run_process, command, check=False, stdout=quiet, stderr=quiet)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_until(until.exists)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def web_server(folder: Path) -> AsyncGenerator[int]:
    """Run nginx with the files of a folder; give its port."""
    (door,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = int(door.socket.getsockname()[1])
    await door.aclose()
    settings, pid = folder / "nginx.conf", folder / "pid"
    settings.write_text(
        f"daemon off; master_process off; pid {pid}; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port}; "
        f"root {folder}; }} }}\n"
    )
    async with server("nginx", "-p", str(folder), "-c", str(settings), until=pid):
        yield port


class Cluster:
    """A broker, a sidecar whose exit opens things, and a laptop with listeners."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.broker: Program
        self.laptop: Program

    async def start(self, exit: list[str], doors: list[str]) -> None:
        """Start everything; *exit* and *doors* are flags of the sidecar and of the laptop."""
        self.broker = await self.programs.broker()
        link = ("--link", self.broker.ready["links"][0])
        await self.programs.sidecar(*link, *(exit or ("--allow", "nothing:1")))
        admin = ("--admin", self.folder / "run" / "laptop.sock")
        self.laptop = await self.programs.devbox(*link, *admin, *doors)
        await self.laptop.wait_log(f"session with {SIDECAR} is open")

    def door(self, name: str) -> str:
        """Return where a listener of the laptop is."""
        return str(self.laptop.ready["listeners"][f"{name}@{SIDECAR}"])

    async def restart_broker(self) -> None:
        """Kill the broker as `kill -9` does, and start it again at the same address."""
        await self.broker.end(signal.SIGKILL)
        self.broker = await self.programs.broker(listen=self.broker.ready["links"][0])


@pytest.fixture
def cluster(programs: Programs, tmp_path: Path) -> Cluster:
    return Cluster(programs, tmp_path)


# --- forwards ------------------------------------------------------------------------------


@pytest.mark.needs_program("curl", "nginx")
async def test_curl_through_a_forward_to_a_name(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "price").write_text("42\n")
    async with web_server(tmp_path) as port:
        exit = ["--target", f"web=127.0.0.1:{port}"]
        await cluster.start(exit, ["--forward", f"127.0.0.1:0=web@{SIDECAR}"])
        found = await output_of("curl", "-s", f"http://{cluster.door('web')}/price")
    assert found == b"42\n"


@pytest.mark.needs_program("curl", "nginx")
async def test_curl_through_a_unix_socket_to_an_address(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "price").write_text("42\n")
    path = tmp_path / "web.sock"
    async with web_server(tmp_path) as port:
        target = f"localhost:{port}"
        await cluster.start(["--allow", target], ["--forward", f"unix://{path}={target}@{SIDECAR}"])
        assert cluster.door(target) == f"unix://{path}"
        found = await output_of("curl", "-s", "--unix-socket", str(path), "http://x/price")
    assert found == b"42\n"


@pytest.mark.needs_program("redis-server", "redis-cli")
async def test_redis_through_a_forward(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    flags = ["--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path), "--save", ""]
    async with server("redis-server", *flags, until=path):
        exit = ["--target", f"cache=unix://{path}"]
        await cluster.start(exit, ["--forward", f"127.0.0.1:0=cache@{SIDECAR}"])
        where = ["redis-cli", "-p", cluster.door("cache").rpartition(":")[2]]
        pairs = b"".join(b"SET key%d %d\n" % (n, n * n) for n in range(5000))
        assert (await output_of(*where, text=pairs)).count(b"OK") == 5000
        assert await output_of(*where, "GET", "key4321") == b"%d\n" % 4321**2


async def test_refused_connection_is_reset_and_explained(cluster: Cluster) -> None:
    await cluster.start([], ["--forward", f"127.0.0.1:0=nothing@{SIDECAR}"])
    host, _, port = cluster.door("nothing").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
    await cluster.laptop.wait_log(f"{SIDECAR} serves no target 'nothing' [unknown-target]")
    status = await call_admin(str(cluster.folder / "run" / "laptop.sock"), "status")
    (door,) = status["forwards"]  # type: ignore[index]
    assert door["counts"] == {"refused": 1}


# --- links that die ------------------------------------------------------------------------


@pytest.mark.needs_program("curl", "nginx")
@pytest.mark.parametrize("kind", ["forward", "socks"])
async def test_download_survives_the_broker(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    data = os.urandom(MIB) * (SIZE // MIB)
    (tmp_path / "large").write_bytes(data)
    copy = tmp_path / "copy"
    async with web_server(tmp_path) as port:
        exit = ["--target", f"web=127.0.0.1:{port}", "--allow", f"127.0.0.1:{port}"]
        doors = ["--forward", f"127.0.0.1:0=web@{SIDECAR}", "--socks", f"127.0.0.1:0={SIDECAR}"]
        await cluster.start(exit, doors)
        door, way = cluster.door("web"), []
        if kind == "socks":
            door, way = f"127.0.0.1:{port}", ["--socks5-hostname", cluster.door("socks")]
        curl = ["curl", "-s", "--limit-rate", "40M", *way, "-o", str(copy), f"http://{door}/large"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output_of, *curl)
            await wait_until(lambda: copy.exists() and copy.stat().st_size > 4 * MIB)
            await cluster.restart_broker()
    assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(data).digest()
    assert "resumed 1" in cluster.laptop.log


# --- SOCKS5 --------------------------------------------------------------------------------


@pytest.mark.needs_program("curl", "nginx")
async def test_curl_and_python_through_socks(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "price").write_text("42\n")
    async with web_server(tmp_path) as port:
        await cluster.start(["--allow", "localhost:*"], ["--socks", f"127.0.0.1:0={SIDECAR}"])
        curl = ["curl", "-s", "--socks5-hostname", cluster.door("socks")]
        assert await output_of(*curl, f"http://localhost:{port}/price") == b"42\n"
        by_python = (sys.executable, "-c", PYTHON_CLIENT, cluster.door("socks"), str(port))
        assert (await output_of(*by_python)).endswith(b"42\n")
        refused = await output_of(*curl, "-S", f"http://127.0.0.2:{port}/", check=False)
    assert b"(2)" in refused  # "connection not allowed by ruleset", in curl's words


@pytest.mark.needs_program("curl")
async def test_socks_asks_for_a_login(cluster: Cluster, tmp_path: Path) -> None:
    secret = tmp_path / "login"
    secret.touch(mode=0o600)
    secret.write_text("ada:lovelace\n")
    doors = ["--socks", f"127.0.0.1:0={SIDECAR}", "--socks-login", str(secret)]
    await cluster.start(["--allow", "localhost:9"], doors)
    for login, answer in (("ada:lovelace", b"(5)"), ("ada:byron", b"rejected")):
        url = f"socks5h://{login}@{cluster.door('socks')}"
        said = await output_of("curl", "-sS", "-x", url, "http://localhost:9/", check=False)
        assert answer in said
    assert "lovelace" not in cluster.laptop.log


@pytest.mark.needs_program("nc", "ssh")
async def test_ssh_reaches_a_server_by_nc(cluster: Cluster, tmp_path: Path) -> None:
    (door,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = door.socket.getsockname()[1]
    await cluster.start(["--allow", "localhost:*"], ["--socks", f"127.0.0.1:0={SIDECAR}"])
    by_nc = f"ProxyCommand=nc -X 5 -x {cluster.door('socks')} %h %p"
    ssh = ["ssh", "-F", "none", "-o", by_nc, "-p", str(port), "localhost"]
    async with trio.open_nursery() as nursery, door:
        nursery.start_soon(lambda: output_of(*ssh, check=False))
        async with await door.accept() as stream:
            assert (await stream.receive_some()).startswith(b"SSH-2.0-")
            await stream.send_all(b"SSH-1.0-too old\r\n")


@pytest.mark.needs_program("curl")
async def test_http_at_a_socks_port_is_told_so(cluster: Cluster) -> None:
    await cluster.start([], ["--socks", f"127.0.0.1:0={SIDECAR}"])
    said = await output_of("curl", "-s", f"http://{cluster.door('socks')}/")
    assert b"This is a SOCKS5 proxy, not an HTTP proxy" in said
    refused = await output_of(
        "curl", "-sS", "--socks4a", cluster.door("socks"), "http://localhost/", check=False
    )
    assert b"socks4" in refused.lower()
    assert LAPTOP not in said.decode()
