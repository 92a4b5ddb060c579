"""A pipe's reader that writes down what it sees, and when."""

from __future__ import annotations

import trio

from tunnelkit.addresses import Address
from tunnelkit.carriers import Pipe, PipeBroken, connect
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryHost, MemoryNetwork


class Recorder:
    """Reads all there is; `trace` holds (time, what)."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.data = bytearray()
        self.trace: list[tuple[float, str]] = []
        self.ending: str | None = None
        self.calls = 0
        self._began = trio.current_time()
        pipe.start(self._ready)
        pipe.want(True, False)

    @property
    def last(self) -> float:
        """When the last thing happened."""
        return self.trace[-1][0]

    def _ready(self, readable: bool, writable: bool) -> None:
        self.calls += 1
        try:
            data = self.pipe.try_receive(65_536)
        except PipeBroken as error:
            self._end(str(error))
        else:
            assert data is not None
            self.data += data
            if data:
                self._note(str(len(data)))
            else:
                self._end("eof")

    def _end(self, how: str) -> None:
        self.ending = how
        self._note(how)
        self.pipe.want(False, False)

    def _note(self, what: str) -> None:
        self.trace.append((round(trio.current_time() - self._began, 6), what))


class Writer:
    """Sends as much as the pipe takes, whenever it takes any."""

    def __init__(self, pipe: Pipe, data: bytes) -> None:
        self.pipe = pipe
        self.left = memoryview(data)
        self.broken = False
        pipe.start(self._ready)
        pipe.want(False, True)

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            self.left = self.left[self.pipe.try_send(self.left) :]
        except PipeBroken:
            self.broken = True
        self.pipe.want(False, bool(self.left) and not self.broken)


class Server:
    """Listens on port 80 of a host; `pipes` are those it accepted."""

    def __init__(self, host: MemoryHost) -> None:
        self.host = host
        self.pipes: list[Pipe] = []

    async def listen(self, pump: Pump) -> None:
        await self.host.listen(Address("memory", self.host.name, 80), pump, self.pipes.append)


def at(host: str, port: int = 80) -> Address:
    return Address("memory", host, port)


async def join(network: MemoryNetwork, pump: Pump) -> tuple[Pipe, Pipe]:
    """Connect host a to host b; return both ends."""
    a, server = network.host("a"), Server(network.host("b"))
    await server.listen(pump)
    pipe = await connect(a, at("b"), pump, timeout=1e6)
    return pipe, server.pipes[-1]
