"""One listener in front of one local target, with an intercept that can be on or off.

A connection that goes to the local target is spliced and nothing else.  One that goes to a
developer is a stream; until the developer's side says `opened`, which it does only once it has
connected to its own target, not a byte is read from the client.  So when `opened` does not come in
time, or the link becomes suspect, the connection can still go to the local target with its first
byte intact, and nothing was executed anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Listener, Network, Pending, Pipe
from tunnelkit.errors import ErrorCode, OpenRefused, SessionError, code_name
from tunnelkit.pump import Deadlines, Pump
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_pipes, splice_stream
from tunnelkit.wire.frames import Metadata
from tunnelkit.wire.stream import StreamCore

from .rules import Facts, Intercept, Way, decide

__all__ = ["Port", "SessionSource"]


class SessionSource(Protocol):
    """Where a port finds the session with a developer."""

    def session_with(self, peer: str) -> Session | None:
        """Return the session with *peer* if there is one that has not ended."""


class _Held:
    """A client whose stream has not been answered."""

    __slots__ = ("key", "pipe", "session", "stream")

    def __init__(self, pipe: Pipe, session: Session, stream: StreamCore) -> None:
        self.pipe = pipe
        self.session = session
        self.stream = stream
        self.key = -1


class _Connecting:
    """A client for whom the local target is being connected to."""

    __slots__ = ("key", "pending", "pipe")

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.pending: Pending | None = None
        self.key = -1

    def cancel(self) -> None:
        """Give the connect up, and reset the client."""
        if self.pending is not None:
            self.pending.cancel()
        self.pipe.reset()


class Port:
    """A listener in front of a local target.

    Args:
        name: what the port is called in commands and in status.
        target: the local target, resolved.
        sessions: where developers' sessions are found.
    """

    def __init__(
        self, name: str, target: Address, sessions: SessionSource, network: Network, pump: Pump
    ) -> None:
        self.name = name
        self.target = target
        self.intercept: Intercept | None = None
        self.listener: Listener | None = None
        self.counts: Counter[str] = Counter()
        self.last_reason = ""
        self.on_idle: Callable[[], None] = lambda: None
        self._sessions = sessions
        self._network = network
        self._pump = pump
        self._deadlines = Deadlines(pump, limits.OPEN_FALLBACK_SECONDS)
        self._held: dict[StreamCore, _Held] = {}
        self._connect_deadlines = Deadlines(pump, limits.CONNECT_TIMEOUT_SECONDS)
        self._connecting: set[_Connecting] = set()
        self._ends: set[PipeEnd] = set()

    @property
    def open_count(self) -> int:
        """How many client connections are open."""
        return len(self._ends) + len(self._held) + len(self._connecting)

    # --- new connections --------------------------------------------------------------------

    def accept(self, pipe: Pipe) -> None:
        """A client connected."""
        intercept = self.intercept
        session = None
        if intercept is None:
            facts = Facts(None)
        else:
            session = self._sessions.session_with(intercept.peer)
            is_open = session is not None and session.core.is_established
            facts = Facts(intercept, is_open, session is None or session.is_suspect)
        verdict = decide(facts)
        self.counts[verdict.way.value] += 1
        self.last_reason = verdict.why
        if verdict.way is Way.LOCAL:
            self._go_local(pipe)
        elif verdict.way is Way.REFUSE or intercept is None or session is None:
            pipe.reset()
        else:
            self._go_to_peer(pipe, session, intercept)

    def _go_local(self, pipe: Pipe) -> None:
        connecting = _Connecting(pipe)

        def done(result: Pipe | ConnectFailed) -> None:
            connecting.pending = None
            self._connect_deadlines.remove(connecting.key)
            if isinstance(result, ConnectFailed):
                self._local_failed(connecting, str(result))
                return
            self._connecting.discard(connecting)
            left, right = PipeEnd(pipe, self._over), PipeEnd(result)
            self._ends.add(left)
            splice_pipes(left, right)

        def timed_out() -> None:
            seconds = limits.CONNECT_TIMEOUT_SECONDS
            self._local_failed(connecting, f"no answer from {self.target} within {seconds:g} s")

        self._connecting.add(connecting)
        connecting.key = self._connect_deadlines.add(timed_out)
        connecting.pending = self._network.connect_nowait(self.target, self._pump, done)

    def _local_failed(self, connecting: _Connecting, why: str) -> None:
        self.counts["target-failed"] += 1
        self.last_reason = why
        connecting.cancel()
        self._connecting.discard(connecting)
        if not self.open_count:
            self.on_idle()

    def _go_to_peer(self, pipe: Pipe, session: Session, intercept: Intercept) -> None:
        metadata = ((int(Metadata.CLIENT_ADDRESS), pipe.description.encode()),)
        try:
            stream = session.offer_stream(intercept.target, metadata)
        except (SessionError, OpenRefused) as error:
            self._fall_back(pipe, error.text)
            return
        if not intercept.fail_open:
            end = PipeEnd(pipe, self._over)
            self._ends.add(end)
            splice_stream(end, stream)
            return
        held = _Held(pipe, session, stream)
        self._held[stream] = held
        stream.on_answer = self._answered
        held.key = self._deadlines.add(lambda: self._not_answered(held))

    def _over(self, end: PipeEnd) -> None:
        self._ends.discard(end)
        if not self.open_count:
            self.on_idle()

    # --- answers ----------------------------------------------------------------------------

    def _answered(self, stream: StreamCore) -> None:
        held = self._held.pop(stream, None)
        if held is None:
            return
        self._deadlines.remove(held.key)
        if stream.answer_code:
            self._fall_back(held.pipe, f"{stream.answer_text} [{code_name(stream.answer_code)}]")
        else:
            end = PipeEnd(held.pipe, self._over)
            self._ends.add(end)
            splice_stream(end, stream)

    def _not_answered(self, held: _Held) -> None:
        """The time is over; until the developer gives a sign of life, nobody else waits."""
        self._give_up(held, "no answer within 1 s")
        held.session.note_silence()

    def _give_up(self, held: _Held, why: str) -> None:
        if self._held.pop(held.stream, None) is not None:
            self._deadlines.remove(held.key)
            held.stream.on_answer = None
            held.stream.reset(ErrorCode.OPEN_TIMEOUT, why)
            self._fall_back(held.pipe, why)

    def _fall_back(self, pipe: Pipe, why: str) -> None:
        self.counts["fell-back"] += 1
        self.last_reason = f"fail open: {why}"
        self._go_local(pipe)

    def check_health(self) -> None:
        """A link changed: connections that wait on a suspect session do not wait any longer."""
        for held in list(self._held.values()):
            if held.session.is_suspect:
                self._give_up(held, "the link to the developer is suspect")

    # --- life -------------------------------------------------------------------------------

    def stop_listening(self) -> None:
        """Accept no more connections."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def close(self) -> None:
        """Reset everything that is open."""
        self.stop_listening()
        self._deadlines.close()
        for held in list(self._held.values()):
            held.stream.on_answer = None
            held.pipe.reset()
        self._held.clear()
        self._connect_deadlines.close()
        for connecting in self._connecting:
            connecting.cancel()
        self._connecting.clear()
        for end in list(self._ends):
            end.reset(ErrorCode.GOING_AWAY, "the sidecar is shutting down")
