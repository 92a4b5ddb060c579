"""A download through the intercept, to which something happens on the way.

The client is a process of its own: one connection, one request, no second try.  It tells how far
it is, and at the end each wait that was longer than a moment; both sides read the same clock, so
that a wait can be laid beside what was done to the tunnel.
"""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import attrs
import trio

from examples.demo_app import blob
from examples.demo_app.client import GAP_SECONDS
from examples.demo_app.crew import Crew
from examples.demo_app.stage import Child, DemoFailed
from examples.demo_app.telling import Teller


@attrs.frozen
class Downloaded:
    """What came of a download: what the client says, and what the others saw meanwhile."""

    done: dict[str, Any]
    """The client's last line."""
    expected: str
    """The checksum that it should be."""
    total: int
    offset: int
    """How much the client had when it happened, bytes."""
    happened_at: float
    replayed: int
    """Bytes that the two ends sent again."""
    connections: int
    """Connections that the target got."""
    requests: int
    through: int
    """Connections of clients that took the intercept."""

    @property
    def percent(self) -> float:
        """How far the client was when it happened."""
        return 100 * self.offset / self.total

    @property
    def is_right(self) -> bool:
        """Whether every byte arrived, once, in its place."""
        return bool(self.done["received"] == self.total and self.done["sha256"] == self.expected)

    def longest_wait(self, since: float, until: float = math.inf) -> float:
        """Return the longest wait of the client that touches this time, seconds; 0: none to tell.

        Args:
            since: seconds of the monotonic clock.
            until: the same.
        """
        waits = (
            gap["seconds"]
            for gap in self.done["gaps"]
            if gap["from"] <= until and gap["from"] + gap["seconds"] >= since
        )
        return max(waits, default=0.0)


def wait_words(seconds: float) -> str:
    """Say how long the client waited; of short waits it does not tell."""
    return f"{seconds * 1000:.0f} ms" if seconds else f"under {GAP_SECONDS * 1000:.0f} ms"


class Downloads:
    """Makes downloads; see `run`.

    Args:
        crew: the programs.
        teller: who is told how far a download is.
        size_mib: of each.
    """

    def __init__(self, crew: Crew, teller: Teller, size_mib: int) -> None:
        self._crew = crew
        self._teller = teller
        self._size_mib = size_mib
        self._total = size_mib * blob.BLOCK_BYTES

    async def run(
        self, percent: int, happen: Callable[[], Awaitable[float]], words: str
    ) -> Downloaded:
        """Download; when the client has *percent* of it, let something happen.

        Args:
            happen: returns when it happened, seconds of the monotonic clock.
            words: what the progress says from then on.

        Raises:
            DemoFailed: the download broke off, or was over too early.
        Cancellation: keeps; the stage ends the client.
        """
        crew = self._crew
        expected = await trio.to_thread.run_sync(blob.checksum, self._size_mib)
        before = await self._numbers()
        client = await crew.stage.spawn(
            "client", "demo_app/client.py", "download", crew.prices, "--mib", self._size_mib
        )
        done, progress, happened_at = await self._follow(client, percent, happen, words)
        replayed, connections, requests, through = (
            after - earlier for after, earlier in zip(await self._numbers(), before, strict=True)
        )
        return Downloaded(
            done=done,
            expected=expected,
            total=self._total,
            offset=_offset_at(happened_at, progress, done["gaps"]),
            happened_at=happened_at,
            replayed=replayed,
            connections=connections,
            requests=requests,
            through=through,
        )

    async def _follow(
        self, client: Child, percent: int, happen: Callable[[], Awaitable[float]], words: str
    ) -> tuple[dict[str, Any], list[tuple[float, int]], float]:
        """Return the last line, how far the client was at which time, and when it happened."""
        progress: list[tuple[float, int]] = []
        happened_at = 0.0
        while line := await client.next_line():
            if line["event"] == "done":
                if not happened_at:
                    break
                return line, progress, happened_at
            progress.append((line["at"], line["received"]))
            if not happened_at and line["received"] * 100 >= self._total * percent:
                happened_at = await happen()
            told = words if line["at"] >= happened_at > 0 else "received"
            self._teller.bar(line["received"], self._total, told)
        raise DemoFailed(f"the download broke off, or was over too early:\n{client.tail()}")

    async def _numbers(self) -> tuple[int, int, int, int]:
        """Return what is counted: see `Downloaded`."""
        seen = await trio.to_thread.run_sync(_fetch_seen, self._crew.copy)
        through = (await self._crew.counts()).get("peer", 0)
        return await self._crew.replayed(), seen["download_connections"], seen["downloads"], through


def _offset_at(
    moment: float, progress: Sequence[tuple[float, int]], gaps: Sequence[dict[str, float]]
) -> int:
    """Return how much the client had: exactly if it waited then, else to a hundredth."""
    for gap in gaps:
        if gap["from"] <= moment <= gap["from"] + gap["seconds"]:
            return int(gap["offset"])
    return max((received for at, received in progress if at <= moment), default=0)


def _fetch_seen(address: str) -> dict[str, int]:
    """Ask the copy on the laptop what it saw, past the tunnel."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/seen")
        return cast(dict[str, int], json.loads(connection.getresponse().read()))
    finally:
        connection.close()
