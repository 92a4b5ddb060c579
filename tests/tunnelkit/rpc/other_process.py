"""A program that serves a clock over every transport, and calls the one of whoever calls.

python -m tests.tunnelkit.rpc.other_process FOLDER CERTIFICATE KEY

It prints where it listens, as JSON, and ends with its stdin.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from tests.tunnelkit.pairs import World
from tests.tunnelkit.rpc.child import RealBack
from tests.tunnelkit.rpc.test_peer import Clock, RealClock
from tunnelkit.rpc import (
    Channel,
    LineChannel,
    NotServed,
    Service,
    accept_websocket,
    open_peer,
    session_channels,
)


class Process(Service, name="process"):
    """Tells which process it is."""

    async def pid(self) -> int:
        """Return its number."""
        raise NotServed


class RealProcess(Process):
    async def pid(self) -> int:
        await trio.lowlevel.checkpoint()
        return os.getpid()


async def serve(channel: Channel) -> None:
    """Serve one peer, and call its clock when it asks for that."""
    back = RealBack()
    async with open_peer(channel, serve=[RealClock(), RealProcess(), back]) as peer:
        back.clock = peer.proxy(Clock)
        await peer.wait_closed()


async def serve_lines(wrap: Callable[[trio.abc.Stream], trio.abc.Stream], stream: object) -> None:
    assert isinstance(stream, trio.abc.Stream)
    await serve(LineChannel(wrap(stream)))


async def serve_messages(
    wrap: Callable[[trio.abc.Stream], trio.abc.Stream], stream: object
) -> None:
    assert isinstance(stream, trio.abc.Stream)
    await serve(await accept_websocket(wrap(stream)))


async def listen(nursery: trio.Nursery, handle: Callable[..., Awaitable[object]]) -> int:
    """Serve at a free port, and return it."""
    run = partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
    listeners = await nursery.start(run)
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def listen_unix(nursery: trio.Nursery, path: str) -> None:
    """Serve lines at a unix socket."""
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(path)
    listening.listen()
    handle = partial(serve_lines, _as_it_is)
    nursery.start_soon(trio.serve_listeners, handle, [trio.SocketListener(listening)])


def _as_it_is(stream: trio.abc.Stream) -> trio.abc.Stream:
    return stream


async def main(folder: str, certificate: str, key: str) -> None:
    """Serve until stdin ends."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    in_tls = partial(trio.SSLStream, ssl_context=context, server_side=True)
    path = f"{folder}/rpc.sock"
    async with (
        World("tcp").endpoint("bob", listens=True) as endpoint,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(endpoint.serve, session_channels(serve))
        await listen_unix(nursery, path)
        places: dict[str, object] = {
            "tcp": await listen(nursery, partial(serve_lines, _as_it_is)),
            "tls": await listen(nursery, partial(serve_lines, in_tls)),
            "ws": await listen(nursery, partial(serve_messages, _as_it_is)),
            "wss": await listen(nursery, partial(serve_messages, in_tls)),
            "unix": path,
            "session": str(endpoint.listeners[0].address),
        }
        print(json.dumps(places), flush=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
