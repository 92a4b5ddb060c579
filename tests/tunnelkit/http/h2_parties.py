"""Clients and servers of HTTP/2 by the machine of `h2`, beside a proxy, between ends made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, StreamEnded
from h2.settings import SettingCodes

from tests.tunnelkit.http.test_proxy import Side
from tunnelkit.http.answers import Reply, plain_reply
from tunnelkit.http.h2_proxy import H2Proxy
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import NO_LIMITS, Limits, Reached, Route

__all__ = ["Party", "World2", "fields"]

Pairs = list[tuple[str, str]]


def fields(path: str = "/a", method: str = "GET", **more: str) -> Pairs:
    """Return the head of a request."""
    head = [(":method", method), (":scheme", "http"), (":authority", "shop"), (":path", path)]
    return [*head, *((name.replace("_", "-"), value) for name, value in more.items())]


class Party:
    """One side of a connection of HTTP/2."""

    def __init__(self, *, is_client: bool, settings: dict[Any, int] | None = None) -> None:
        self.side = Side()
        self.machine = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        self.machine.initiate_connection()
        self.machine.update_settings(settings or {})
        self.takes_data = True

    def push(self) -> None:
        """Send what the machine wants to be sent."""
        self.side.push(self.machine.data_to_send())

    def ask(self, head: Pairs, *, ends: bool = True) -> int:
        """Begin a request; return its stream."""
        stream_id = self.machine.get_next_available_stream_id()
        self.machine.send_headers(stream_id, head, end_stream=ends)
        self.push()
        return stream_id

    def answer(self, stream_id: int, body: bytes | None = None, status: str = "200") -> None:
        """Send a head, and a body behind it if there is one."""
        self.machine.send_headers(stream_id, [(":status", status)])
        if body is not None:
            self.machine.send_data(stream_id, body, end_stream=True)
        self.push()

    def read(self) -> list[Event]:
        """Return what has happened since the last time."""
        events = self.machine.receive_data(self.side.read())
        for event in events:
            if isinstance(event, DataReceived) and self.takes_data:
                self.machine.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id or 0
                )
        self.push()
        return list(events)

    def read_body(self, stream_id: int) -> tuple[bytes, bool]:
        """Return the bytes of a stream, and whether it has ended."""
        body, ended = b"", False
        while self.side.got:
            for event in self.read():
                if getattr(event, "stream_id", None) == stream_id:
                    body += event.data or b"" if isinstance(event, DataReceived) else b""
                    ended |= isinstance(event, StreamEnded)
        return body, ended

    def seen(self, kind: type[Event]) -> Any:
        """Read, and return the first event of a kind."""
        return next(event for event in self.read() if isinstance(event, kind))


@dataclass
class World2:
    """An owner, a client, and the servers that were connected to, by the first part of a path."""

    client: Party = field(default_factory=lambda: Party(is_client=True))
    servers: dict[bytes, Party] = field(default_factory=dict)
    settings: dict[SettingCodes, int] = field(default_factory=dict)
    is_slow: bool = False
    late: list[tuple[Reached, Party]] = field(default_factory=list)
    refuse_with: int = 0
    over: int = 0
    limits: Limits = NO_LIMITS
    connects: int = 0
    time: float = 0.0
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.proxy = H2Proxy(self)
        self.proxy.join(self.client.side)
        self.client.side.into = self.proxy
        self.client.push()
        self.client.read()

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        found(Route(head.target.split(b"/")[1]))

    def reply(self, head: RequestHead | None, route: Route, status: int, why: str) -> Reply:
        return plain_reply(head, status, why)

    def connect(self, route: Route, back: Reached) -> None:
        self.connects += 1
        if self.refuse_with:
            back.failed(self.refuse_with, "nobody is there")
            return
        assert isinstance(route.key, bytes)
        server = self.servers[route.key] = Party(is_client=False, settings=self.settings)
        server.side.into = back
        if self.is_slow:
            self.late.append((back, server))
        else:
            self.attach(back, server)

    def attach(self, back: Reached, server: Party) -> None:
        """The connection to a server is there."""
        back.attached(server.side)
        server.push()

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        timer = (seconds, expired)
        self.timers.append(timer)
        return lambda: self.timers.remove(timer) if timer in self.timers else None

    def expire(self) -> float:
        """Let the only timer expire; return its seconds."""
        ((seconds, expired),) = self.timers
        self.timers.clear()
        expired()
        return seconds

    def now(self) -> float:
        return self.time

    def proxy_over(self) -> None:
        self.over += 1
