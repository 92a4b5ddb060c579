"""What a peer has to say: a queue in front of its channel, and the task that empties it.

Whoever answers puts messages on the queue and never waits; whoever can wait, waits for room first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from .channels import Channel
from .codes import PeerGone

__all__ = ["Sending"]

HIGH_BYTES: Final = 256 * 1024
"""With more than that waiting to be sent, who wants to send waits, bytes."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""With more than that the connection ends, bytes.  Stops: peers that send and never read."""


class Sending:
    """The messages that wait for a channel.

    Args:
        lost: told why nothing more can be sent.
    """

    def __init__(self, channel: Channel, lost: Callable[[str], None]) -> None:
        self.gone: PeerGone | None = None
        """Why nothing can be sent any more."""
        self.is_busy = False
        """Whether something waits, or is being sent."""
        self._channel = channel
        self._lost = lost
        self._queue: list[bytes] = []
        self._bytes = 0
        self._something = trio.Event()
        self._progress = trio.Event()
        channel.on_output = self.stir

    def put(self, message: bytes) -> None:
        """Queue a message; a no-op where the connection is gone."""
        if self.gone is not None:
            return
        self._queue.append(message)
        self._bytes += len(message)
        self.stir()
        if self._bytes > MOST_BYTES:
            self._lost("the peer sends and does not read")

    def stir(self) -> None:
        """There is something to send: the channel's own, perhaps."""
        self.is_busy = True
        self._something.set()

    def wake(self) -> None:
        """Let everybody who waits for progress look again."""
        self._progress.set()
        self._progress = trio.Event()

    def end(self, why: str) -> None:
        """Nothing can be sent any more."""
        self.gone = PeerGone(why)
        self.wake()

    async def wait_progress(self) -> None:
        """Wait until something was sent, a call that was served is over, or the connection is."""
        await self._progress.wait()

    async def wait_room(self) -> None:
        """Wait until little enough waits to be sent.

        Raises:
            PeerGone: the connection is gone.
        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self.gone is None and self._bytes > HIGH_BYTES:
            await self.wait_progress()
        if self.gone is not None:
            raise PeerGone(str(self.gone))

    async def flush(self) -> None:
        """Wait until nothing waits to be sent, or the connection is gone.

        Cancellation: atomic.
        """
        while self.is_busy and self.gone is None:
            await self.wait_progress()

    async def run(self) -> None:
        """Send until the connection is gone."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            messages, self._queue = self._queue, []
            self._bytes = 0
            self.wake()
            try:
                await self._channel.send(messages)
            except PeerGone as error:
                self._lost(str(error))
                return
            if not self._queue:
                self.is_busy = False
                self.wake()
