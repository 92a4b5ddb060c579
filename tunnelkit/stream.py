"""`Stream`: the ordinary Trio face of a stream core.

A `Stream` is the sink of its core: arriving bytes go straight to a task that waits for them, or
stay in the core's inbox, bounded by the stream's credit, until somebody receives.  It starts no
task and holds no lock; everything happens in the calls.
"""

from __future__ import annotations

from operator import index
from types import TracebackType
from typing import TYPE_CHECKING

import trio
from outcome import Error, Value

from .errors import ErrorCode, TunnelError, code_name
from .pump import Pump
from .wire.states import Half
from .wire.stream import Buffer, StreamCore

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Stream", "StreamReset"]

DEFAULT_RECEIVE_BYTES = 64 * 1024
"""What `receive_some` returns at most when it is not told, bytes."""


class StreamReset(trio.BrokenResourceError, TunnelError):
    """The stream was ended with bytes missing; `code` and `text` say why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"stream reset: {text or 'no reason given'} [{code_name(code)}]")
        self.code = code
        self.text = text


class Stream(trio.abc.HalfCloseableStream):
    """One stream of a session, as an ordinary Trio stream.

    Made by `Session.open_stream`, or handed to the handler of `Endpoint.serve`.  Leaving its
    ``async with`` normally ends both directions cleanly; leaving it by an exception, or with a
    cancelled `aclose`, resets them, so that the far side never takes a part for the whole.

    Concurrency: one task may send while another one receives; two of the same kind at once get
    `trio.BusyResourceError`.
    """

    def __init__(self, core: StreamCore, session: Session, pump: Pump) -> None:
        self._core = core
        self._pump = pump
        self._closed = False
        self._stopped: tuple[int, str] | None = None
        self._sender: trio.lowlevel.Task | None = None
        self._receiver: trio.lowlevel.Task | None = None
        self._receive_most = 0
        self._unsent: memoryview | None = None
        self._sending = False
        self._receiving = False
        self.session = session
        core.sink = self

    def __repr__(self) -> str:
        return f"<Stream {self._core.stream_id} to {self.target!r}>"

    @property
    def stream_id(self) -> int:
        """Its number in the session, the same at both ends."""
        return self._core.stream_id

    @property
    def target(self) -> str:
        """What the opener asked for."""
        return self._core.target

    @property
    def metadata(self) -> dict[int, bytes]:
        """What came with the open; keys are those of `tunnelkit.wire.frames.Metadata`."""
        return dict(self._core.metadata)

    # --- sending ----------------------------------------------------------------------------

    async def send_all(self, data: Buffer) -> None:
        """Send *data*; return when it has been numbered, so that no lost link can lose it.

        Raises:
            StreamReset: the peer reset the stream or stopped reading, or the session ended.
            trio.ClosedResourceError: this side closed the stream or its sending direction.
            trio.BusyResourceError: another task is sending.
        Cancellation: breaks; a part of *data* may have been sent, and nobody knows how much.
        """
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            self._check_sending()
            with memoryview(_unchanging(data)) as view:
                if len(view):
                    self._offer(view)
                while self._unsent:
                    self._check_sending()
                    await self._wait_to_send()
                    self._check_sending()
        finally:
            self._sending = False
            self._unsent = None

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until some bytes can be sent.

        Raises:
            The same as `send_all`.
        Cancellation: atomic.
        """
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            self._check_sending()
            while not self._core.poll_writable():
                await self._wait_to_send()
                self._check_sending()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """End the sending direction cleanly; receiving goes on.

        Raises:
            The same as `send_all`.
        Cancellation: atomic.
        """
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            if self._core.outgoing is not Half.ENDED or self._closed:
                self._check_sending()
                self._finish()
        finally:
            self._sending = False

    # What changes the session's state must not be cut in two by a KeyboardInterrupt.

    @trio.lowlevel.enable_ki_protection
    def _offer(self, view: memoryview) -> None:
        self._pump.enter()
        try:
            # A view of its own: a frame may keep it for longer than *view* lives.
            self._unsent = view[self._core.offer(view[:]) :]
        finally:
            self._pump.leave()

    @trio.lowlevel.enable_ki_protection
    def _finish(self) -> None:
        with self._pump.batch():
            self._core.finish()

    def _begin_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError(f"another task is sending on {self!r}")
        self._sending = True

    def _check_sending(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed by this side")
        if self._stopped is not None:
            raise StreamReset(*self._stopped)
        if self._core.outgoing is not Half.OPEN:
            raise trio.ClosedResourceError(f"the sending direction of {self!r} was ended")

    async def _wait_to_send(self) -> None:
        self._sender = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sender = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            trio.lowlevel.reschedule(sender, Value(None))

    # --- receiving --------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return between 1 and *max_bytes* bytes, or b"" at the clean end of the stream.

        Args:
            max_bytes: at least 1; 64 KiB if it is None.

        Raises:
            StreamReset: the peer reset the stream, or the session ended: bytes may be missing.
            trio.ClosedResourceError: this side closed the stream.
            trio.BusyResourceError: another task is receiving.
        Cancellation: atomic; no byte is lost.
        """
        most = DEFAULT_RECEIVE_BYTES if max_bytes is None else index(max_bytes)
        if most < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError(f"another task is receiving from {self!r}")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            found = self._receive_nowait(most)
            if found is None:
                found = await self._wait_to_receive(most)
            return found
        finally:
            self._receiving = False

    @trio.lowlevel.enable_ki_protection
    def _receive_nowait(self, most: int) -> bytes | None:
        """Return bytes, b"" at the end, or None where one has to wait."""
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed by this side")
        core = self._core
        if core.inbox:
            with self._pump.batch():
                return core.take(most)
        if core.incoming is Half.ENDED:
            return b""
        if core.incoming_error is not None:
            raise StreamReset(*core.incoming_error)
        return None

    async def _wait_to_receive(self, most: int) -> bytes:
        self._receive_most = most
        self._receiver = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._receiver = None
            return trio.lowlevel.Abort.SUCCEEDED

        data = await trio.lowlevel.wait_task_rescheduled(abort)
        assert isinstance(data, bytes)  # nothing else is ever handed over
        return data

    def _wake_receiver(self) -> None:
        """Let a waiting receiver see the ending."""
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        try:
            found = self._receive_nowait(self._receive_most)
        except Exception as error:
            trio.lowlevel.reschedule(receiver, Error(error))
        else:
            trio.lowlevel.reschedule(receiver, Value(found if found is not None else b""))

    # --- closing ----------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End both directions: what was sent is delivered, what was not received is dropped.

        Cancellation: the stream is closed in any case; if this is cancelled, by a reset.
        """
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self.reset()
            raise
        self.close()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """End both directions, as `aclose`, without a checkpoint."""
        if not self._closed:
            self._close()
            with self._pump.batch():
                self._core.finish()
                self._core.stop(ErrorCode.NOT_READING)

    @trio.lowlevel.enable_ki_protection
    def reset(self, code: int = ErrorCode.CANCELLED, text: str = "") -> None:
        """Break both directions now; the peer gets a `StreamReset` with *code* and *text*."""
        if not self._closed:
            self._close()
            with self._pump.batch():
                self._core.reset(code, text)

    def _close(self) -> None:
        self._closed = True
        self._wake_sender()
        self._wake_receiver()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_value is not None:
            self.reset()
        await self.aclose()

    # --- the sink of the core ---------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return 0
        found = bytes(data[: self._receive_most])
        trio.lowlevel.reschedule(receiver, Value(found))
        return len(found)

    def finish(self) -> None:
        self._wake_receiver()

    def abort(self, code: int, text: str = "") -> None:
        self._wake_receiver()

    def stop(self, code: int, text: str = "") -> None:
        self._stopped = (code, text)
        self._wake_sender()

    def resume(self) -> None:
        """Send on without waking the task, which is for later: this stream's turn is now."""
        if self._unsent:
            self._unsent = self._unsent[self._core.offer(self._unsent) :]
        if not self._unsent:
            self._wake_sender()


def _unchanging(data: Buffer) -> Buffer:
    """Return *data*, or a copy if it looks immutable and is not: its frames may be kept."""
    if isinstance(data, memoryview) and data.readonly and not isinstance(data.obj, bytes):
        return bytes(data)
    return data
