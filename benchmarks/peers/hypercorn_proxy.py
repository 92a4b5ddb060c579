"""A reverse proxy as one writes it in Python: hypercorn accepts, httpx2 asks the target.

    python hypercorn_proxy.py LISTEN TARGET

Each argument is an address HOST:PORT.  SIGTERM ends it.

It runs on asyncio, which is hypercorn's default, and imports nothing of this project.  Headers go
on in both directions but for those that are about one connection; bodies go on as they come.

What is set in its favour: no access log, no limit on the connections to the target, which are used
again, no timeouts, and one client for all requests.  It has no rule: it looks at no header.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
from hypercorn.asyncio import serve
from hypercorn.config import Config

Message = dict[str, Any]  # of ASGI, which has no narrower type
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OF_ONE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""Headers that are not passed on (RFC 9110 section 7.6.1)."""


class Proxy:
    """The application in hypercorn."""

    def __init__(self, target: str) -> None:
        self._target = target
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx2.AsyncClient(limits=limits, timeout=None)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
            return
        request = self._client.build_request(
            scope["method"],
            f"http://{self._target}{scope['raw_path'].decode()}",
            headers=passed_on(scope["headers"]),
            content=body_of(receive) if has_body(scope["headers"]) else None,
        )
        response = await self._client.send(request, stream=True)
        try:
            headers = passed_on(response.headers.raw)
            start = {"type": "http.response.start", "status": response.status_code}
            await send({**start, "headers": headers})
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()


def passed_on(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that the other side is told."""
    return [pair for pair in headers if pair[0].lower() not in OF_ONE_CONNECTION]


def has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request has a body."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


async def body_of(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the body of a request as it comes."""
    has_more = True
    while has_more:
        message = await receive()
        yield message.get("body", b"")
        has_more = message.get("more_body", False)


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Say that the application is ready, and later that it has ended."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def main(listen: str, target: str) -> None:
    """Serve until the process is told to end."""
    settings = Config()
    settings.bind = [listen]
    settings.loglevel = "WARNING"
    settings.backlog = 4096
    settings.keep_alive_timeout = 3600
    settings.keep_alive_max_requests = sys.maxsize
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await serve(Proxy(target), settings, shutdown_trigger=ended.wait)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
