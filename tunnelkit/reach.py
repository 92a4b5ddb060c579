"""How an endpoint gets to where its connections go: to an address, or to a peer.

An attempt ends in one call of whoever began it, or is cancelled.  While a peer has not said
`opened`, which it does only once it has connected to its own target, nothing was executed anywhere:
so an attempt that takes too long, or whose link becomes suspect, can be given up and another way be
tried instead.  `Attempts` are those of one client whose requests go to several servers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Network, Pending, Pipe
from tunnelkit.errors import ErrorCode, OpenRefused, SessionError, code_name
from tunnelkit.pump import Deadlines, Pump
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd
from tunnelkit.wire.frames import Metadata
from tunnelkit.wire.stream import End, StreamCore

__all__ = ["Attempt", "Attempts", "Reach"]


class Attempt:
    """Somebody who waits for a connection; made by `Reach`."""

    __slots__ = ("_deadlines", "_key", "_reach", "failed", "pending", "session", "stream")

    def __init__(self, reach: Reach, deadlines: Deadlines, failed: Callable[[str], None]) -> None:
        self.failed = failed
        self.pending: Pending | None = None
        self.session: Session | None = None
        self.stream: StreamCore | None = None
        self._reach = reach
        self._deadlines = deadlines
        self._key = -1

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        return self not in self._reach.attempts

    def begin(self, late: Callable[[], None]) -> None:
        """Take note of it; *late* is called when its time is over."""
        self._reach.attempts.add(self)
        self._key = self._deadlines.add(late)

    def end(self) -> bool:
        """It is over; return whether it was not over before."""
        if self not in self._reach.attempts:
            return False
        self._reach.attempts.discard(self)
        self._deadlines.remove(self._key)
        return True

    def give_up(self, why: str) -> None:
        """It failed, whatever comes."""
        self.cancel(why)
        self.failed(why)

    def cancel(self, why: str = "the client is gone") -> None:
        """Give it up: whoever began it is not called."""
        if not self.end():
            return
        if self.pending is not None:
            self.pending.cancel()
        if self.stream is not None:
            self.stream.on_answer = None
            self.stream.reset(ErrorCode.OPEN_TIMEOUT, why)


class Reach:
    """The attempts of one listener."""

    def __init__(self, network: Network, pump: Pump) -> None:
        self.attempts: set[Attempt] = set()
        self._network = network
        self._pump = pump
        self._connect_deadlines = Deadlines(pump, limits.CONNECT_TIMEOUT_SECONDS)
        self._open_deadlines = Deadlines(pump, limits.OPEN_FALLBACK_SECONDS)

    def connect(
        self, address: Address, done: Callable[[Pipe], None], failed: Callable[[str], None]
    ) -> Attempt:
        """Connect to an address that needs no look-up."""
        attempt = Attempt(self, self._connect_deadlines, failed)

        def connected(result: Pipe | ConnectFailed) -> None:
            attempt.pending = None
            if not attempt.end():
                return
            if isinstance(result, ConnectFailed):
                failed(str(result))
            else:
                done(result)

        def late() -> None:
            attempt.give_up(f"no answer from {address} within {limits.CONNECT_TIMEOUT_SECONDS:g} s")

        attempt.begin(late)
        attempt.pending = self._network.connect_nowait(address, self._pump, connected)
        return attempt

    def open(
        self,
        session: Session,
        target: str,
        metadata: tuple[tuple[int, bytes], ...],
        done: Callable[[StreamCore], None],
        failed: Callable[[str], None],
    ) -> Attempt:
        """Open a stream to a peer, and wait for the answer as long as anybody may wait."""
        attempt = Attempt(self, self._open_deadlines, failed)

        def answered(stream: StreamCore) -> None:
            if not attempt.end():
                return
            if stream.answer_code:
                failed(f"{stream.answer_text} [{code_name(stream.answer_code)}]")
            else:
                done(stream)

        def late() -> None:
            """Until the peer gives a sign of life, nobody else waits."""
            attempt.give_up(f"no answer within {limits.OPEN_FALLBACK_SECONDS:g} s")
            session.note_silence()

        attempt.session = session
        attempt.begin(late)
        try:
            attempt.stream = session.offer_stream(target, metadata)
        except (SessionError, OpenRefused) as error:
            attempt.end()
            failed(error.text)
            return attempt
        attempt.stream.on_answer = answered
        return attempt

    def check_health(self) -> None:
        """A link changed: nobody waits any longer for a suspect session."""
        for attempt in list(self.attempts):
            if attempt.session is not None and attempt.session.is_suspect:
                attempt.give_up("the link to the peer is suspect")

    def close(self) -> None:
        """Give all attempts up."""
        for attempt in list(self.attempts):
            attempt.cancel("this side is shutting down")
        self._connect_deadlines.close()
        self._open_deadlines.close()


class Waiting(End, Protocol):
    """Who wants a connection: what comes over it is pushed into it."""

    def attached(self, server: End) -> None:
        """The connection is there."""


class Attempts:
    """Those of one client that are under way.

    Args:
        client: who it is, for the peers that its streams are opened to.
    """

    def __init__(self, reach: Reach, client: str) -> None:
        self._reach = reach
        self._metadata = ((int(Metadata.CLIENT_ADDRESS), client.encode()),)
        self._under_way: dict[Waiting, Attempt] = {}

    def connect(self, address: Address, back: Waiting, failed: Callable[[str], None]) -> None:
        """Connect *back* to an address that needs no look-up; *failed* is told why not."""

        def connected(pipe: Pipe) -> None:
            self._under_way.pop(back, None)
            end = PipeEnd(pipe)
            back.attached(end)
            end.join(back)

        self._wait(back, self._reach.connect(address, connected, self._ended(back, failed)))

    def open(
        self, session: Session, target: str, back: Waiting, failed: Callable[[str], None]
    ) -> None:
        """Connect *back* to what a peer serves; *failed* is told why not."""

        def opened(stream: StreamCore) -> None:
            self._under_way.pop(back, None)
            stream.sink = back
            back.attached(stream)
            stream.resume()

        ended = self._ended(back, failed)
        self._wait(back, self._reach.open(session, target, self._metadata, opened, ended))

    def cancel(self) -> None:
        """Give all of them up."""
        for attempt in self._under_way.values():
            attempt.cancel()
        self._under_way.clear()

    def _ended(self, back: Waiting, failed: Callable[[str], None]) -> Callable[[str], None]:
        def ended(why: str) -> None:
            self._under_way.pop(back, None)
            failed(why)

        return ended

    def _wait(self, back: Waiting, attempt: Attempt) -> None:
        if not attempt.is_over:
            self._under_way[back] = attempt
