"""Whether the other end knows what goes beyond JSON-RPC.

Nothing of that is sent before the other end has shown that it knows it: a strict peer may refuse
members that the standard does not have.  It shows that

* by the carrier: a WebSocket whose subprotocol says so, a stream in a session of a tunnel;
* by using it: a request with the member ``tk``, or with the method ``rpc.hello``;
* by its answer to ``rpc.hello``, which goes before the first call of this end where nothing has
  shown it yet.  It is a call like any other, so that a peer that knows nothing of it answers that
  there is no such method, as the standard wants, and one that does not answer is taken for such.

So the first call on a connection may take one round trip more.
"""

from __future__ import annotations

from typing import Final

import msgspec
import trio
from msgspec import Raw

from .codes import PeerGone
from .messages import Fault, Id, Reply, encode_request, encode_result
from .sending import Sending

__all__ = ["HELLO", "Greeting", "answer_hello"]

HELLO: Final = "rpc.hello"
"""The method that asks."""

HELLO_SECONDS: Final = 5.0
"""How long its answer may take, seconds.  Stops: calls that wait for ever for a peer that answers
only what it knows."""

_HELLO_ID: Final = "hello"
"""No call has it: ids of calls are numbers."""


class _Hello(msgspec.Struct):
    """What answers ``rpc.hello``."""

    tk: int
    """The version of what goes beyond the standard."""


def answer_hello(request_id: Id) -> bytes:
    """Return the answer of this end."""
    return encode_result(request_id, _Hello(tk=1))


def _version_in(result: Raw) -> int:
    try:
        return msgspec.json.decode(bytes(result), type=_Hello).tk
    except (msgspec.DecodeError, RecursionError):
        return 0


class Greeting:
    """What this end knows of the other one.

    Args:
        is_known: whether the carrier has shown it.
    """

    def __init__(self, sending: Sending, *, is_known: bool) -> None:
        self.knows: bool | None = True if is_known else None
        """Whether the other end knows what goes beyond the standard; None: nothing tells."""
        self._sending = sending
        self._told = trio.Event()
        self._asked_at: float | None = None

    async def ask(self) -> bool:
        """Return whether the other end knows it; ask for it where nothing tells.

        Raises:
            PeerGone: the connection is gone.
        Cancellation: atomic.
        """
        if self._sending.gone is not None:
            raise PeerGone(str(self._sending.gone))
        if self.knows is None:
            if self._asked_at is None:
                self._asked_at = trio.current_time()
                self._sending.put(encode_request(HELLO, {}, _HELLO_ID))
            with trio.CancelScope(deadline=self._asked_at + HELLO_SECONDS):
                await self._told.wait()
            if self.knows is None:
                self._settle(False)
        return self.knows is True

    def shown(self) -> None:
        """The other end has used it, whatever it has answered before."""
        self._settle(True)

    def answered(self, reply: Reply | Fault) -> bool:
        """Take the answer to the question; return False if *reply* answers something else.

        An error without an id is taken for it: some refuse a name or an id that they do not know.
        """
        if self._asked_at is None:
            return False
        if isinstance(reply, Reply) and reply.result is not None:
            if reply.id == _HELLO_ID:
                self._settle(self.knows is True or _version_in(reply.result) >= 1)
            return reply.id == _HELLO_ID
        if self.knows is None and reply.id in (_HELLO_ID, None):
            self._settle(False)
            return True
        return False

    def _settle(self, knows: bool) -> None:
        self.knows = knows
        self._told.set()

    def end(self) -> None:
        """The other end is gone: nobody waits for it."""
        self._told.set()
