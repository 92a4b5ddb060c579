"""Other WebSocket implementations in threads of their own, and our side of the conversation."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as dial_websocket
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_websocket
from websockets.typing import Subprotocol

from tests.tunnelkit.carriers_websocket.ends import End
from tests.tunnelkit.pairs import wait_until
from tunnelkit.addresses import Address
from tunnelkit.carriers import SYSTEM_NETWORK, Pipe
from tunnelkit.carriers.upgrade import SUBPROTOCOL
from tunnelkit.pump import Pump

DATA = random.Random(1).randbytes(5 << 20)
OURS = [Subprotocol(SUBPROTOCOL)]


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut *data* into pieces of random size, most of them small, some empty."""
    chance, at = random.Random(seed), 0
    while at < len(data):
        size = chance.choice((0, 1, 125, 126, 1000, 65_535, 65_536, 300_000))
        yield data[at : at + size]
        at += size


def converse(peer: ClientConnection | ServerConnection, data: bytes) -> bytes:
    """Send *data* as one message in pieces, a ping between each two, and read as much."""
    got = bytearray()

    def read() -> None:
        while len(got) < len(data):
            message = peer.recv()
            assert isinstance(message, bytes)
            got.extend(message)

    reader = threading.Thread(target=read)
    reader.start()
    for number, piece in enumerate(pieces(data, 2)):
        if number % 3 == 0:
            peer.ping()
        peer.send(pieces(piece, number) if piece else b"")
    reader.join()
    return bytes(got)


@contextmanager
def websockets_server(
    handle: Callable[[ServerConnection], None],
) -> Generator[Address]:
    """Run a server of `websockets` in a thread; give its address."""
    with serve_websocket(handle, "127.0.0.1", 0, subprotocols=OURS, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.socket.getsockname()[:2]
        try:
            yield Address("ws", host, port, "/x")
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def websockets_client(address: Address) -> Generator[ClientConnection]:
    """Dial with `websockets`, which offers compression."""
    with dial_websocket(str(address), subprotocols=OURS, max_size=None) as peer:
        yield peer


@asynccontextmanager
async def listening(pump: Pump) -> AsyncGenerator[tuple[Address, list[Pipe]]]:
    """Accept WebSockets on loopback."""
    accepted: list[Pipe] = []
    address = Address("ws", "127.0.0.1", 0, "/x")
    listener = await SYSTEM_NETWORK.listen(address, pump, accepted.append)
    try:
        yield listener.address, accepted
    finally:
        listener.close()
        for pipe in accepted:
            pipe.close()


async def exchange(pipe: Pipe) -> End:
    """Send DATA while reading as much; return the end, which reads on."""
    end = End(pipe)
    end.send(DATA)
    await wait_until(lambda: len(end.data) >= len(DATA) or end.ending)
    await wait_until(lambda: not end.left or end.ending)
    return end


async def leave(end: End) -> None:
    """Close once the other side has."""
    await wait_until(lambda: end.ending)
    assert end.ending == "eof"
    end.pipe.close()


async def first(accepted: list[Pipe]) -> Pipe:
    """Return the first pipe, once it is there."""
    await wait_until(lambda: accepted)
    return accepted[0]


def in_single_bytes(address: Address, data: bytes) -> bytes:
    """Send *data* over TCP one byte at a time; return all that comes back."""
    got = bytearray()
    with socket.create_connection((address.host, address.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            sock.sendall(bytes([byte]))
        while piece := sock.recv(65_536):
            got += piece
    return bytes(got)


async def in_thread(function: Callable[..., bytes], *args: object) -> bytes:
    """Run a conversation in a thread; the test's deadline bounds it."""
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
