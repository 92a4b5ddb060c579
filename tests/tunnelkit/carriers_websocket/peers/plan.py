"""What a foreign WebSocket program does in a test, whichever library it is made with.

A peer is started as ``PROGRAM ROLE SCENARIO FILE [URL]`` and prints JSON, a line each: as a server
first ``{"port": N}``, and at the end a report.  Scenarios:

- ``bulk``: send the whole file while reading as much, then wait for the close.
- ``flood``: send the file again and again until the other side closes.
- ``leave``: send LEAVE_BYTES of it and read READ_BYTES, then close with 1001, between two messages.
- ``inside``: the same, but with a message begun that never ends, and 1000.

Messages and fragments are of random size, with pings between the fragments.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any, Final

SUBPROTOCOL: Final = "tunnelkit.v1"
LEAVE_BYTES: Final = 3_000_000
READ_BYTES: Final = 1_000_000
MESSAGE_BYTES: Final = (0, 1, 125, 126, 1000, 65_535, 65_536, 300_000, 1_000_000)
PING_CHANCE: Final = 0.2


class Script:
    """What is to be sent, and what has been received."""

    def __init__(self, scenario: str, file: str) -> None:
        self.scenario = scenario
        with open(file, "rb") as opened:
            self.data = opened.read()
        self._chance = random.Random(7)
        self.received = 0
        self.sent = 0
        self.pings = 0
        self.pongs = 0
        self.digest = hashlib.sha256()

    def take(self, message: bytes) -> None:
        """Take note of a message that arrived."""
        self.digest.update(message)
        self.received += len(message)

    @property
    def has_all(self) -> bool:
        """Whether as much has arrived as the scenario wants."""
        wanted = {"bulk": len(self.data), "leave": READ_BYTES, "inside": READ_BYTES}
        return self.received >= wanted.get(self.scenario, 1 << 60)

    def messages(self) -> Iterator[list[bytes]]:
        """Give the messages to send, each as the list of its fragments."""
        size = len(self.data) if self.scenario in ("bulk", "flood") else LEAVE_BYTES
        while True:
            for start, stop in self._cuts(0, size):
                self.sent += stop - start
                yield [self.data[a:b] for a, b in self._cuts(start, stop)] or [b""]
            if self.scenario != "flood":
                return

    def _cuts(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        while start < stop:
            end = min(stop, start + self._chance.choice(MESSAGE_BYTES))
            yield start, end
            start = end

    def wants_ping(self) -> bool:
        """Say whether a ping goes out before the next fragment."""
        now = self._chance.random() < PING_CHANCE
        self.pings += now
        return now

    def report(self, **found: Any) -> None:
        """Print what happened."""
        print(
            json.dumps(
                {
                    "received": self.received,
                    "sent": self.sent,
                    "sha256": self.digest.hexdigest(),
                    "pings": self.pings,
                    "pongs": self.pongs,
                    **found,
                }
            ),
            flush=True,
        )
