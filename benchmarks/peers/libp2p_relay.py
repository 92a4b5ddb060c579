"""A plain TCP relay over the yamux of py-libp2p, which runs on Trio as this project does.

    python libp2p_relay.py exit  LINK TARGET     accepts links, dials the target for each stream
    python libp2p_relay.py entry LISTEN LINK     accepts clients, opens one stream for each

Each argument is an address HOST:PORT.  Prints "ready" when it accepts; SIGTERM ends it.

How it works
------------
The layers of a libp2p connection are put together by hand: TCP, the plaintext handshake, yamux.

What is set in its favour: the handshake is /plaintext/2.0.0, so that nothing is encrypted; a
stream carries the bytes of a client from its first byte on, where a libp2p host first negotiates
a protocol on each; STREAMS may be open at a time, where 256 is fixed otherwise and the 257th client
waits for another to leave.  Trio sets TCP_NODELAY by itself.

What cannot be set: windows start at 256 KiB (they grow to 16 MiB by themselves); frames hold
64 KiB at most; a sender without credit looks every 10 ms whether it has some, and gives up after
5 s; every frame formats texts for a log that nobody writes.
"""

from __future__ import annotations

import sys
from functools import partial

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.insecure.transport import InsecureTransport
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

CHUNK_BYTES = 64 * 1024
"""How much is read at a time. A read without a limit never returns while bytes keep arriving."""

STREAMS = 1 << 20
"""How many streams the entry may have open."""

ENTRY_KEYS, EXIT_KEYS = (create_new_key_pair(bytes([seed] * 32)) for seed in (1, 2))
"""Known to everybody: a dialler must name whom it dials, and nothing is encrypted by them."""


async def send(client: trio.SocketStream, stream: YamuxStream) -> None:
    """Copy from a connection to its stream, and pass the end on."""
    async for chunk in client:
        await stream.write(chunk)
    await stream.close()


async def receive(stream: YamuxStream, client: trio.SocketStream) -> None:
    """Copy from a stream to its connection, and pass the end on."""
    while True:
        try:
            chunk = await stream.read(CHUNK_BYTES)
        except MuxedStreamEOF:
            break
        await client.send_all(chunk)
    await client.send_eof()


async def relay(client: trio.SocketStream, stream: YamuxStream) -> None:
    """Join a connection to its stream; one that breaks ends both."""
    try:
        async with client, trio.open_nursery() as nursery:
            nursery.start_soon(send, client, stream)
            nursery.start_soon(receive, stream, client)
    except* (OSError, trio.BrokenResourceError, MuxedStreamError):
        await stream.reset()


async def accept_stream(host: str, port: int, stream: YamuxStream) -> None:
    """Dial the target for a stream that the entry opened."""
    try:
        client = await trio.open_tcp_stream(host, port)
    except OSError:
        await stream.reset()
        return
    await relay(client, stream)


async def accept_link(host: str, port: int, carrier: trio.SocketStream) -> None:
    """Serve the streams of one link until it ends."""
    raw = RawConnection(TrioTCPStream(carrier), initiator=False)
    secured = await InsecureTransport(EXIT_KEYS).secure_inbound(raw)
    link = Yamux(secured, secured.get_remote_peer(), is_initiator=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.start)
        while True:
            nursery.start_soon(accept_stream, host, port, await link.accept_stream())


async def serve_exit(link: tuple[str, int], target: tuple[str, int]) -> None:
    """Serve links until the process is ended."""
    host, port = link
    async with trio.open_nursery() as nursery:
        handler = partial(accept_link, *target)
        await nursery.start(partial(trio.serve_tcp, handler, port, host=host))
        print("ready", flush=True)


async def serve_entry(listen: tuple[str, int], link: tuple[str, int]) -> None:
    """Serve clients until the process or the link is ended."""
    host, port = listen
    raw = RawConnection(TrioTCPStream(await trio.open_tcp_stream(*link)), initiator=True)
    exit_id = ID.from_pubkey(EXIT_KEYS.public_key)
    secured = await InsecureTransport(ENTRY_KEYS).secure_outbound(raw, exit_id)
    made = Yamux(secured, exit_id, is_initiator=True)
    made.stream_backlog_semaphore = trio.Semaphore(STREAMS)

    async def accept_client(client: trio.SocketStream) -> None:
        await relay(client, await made.open_stream())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.start)
        await made.event_started.wait()
        await nursery.start(partial(trio.serve_tcp, accept_client, port, host=host))
        print("ready", flush=True)
        await made.event_closed.wait()
        nursery.cancel_scope.cancel()
    sys.exit("the link has ended")


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    role, own, other = sys.argv[1:]
    serve = {"exit": serve_exit, "entry": serve_entry}[role]
    trio.run(serve, split(own), split(other))
