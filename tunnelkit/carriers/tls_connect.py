"""A connect that is over when TLS is: what fails in the handshake is an error of the connect.

What the other side says of this side's certificate comes later, in TLS 1.3: to the client the
handshake is over with its own last word.  Such an error ends whatever is on the pipe by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tunnelkit.addresses import Address
from tunnelkit.pump import Timer

from .pipe import Connected, ConnectFailed, Pending, Pipe
from .tls import TlsPipe

__all__ = ["HANDSHAKE_SECONDS", "TlsConnect"]

HANDSHAKE_SECONDS: Final = 8.0
"""Time for the TLS handshake, seconds; less than a connect may take, so that the error can name it.
Stops: servers that accept connections and say nothing."""


class TlsConnect:
    """Puts TLS around the pipe that `below` connects, and tells *done* when it is up or has failed.

    Args:
        address: what is dialled, for errors.
        wrap: makes the TLS pipe, or raises ConnectFailed.
    """

    def __init__(self, address: Address, wrap: Callable[[Pipe], TlsPipe], done: Connected) -> None:
        self.below: Pending | None = None
        self._address = address
        self._wrap = wrap
        self._done = done
        self._pipe: TlsPipe | None = None
        self._timer: Timer | None = None

    def connected(self, result: Pipe | ConnectFailed) -> None:
        """The pipe is there, or could not be made; `below` is told to call this."""
        if isinstance(result, ConnectFailed):
            self._done(result)
            return
        try:
            pipe = self._wrap(result)
        except ConnectFailed as failed:
            self._done(failed)
            return
        self._pipe = pipe
        self._timer = pipe.pump.call_later(HANDSHAKE_SECONDS, self._too_late)
        pipe.start(self._ready)
        pipe.want(False, True)

    def _ready(self, readable: bool, writable: bool) -> None:
        pipe = self._pipe
        if pipe is None or not (pipe.is_established or pipe.broken):
            return
        if pipe.broken is not None:
            self._fail(pipe.broken)
            return
        pipe.want(False, False)  # until its owner starts it
        self._leave()
        self._done(pipe)

    def _too_late(self) -> None:
        self._fail(f"no answer within {HANDSHAKE_SECONDS:g} s: does the other side speak TLS?")

    def _fail(self, why: str) -> None:
        pipe = self._leave()
        pipe.close()
        text = f"cannot connect to {self._address}: the TLS handshake failed: {why}"
        self._done(ConnectFailed(text))

    def _leave(self) -> TlsPipe:
        pipe = self._pipe
        assert pipe is not None  # the handshake has begun
        assert self._timer is not None
        self._timer.cancel()
        self._pipe = None
        return pipe

    def cancel(self) -> None:
        """Give it up; `done` is not called."""
        if self._pipe is not None:
            self._leave().reset()
        elif self.below is not None:
            self.below.cancel()
