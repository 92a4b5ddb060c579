"""Links through a real proxy: tinyproxy with a login, a list of ports and a filter."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.tunnelkit.carriers_proxy.tinyproxy import Tinyproxy, running
from tests.tunnelkit.carriers_websocket.ends import End
from tests.tunnelkit.certificates import tls_settings
from tests.tunnelkit.pairs import World, echo, open_pair, open_streams, receive_all, wait_until
from tunnelkit.addresses import Address
from tunnelkit.carriers import (
    ConnectFailed,
    Network,
    ProxySettings,
    SocketNetwork,
    connect,
)
from tunnelkit.pump import Pump
from tunnelkit.testing import cancel_at_each_step, no_leaks

pytestmark = pytest.mark.needs_program("tinyproxy")

DATA = random.Random(3).randbytes(6 << 20)


@dataclass
class ProxiedWorld(World):
    """A world on sockets in which alice has a proxy in front of her."""

    url: str = ""

    def host(self, name: str) -> Network:
        proxy = ProxySettings.of_url(self.url) if name == "alice" else None
        return SocketNetwork(tls_settings(), proxy=proxy)


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncGenerator[Tinyproxy]:
    """A proxy that lets everybody with its login through."""
    async with running(tmp_path) as proxy:
        yield proxy


@pytest.mark.parametrize("carrier", ["tcp", "tls", "ws", "wss"])
async def test_session_through_the_proxy(proxy: Tinyproxy, carrier: str) -> None:
    async with open_pair(ProxiedWorld(carrier, url=proxy.url)) as pair:
        near, far = await open_streams(pair.session, pair.bob)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, far)
            nursery.start_soon(_send, near, DATA)
            assert await receive_all(near) == DATA
        (link,) = pair.alice.links
        assert link.pipe.description.endswith(f" through http://127.0.0.1:{proxy.port}")


async def _send(stream: trio.abc.HalfCloseableStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


@pytest.mark.parametrize("carrier", ["tcp", "wss"])
async def test_transfer_goes_on_when_the_proxy_was_killed(proxy: Tinyproxy, carrier: str) -> None:
    async with open_pair(ProxiedWorld(carrier, url=proxy.url)) as pair:
        near, far = await open_streams(pair.session, pair.bob)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, near, DATA)
            got = bytearray()
            while len(got) < len(DATA) // 3:
                got += await far.receive_some()
            (link,) = pair.alice.links
            await proxy.kill()
            await pair.alice.wait_link_closed(link)
            await proxy.start()
            got += await receive_all(far)
    assert bytes(got) == DATA


# --- refusals ---------------------------------------------------------------------------------


async def refusal(pump: Pump, url: str, host: str = "127.0.0.1", port: int = 9) -> str:
    """Dial through the proxy; return why it does not work."""
    network = SocketNetwork(proxy=ProxySettings.of_url(url)).for_links
    with pytest.raises(ConnectFailed) as info:
        await connect(network, Address("tcp", host, port), pump)
    assert "s3cret" not in str(info.value)
    return str(info.value)


async def test_without_a_login(pump: Pump, proxy: Tinyproxy) -> None:
    text = await refusal(pump, f"http://127.0.0.1:{proxy.port}")
    assert "the proxy wants a login (HTTP 407 Proxy Authentication Required): give it as" in text
    assert f"http://USER:PASSWORD@127.0.0.1:{proxy.port}" in text


async def test_with_a_wrong_login(pump: Pump, proxy: Tinyproxy) -> None:
    text = await refusal(pump, proxy.url.replace("user", "nobody"))
    assert "does not accept this login" in text


async def test_host_that_the_proxy_filters(pump: Pump, tmp_path: Path) -> None:
    async with running(tmp_path, deny="broker") as proxy:
        text = await refusal(pump, proxy.url, "broker.example")
    assert "let anybody through to broker.example:9 (HTTP 403 Filtered): let it allow" in text


async def test_port_that_is_not_on_the_list(pump: Pump, tmp_path: Path) -> None:
    async with running(tmp_path, ports=[443]) as proxy:
        text = await refusal(pump, proxy.url)
    assert "let anybody through to 127.0.0.1:9 (HTTP 403 Access violation)" in text


async def test_name_that_the_proxy_does_not_find(pump: Pump, proxy: Tinyproxy) -> None:
    text = await refusal(pump, proxy.url, "nowhere.invalid")
    assert "does not reach nowhere.invalid:9 (HTTP 500" in text


async def test_tunnel_that_does_not_run(pump: Pump, proxy: Tinyproxy) -> None:
    assert "the proxy does not reach 127.0.0.1:9 (HTTP 500" in await refusal(pump, proxy.url)


async def test_ipv6(pump: Pump, proxy: Tinyproxy) -> None:
    network = SocketNetwork(proxy=ProxySettings.of_url(proxy.url))
    listener = await network.listen(Address("tcp", "::1", 0), pump, lambda pipe: pipe.close())
    (await connect(network.for_links, listener.address, pump)).close()
    listener.close()


# --- what is left -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["tls", "wss"])
async def test_cancelled_anywhere(pump: Pump, proxy: Tinyproxy, scheme: str) -> None:
    network = SocketNetwork(tls_settings(), proxy=ProxySettings.of_url(proxy.url))
    accepted: list[End] = []
    address = Address(scheme, "127.0.0.1", 0)

    async def use() -> None:
        listener = await network.listen(address, pump, lambda pipe: accepted.append(End(pipe)))
        try:
            (await connect(network.for_links, listener.address, pump)).close()
        finally:
            listener.close()
            for end in accepted:
                end.pipe.reset()
            accepted.clear()

    async with no_leaks():
        await cancel_at_each_step(use)
        # A WebSocket waits for the close of its peer, and the proxy takes its time to pass it on.
        await wait_until(lambda: not pump.waiting_timers())
