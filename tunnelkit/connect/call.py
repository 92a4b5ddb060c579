"""One stream between a pair of descriptors and a target of a peer.

How it works.  A call waits for a session with the peer, offers a stream and splices it at once: the
first bytes travel together with the open, which saves a round trip.  From then on it only waits:
for the answer to the open, for the end of both directions, for the last write, and for the
peer's acknowledgement of everything, so that an exit status of 0 is the truth.

What the end was is decided in `ending_of`, from the states in which the two sides were left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Final

import attrs
import trio

from tunnelkit.addresses import Destination
from tunnelkit.carriers import PipeBroken
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import NOT_ALLOWED, ErrorCode, OpenRefused, SessionError, code_name
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_stream
from tunnelkit.wire.states import Half
from tunnelkit.wire.stream import StreamCore

from .descriptors import DescriptorPipe

__all__ = [
    "STOP_SECONDS",
    "Call",
    "Ending",
    "Exit",
    "ending_of",
    "refusal_of",
]

_log = logging.getLogger(__name__)

HANGUP_SECONDS: Final = 1.0
"""How long a call may go on after SIGHUP, which ssh sends when it is done: time for what it wrote
last.  Stops: a forgotten call that outlives its user."""

STOP_SECONDS: Final = 1.0
"""How long a call that was stopped tries to tell the peer."""


class Exit(IntEnum):
    """The exit status of ``python -m tunnelkit.connect``."""

    OK = 0
    RESET = 1
    CONFIGURATION = 2
    DISPLACED = 3
    CUT_SHORT = 4
    UNAVAILABLE = 69
    UNEXPECTED = 70
    REFUSED = 77


@attrs.frozen
class Ending:
    """How a call ended: the exit status, and one line for stderr ("" for none)."""

    exit: Exit
    text: str = ""


def refusal_of(what: str, code: int, text: str) -> Ending:
    """Return the ending of a call that did not begin."""
    status = Exit.REFUSED if code in NOT_ALLOWED else Exit.UNAVAILABLE
    return Ending(status, f"{what}: {text} [{code_name(code)}]")


def ending_of(destination: Destination, core: StreamCore, pipe: DescriptorPipe) -> Ending:
    """Return how a call ended whose stream was open: cleanly only if no byte is missing."""
    if pipe.broken is not None:
        # The usual end of a filter whose reader has had enough: no reason to talk.
        if pipe.is_deserted:
            return Ending(Exit.CUT_SHORT)
        return Ending(Exit.RESET, f"{pipe.broken}: bytes are missing")
    if core.incoming_error is not None:
        code, text = core.incoming_error
        why = f"{text or 'no reason given'} [{code_name(code)}]"
        return Ending(Exit.RESET, f"{destination} was cut off, bytes are missing: {why}")
    if core.outgoing is not Half.ENDED:
        return Ending(Exit.RESET, f"{destination} stopped reading before the end of stdin")
    return Ending(Exit.OK)


class Call:
    """One call of an endpoint; `run` it once, in a task of its own.

    Args:
        timeout: how long to wait for the peer, and then for its answer, seconds.
        tell: called with the ending before the reader of stdout can see it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        destination: Destination,
        *,
        timeout: float,
        tell: Callable[[Ending], None] = lambda ending: None,
    ) -> None:
        self.endpoint = endpoint
        self.destination = destination
        self.timeout = timeout
        self.is_open = False
        """Whether the session was open once: from then on it looks after itself."""
        self._tell = tell
        self._scope = trio.CancelScope()
        self._stopped: Ending | None = None
        self._hung_up = False

    def stop(self, ending: Ending) -> None:
        """End the call now, as *ending* says."""
        if self._stopped is None:
            self._stopped = ending
            self._scope.cancel()

    def hang_up(self) -> None:
        """Whoever began the call has gone: let what is under way arrive, say nothing, end."""
        if not self._hung_up:
            self._hung_up = True
            self._scope.deadline = trio.current_time() + HANGUP_SECONDS

    async def run(self, stdin: int, stdout: int) -> Ending:
        """Carry the call to its end; owns the descriptors from its first moment.

        Cancellation: breaks; the stream is reset.
        """
        ending = Ending(Exit.CUT_SHORT)
        with self._scope:
            async with trio.open_nursery() as nursery:
                pipe = DescriptorPipe(stdin, stdout, self.endpoint.pump, nursery)
                try:
                    ending = await self._run(pipe)
                finally:
                    ending = self._final(ending)
                    self._tell(ending)
                    pipe.release()
                with suppress(PipeBroken):
                    await pipe.wait_written()
                nursery.cancel_scope.cancel()
        return ending

    def _final(self, ending: Ending) -> Ending:
        """Return the ending as the user shall hear of it."""
        if self._stopped is not None:
            return self._stopped
        return attrs.evolve(ending, text="") if self._hung_up else ending

    async def _run(self, pipe: DescriptorPipe) -> Ending:
        try:
            session = await self._open_session()
            return await self._carry(session, pipe)
        except SessionError as error:
            return refusal_of(str(self.destination), error.code, error.text)
        except OpenRefused as error:
            return refusal_of(str(self.destination), error.code, error.text)

    async def _open_session(self) -> Session:
        """Return an open session; its absence is explained by what keeps the links down."""
        try:
            return await self.endpoint.open_session(self.destination.peer, timeout=self.timeout)
        except SessionError as error:
            faults = "; ".join(self.endpoint.dial_errors.values())
            if error.code != ErrorCode.UNKNOWN_PEER or self.endpoint.links or not faults:
                raise
            text = f"there is no link: {faults}"
            raise SessionError(error.code, f"{text} (tried for {self.timeout:g} s)") from None

    async def _carry(self, session: Session, pipe: DescriptorPipe) -> Ending:
        self.is_open = True
        answered, over = trio.Event(), trio.Event()
        with session.pump.batch():
            core = session.offer_stream(self.destination.target)
            core.on_answer = lambda _: answered.set()
            end = PipeEnd(pipe, lambda _: over.set())
            splice_stream(end, core)
        try:
            with trio.move_on_after(self.timeout) as waiting:
                await answered.wait()
            if waiting.cancelled_caught:
                text = f"no answer within {self.timeout:g} s"
                raise OpenRefused(ErrorCode.OPEN_TIMEOUT, text)
            if core.answer_code:
                raise OpenRefused(core.answer_code, core.answer_text)
            _log.info("%s is open", self.destination)
            await over.wait()
            return await self._finish(session, core, pipe)
        finally:
            if not over.is_set():
                self._give_up(session, core, end)

    async def _finish(self, session: Session, core: StreamCore, pipe: DescriptorPipe) -> Ending:
        """Both directions are over: wait until nothing is under way any more."""
        if not pipe.is_held:
            with suppress(PipeBroken):
                await pipe.wait_written()
        ending = ending_of(self.destination, core, pipe)
        if ending.exit is Exit.OK:
            try:
                await session.wait_acknowledged()
            except SessionError as error:
                text = f"{self.destination} may not have received the last bytes: {error}"
                return Ending(Exit.RESET, text)
        return ending

    def _give_up(self, session: Session, core: StreamCore, end: PipeEnd) -> None:
        """The call is cancelled: the far side must not take a part for the whole."""
        with session.pump.batch():
            core.reset(ErrorCode.CANCELLED, "the caller was stopped")
            end.reset(ErrorCode.CANCELLED, "")
