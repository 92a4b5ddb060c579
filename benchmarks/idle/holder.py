"""`python -m benchmarks.idle.holder`: a process that holds ends of one kind while they idle.

How it works
------------
It prints a ready line with the address that it listens on, if it does, and then takes orders on a
unix socket, one JSON value a line, each with one answer:

- `{"grow": 100}`: open so many more;
- `{"count": true}`: say how many are held;
- `{"rest": true}`: collect garbage, and the same;
- `{"trace": true}`: with PYTHONTRACEMALLOC=1, what was allocated since the last such order and is
  still there, by source line.

It ends with SIGTERM, without ceremony: nothing here is worth an orderly end.
"""

from __future__ import annotations

import argparse
import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.idle.cases import Thing
from benchmarks.idle.ends import Ends, open_host
from benchmarks.idle.gauge import allow_descriptors
from benchmarks.idle.makers import open_maker
from tunnelkit.auth import load_private_key

__all__ = ["Desk", "main"]

MAX_ORDER_BYTES: Final = 4096
TRACED_LINES: Final = 30
ROOT: Final = Path(__file__).resolve().parents[2]


class Desk:
    """Carries out orders."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._before: tracemalloc.Snapshot | None = None

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the orders of one connection until it ends."""
        pending = b""
        async for chunk in stream:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                answer = await self.answer(json.loads(line))
                await stream.send_all(json.dumps(answer).encode() + b"\n")

    async def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order."""
        if "grow" in order:
            await self._ends.grow(int(order["grow"]))
        if "rest" in order:
            gc.collect()
        if "trace" in order:
            return {"places": self._trace()}
        return {"count": self._ends.count()}

    def _trace(self) -> dict[str, int]:
        """Return the bytes that were added since the last call, by source line."""
        if not tracemalloc.is_tracing():
            return {}
        gc.collect()
        now = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(False, tracemalloc.__file__)]
        )
        before, self._before = self._before, now
        if before is None:
            return {}
        found = now.compare_to(before, "lineno")[:TRACED_LINES]
        return {_place(entry.traceback[0]): entry.size_diff for entry in found}


def _place(frame: tracemalloc.Frame) -> str:
    """Return file and line, short where it is the project's own or a package's."""
    name = frame.filename.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
    return f"{name}:{frame.lineno}"


def main() -> None:
    """Read the command line, and hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle.holder")
    parser.add_argument("thing", type=Thing)
    parser.add_argument("--control", type=Path, required=True, help="unix socket to make")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--broker", action="store_true", help="the host is a broker")
    parser.add_argument("--dial", help="the host's address; without it this process is the host")
    options = parser.parse_args()
    allow_descriptors()
    trio.run(_run, options)


async def _run(options: argparse.Namespace) -> None:
    key = load_private_key(options.key)
    if options.dial:
        opened = open_maker(options.thing, options.dial, key)
    else:
        opened = open_host(options.thing, is_broker=options.broker, key=key)
    async with opened as ends:
        desk = Desk(ends)
        listener = trio.SocketListener(await _listen(options.control))
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, desk.serve, [listener])
            print(json.dumps({"event": "ready", "address": ends.address}), flush=True)


async def _listen(path: Path) -> trio.socket.SocketType:
    opened = trio.socket.socket(trio.socket.AF_UNIX)
    await opened.bind(str(path))
    opened.listen(1)
    return opened


if __name__ == "__main__":
    main()
