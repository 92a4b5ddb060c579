"""`Door`: a local listener whose connections become streams to one peer.

How it works.  A client that connects is a `Guest`.  Once it is known where the guest wants to go,
and that is all in which the kinds of doors differ, it needs a session with the peer, which
`tunnelkit.keeping` keeps.  Where none is open the guest waits for a bounded time; nothing is read
from it meanwhile.  Then a stream is opened and spliced to the client's connection, and no task is
involved at any time.

There is nobody else to serve the guest, so a failure is told to it at once: by a reset, unless the
kind of door has a better way.  Why, is in the log, at most one line a second, and in the status.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from tunnelkit.addresses import Address
from tunnelkit.bucket import Seldom
from tunnelkit.carriers import Listener, Pipe
from tunnelkit.errors import ErrorCode, OpenRefused, SessionError, code_name
from tunnelkit.keeping import SessionKeeper
from tunnelkit.pump import Deadlines
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_stream
from tunnelkit.wire.stream import StreamCore

__all__ = ["Door", "Guest"]

_log = logging.getLogger(__name__)

SESSION_WAIT_SECONDS: Final = 10.0
"""How long a client waits for a session with the peer.  Stops: clients that pile up while a peer is
away; most would have given up by then."""

MAX_GUESTS: Final = 1024
"""Most clients of one door that have no stream yet; more are refused.  Stops: a program that
connects without end while the peer is away, and takes all descriptors."""


class Guest:
    """A client that has no stream yet, or whose stream has not been answered."""

    __slots__ = ("first", "is_leaving", "key", "pipe", "stream", "target")

    def __init__(self, pipe: Pipe, target: str = "") -> None:
        self.pipe = pipe
        self.target = target
        self.first = b""
        """What was read from the client and belongs to the stream."""
        self.stream: StreamCore | None = None
        self.is_leaving = False
        """Whether it was told already that there will be no stream."""
        self.key = -1


class Door(ABC):
    """A local listener whose connections become streams to one peer.

    Args:
        name: what it is called in the ready line and in status.
        peer: the subject of the peer.
        keeper: has the sessions.
    """

    kind = ""
    target = ""
    """Where all clients go; empty where each says that itself."""

    def __init__(self, name: str, peer: str, keeper: SessionKeeper) -> None:
        self.name = name
        self.peer = peer
        self.listener: Listener | None = None
        self.counts: Counter[str] = Counter()
        self.last_reason = ""
        self.on_idle: Callable[[], None] = lambda: None
        self.pump = keeper.endpoint.pump
        self._keeper = keeper
        self._guests: set[Guest] = set()
        self._waiting: dict[Guest, None] = {}
        self._session_waits = Deadlines(self.pump, SESSION_WAIT_SECONDS)
        self._ends: set[PipeEnd] = set()
        self._bytes_in = 0
        self._bytes_out = 0
        self._failures = Seldom()
        keeper.sources.append(self._wanted_peers)
        keeper.listeners.append(self._look)

    async def listen(self, address: Address) -> None:
        """Begin to accept clients.

        Raises:
            ConfigurationError: the address cannot be listened on.
        Cancellation: atomic.
        """
        network = self._keeper.endpoint.network
        self.listener = await network.listen(address, self.pump, self._accept)

    @property
    def open_count(self) -> int:
        """How many clients are connected."""
        return len(self._ends) + len(self._guests)

    @property
    def waiting_count(self) -> int:
        """How many of them wait for a session."""
        return len(self._waiting)

    @property
    def bytes_in(self) -> int:
        """Bytes that came from clients."""
        return self._bytes_in + sum(end.bytes_in for end in self._ends)

    @property
    def bytes_out(self) -> int:
        """Bytes that went to clients."""
        return self._bytes_out + sum(end.bytes_out for end in self._ends)

    def _wanted_peers(self) -> tuple[str]:
        return (self.peer,)

    # --- what the kinds of doors do -----------------------------------------------------------

    @abstractmethod
    def welcome(self, guest: Guest) -> None:
        """A client connected: find out where it wants to go, and call `seek`."""

    @abstractmethod
    def opening(self, guest: Guest, stream: StreamCore) -> None:
        """The stream was opened, and not answered yet."""

    def turn_away(self, guest: Guest, code: int) -> None:
        """Tell the client that there is no stream for it, and let go of it."""
        guest.pipe.reset()
        self.forget(guest)

    # --- from client to stream ----------------------------------------------------------------

    def _accept(self, pipe: Pipe) -> None:
        guest = Guest(pipe)
        if len(self._guests) >= MAX_GUESTS:
            self.fail(guest, ErrorCode.LIMIT_EXCEEDED, f"{MAX_GUESTS} clients wait already")
            return
        self._guests.add(guest)
        self.welcome(guest)

    def seek(self, guest: Guest, target: str) -> None:
        """Open a stream to *target* for the guest, as soon as there is a session."""
        guest.target = target
        session = self._keeper.session_with(self.peer)
        if session is not None and session.state == "open":
            self._open(guest, session)
            return
        self._waiting[guest] = None
        guest.key = self._session_waits.add(lambda: self._gave_up_waiting(guest))

    def _look(self) -> None:
        """Links or sessions changed: serve those who wait, if there is a session now."""
        session = self._keeper.session_with(self.peer)
        while self._waiting and session is not None and session.state == "open":
            guest = next(iter(self._waiting))
            self._stop_waiting(guest)
            self._open(guest, session)

    def _stop_waiting(self, guest: Guest) -> None:
        self._waiting.pop(guest, None)
        self._session_waits.remove(guest.key)

    def _gave_up_waiting(self, guest: Guest) -> None:
        self._stop_waiting(guest)
        session = self._keeper.session_with(self.peer)
        why = session.last_reason if session is not None else ""
        text = f"no session with {self.peer} within {SESSION_WAIT_SECONDS:g} s"
        self.fail(guest, ErrorCode.UNKNOWN_PEER, f"{text}: {why or 'it is not connected'}")

    def _open(self, guest: Guest, session: Session) -> None:
        try:
            stream = session.offer_stream(guest.target)
        except (SessionError, OpenRefused) as error:
            self.fail(guest, error.code, error.text)
            return
        guest.stream = stream
        self.opening(guest, stream)

    def splice(self, guest: Guest) -> None:
        """Join the client and its stream: the guest has arrived."""
        assert guest.stream is not None  # nobody else is spliced
        self._guests.discard(guest)
        end = PipeEnd(guest.pipe, self._over)
        self._ends.add(end)
        splice_stream(end, guest.stream, guest.first)

    def note_answer(self, stream: StreamCore) -> None:
        """Count what the peer answered."""
        code = stream.answer_code
        if not code:
            self.counts["opened"] += 1
        elif code == ErrorCode.CANCELLED:
            self.counts["left"] += 1
        else:
            self.counts["refused"] += 1
            asked = "" if self.target else f"{stream.target}: "
            self.tell(f"{asked}{stream.answer_text} [{code_name(code)}]")

    def fail(self, guest: Guest, code: int, text: str) -> None:
        """There will be no stream for this guest."""
        self.counts["failed"] += 1
        self.tell(f"{text} [{code_name(code)}]")
        self.turn_away(guest, code)

    def forget(self, guest: Guest) -> None:
        """The guest's connection is over, and was never spliced."""
        self._guests.discard(guest)
        self._tell_if_idle()

    def _over(self, end: PipeEnd) -> None:
        self._ends.discard(end)
        self._bytes_in += end.bytes_in
        self._bytes_out += end.bytes_out
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self.open_count:
            self.on_idle()

    def tell(self, why: str) -> None:
        """Remember why a client was not served, and log it, at most one line a second."""
        self.last_reason = why
        more = self._failures.ending(trio.current_time())
        if more is not None:
            _log.warning("%s: %s%s", self.name, why, more)

    # --- life ---------------------------------------------------------------------------------

    def drain(self) -> None:
        """Accept no more; who has no stream is turned away, and what runs goes on."""
        self._stop_listening()
        for guest in list(self._guests):
            if guest.stream is None and not guest.is_leaving:
                self._stop_waiting(guest)
                self.fail(guest, ErrorCode.GOING_AWAY, "this program is shutting down")

    def _stop_listening(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def close(self) -> None:
        """Reset everything that is open, and want no session any more."""
        self._stop_listening()
        if self._look in self._keeper.listeners:
            self._keeper.listeners.remove(self._look)
            self._keeper.sources.remove(self._wanted_peers)
        self._session_waits.close()
        self._waiting.clear()
        for guest in list(self._guests):
            if guest.stream is not None:
                guest.stream.on_answer = None
                guest.stream.reset(ErrorCode.GOING_AWAY, "the listener was closed")
            guest.pipe.reset()
        self._guests.clear()
        for end in list(self._ends):
            end.reset(ErrorCode.GOING_AWAY, "the listener was closed")
