"""A small HTTP CONNECT proxy, so that the demo needs nothing but Python.

It is for the demo and for nothing else: it listens on this machine only, leads to ports of this
machine only, and has no limit on how many may use it.  The login, USER:PASSWORD, comes in the
variable DEMO_PROXY_LOGIN, because every user of a machine can read command lines.

A tunnel is two tasks, each of which copies one direction to its end.  Each tunnel is a line of the
log on stderr; SIGTERM ends all of them, and prints what there was as a last line of JSON.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hmac
import json
import os
import signal
import sys

import trio

HOST = "127.0.0.1"
LOGIN_VARIABLE = "DEMO_PROXY_LOGIN"

MAX_HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
COPY_BYTES = 256 * 1024

_END = b"\r\n\r\n"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Refused(Exception):
    """A client does not get its tunnel; the text is the status line of the answer."""


class Proxy:
    """What the tunnels of one process share.

    Args:
        login: USER:PASSWORD.
    """

    def __init__(self, login: str) -> None:
        self.tunnels = self.refused = self.bytes = 0
        self._expected = b"basic " + base64.b64encode(login.encode())

    async def serve(self, client: trio.SocketStream) -> None:
        """Serve one connection: one tunnel, or one refusal."""
        async with client:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                try:
                    with trio.fail_after(HEAD_SECONDS):
                        server, rest = await self._connect(client)
                except (Refused, trio.TooSlowError) as error:
                    self.refused += 1
                    await client.send_all(_refusal(str(error) or "408 Request Timeout"))
                    return
                async with server:
                    await client.send_all(_ESTABLISHED)
                    await server.send_all(rest)
                    await self._relay(client, server)

    async def _connect(self, client: trio.SocketStream) -> tuple[trio.SocketStream, bytes]:
        """Return a connection to where the client wants to go, and what it sent already.

        Raises:
            Refused: it may not, or nobody answers there.
        """
        request, headers, rest = await _read_head(client)
        method, _, target = request.partition(b" ")
        host, _, port = target.partition(b" ")[0].decode("ascii", "replace").rpartition(":")
        if method != b"CONNECT":
            raise Refused("405 Method Not Allowed")
        given = headers.get(b"proxy-authorization", b"")
        kind, _, login = given.partition(b" ")
        if not hmac.compare_digest(kind.lower() + b" " + login.strip(), self._expected):
            raise Refused("407 Proxy Authentication Required")
        if host != HOST or not (port.isascii() and port.isdigit()):
            raise Refused("403 Forbidden")
        try:
            server = await trio.open_tcp_stream(HOST, int(port))
        except (OSError, OverflowError):
            raise Refused("502 Bad Gateway") from None
        self.tunnels += 1
        print(f"tunnel {self.tunnels} to {HOST}:{port}", file=sys.stderr, flush=True)
        return server, rest

    async def _relay(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:

            async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                try:
                    while data := await source.receive_some(COPY_BYTES):
                        self.bytes += len(data)
                        await sink.send_all(data)
                    await sink.send_eof()
                except trio.BrokenResourceError:
                    nursery.cancel_scope.cancel()  # one side is gone: so is the tunnel

            nursery.start_soon(copy, client, server)
            nursery.start_soon(copy, server, client)


async def _read_head(client: trio.SocketStream) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return the request line, the headers, and what came behind them."""
    data = b""
    while _END not in data:
        more = await client.receive_some(MAX_HEAD_BYTES)
        data += more
        if not more or len(data) > MAX_HEAD_BYTES:
            raise Refused("400 Bad Request")
    head, _, rest = data.partition(_END)
    request, *lines = head.split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    return request, {name.strip().lower(): value.strip() for name, _, value in pairs}, rest


def _refusal(status: str) -> bytes:
    wanted = 'Proxy-Authenticate: Basic realm="demo"\r\n' if status.startswith("407") else ""
    text = f"HTTP/1.1 {status}\r\n{wanted}Content-Length: 0\r\nConnection: close\r\n\r\n"
    return text.encode()


async def run(proxy: Proxy, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        listeners = await trio.open_tcp_listeners(port, host=HOST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, proxy.serve, listeners)
            door = f"{HOST}:{listeners[0].socket.getsockname()[1]}"
            ready = {"event": "ready", "program": "connect_proxy", "pid": os.getpid()}
            print(json.dumps({**ready, "listeners": {"http": door}}), flush=True)
            await signals.__anext__()
            nursery.cancel_scope.cancel()
    counts = {name: getattr(proxy, name) for name in ("tunnels", "refused", "bytes")}
    print(json.dumps({"event": "stopped", **counts}), flush=True)


def main() -> None:
    """Run the proxy."""
    parser = argparse.ArgumentParser(description="A CONNECT proxy, for the demo alone.")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses")
    options = parser.parse_args()
    if ":" not in os.environ.get(LOGIN_VARIABLE, ""):
        parser.error(f"set {LOGIN_VARIABLE} to USER:PASSWORD")
    trio.run(run, Proxy(os.environ[LOGIN_VARIABLE]), options.port)


if __name__ == "__main__":
    main()
