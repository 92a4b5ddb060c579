"""`python -m benchmarks.crowd`: one process with many endpoints, on either side of a broker.

How it works
------------
Each endpoint has a subject, a link to the broker and one session of its own, so that the broker
has to forward between as many pairs of links as there are sessions, while client and target stay
the same.

- `exit`: devboxes in one process, each of which leads to the same targets;
- `entry`: the endpoints that open the sessions, and one listener for each door.  A new connection
  goes to the session whose turn it is.

The process prints a ready line with the addresses of its listeners, once all sessions are open,
and ends with SIGTERM, without ceremony: nothing here is worth an orderly end.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.idle.ends import make_identity
from benchmarks.idle.gauge import allow_descriptors
from tunnelkit.addresses import Address, parse_address
from tunnelkit.auth import KeyRing, load_private_key
from tunnelkit.carriers import SYSTEM_NETWORK, Pipe
from tunnelkit.devbox import open_devbox
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import OpenRefused, SessionError
from tunnelkit.programs.running import COLLECT_AFTER_OBJECTS
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_stream

__all__ = ["main", "read_door", "spread"]

ANYWHERE: Final = Address("tcp", "127.0.0.1", 0)


def read_door(text: str) -> tuple[str, Address]:
    """Read ``NAME=HOST:PORT``."""
    name, _, address = text.partition("=")
    return name, parse_address(f"tcp://{address}")


def spread(sessions: Iterable[Session]) -> Callable[[str, Pipe], None]:
    """Return what sends a connection of a door to the session whose turn it is."""
    turns = cycle(sessions)

    def accept(door: str, pipe: Pipe) -> None:
        try:
            stream = next(turns).offer_stream(door)
        except (SessionError, OpenRefused):
            pipe.reset()  # the load generator counts it as an error
        else:
            splice_stream(PipeEnd(pipe), stream)

    return accept


async def run_exit(
    count: int, broker: str, key: Ed25519PrivateKey, doors: Mapping[str, Address]
) -> None:
    """Serve the targets behind *doors* by *count* devboxes.

    Cancellation: keeps nothing; this never returns.
    """
    ring = KeyRing([key.public_key()])
    async with AsyncExitStack() as stack:
        for number in range(count):
            identity = make_identity(f"exit-{number}", key, f"entry-{number}")
            opened = open_devbox(identity, ring, targets=doors, dial=[broker])
            await stack.enter_async_context(opened)
        print_ready({})
        await trio.sleep_forever()


async def run_entry(
    count: int, broker: str, key: Ed25519PrivateKey, doors: Mapping[str, Address]
) -> None:
    """Listen for each of *doors*, and spread the connections over *count* sessions.

    Raises:
        SessionError: a peer is not there.
    Cancellation: keeps nothing; this never returns.
    """
    ring = KeyRing([key.public_key()])
    async with AsyncExitStack() as stack:
        sessions: list[Session] = []

        async def enter(number: int) -> Endpoint:
            identity = make_identity(f"entry-{number}", key, f"exit-{number}")
            opened = open_endpoint(identity, ring, dial=[broker])
            return await stack.enter_async_context(opened)

        for number in range(count):
            endpoint = await enter(number)
            sessions.append(await endpoint.open_session(f"exit-{number}"))
        accept = spread(sessions)
        listeners: dict[str, str] = {}
        for name in doors:
            listener = await SYSTEM_NETWORK.listen(ANYWHERE, endpoint.pump, partial(accept, name))
            stack.callback(listener.close)
            listeners[name] = f"{listener.address.host}:{listener.address.port}"
        print_ready(listeners)
        await trio.sleep_forever()


def print_ready(listeners: Mapping[str, str]) -> None:
    """Say that everything is open; the collector looks as seldom as in the programs from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 50)
    print(json.dumps({"event": "ready", "listeners": dict(listeners)}), flush=True)


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd")
    parser.add_argument("side", choices=("entry", "exit"))
    parser.add_argument("--key", type=Path, required=True, help="signs and holds all tokens")
    parser.add_argument("--dial", required=True, help="the broker")
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--door", type=read_door, action="append", required=True)
    options = parser.parse_args()
    allow_descriptors()
    key = load_private_key(options.key)
    run = run_entry if options.side == "entry" else run_exit
    trio.run(run, options.sessions, options.dial, key, dict(options.door))


if __name__ == "__main__":
    main()
