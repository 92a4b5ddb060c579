"""A gateway between programs of others: curl, nginx, a WebSocket client, and a broker's link."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.tunnelkit.certificates import authority
from tests.tunnelkit.gateway.house import DOMAIN, Book
from tests.tunnelkit.pairs import RING, clock, make_identity, wait_until
from tests.tunnelkit.untouched.servers import PAGE, nginx, node
from tests.tunnelkit.untouched.test_grpc import called, grpc_server
from tunnelkit.addresses import Address
from tunnelkit.broker import open_broker
from tunnelkit.carriers import TlsSettings
from tunnelkit.endpoint import open_endpoint
from tunnelkit.gateway import Access, Gateway, GatewaySettings, Site, open_gateway

HOST = "127.0.0.1"
NAME = f"80-shop-x.{DOMAIN}"


@dataclass
class Real:
    """A gateway on this machine."""

    gateway: Gateway
    scheme: str

    @property
    def port(self) -> int:
        return self.gateway.addresses[0].port

    async def curl(self, path: str, *flags: str, host: str = NAME) -> str:
        """Return what curl writes."""
        command = ["curl", "-sS", "--max-time", "30", "--resolve", f"{host}:{self.port}:{HOST}"]
        command += ["--cacert", authority().file, *flags]
        command.append(f"{self.scheme}://{host}:{self.port}{path}")
        done = await trio.run_process(command, capture_stdout=True)
        return done.stdout.decode()


@asynccontextmanager
async def real_gateway(
    port: int, tls: TlsSettings | None = None, **settings: object
) -> AsyncGenerator[Real]:
    """Run one in front of what listens on a port."""
    identity = make_identity("gateway")
    upstream = Address("tcp", HOST, port)
    is_http2 = bool(settings.pop("is_http2", False))
    site = Site("shop", upstream, Access.PUBLIC, speaks_http2=is_http2)
    book = Book({"80-shop-x": site}, {"shop": site})
    chosen = GatewaySettings(domain=DOMAIN, **settings)  # type: ignore[arg-type] # a test's choice
    async with (
        open_endpoint(identity, RING, clock=clock) as endpoint,
        open_gateway(endpoint, book, chosen, listen=[Address("tcp", HOST, 0)], tls=tls) as gateway,
    ):
        yield Real(gateway, "http" if tls is None else "https")


def certified() -> TlsSettings:
    """Return certificate and key for the names of these tests."""
    return TlsSettings(**authority().issue(NAME, DOMAIN, HOST))


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_page_over_tls(version: str, tmp_path: Path) -> None:
    async with nginx(tmp_path) as port, real_gateway(port, certified()) as real:
        body = await real.curl("/page", version, "-w", " %{http_version} %{http_code}")
    assert body == PAGE.decode() + (" 2 200" if version == "--http2" else " 1.1 200")


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
async def test_upload_arrives_whole(version: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5_000_000))
    async with node(tmp_path) as port, real_gateway(port) as real:
        flags = [version, "-H", "Expect:", "-T", str(tmp_path / "large")]
        assert '"bytes":5000000' in await real.curl("/tell", *flags)


async def test_certificate_is_loaded_anew(tmp_path: Path) -> None:
    tls = certified()
    async with nginx(tmp_path) as port, real_gateway(port, tls) as real:
        flags = ["-o", "/dev/null", "-w", "%{certs}"]
        before = await real.curl("/page", *flags)
        for kind, file in authority().issue(NAME).items():
            shutil.copyfile(file, str(getattr(tls, kind)))
        tls.reload()
        after = await real.curl("/page", *flags)
    assert "BEGIN CERTIFICATE" in before
    assert before != after


async def test_websocket_through_a_path(tmp_path: Path) -> None:
    async with node(tmp_path) as port, real_gateway(port) as real, AsyncExitStack() as stack:
        stream = await stack.enter_async_context(await trio.open_tcp_stream(HOST, real.port))
        head = f"GET /shop/echo HTTP/1.1\r\nHost: {DOMAIN}\r\nUpgrade: echo\r\n"
        await stream.send_all(f"{head}Connection: upgrade\r\n\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += await stream.receive_some()
        assert got.startswith(b"HTTP/1.1 101")
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


async def test_link_comes_in_at_the_tunnel() -> None:
    listen = [Address("ws", HOST, 0, "/tunnel")]
    async with open_broker(RING, listen=listen, clock=clock) as broker:
        tunnel = Address("tcp", HOST, broker.listeners[0].address.port)
        async with real_gateway(1, tunnel=tunnel) as real:
            dial = [Address("ws", HOST, real.port, "/tunnel")]
            identity = make_identity("dev")
            async with open_endpoint(identity, RING, dial=dial, clock=clock) as endpoint:
                await wait_until(lambda: endpoint.links and endpoint.links[0].state.value == "up")
                assert real.gateway.counts["tunnel"] == 1


async def test_grpc_goes_through_a_site_that_speaks_it() -> None:
    async with grpc_server("cart") as port, real_gateway(port, is_http2=True) as real:
        assert await called(real.port, authority=NAME) == await called(port)
