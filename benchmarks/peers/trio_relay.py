"""A plain TCP relay in Trio: what the runtime itself can do, with nothing of this project in it.

    python trio_relay.py LISTEN=TARGET...     each an address HOST:PORT

One process; for each client one connection to the target and two tasks that copy, 64 KiB at a
time.  Trio sets TCP_NODELAY by itself.  Prints "ready" when it accepts; SIGTERM ends it.
"""

from __future__ import annotations

import sys
from functools import partial

import trio


async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    """Copy one direction to its end, and pass the end on."""
    async for chunk in source:
        await sink.send_all(chunk)
    await sink.send_eof()


async def relay(host: str, port: int, client: trio.SocketStream) -> None:
    """Join one client to the target; a connection that breaks ends both."""
    try:
        async with await trio.open_tcp_stream(host, port) as target:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, client, target)
                nursery.start_soon(copy, target, client)
    except* (OSError, trio.BrokenResourceError):
        pass


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


async def main(pairs: list[str]) -> None:
    """Serve all pairs until the process is ended."""
    async with trio.open_nursery() as nursery:
        for pair in pairs:
            listen, _, target = pair.partition("=")
            host, port = split(listen)
            handler = partial(relay, *split(target))
            await nursery.start(partial(trio.serve_tcp, handler, port, host=host))
        print("ready", flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
