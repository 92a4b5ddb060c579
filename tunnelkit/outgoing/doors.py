"""The kinds of doors: `ForwardDoor`, which leads to one target, and `SocksDoor`, which asks.

A forward's client does not wait for the far side: what it sends travels together with the open, and
a refusal resets it.  There is no other target to fall back to, so nothing is lost by that.

A SOCKS5 client says where it wants to go, and is answered when the far side has connected.  It is
read from until it has said so and then not again before it is answered, so what it sends early
is at most one read.  Who is refused gets its answer and an end of file; for a moment the rest of
what it sends is read and dropped, because closing with unread bytes would reset the connection and
could take the answer with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tunnelkit.carriers import PipeBroken
from tunnelkit.errors import ErrorCode
from tunnelkit.keeping import SessionKeeper
from tunnelkit.pump import Deadlines
from tunnelkit.wire.stream import StreamCore

from .door import Door, Guest
from .socks import Login, Reply, SocksHandshake, reply_bytes, reply_for

__all__ = ["ForwardDoor", "SocksDoor"]

SOCKS_HANDSHAKE_SECONDS: Final = 10.0
"""Time for the whole SOCKS handshake.  Stops: clients that connect and never ask for anything."""

SOCKS_ANSWER_SECONDS: Final = 30.0
"""Time for the far side's answer to a SOCKS client, seconds; the exit itself takes 10 s at most.
Stops: clients that pile up while the link to a peer is lost."""

SOCKS_LINGER_SECONDS: Final = 2.0
"""How long a refused client may take to close.  Stops: clients that are refused and stay."""

SOCKS_READ_BYTES: Final = 4096
"""Most bytes read from a SOCKS client at once, and so most that it can send early.  Stops: memory
use by clients that send and are not served."""


class ForwardDoor(Door):
    """A door that leads to one target of its peer."""

    kind = "forward"

    def __init__(self, name: str, target: str, peer: str, keeper: SessionKeeper) -> None:
        super().__init__(name, peer, keeper)
        self.target = target

    def welcome(self, guest: Guest) -> None:
        self.seek(guest, self.target)

    def opening(self, guest: Guest, stream: StreamCore) -> None:
        stream.on_answer = self.note_answer
        self.splice(guest)


class SocksDoor(Door):
    """A door at which clients say in SOCKS5 where they want to go.

    Args:
        login: what clients have to give; None: nothing.
    """

    kind = "socks"

    def __init__(
        self, name: str, peer: str, keeper: SessionKeeper, login: Login | None = None
    ) -> None:
        super().__init__(name, peer, keeper)
        self._login = login
        self._handshakes: dict[Guest, SocksHandshake] = {}
        self._handshake_times = Deadlines(self.pump, SOCKS_HANDSHAKE_SECONDS)
        self._answer_times = Deadlines(self.pump, SOCKS_ANSWER_SECONDS)
        self._linger_times = Deadlines(self.pump, SOCKS_LINGER_SECONDS)

    # --- asking -------------------------------------------------------------------------------

    def welcome(self, guest: Guest) -> None:
        self._handshakes[guest] = SocksHandshake(self._login)
        guest.key = self._handshake_times.add(lambda: self._too_slow(guest))
        guest.pipe.start(lambda readable, writable: self._guarded(guest, self._read))
        guest.pipe.want(readable=True, writable=False)

    def _too_slow(self, guest: Guest) -> None:
        del self._handshakes[guest]
        self.fail(guest, ErrorCode.OPEN_TIMEOUT, "a client did not say where it wants to go")

    def _guarded(self, guest: Guest, step: Callable[[Guest], None]) -> None:
        """Do a step of a guest; where its connection breaks, it has left."""
        try:
            step(guest)
        except PipeBroken:
            self._left(guest)

    def _left(self, guest: Guest) -> None:
        self._handshakes.pop(guest, None)
        self._handshake_times.remove(guest.key)
        self.counts["left"] += 1
        guest.pipe.close()
        self.forget(guest)

    def _read(self, guest: Guest) -> None:
        handshake = self._handshakes[guest]
        data = guest.pipe.try_receive(SOCKS_READ_BYTES)
        if data is None:
            return
        if not data:
            self._left(guest)
            return
        handshake.receive(data)
        output = handshake.take_output()
        if handshake.target is None and not handshake.failure:
            self._send(guest, output)
            return
        del self._handshakes[guest]
        self._handshake_times.remove(guest.key)
        guest.pipe.want(readable=False, writable=False)
        if handshake.target is not None:
            self._send(guest, output)
            guest.first = bytes(handshake.received)
            self.seek(guest, handshake.target)
        else:
            self.counts["failed"] += 1
            self.tell(handshake.failure)
            self._say_and_leave(guest, output)

    def _send(self, guest: Guest, data: bytes) -> None:
        """Send a few bytes; a client that has no room for them, has not read our last ones.

        Raises:
            PipeBroken: the client is gone, or does not read.
        """
        if data and guest.pipe.try_send(data) < len(data):
            raise PipeBroken("the client does not read")

    # --- answering ----------------------------------------------------------------------------

    def opening(self, guest: Guest, stream: StreamCore) -> None:
        stream.on_answer = lambda _: self._answered(guest, stream)
        guest.key = self._answer_times.add(lambda: self._not_answered(guest, stream))

    def _not_answered(self, guest: Guest, stream: StreamCore) -> None:
        stream.on_answer = None
        stream.reset(ErrorCode.OPEN_TIMEOUT, "no answer in time")
        text = f"{guest.target}: {self.peer} did not answer within {SOCKS_ANSWER_SECONDS:g} s"
        self.fail(guest, ErrorCode.OPEN_TIMEOUT, text)

    def _answered(self, guest: Guest, stream: StreamCore) -> None:
        self._answer_times.remove(guest.key)
        self.note_answer(stream)
        if stream.answer_code:
            self.turn_away(guest, stream.answer_code)
            return
        try:
            self._send(guest, reply_bytes(Reply.SUCCEEDED))
        except PipeBroken:
            stream.reset(ErrorCode.CONNECTION_RESET, "the client has left")
            self._left(guest)
        else:
            self.splice(guest)

    def turn_away(self, guest: Guest, code: int) -> None:
        if not guest.target:
            super().turn_away(guest, code)
        else:
            self._guarded(guest, lambda g: self._say_and_leave(g, reply_bytes(reply_for(code))))

    def _say_and_leave(self, guest: Guest, last: bytes) -> None:
        """Send the last bytes and the end; drop what still comes until the client closes too.

        Raises:
            PipeBroken: the client is gone.
        """
        guest.is_leaving = True
        self._send(guest, last)
        guest.pipe.send_eof()
        guest.key = self._linger_times.add(lambda: self._let_go(guest))
        guest.pipe.start(lambda readable, writable: self._drop(guest))
        guest.pipe.want(readable=True, writable=False)

    def _drop(self, guest: Guest) -> None:
        try:
            data = guest.pipe.try_receive(SOCKS_READ_BYTES)
        except PipeBroken:
            data = b""
        if data is not None and not data:
            self._linger_times.remove(guest.key)
            self._let_go(guest)

    def _let_go(self, guest: Guest) -> None:
        guest.pipe.close()
        self.forget(guest)

    # --- life ---------------------------------------------------------------------------------

    def drain(self) -> None:
        for guest in list(self._handshakes):
            self._handshake_times.remove(guest.key)
        self._handshakes.clear()
        super().drain()

    def close(self) -> None:
        self._handshakes.clear()
        for times in (self._handshake_times, self._answer_times, self._linger_times):
            times.close()
        super().close()
