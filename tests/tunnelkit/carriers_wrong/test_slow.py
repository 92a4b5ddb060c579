"""Handshakes that are slow, endless, silent or of the wrong kind: each costs a bounded time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from tests.tunnelkit.carriers_tls.ends import run
from tests.tunnelkit.carriers_websocket.ends import End, settle
from tests.tunnelkit.carriers_websocket.test_upgrade import REQUEST
from tests.tunnelkit.carriers_wrong.ports import dial, open_port
from tests.tunnelkit.certificates import tls_settings
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.addresses import Address
from tunnelkit.carriers import (
    SYSTEM_NETWORK,
    ConnectFailed,
    Listener,
    Network,
    Pending,
    Pipe,
    TlsPipe,
    connect,
)
from tunnelkit.carriers.pipe import Connected
from tunnelkit.carriers.tls import tls_client, tls_server
from tunnelkit.carriers.tls_connect import HANDSHAKE_SECONDS, TlsConnect
from tunnelkit.carriers.upgrade import (
    MAX_HEAD_BYTES,
    TIMEOUT_SECONDS,
    WebSocketOptions,
    listen_websocket,
)
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, cancel_at_each_step, no_leaks

pytestmark = pytest.mark.deadline(20)

BELOW = Address("memory", "server", 1)
ABOVE = Address("wss", "server", 1, "/tunnel")


class MemoryTls(Network):
    """A host of a memory network on which every connection has TLS."""

    def __init__(self, host: Network) -> None:
        self._host = host

    async def resolve(self, address: Address) -> Address:
        return address

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        def wrap(pipe: Pipe) -> TlsPipe:
            return tls_client(pipe, tls_settings(), "right")

        tls = TlsConnect(address, wrap, done)
        tls.below = self._host.connect_nowait(replace(address), pump, tls.connected)
        return tls

    async def listen(self, address: Address, pump: Pump, accept: object) -> Listener:
        def secure(pipe: Pipe) -> None:
            accept(tls_server(pipe, tls_settings()))  # type: ignore[operator] # as in Network

        return await self._host.listen(address, pump, secure)


class Stage:
    """A server and a client on a memory network."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        network = MemoryNetwork()
        self.server, self.client = network.host("server"), network.host("client")

    async def stranger(self) -> End:
        """Connect without TLS."""
        return End(await connect(self.client, BELOW, self.pump))


@pytest.fixture
def stage(pump: Pump) -> Stage:
    return Stage(pump)


# --- who comes -------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0.01, 1.0])
async def test_tls_and_request_share_one_deadline(
    autojump_clock: MockClock, stage: Stage, pause: float
) -> None:
    """A client hello in single bytes costs no more than a slow request does."""
    async with no_leaks():
        accepted: list[Pipe] = []
        listener = await listen_websocket(
            MemoryTls(stage.server), ABOVE, BELOW, stage.pump, WebSocketOptions, accepted.append
        )
        end, began = await stage.stranger(), trio.current_time()
        for byte in bytes.fromhex("1603010200010001fc0303") + bytes(2000):
            end.send(bytes([byte]))
            await trio.sleep(pause)
            if end.ending:
                break
        assert trio.current_time() - began <= TIMEOUT_SECONDS + 2
        assert not accepted
        end.pipe.close()
        listener.close()


async def test_client_hello_in_single_bytes_is_a_hello(pump: Pump) -> None:
    """Slow is not wrong: it is given the time for the hello, and no more."""
    with quiet_pump():
        async with no_leaks(), open_port(pump, "tls", handshake_seconds=0.5) as port:
            host, number = port.address.host, port.address.port
            async with await trio.open_tcp_stream(host, number) as stream:
                for byte in bytes.fromhex("1603010200010001fc0303"):
                    await stream.send_all(bytes([byte]))
                await wait_until(lambda: port.owner.closed)
                assert "no complete hello" in port.said()
                assert "within 0.5 s" in port.said()


async def test_endless_headers_on_a_socket(pump: Pump) -> None:
    with quiet_pump():
        async with no_leaks(), open_port(pump, "ws") as port:
            host, number = port.address.host, port.address.port
            async with await trio.open_tcp_stream(host, number) as stream:
                await stream.send_all(REQUEST[:-2] + b"X: " + b"x" * MAX_HEAD_BYTES)
                said = b"".join([chunk async for chunk in stream])
            assert said.startswith(b"HTTP/1.1 431 ")
            assert "431 The request has more than 16384 bytes of headers" in port.said()


async def test_client_without_the_subprotocol(pump: Pump) -> None:
    async with no_leaks(), open_port(pump, "ws") as port:
        host, number = port.address.host, port.address.port
        async with await trio.open_tcp_stream(host, number) as stream:
            await stream.send_all(REQUEST.replace(b"chat, tunnelkit.v1", b"chat"))
            said = b"".join([chunk async for chunk in stream])
        assert said.startswith(b"HTTP/1.1 400 ")
        assert b"ask for the subprotocol tunnelkit.v1" in said


# --- whom we dial ----------------------------------------------------------------------------


async def test_server_without_the_subprotocol(pump: Pump) -> None:
    async def handle(request: trio_websocket.WebSocketRequest) -> None:
        await request.accept()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None)
        with pytest.raises(ConnectFailed, match="but not of a tunnel .subprotocol tunnelkit.v1"):
            await connect(SYSTEM_NETWORK, Address("ws", "127.0.0.1", server.port, "/"), pump)
        nursery.cancel_scope.cancel()


async def test_server_that_accepts_and_says_nothing(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with no_leaks():
        ends: list[End] = []
        listener = await stage.server.listen(BELOW, stage.pump, lambda p: ends.append(End(p)))
        with pytest.raises(ConnectFailed, match="TLS handshake failed: no answer within 8 s"):
            await connect(MemoryTls(stage.client), BELOW, stage.pump)
        assert trio.current_time() < HANDSHAKE_SECONDS + 1
        listener.close()
        await trio.sleep(2)
        assert ends[0].ending
        ends[0].pipe.close()


async def test_nobody_there_is_still_refused(autojump_clock: MockClock, stage: Stage) -> None:
    with pytest.raises(ConnectFailed, match="connection refused") as info:
        await connect(MemoryTls(stage.client), BELOW, stage.pump)
    assert info.value.refused


async def test_server_that_hangs_up_in_the_handshake(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server.listen(BELOW, stage.pump, lambda pipe: pipe.close())
    with pytest.raises(ConnectFailed, match="the TLS handshake failed: "):
        await connect(MemoryTls(stage.client), BELOW, stage.pump)


async def test_cancelled_in_the_handshake(autojump_clock: MockClock, stage: Stage) -> None:
    async def use() -> None:
        accepted: list[Pipe] = []

        def accept(pipe: Pipe) -> None:
            accepted.append(pipe)
            run(pipe)

        listener = await MemoryTls(stage.server).listen(BELOW, stage.pump, accept)
        try:
            async with no_leaks():
                (await connect(MemoryTls(stage.client), BELOW, stage.pump)).close()
                await settle()
        finally:
            listener.close()
            for pipe in accepted:
                pipe.reset()

    await cancel_at_each_step(use)


async def test_tls_failure_is_an_error_of_the_connect(pump: Pump) -> None:
    """Over a plain port it is, and the text has the address once."""
    async with open_port(pump, "tcp") as port:
        error, is_connect = await dial(pump, port, "tls")
        assert is_connect
        assert str(error).count(f"tls://127.0.0.1:{port.address.port}") == 1
