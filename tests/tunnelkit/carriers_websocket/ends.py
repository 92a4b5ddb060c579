"""Ends of WebSockets in memory, and what a test does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.tunnelkit.strangers import settle
from tunnelkit.addresses import Address
from tunnelkit.carriers import Listener, Network, Pending, Pipe, PipeBroken
from tunnelkit.carriers.pipe import Connected
from tunnelkit.carriers.upgrade import WebSocketOptions, connect_websocket, listen_websocket
from tunnelkit.carriers.websocket import WebSocketPipe
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair
from tunnelkit.wire.websocket import FrameDecoder, Opcode, apply_mask, encode_control, encode_header

KEY = bytes.fromhex("37fa213d")


def frame(payload: bytes, *, masked: bool) -> bytes:
    """Return a binary message."""
    mask = KEY if masked else b""
    body = apply_mask(payload, mask) if masked else payload
    return encode_header(Opcode.BINARY, len(payload), mask) + body


def ping(payload: bytes, *, masked: bool) -> bytes:
    """Return a ping."""
    return encode_control(Opcode.PING, payload, KEY if masked else b"")


class End:
    """Reads all there is, and sends what it is given as the pipe takes it."""

    def __init__(self, pipe: Pipe, *, reads: bool = True) -> None:
        self.pipe = pipe
        self._data = bytearray()
        self.ending = ""
        self.left = memoryview(b"")
        self._reads = reads
        pipe.start(self._ready)
        self._want()

    @property
    def data(self) -> bytes:
        """What has arrived."""
        return bytes(self._data)

    @property
    def count(self) -> int:
        """How many bytes have arrived."""
        return len(self._data)

    def read(self) -> None:
        """Begin to read."""
        self._reads = True
        self._want()

    def send(self, data: bytes) -> None:
        """Send *data* after what has not gone yet."""
        self.left = memoryview(bytes(self.left) + data)
        self._want()

    def _want(self) -> None:
        self.pipe.want(self._reads and not self.ending, bool(self.left) and not self.ending)

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            if readable:
                self._receive()
            if writable and self.left:
                self.left = self.left[self.pipe.try_send(self.left) :]
        except PipeBroken as error:
            self.ending = str(error)
        self._want()

    def _receive(self) -> None:
        data = self.pipe.try_receive(65_536)
        if data:
            self._data += data
        elif data is not None:
            self.ending = "eof"


class Stranger(End):
    """The other end of a `WebSocketPipe`, without the rules; takes its frames apart."""

    def __init__(self, pipe: Pipe, *, is_server: bool, reads: bool) -> None:
        super().__init__(pipe, reads=reads)
        self._is_server = is_server

    def said(self) -> tuple[bytes, list[tuple[Opcode, bytes]], int | None]:
        """Return payload, control frames and close code of what has arrived."""
        controls: list[tuple[Opcode, bytes]] = []
        decoder = FrameDecoder(
            is_server=self._is_server, on_control=lambda *control: controls.append(control)
        )
        view = memoryview(bytearray(self.data))
        payload = bytes(view[: decoder.decode(view)])
        return payload, controls, decoder.close_code if decoder.is_closed else None


def make_pair(pump: Pump, network: MemoryNetwork | None = None) -> tuple[Pipe, Pipe]:
    """Return client and server of a WebSocket whose handshake is over."""
    left, right = memory_pipe_pair(pump, network)
    client = WebSocketPipe(left, is_server=False, description="client")
    return client, WebSocketPipe(right, is_server=True, description="server")


def meet_stranger(
    pump: Pump, *, is_server: bool, capacity: int = 1 << 16, reads: bool = True
) -> tuple[Stranger, Pipe]:
    """Return a stranger and the pipe it talks to, which is a server's or a client's."""
    left, right = memory_pipe_pair(pump, MemoryNetwork(capacity_bytes=capacity))
    stranger = Stranger(left, is_server=not is_server, reads=reads)
    return stranger, WebSocketPipe(right, is_server=is_server, description="test")


class MemoryWebSockets(Network):
    """A host of a memory network on which ``ws://`` addresses work too."""

    def __init__(self, host: Network, options: WebSocketOptions | None = None) -> None:
        self.host = host
        self.options = options or WebSocketOptions()

    async def resolve(self, address: Address) -> Address:
        await self.host.resolve(_below(address))
        return address

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        return connect_websocket(self.host, address, _below(address), pump, self.options, done)

    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        below = _below(address)
        return await listen_websocket(self.host, address, below, pump, lambda: self.options, accept)


def _below(address: Address) -> Address:
    return replace(address, scheme="memory", path="")


__all__ = [
    "KEY",
    "End",
    "MemoryWebSockets",
    "Stranger",
    "frame",
    "make_pair",
    "meet_stranger",
    "ping",
    "settle",
]
