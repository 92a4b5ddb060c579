"""Serve incoming streams with connections to local targets.

An incoming stream names a target.  If the name is on the list, the devbox connects to the address
behind it, answers `opened` and splices the two; if not, it refuses with a code and a text that the
other side can read.  `opened` is sent only after the connect, so that the other side can still turn
to its own target when nobody listens here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Pending, Pipe, connect
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ErrorCode
from tunnelkit.pump import Deadlines
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_stream
from tunnelkit.wire.stream import NullEnd, StreamCore

__all__ = ["TargetServer"]


class _Waiting(NullEnd):
    """The sink of a stream whose target is being connected to: notices when the peer leaves."""

    __slots__ = ("is_left", "key", "on_left", "pending")

    def __init__(self, on_left: Callable[[_Waiting], None]) -> None:
        self.on_left = on_left
        self.pending: Pending | None = None
        self.key = -1
        self.is_left = False

    def abort(self, code: int, text: str) -> None:
        self.leave()

    def stop(self, code: int, text: str) -> None:
        self.leave()

    def leave(self) -> None:
        """The peer does not wait any more."""
        if not self.is_left:
            self.cancel()
            self.on_left(self)

    def cancel(self) -> None:
        """Give the connect up."""
        self.is_left = True
        if self.pending is not None:
            self.pending.cancel()


class TargetServer:
    """Connects incoming streams of an endpoint to an allow-list of local targets.

    Args:
        endpoint: whose streams to serve; its `on_stream` is taken.
        targets: from the names that peers may ask for to addresses.  Empty: all is refused.
        nursery: for targets whose names must be looked up.
    """

    def __init__(
        self, endpoint: Endpoint, targets: Mapping[str, Address], nursery: trio.Nursery
    ) -> None:
        self.targets = dict(targets)
        self._names = {name for name, address in targets.items() if not _is_numeric(address)}
        self.served_count = 0
        self.refused_count = 0
        self._endpoint = endpoint
        self._nursery = nursery
        self._deadlines = Deadlines(endpoint.pump, limits.CONNECT_TIMEOUT_SECONDS)
        self._waiting: dict[_Waiting, StreamCore] = {}
        self._ends: set[PipeEnd] = set()
        self._is_draining = False
        self._emptied = trio.Event()
        endpoint.on_stream = self._offered

    @property
    def open_count(self) -> int:
        """How many connections to targets are open."""
        return len(self._ends)

    async def drain(self, timeout: float = limits.DEFAULT_DRAIN_SECONDS) -> None:
        """Refuse new streams, and wait until running ones are over, or *timeout* seconds are.

        Cancellation: atomic.
        """
        self._is_draining = True
        with trio.move_on_after(timeout):
            while self._ends or self._waiting:
                self._emptied = trio.Event()
                await self._emptied.wait()

    def close(self) -> None:
        """Refuse what comes from now on, and reset what is open."""
        self.targets.clear()
        for waiting in list(self._waiting):
            self._give_up(waiting, ErrorCode.GOING_AWAY, "the devbox is shutting down")
        self._deadlines.close()
        for end in list(self._ends):
            end.reset(ErrorCode.GOING_AWAY, "the devbox is shutting down")

    def _offered(self, session: Session, stream: StreamCore) -> None:
        if self._is_draining:
            self._refuse(stream, ErrorCode.GOING_AWAY, f"{self._endpoint.subject} is shutting down")
            return
        address = self.targets.get(stream.target)
        if address is None:
            self._refuse(
                stream,
                ErrorCode.UNKNOWN_TARGET,
                f"{self._endpoint.subject} serves no target {stream.target[:100]!r}",
            )
            return
        waiting = _Waiting(self._left)
        stream.sink = waiting
        self._waiting[waiting] = stream
        if stream.target in self._names:
            self._nursery.start_soon(self._connect_by_name, stream, waiting, address)
            return

        def done(result: Pipe | ConnectFailed) -> None:
            self._connected(stream, waiting, result)

        def timed_out() -> None:
            text = f"no answer from {address} within {limits.CONNECT_TIMEOUT_SECONDS:g} s"
            self._give_up(waiting, ErrorCode.TARGET_UNREACHABLE, text)

        waiting.key = self._deadlines.add(timed_out)
        waiting.pending = self._endpoint.network.connect_nowait(address, self._endpoint.pump, done)

    async def _connect_by_name(
        self, stream: StreamCore, waiting: _Waiting, address: Address
    ) -> None:
        endpoint = self._endpoint
        result: Pipe | ConnectFailed
        if waiting.is_left:
            return
        with trio.CancelScope() as waiting.pending:
            try:
                result = await connect(endpoint.network, address, endpoint.pump)
            except ConnectFailed as error:
                result = error
            with endpoint.pump.batch():
                self._connected(stream, waiting, result)

    def _left(self, waiting: _Waiting) -> None:
        """The peer left; where it only stopped reading, it still waits for an answer."""
        self._deadlines.remove(waiting.key)
        self._waiting.pop(waiting).refuse(ErrorCode.CANCELLED, "the opener gave up")
        self._tell_if_empty()

    def _give_up(self, waiting: _Waiting, code: int, text: str) -> None:
        self._deadlines.remove(waiting.key)
        waiting.cancel()
        self._refuse(self._waiting.pop(waiting), code, text)

    def _connected(
        self, stream: StreamCore, waiting: _Waiting, result: Pipe | ConnectFailed
    ) -> None:
        waiting.pending = None
        self._deadlines.remove(waiting.key)
        self._waiting.pop(waiting, None)
        if isinstance(result, ConnectFailed):
            if not waiting.is_left:
                code = ErrorCode.TARGET_REFUSED if result.refused else ErrorCode.TARGET_UNREACHABLE
                self._refuse(stream, code, str(result))
        elif waiting.is_left or not stream.accept():
            result.close()
        else:
            self.served_count += 1
            end = PipeEnd(result, self._over)
            self._ends.add(end)
            splice_stream(end, stream)

    def _over(self, end: PipeEnd) -> None:
        self._ends.discard(end)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self._ends and not self._waiting:
            self._emptied.set()

    def _refuse(self, stream: StreamCore, code: int, text: str) -> None:
        self.refused_count += 1
        stream.refuse(code, text)
        self._tell_if_empty()


def _is_numeric(address: Address) -> bool:
    if address.scheme != "tcp":
        return True
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return True
