"""A plain TCP relay over snitun's multiplexer, which carries the tunnels of Home Assistant.

    python snitun_relay.py exit  LINK TARGET     accepts links, dials the target for each channel
    python snitun_relay.py entry LISTEN LINK     accepts clients, opens one channel for each

Each argument is an address HOST:PORT.  Prints "ready" when it accepts; SIGTERM ends it.

How it works
------------
snitun's own two ends read the name of the host out of TLS and take nothing else.  What carries the
bytes between them, `Multiplexer` and its channels, does not look at them: both programs use it as
its two ends do, and leave out the part that reads TLS.

What is set in its favour: CHUNK_BYTES at a time, where its own ends read 4 KiB; two tasks for
each connection, where its own ends make two for each message; no throttling; no challenge
before the first message.  asyncio sets TCP_NODELAY by itself.

What cannot be set: the header of each message is encrypted by AES-256-CBC (the payload is not),
which is part of the protocol.  A channel has no half-close: the end of one direction ends both.  It
has no window either: what a side cannot pass on waits in a queue of 8,000 messages, and a channel
whose queue is full is closed.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address

from snitun.exceptions import MultiplexerTransportClose, MultiplexerTransportError
from snitun.multiplexer.channel import MultiplexerChannel
from snitun.multiplexer.core import Multiplexer
from snitun.multiplexer.crypto import CryptoTransport

CHUNK_BYTES = 16 * 1024
"""How much is read at a time, and so the most that a message holds.

A gigabyte costs half the processor time that it costs with 4 KiB.  More is no gain: with 64 KiB
the queues fill 800 MB of each process.
"""

PING_SECONDS = 50
"""How long the link may be quiet: the multiplexer gives up after 90 s without a message."""

KEY, VECTOR = bytes(range(32)), bytes(16)
"""Known to everybody: encrypting costs as much under a key that is a secret."""


async def send(reader: asyncio.StreamReader, channel: MultiplexerChannel) -> None:
    """Copy from a connection to its channel until the connection ends."""
    while data := await reader.read(CHUNK_BYTES):
        await channel.write(data)


async def receive(channel: MultiplexerChannel, writer: asyncio.StreamWriter) -> None:
    """Copy from a channel to its connection until the other side closes the channel."""
    while True:
        writer.write(await channel.read())
        await writer.drain()


async def relay(
    multiplexer: Multiplexer,
    channel: MultiplexerChannel,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Join a connection to its channel; the first direction that ends, ends both."""
    copies = [
        asyncio.ensure_future(send(reader, channel)),
        asyncio.ensure_future(receive(channel, writer)),
    ]
    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    for copy in copies:
        copy.cancel()
    await asyncio.gather(*copies, return_exceptions=True)
    writer.close()
    if not channel.closing:
        with suppress(MultiplexerTransportError):
            await multiplexer.delete_channel(channel)


async def accept_channel(
    host: str, port: int, multiplexer: Multiplexer, channel: MultiplexerChannel
) -> None:
    """Dial the target for a channel that the entry opened."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        await multiplexer.delete_channel(channel)
        return
    await relay(multiplexer, channel, reader, writer)


async def accept_client(
    multiplexer: Multiplexer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Open a channel for a client."""
    try:
        channel = await multiplexer.create_channel(IPv4Address("127.0.0.1"))
    except (MultiplexerTransportClose, MultiplexerTransportError):
        writer.close()
        return
    await relay(multiplexer, channel, reader, writer)


async def serve_exit(link: tuple[str, int], target: tuple[str, int]) -> None:
    """Serve links until the process is ended."""

    async def accept_link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        crypto = CryptoTransport(KEY, VECTOR)
        made = Multiplexer(crypto, reader, writer, new_connections=partial(accept_channel, *target))
        await made.wait()

    server = await asyncio.start_server(accept_link, *link)
    print("ready", flush=True)
    await server.serve_forever()


async def serve_entry(listen: tuple[str, int], link: tuple[str, int]) -> None:
    """Serve clients until the process or the link is ended."""
    reader, writer = await asyncio.open_connection(*link)
    multiplexer = Multiplexer(CryptoTransport(KEY, VECTOR), reader, writer)
    handler = partial(accept_client, multiplexer)
    async with await asyncio.start_server(handler, *listen, backlog=4096):
        print("ready", flush=True)
        while True:
            ended, _ = await asyncio.wait([multiplexer.wait()], timeout=PING_SECONDS)
            if ended:
                sys.exit("the link has ended")
            await multiplexer.ping()


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    role, own, other = sys.argv[1:]
    serve = {"exit": serve_exit, "entry": serve_entry}[role]
    asyncio.run(serve(split(own), split(other)))
