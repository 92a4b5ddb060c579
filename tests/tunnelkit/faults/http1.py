"""Parties of HTTP/1.1 by h11, on wires."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import h11
import trio

from tests.tunnelkit.faults.wires import Service, Wire

__all__ = ["Answer", "HttpClient", "fields_of", "serve_http"]


async def serve_http(service: Service, wire: Wire, tell: Callable[[h11.Request, int], str]) -> None:
    """Answer requests with what *tell* says of each, and of how many bytes its body had."""
    connection = h11.Connection(h11.SERVER)
    size, request = 0, None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await service.receive(wire))
        elif isinstance(event, h11.Request):
            size, request = 0, event
        elif isinstance(event, h11.Data):
            size += len(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            body = tell(request, size).encode()
            head = h11.Response(status_code=200, headers=[("Content-Length", str(len(body)))])
            data = connection.send(head) or b""
            data += connection.send(h11.Data(data=body)) or b""
            await wire.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
            if connection.our_state is h11.MUST_CLOSE:
                return
            connection.start_next_cycle()
        else:
            return


@dataclass
class Answer:
    """What a client got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


class HttpClient:
    """One connection of a client."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._connection = h11.Connection(h11.CLIENT)

    async def send(
        self, method: str, target: str, fields: list[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """Send a request, and return its answer.

        Raises:
            EndOfChannel: the connection ended before it.
        """
        if self._connection.our_state is h11.DONE:
            self._connection.start_next_cycle()
        data = self._connection.send(h11.Request(method=method, target=target, headers=fields))
        data = (data or b"") + (self._connection.send(h11.Data(data=body)) or b"" if body else b"")
        await self.wire.send_all(data + (self._connection.send(h11.EndOfMessage()) or b""))
        answer = Answer()
        while not isinstance(event := self._connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self.wire.receive_some())
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                answer.body += event.data.decode()
            elif isinstance(event, h11.ConnectionClosed):
                raise trio.EndOfChannel
        return answer


def fields_of(headers: dict[str, str]) -> list[tuple[str, str]]:
    """Return fields whose names are those of keyword arguments."""
    return [(name.replace("_", "-"), value) for name, value in headers.items()]
