"""The listener: reads requests by h11, and answers GET and HEAD."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import h11
import trio

from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError, TunnelError

from .gather import metrics_of, process_metrics
from .metrics import CONTENT_TYPE, write_metrics

__all__ = ["Answer", "Monitor", "serve_monitor"]

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 16
"""Most connections at once.  Stops: callers that never close taking all descriptors."""

REQUEST_SECONDS: Final = 10.0
"""How long a request, its answer, or the time between two may take, seconds.  Stops: callers that
send, read or say nothing, and keep a place for it."""

Query = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told."""

    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Monitor:
    """What the listener asks of a program."""

    status: Callable[..., Awaitable[Any]]
    """As the method ``status`` of the admin socket."""
    why_not_ready: Callable[[], str]
    """Return why the program does not do its work now; "": it does."""
    explain: Callable[..., Awaitable[Any]] | None = None
    """As the method ``explain`` of the admin socket; None: there is nothing to explain."""
    is_local: bool = field(default=False)
    """Whether only this machine can reach the listener."""

    async def answer(self, target: str, host: str) -> Answer:
        """Return the answer to a request.

        Args:
            target: as it was sent, with the query.
            host: the value of its ``Host``.
        """
        try:
            parts = urlsplit(target)
        except ValueError:  # brackets that are no IPv6 address
            return Answer(400, "this is no target of a request\n")
        if parts.path == "/healthz":
            return Answer(200, "ok\n")
        if parts.path == "/readyz":
            why = self.why_not_ready()
            return Answer(503, f"{why}\n") if why else Answer(200, "ready\n")
        if parts.path == "/metrics":
            metrics = [*metrics_of(await self.status()), *process_metrics()]
            return Answer(200, write_metrics(metrics), CONTENT_TYPE)
        if parts.path == "/explain" and self.explain is not None:
            return await self._explained(parse_qs(parts.query, keep_blank_values=True), host)
        return Answer(404, "there are /healthz, /readyz, /metrics, and /explain of a sidecar\n")

    async def _explained(self, query: Query, host: str) -> Answer:
        if not (self.is_local and _is_loopback(host)):
            text = "/explain is served on loopback addresses only: use `tunnelkit.admin` there\n"
            return Answer(403, text)
        assert self.explain is not None  # as `answer` has seen
        unknown = sorted(set(query) - {"port", "method", "path", "header", "trace"})
        if unknown or "port" not in query:
            wrong = f"there is no {unknown[0]!r}" if unknown else "the port is missing"
            usage = "/explain?port=NAME[&method=GET][&path=/][&header=NAME:VALUE...][&trace=ID]"
            return Answer(400, f"{wrong}: ask {usage}\n")
        named = {name: query[name][-1] for name in ("method", "path", "trace") if name in query}
        pairs = (text.partition(":") for text in query.get("header", []))
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        try:
            found = await self.explain(query["port"][-1], headers=headers, **named)
        except TunnelError as error:
            return Answer(400, f"{error}\n")
        return Answer(200, json.dumps(found, indent=2) + "\n", "application/json")


def _is_loopback(host: str) -> bool:
    """Return whether a caller came by an address of this machine, and not by a name of others."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


async def serve_monitor(
    address: Address,
    monitor: Monitor,
    *,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on *address* until cancelled; reports the address with the real port.

    Raises:
        ConfigurationError: it cannot be listened on.
    Cancellation: atomic; connections are closed.
    """
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except (OSError, ValueError) as error:
        text = f"cannot listen on {address.host_port} to be monitored: {error}"
        raise ConfigurationError(text) from None
    port = listeners[0].socket.getsockname()[1]
    monitor.is_local = address.is_loopback
    places = trio.Semaphore(MAX_CONNECTIONS)

    async def talk(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                places.acquire_nowait()
            except trio.WouldBlock:
                return
            try:
                await _talk(stream, monitor)
            except (trio.BrokenResourceError, trio.TooSlowError, h11.RemoteProtocolError):
                pass  # the caller has gone, says nothing, or no HTTP
            except Exception:
                # A bug.  It costs this answer, and not the program that is looked at.
                _log.exception("unexpected error in an answer of the monitor")
            finally:
                places.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        task_status.started(Address("tcp", address.host, port))


async def _talk(stream: trio.SocketStream, monitor: Monitor) -> None:
    """Answer the requests of one connection."""
    connection = h11.Connection(h11.SERVER)
    while True:
        with trio.fail_after(REQUEST_SECONDS):
            request = await _next_request(stream, connection)
            if request is None:
                return
            answer = await _answer_to(request, monitor)
            await stream.send_all(_written(connection, request, answer))
        if connection.our_state is h11.MUST_CLOSE:
            return
        connection.start_next_cycle()


async def _answer_to(request: h11.Request, monitor: Monitor) -> Answer:
    if request.method not in (b"GET", b"HEAD"):
        return Answer(405, "only GET is answered here\n")
    host = dict(request.headers).get(b"host", b"")
    return await monitor.answer(request.target.decode("ascii"), host.decode("latin-1"))


async def _next_request(
    stream: trio.SocketStream, connection: h11.Connection
) -> h11.Request | None:
    """Return the next request, once all of it has come; None: there is none."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(16 * 1024))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif not isinstance(event, h11.Data):
            return None


def _written(connection: h11.Connection, request: h11.Request, answer: Answer) -> bytes:
    body = answer.body.encode()
    headers = [("Content-Type", answer.kind), ("Content-Length", str(len(body)))]
    headers += [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
    if answer.status == 405:
        headers.append(("Allow", "GET, HEAD"))
    data = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if request.method != b"HEAD":
        data += connection.send(h11.Data(data=body)) or b""
    return data + (connection.send(h11.EndOfMessage()) or b"")
