"""Messages of a WebSocket (RFC 6455), client and server, on any Trio stream.

A message is a text message, and a piece of a payload a binary one.

The protocol is that of the `websockets` library, without its I/O, whose mask is in C.  What it
wants to send by itself (pongs, the answer to a close) is left for the task that writes: the one
that reads never waits for it.  Nothing is compressed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from tunnelkit.errors import ConfigurationError

from .channels import MAX_MESSAGE_BYTES, Channel
from .codes import PeerGone, RpcCode, RpcError
from .payload import Binary

if TYPE_CHECKING:
    from websockets.client import ClientProtocol
    from websockets.http11 import Request
    from websockets.server import ServerProtocol
    from websockets.typing import Subprotocol

__all__ = ["SUBPROTOCOL", "WebSocketChannel", "accept_websocket", "open_websocket"]

SUBPROTOCOL: Final = "tunnelkit.rpc.v1"
"""Named in the handshake by those who know what goes beyond JSON-RPC; others need not."""

HANDSHAKE_SECONDS: Final = 10.0
"""How long the whole handshake may take, seconds.  Stops: peers that begin one and wait."""

CLOSE_SECONDS: Final = 2.0
"""How long the peer may take to answer a close, seconds."""

MAX_UNSENT: Final = 20_000
"""Most answers to pings that wait to be sent.  Stops: pings of peers that never read."""

_READ_BYTES: Final = 64 * 1024

Check = Callable[["Request"], str | None]
"""Looks at a request; returns why it is refused, or None."""


async def open_websocket(
    stream: trio.abc.Stream,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> WebSocketChannel:
    """Ask for a WebSocket on *stream*, which is owned by the channel that is returned.

    Args:
        url: ``ws://HOST[:PORT]/PATH`` (or ``wss://``, where the stream is in TLS already).
        headers: sent beside those of the handshake, such as `Authorization`.

    Raises:
        ConfigurationError: the URL is none of a WebSocket.
        PeerGone: the server refused, the answer is no handshake, or took too long.
    Cancellation: the stream is closed.
    """
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidURI
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri

    try:
        uri = parse_uri(url)
    except (InvalidURI, ValueError) as error:
        await trio.aclose_forcefully(stream)
        why = error.msg if isinstance(error, InvalidURI) else str(error)
        text = f"no URL of a WebSocket ({why}): write ws://HOST[:PORT]/PATH, or wss://"
        raise ConfigurationError(text) from None
    async with _closing_on_error(stream):
        protocol = ClientProtocol(
            uri, subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=max_message_bytes
        )
        request = protocol.connect()
        for name, value in (headers or {}).items():
            request.headers[name] = value
        protocol.send_request(request)
        channel = WebSocketChannel(stream, protocol)
        await channel.shake_hands()
        if protocol.handshake_exc is not None:
            place = f"{uri.host}:{uri.port}{uri.path}"  # without names and tokens in it
            raise PeerGone(f"{place} is no WebSocket for us: {protocol.handshake_exc}")
    return channel


async def accept_websocket(
    stream: trio.abc.Stream,
    check: Check | None = None,
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> WebSocketChannel:
    """Answer a client's handshake on *stream*, which is owned by the channel that is returned.

    Args:
        check: looks at the request (path, headers), and may refuse it with a reason.

    Raises:
        PeerGone: it was no handshake, it was refused, or it took too long.
        Exception: whatever *check* raises.
    Cancellation: the stream is closed.
    """
    from http import HTTPStatus

    from websockets.server import ServerProtocol
    from websockets.typing import Subprotocol

    protocol = ServerProtocol(
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        select_subprotocol=lambda _, offered: _common(offered),
        max_size=max_message_bytes,
    )
    async with _closing_on_error(stream):
        channel = WebSocketChannel(stream, protocol)
        request = await channel.shake_hands()
        why = check(request) if check is not None and request is not None else None
        if request is not None:
            refused = protocol.reject(HTTPStatus.FORBIDDEN, f"{why}\n") if why is not None else None
            protocol.send_response(refused or protocol.accept(request))
            await channel.send([])
        if why is not None or protocol.handshake_exc is not None or request is None:
            raise PeerGone(why or f"no WebSocket for the client: {protocol.handshake_exc}")
    channel.is_greeted = protocol.subprotocol == SUBPROTOCOL
    return channel


@asynccontextmanager
async def _closing_on_error(stream: trio.abc.Stream) -> AsyncGenerator[None]:
    """Close *stream* where the block fails, whatever the reason."""
    try:
        yield
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


def _common(offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((one for one in offered if one == SUBPROTOCOL), None)


class WebSocketChannel(Channel):
    """Messages of a WebSocket; made by `open_websocket` and `accept_websocket`."""

    def __init__(self, stream: trio.abc.Stream, protocol: ClientProtocol | ServerProtocol) -> None:
        self.carries_binary = True
        self.is_greeted = False
        self.streams = None
        self._stream = stream
        self._protocol = protocol
        self._is_binary = False
        self._parts: list[bytes] = []
        self._messages: deque[bytes] = deque()
        self.on_output: Callable[[], None] = lambda: None

    async def shake_hands(self) -> Request | None:
        """Send this side's part of the handshake and wait for the other's; return a request."""
        from websockets.http11 import Request

        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                await self._flush()
                while not (events := self._protocol.events_received()):
                    data = await self._stream.receive_some(_READ_BYTES)
                    if data:
                        self._protocol.receive_data(bytes(data))
                    else:
                        self._protocol.receive_eof()
                    if not data or self._protocol.handshake_exc is not None:
                        return None
        except trio.TooSlowError as error:
            raise PeerGone("no WebSocket: the handshake took too long") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise PeerGone(f"no WebSocket: {error}") from error
        self.is_greeted = self._protocol.subprotocol == SUBPROTOCOL
        first, *rest = events
        self._take(rest)
        return first if isinstance(first, Request) else None

    async def send(self, messages: Sequence[bytes]) -> None:
        from websockets.exceptions import InvalidState

        try:
            for message in messages:
                if isinstance(message, Binary):
                    self._protocol.send_binary(message)
                else:
                    self._protocol.send_text(message)
        except InvalidState as error:
            await self._flush()  # its last words
            raise PeerGone("the WebSocket was closed") from error
        await self._flush()

    async def _flush(self) -> None:
        """Send what the protocol wants to be sent; an empty piece ends this side."""
        pieces = self._protocol.data_to_send()
        data = b"".join(pieces)
        try:
            if data:
                await self._stream.send_all(data)
            if pieces and not pieces[-1] and hasattr(self._stream, "send_eof"):
                await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise PeerGone("the connection is gone") from error

    async def receive(self) -> bytes | None:
        from websockets.exceptions import PayloadTooBig

        while not self._messages:
            if (wrong := self._protocol.parser_exc) is not None:
                is_large = isinstance(wrong, PayloadTooBig)
                code = RpcCode.TOO_LARGE if is_large else RpcCode.INVALID_REQUEST
                raise RpcError(code, f"the WebSocket ended: {wrong}")
            if self._protocol.close_rcvd is not None:
                return None
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise PeerGone("the connection is gone") from error
            if not data:
                raise PeerGone("the connection was cut: the WebSocket was not closed")
            self._protocol.receive_data(bytes(data))
            self._take(self._protocol.events_received())
            if len(self._protocol.writes) > MAX_UNSENT:
                raise PeerGone("the peer sends pings and does not read the answers")
            self.on_output()
        return self._messages.popleft()

    def _take(self, events: Sequence[object]) -> None:
        """Join the frames of messages; of control frames the protocol takes care."""
        from websockets.frames import Frame, Opcode

        for event in events:
            if isinstance(event, Frame) and event.opcode in (
                Opcode.TEXT,
                Opcode.BINARY,
                Opcode.CONT,
            ):
                if event.opcode is not Opcode.CONT:
                    self._is_binary = event.opcode is Opcode.BINARY
                if event.data:
                    self._parts.append(bytes(event.data))
                if event.fin:
                    message = b"".join(self._parts)
                    self._messages.append(Binary(message) if self._is_binary else message)
                    self._parts.clear()

    async def aclose(self) -> None:
        from websockets.exceptions import InvalidState

        try:
            with trio.move_on_after(CLOSE_SECONDS):
                self._protocol.send_close(1000)
                await self._flush()
                while self._protocol.close_rcvd is None:
                    data = await self._stream.receive_some(_READ_BYTES)
                    if not data:
                        break
                    self._protocol.receive_data(bytes(data))
        except (InvalidState, PeerGone, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is over anyway
        finally:
            await trio.aclose_forcefully(self._stream)
