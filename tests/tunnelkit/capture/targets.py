"""A server that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import h11
import trio

from tunnelkit.capture import Target

__all__ = ["Asked", "Server", "plain", "serve"]


@dataclass
class Asked:
    """One request."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Who answers, at `target`."""

    target: Target
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The target as the command wants it."""
        return f"http://{self.target.host}:{self.target.port}"


def plain(body: bytes = b"ok", *lines: str, status: str = "200 OK") -> bytes:
    """Return an answer as bytes."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body


Answering = Callable[[Asked], bytes | None]
"""Returns what a request is answered; None: nothing ever."""


@asynccontextmanager
async def serve(answer: Answering) -> AsyncGenerator[Server]:
    """Answer on a port of this machine, one request for each connection."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(Target("127.0.0.1", listeners[0].socket.getsockname()[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, partial(_talk, server, answer), listeners)
        yield server
        nursery.cancel_scope.cancel()


async def _talk(server: Server, answer: Answering, stream: trio.SocketStream) -> None:
    async with stream:
        try:
            asked = await _read(stream)
            server.asked.append(asked)
            data = answer(asked)
            if data is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # it has heard enough


async def _read(stream: trio.SocketStream) -> Asked:
    machine = h11.Connection(h11.SERVER)
    head, body = h11.Request(method="GET", target="/", headers=[("Host", "none")]), b""
    while True:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            machine.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            fields = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Asked(head.method.decode(), head.target.decode(), fields, body)
