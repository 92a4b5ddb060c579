"""Put a conversation between the two ends of a splice (no I/O).

How it works.  In a splice each end pushes into the other one.  `tap` returns two ends that stand in
between: each hands every call on, unchanged, to the end behind it, and tells the conversation
which bytes were *taken*: what an end refuses is offered again later, and counts then.  ::

    to_right, to_left = tap(pipe_end, stream, conversation)
    stream.sink = to_left
    pipe_end.join(to_right, first)
    stream.resume()
"""

from __future__ import annotations

from typing import Protocol

from tunnelkit.wire.stream import Buffer, End

__all__ = ["Listener", "TapEnd", "tap"]


class Listener(Protocol):
    """Who is told; `Conversation` is one."""

    def said(self, from_client: bool, data: Buffer) -> None:
        """Bytes were taken; the buffer is valid only during the call."""

    def finished(self, from_client: bool) -> None:
        """One direction has ended, and nothing of it is missing."""

    def ended(self, is_reset: bool, *, by_client: bool = False) -> None:
        """Both directions have ended."""


class _Ways:
    """Which directions of a splice are over."""

    __slots__ = ("_is_broken", "_listener", "_over")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._is_broken = False
        self._over: set[bool] = set()

    def said(self, from_client: bool, data: memoryview) -> None:
        self._listener.said(from_client, data)

    def finished(self, from_client: bool) -> None:
        if from_client not in self._over:
            self._listener.finished(from_client)
            self._direction_over(from_client)

    def aborted(self, from_client: bool) -> None:
        if from_client not in self._over:
            self._is_broken = True
            self._direction_over(from_client)

    def broken(self, from_client: bool) -> None:
        if len(self._over) < 2:
            self._is_broken = True
            self._over.add(not from_client)
            self._direction_over(from_client)

    def _direction_over(self, from_client: bool) -> None:
        self._over.add(from_client)
        if len(self._over) == 2:
            self._listener.ended(self._is_broken, by_client=from_client)


class TapEnd:
    """An end that hands everything on to another one, and tells who listens; made by `tap`."""

    __slots__ = ("_from_client", "_target", "_ways")

    def __init__(self, target: End, ways: _Ways, from_client: bool) -> None:
        self._target = target
        self._ways = ways
        self._from_client = from_client

    def offer(self, data: Buffer) -> int:
        """Hand bytes on; tell what was taken of them."""
        taken = self._target.offer(data)
        if taken:
            with memoryview(data) as view:
                self._ways.said(self._from_client, view[:taken])
        return taken

    # Endings are told before they are handed on: the end behind may answer them at once.

    def finish(self) -> None:
        """Nothing more comes this way."""
        self._ways.finished(self._from_client)
        self._target.finish()

    def abort(self, code: int, text: str) -> None:
        """Nothing more comes this way, and bytes are missing."""
        self._ways.aborted(self._from_client)
        self._target.abort(code, text)

    def stop(self, code: int, text: str) -> None:
        """Nothing more is wanted the other way."""
        self._ways.finished(not self._from_client)
        self._target.stop(code, text)

    def reset(self, code: int, text: str) -> None:
        """Both ways are over, and bytes are missing."""
        self._ways.broken(self._from_client)
        self._target.reset(code, text)

    def resume(self) -> None:
        """More is wanted the other way."""
        self._target.resume()


def tap(client: End, server: End, listener: Listener) -> tuple[TapEnd, TapEnd]:
    """Return what the client's end pushes into, in place of the server's, and the other way."""
    ways = _Ways(listener)
    return TapEnd(server, ways, from_client=True), TapEnd(client, ways, from_client=False)
