"""A broker, a sidecar and devboxes as processes of their own, with services in the test's process.

The services count what reaches them, so that a test can tell who executed a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from tests.examples.started import Program, Programs

__all__ = ["Copy", "Stage", "answer", "build", "call"]

WAIT_SECONDS = 20.0


@dataclass
class Copy:
    """A copy of a service; `received` is every byte that it saw, per connection."""

    name: bytes
    handler: Callable[[Copy, trio.SocketStream, int], Awaitable[None]]
    received: list[bytearray] = field(default_factory=list)
    address: str = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        number = len(self.received)
        self.received.append(bytearray())
        try:
            await self.handler(self, stream, number)
        except trio.BrokenResourceError:
            pass  # the connection was reset: that is for the test to notice at its end

    async def receive(self, stream: trio.SocketStream, number: int) -> bytes:
        """Receive and count."""
        data = bytes(await stream.receive_some(65536))
        self.received[number] += data
        return data

    @property
    def size(self) -> int:
        """How many bytes it has seen."""
        return sum(map(len, self.received))

    def executed(self, request: bytes) -> int:
        """How many connections brought *request*."""
        return sum(bytes(data) == request for data in self.received)


async def answer(copy: Copy, stream: trio.SocketStream, number: int) -> None:
    """Read to the end of file, then answer with the name and what was read."""
    while await copy.receive(stream, number):
        pass
    await stream.send_all(copy.name + b":" + copy.received[number])
    await stream.send_eof()


@dataclass
class Stage:
    """What runs."""

    programs: Programs
    broker: Program
    sidecar: Program
    devboxes: dict[str, Program]
    local: Copy
    copies: dict[str, Copy]

    async def call(self, name: str, data: bytes) -> bytes:
        """Call the port that the developer *name* intercepts."""
        return await call(self.sidecar.ready["listeners"][name], data)

    async def wait_intercepted(self, name: str) -> None:
        """Call until the developer's copy answers."""
        probe = b"probe"
        with trio.fail_after(WAIT_SECONDS):
            while not (await self.call(name, probe)).startswith(name.encode()):  # noqa: ASYNC110
                await trio.sleep(0.05)


async def call(where: str, data: bytes) -> bytes:
    """Connect to HOST:PORT, send *data* and the end; return the answer."""
    host, port = where.split(":")
    received = bytearray()
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            async for chunk in stream:
                received += chunk
    return bytes(received)


async def build(programs: Programs, nursery: trio.Nursery, *names: str) -> Stage:
    """Start everything, with a developer of each name who intercepts a port of that name."""

    async def start(name: str) -> Copy:
        copy = Copy(name.encode(), answer)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        copy.address = f"127.0.0.1:{port}"
        nursery.start_soon(trio.serve_listeners, copy.serve, listeners)
        return copy

    local, copies = await start("local"), {name: await start(name) for name in names}
    broker = await programs.broker()
    (link,) = broker.ready["links"]
    devboxes, flags = {}, list[str]()
    for name, copy in copies.items():
        target = f"{name}={copy.address}"
        devboxes[name] = await programs.devbox("--link", link, "--target", target, subject=name)
        flags += ["--port", f"{name}=127.0.0.1:0,{local.address}", "--intercept", f"{name}={name}"]
    sidecar = await programs.sidecar("--link", link, *flags)
    stage = Stage(programs, broker, sidecar, devboxes, local, copies)
    for name in names:
        await stage.wait_intercepted(name)
    return stage
