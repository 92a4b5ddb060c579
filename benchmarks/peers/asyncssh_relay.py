"""Local port forwarding by asyncssh, the counterpart of `ssh -L` and sshd in Python.

    python asyncssh_relay.py exit  LINK TARGET     the server, which dials the target
    python asyncssh_relay.py entry LISTEN LINK     the client, to which programs come

Each argument is an address HOST:PORT.  Prints "ready" when it accepts; SIGTERM ends it.

How it works
------------
asyncssh's own forwarders copy.  They are set up here, and not by `forward_local_port`, because that
takes neither a window nor a queue of more than 100 clients that wait to be accepted.  The server
asks for no login and has a key made for the run; nothing of the user's ssh is read.

What is set in its favour: the cipher is AES-128-GCM, which processors have instructions for;
no compression; windows of WINDOW_BYTES in both directions, where 2 MiB is the default.  asyncssh
sets TCP_NODELAY by itself.  What cannot be left out: the encryption, and new keys after each GiB.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import asyncssh
from asyncssh.forward import SSHForwarder, SSHLocalPortForwarder

WINDOW_BYTES = 16 * 1024 * 1024
"""How much one side may send on a channel before the other has passed it on."""

ALGORITHMS = {"encryption_algs": ["aes128-gcm@openssh.com"], "compression_algs": ["none"]}


class Server(asyncssh.SSHServer):  # type: ignore[misc]  # what is not typed for mypy is Any
    """Lets everybody in, and leads every forward to the one target."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._connection: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection, which makes the channels."""
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Ask for no login."""
        return False

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> tuple[asyncssh.SSHTCPChannel, Coroutine[Any, Any, SSHForwarder]]:
        """Forward to the target, whatever was asked for, with our window."""
        channel = self._connection.create_tcp_channel(window=WINDOW_BYTES)
        return channel, self._connection.forward_connection(*self._target)


async def serve_exit(link: tuple[str, int], target: tuple[str, int]) -> None:
    """Serve links until the process is ended."""
    server = await asyncssh.listen(
        *link,
        server_factory=lambda: Server(*target),
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        **ALGORITHMS,
    )
    print("ready", flush=True)
    await server.wait_closed()


async def serve_entry(listen: tuple[str, int], link: tuple[str, int]) -> None:
    """Serve clients until the process or the link is ended."""
    connection = await asyncssh.connect(
        *link,
        config=None,
        known_hosts=None,
        client_keys=None,
        agent_path=None,
        username="benchmark",
        **ALGORITHMS,
    )

    async def open_channel(factory: object, host: str, port: int) -> object:
        # The target that is asked for is not looked at: the server has one of its own.
        return await connection.create_connection(
            factory, "target", 0, host, port, window=WINDOW_BYTES
        )

    def forwarder() -> asyncio.Protocol:
        made: asyncio.Protocol = SSHLocalPortForwarder(connection, open_channel)
        return made

    loop = asyncio.get_running_loop()
    async with await loop.create_server(forwarder, *listen, backlog=4096):
        print("ready", flush=True)
        await connection.wait_closed()
    sys.exit("the link has ended")


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    role, own, other = sys.argv[1:]
    serve = {"exit": serve_exit, "entry": serve_entry}[role]
    asyncio.run(serve(split(own), split(other)))
