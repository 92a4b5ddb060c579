"""The CONNECT proxy that the demo brings with it."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

import pytest
import trio

from examples.demo_app.connect_proxy import Proxy
from tests.examples.started import WAIT_SECONDS

Targets = Callable[[bytes], Awaitable[str]]

LOGIN = "demo:s3cret"


def request(target: str, login: str = LOGIN, method: str = "CONNECT") -> bytes:
    basic = base64.b64encode(login.encode()).decode()
    head = f"{method} {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {basic}\r\n"
    return f"{head}\r\n".encode()


@pytest.fixture
async def port(nursery: trio.Nursery) -> int:
    """The port of a proxy that runs in this process."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, Proxy(LOGIN).serve, listeners)
    bound: int = listeners[0].socket.getsockname()[1]
    return bound


async def ask(port: int, *pieces: bytes) -> bytes:
    """Send *pieces*, and return all that comes until the end."""
    with trio.fail_after(WAIT_SECONDS):
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            for piece in pieces:
                await client.send_all(piece)
            return b"".join([data async for data in client])


async def test_tunnel_carries_bytes_to_the_end(port: int, targets: Targets) -> None:
    answer = await ask(port, request(await targets(b"hello")))
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nhello"


async def test_bytes_behind_the_request_are_passed_on(port: int, nursery: trio.Nursery) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some())

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, echo, listeners)
    target = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    assert (await ask(port, request(target) + b"early")).endswith(b"\r\n\r\nearly")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("127.0.0.1:9", login="demo:wrong"), b"407"),
        (b"CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n", b"407"),
        (request("192.0.2.1:80"), b"403"),
        (request("127.0.0.1:http"), b"403"),
        (request("127.0.0.1:99999"), b"502"),
        (request("http://127.0.0.1/", method="GET"), b"405"),
        (b"x" * 20_000, b"400"),
    ],
)
async def test_refusal_says_why(port: int, asked: bytes, status: bytes) -> None:
    assert (await ask(port, asked)).split()[1] == status
