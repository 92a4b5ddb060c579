"""A program that serves a clock on its stdin and stdout, and calls the one of whoever started it.

python -m tests.tunnelkit.rpc.child
"""

from __future__ import annotations

import os

import trio

from tests.tunnelkit.rpc.test_peer import Clock, RealClock
from tunnelkit.rpc import NotServed, Service, open_peer, open_stdio_channel


class Back(Service, name="back"):
    """Calls whoever calls it."""

    async def ask(self, count: int) -> int:
        """Call the clock of the other end so often, all at once; return how often it answered."""
        raise NotServed

    async def die(self) -> None:
        """End the program without a word."""
        raise NotServed


class RealBack(Back):
    clock: Clock

    async def ask(self, count: int) -> int:
        answers: list[str] = []

        async def call(number: int) -> None:
            answers.append((await self.clock.now(str(number))).zone)

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(call, number)
        return len(set(answers))

    async def die(self) -> None:
        os._exit(3)


async def main() -> None:
    """Serve until stdin ends."""
    back = RealBack()
    async with (
        open_stdio_channel() as channel,
        open_peer(channel, serve=[RealClock(), back]) as peer,
    ):
        print("this is no message")  # it goes to stderr
        back.clock = peer.proxy(Clock)
        await peer.wait_closed()


if __name__ == "__main__":
    trio.run(main)
