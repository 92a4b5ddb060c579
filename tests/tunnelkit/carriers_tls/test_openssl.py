"""TLS with somebody else's program at the other end: `openssl s_client` and `s_server`."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest
import trio

from tests.tunnelkit.carriers_tls.ends import up
from tests.tunnelkit.certificates import authority, tls_settings
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.test_carriers import read, ready
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Pipe, PipeBroken, SocketNetwork, TlsSettings, connect
from tunnelkit.pump import Pump

pytestmark = pytest.mark.needs_program("openssl")

DATA = bytes(range(256)) * 8192  # 2 MiB


@asynccontextmanager
async def accepting(
    pump: Pump, settings: TlsSettings | None = None
) -> AsyncGenerator[tuple[int, list[Pipe]]]:
    """Listen; give the port, and what is accepted."""
    accepted: list[Pipe] = []
    network = SocketNetwork(settings or tls_settings())
    listener = await network.listen(Address("tls", "127.0.0.1", 0), pump, accepted.append)
    try:
        yield listener.address.port, accepted
    finally:
        listener.close()
        for pipe in accepted:
            pipe.close()


async def s_client(
    port: int, *options: str, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run `openssl s_client`, which sends *data*; return when it has ended."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", *options]
    trust = ["-CAfile", authority().file, "-verify_return_error"]
    return await trio.run_process(
        [*command, *trust], stdin=data, capture_stdout=True, capture_stderr=True, check=False
    )


async def send_everything(pipe: Pipe, data: bytes) -> None:
    while data:
        await ready(pipe, write=True)
        data = data[pipe.try_send(data) :]


async def serve_one(accepted: list[Pipe], size: int) -> bytes:
    """Read *size* bytes from whoever comes, send them back, and close."""
    await wait_until(lambda: accepted)
    await up(accepted[0])
    got = bytearray()
    while len(got) < size:
        await ready(accepted[0])
        got += accepted[0].try_receive(200_000) or b""
    await send_everything(accepted[0], bytes(got))
    accepted[0].close()
    return bytes(got)


async def test_client_of_openssl_sends_and_receives(pump: Pump) -> None:
    done: list[subprocess.CompletedProcess[bytes]] = []
    async with accepting(pump) as (port, accepted), trio.open_nursery() as nursery:

        async def client() -> None:
            done.append(await s_client(port, "-alpn", "tunnelkit/1", data=DATA))

        nursery.start_soon(client)
        assert await serve_one(accepted, len(DATA)) == DATA
    assert done[0].stdout == DATA
    assert done[0].returncode == 0


async def refused(pump: Pump, *options: str, settings: TlsSettings | None = None) -> str:
    """Let a client of openssl come that must be refused; return why it was."""
    async with accepting(pump, settings) as (port, accepted), trio.open_nursery() as nursery:

        async def client() -> None:
            await s_client(port, *options)

        nursery.start_soon(client)
        await wait_until(lambda: accepted)
        await up(accepted[0])
        with pytest.raises(PipeBroken) as info:
            accepted[0].try_receive(10)
        accepted[0].close()
    return str(info.value)


async def test_client_without_our_protocol(pump: Pump) -> None:
    assert "speaks TLS but not tunnelkit/1" in await refused(pump)
    assert "speaks TLS but not tunnelkit/1" in await refused(pump, "-alpn", "h2")


async def test_websocket_over_tls_asks_for_no_protocol_of_ours(pump: Pump) -> None:
    network = SocketNetwork(tls_settings())
    address = Address("wss", "127.0.0.1", 0, "/tunnel")
    listener = await network.listen(address, pump, Pipe.close)
    done = await s_client(listener.address.port, data=b"GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n")
    listener.close()
    assert done.stdout.startswith(b"HTTP/1.1 426 ")


async def test_client_of_an_older_version(pump: Pump) -> None:
    assert "no TLS version in common" in await refused(pump, "-tls1_2", "-alpn", "tunnelkit/1")


async def test_client_without_a_certificate(pump: Pump) -> None:
    ca = authority()
    strict = TlsSettings(**ca.issue("127.0.0.1"), client_ca=ca.file)
    why = await refused(pump, "-alpn", "tunnelkit/1", settings=strict)
    assert "the client shows no certificate" in why


# --- openssl serves --------------------------------------------------------------------------


@asynccontextmanager
async def s_server(*options: str) -> AsyncGenerator[int]:
    """Run `openssl s_server`; give its port."""
    files = authority().issue("127.0.0.1")
    certificate = ["-cert", files["certificate"], "-key", files["key"]]
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", *certificate, *options]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(_run, command)
        text = b""
        while b"ACCEPT 127.0.0.1:" not in text or not text.endswith(b"\n"):
            text += await process.stdout.receive_some()
        yield int(text.rpartition(b"ACCEPT 127.0.0.1:")[2].split()[0])
        nursery.cancel_scope.cancel()


async def _run(command: Iterable[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    pipe = subprocess.PIPE
    await trio.run_process(
        list(command),
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        check=False,
        task_status=task_status,
    )


async def dial(pump: Pump, port: int) -> Pipe:
    pipe = await connect(SocketNetwork(tls_settings()), Address("tls", "127.0.0.1", port), pump)
    await up(pipe)
    return pipe


async def test_server_of_openssl_answers(pump: Pump) -> None:
    async with s_server("-alpn", "tunnelkit/1", "-rev") as port:
        pipe = await dial(pump, port)
        line = bytes(range(65, 91)) * 100
        await send_everything(pipe, line + b"\n")
        got = b""
        while not got.endswith(b"\n"):
            await ready(pipe)
            got += bytes(pipe.try_receive(65_536) or b"")
        assert got == line[::-1] + b"\n"
        pipe.close()


async def test_server_without_our_protocol(pump: Pump) -> None:
    async with s_server() as port:
        with pytest.raises(ConnectFailed, match="speaks TLS but not tunnelkit/1"):
            await dial(pump, port)


async def test_nobody_listens(pump: Pump) -> None:
    with pytest.raises(ConnectFailed, match="cannot connect to tls://127.0.0.1:1: connection ref"):
        await dial(pump, 1)


# --- new keys --------------------------------------------------------------------------------


async def test_change_of_keys_is_answered(pump: Pump) -> None:
    async with accepting(pump) as (port, accepted), trio.open_nursery() as nursery:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "tunnelkit/1"]
        process = await nursery.start(_run, command)
        await wait_until(lambda: accepted)
        pipe = accepted[0]
        await up(pipe)
        await process.stdin.send_all(b"K\n")  # change keys, and ask for the same
        await ready(pipe)
        assert pipe.try_receive(10) is None
        await process.stdin.send_all(b"hello\n")
        assert await read(pipe) == b"hello\n"
        pipe.try_send(b"answer under new keys")
        text = b""
        while b"answer under new keys" not in text:
            text += await process.stdout.receive_some()
        nursery.cancel_scope.cancel()
