"""One direction of stdin or stdout: what can be read from, and what can be written to.

How it works.  Whoever started the program chose what its stdin and stdout are, and shares them
with it: a shell reads from the same terminal.  O_NONBLOCK belongs to what is shared, so it is
never set there:

==============  ==================================================================================
socket          each call says MSG_DONTWAIT
pipe, terminal  opened once more through /proc/self/fd, which gives a file description of our own
anything else   a thread makes one blocking call at a time: epoll refuses files and /dev/null
==============  ==================================================================================

`open_source` and `open_sink` choose.  Nothing here waits; who is to be called when something can be
done is said by `start`, and when, by `want`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import trio

from tunnelkit import limits
from tunnelkit.pump import Pump, Watch
from tunnelkit.wire.stream import Buffer

__all__ = ["CHUNK_BYTES", "PIPE_BYTES", "Sink", "Source", "open_sink", "open_source"]

CHUNK_BYTES: Final = limits.BULK_FRAME_BYTES
"""Most bytes that a thread reads or writes in one call: what is held for a slow file."""

PIPE_BYTES: Final = 256 * 1024
"""What a pipe is asked to hold.  Linux's own 64 KiB would cost four times as many calls."""

_DONTWAIT: Final = socket.MSG_DONTWAIT
_NOT_NOW: Final = (BlockingIOError, InterruptedError)


class _Side(Protocol):
    """What both directions have."""

    def start(self, ready: Callable[[], None]) -> None:
        """Choose who is called when something can be done."""

    def want(self, wanted: bool) -> None:
        """Say whether to be called."""

    def close(self) -> None:
        """Do what was begun, then let go of the descriptor."""


class Source(_Side, Protocol):
    def receive(self, max_bytes: int) -> Buffer | None:
        """Return bytes, b"" at the end of file, or None: not now.  May raise OSError."""


class Sink(_Side, Protocol):
    closed: trio.Event
    error: OSError | None
    """What a write that had been taken failed with."""

    def send(self, data: Buffer) -> int:
        """Take some of *data*; return how many bytes.  May raise OSError."""


# --- what epoll serves -----------------------------------------------------------------------


class _Polled:
    """A descriptor whose calls never wait."""

    def __init__(self, fileno: int, pump: Pump, close: Callable[[], None]) -> None:
        self.pump = pump
        self.closed = trio.Event()
        self.error: OSError | None = None
        self._fileno = fileno
        self._close = close
        self._watch: Watch | None = None
        self._is_open = True

    def start(self, ready: Callable[[], None]) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch = self.pump.watch(self._fileno, lambda readable, writable: ready())

    def close(self) -> None:
        """Close when the batch is over: no event of it must meet a number that is used again."""
        if self._is_open:
            self._is_open = False
            if self._watch is not None:
                self._watch.close()
            self.pump.defer(self._finish)

    def _finish(self) -> None:
        self._close()
        self.closed.set()


class _PolledSource(_Polled):
    def __init__(
        self,
        fileno: int,
        pump: Pump,
        receive_into: Callable[[memoryview], int],
        close: Callable[[], None],
    ) -> None:
        super().__init__(fileno, pump, close)
        self._receive_into = receive_into
        self._is_large = False

    def want(self, wanted: bool) -> None:
        if self._watch is not None and self._is_open:
            self._watch.want(wanted, False)

    def receive(self, max_bytes: int) -> Buffer | None:
        """Read into a block that can be kept where much comes, as sockets do."""
        is_block = self._is_large
        view = memoryview(self.pump.blocks.take()) if is_block else self.pump.edge_view
        try:
            count = self._receive_into(view[:max_bytes])
        except _NOT_NOW:
            return None
        self._is_large = count >= limits.KEEP_BY_REFERENCE_BYTES
        return view[:count].toreadonly() if is_block else view[:count]


class _PolledSink(_Polled):
    def __init__(
        self,
        fileno: int,
        pump: Pump,
        send: Callable[[Buffer], int],
        close: Callable[[], None],
    ) -> None:
        super().__init__(fileno, pump, close)
        self._send = send

    def want(self, wanted: bool) -> None:
        if self._watch is not None and self._is_open:
            self._watch.want(False, wanted)

    def send(self, data: Buffer) -> int:
        try:
            return self._send(data)
        except _NOT_NOW:
            return 0


# --- what needs a thread ---------------------------------------------------------------------


class _Threaded:
    """A descriptor whose calls may wait: one at a time is made by a thread.

    Cancelling the nursery abandons the call; its thread ends with it, or with the program.
    """

    def __init__(self, fileno: int, pump: Pump, nursery: trio.Nursery) -> None:
        self.pump = pump
        self.closed = trio.Event()
        self.error: OSError | None = None
        self._fileno = fileno
        self._nursery = nursery
        self._ready: Callable[[], None] = lambda: None
        self._is_busy = False
        self._is_wanted = False
        self._is_closing = False

    def start(self, ready: Callable[[], None]) -> None:
        self._ready = ready

    def close(self) -> None:
        """Let go of the descriptor as soon as no thread uses it."""
        if not self._is_closing:
            self._is_closing = True
            if not self._is_busy:
                self._finish()

    def _finish(self) -> None:
        os.close(self._fileno)
        self.closed.set()

    def _begin(self, call: Callable[[], object]) -> None:
        self._is_busy = True
        self._nursery.start_soon(self._run, call)

    async def _run(self, call: Callable[[], object]) -> None:
        try:
            await trio.to_thread.run_sync(call, abandon_on_cancel=True)
        except OSError as error:
            self.error = error
        self._is_busy = False
        if self._is_closing:
            self._finish()
        else:
            with self.pump.batch():
                self._done()

    def _done(self) -> None:
        if self._is_wanted:
            self._ready()


class _ThreadedSource(_Threaded):
    """Reads ahead by one chunk, and only when asked."""

    def __init__(self, fileno: int, pump: Pump, nursery: trio.Nursery) -> None:
        super().__init__(fileno, pump, nursery)
        self._data: bytes | None = None

    def want(self, wanted: bool) -> None:
        self._is_wanted = wanted
        if wanted and not self._is_busy and not self._is_closing:
            if self._data is None and self.error is None:
                self._begin(self._read)
            else:
                self.pump.call_soon(self._done)

    def receive(self, max_bytes: int) -> Buffer | None:
        if self._data is None and self.error is not None:
            raise self.error
        data = self._data
        if not data:
            return data
        self._data = data[max_bytes:] or None
        return data[:max_bytes]

    def _read(self) -> None:
        self._data = os.read(self._fileno, CHUNK_BYTES)

    def _done(self) -> None:
        """Tell of the bytes, and read on for as long as somebody wants more."""
        super()._done()
        if self._is_wanted:
            self.want(True)


class _ThreadedSink(_Threaded):
    """Takes a chunk, and no more until that is written."""

    def want(self, wanted: bool) -> None:
        self._is_wanted = wanted
        if wanted and not self._is_busy:
            self.pump.call_soon(self._done)

    def send(self, data: Buffer) -> int:
        if self.error is not None:
            raise self.error
        if self._is_busy or self._is_closing:
            return 0
        chunk = bytes(data[:CHUNK_BYTES])
        self._begin(partial(_write_all, self._fileno, chunk))
        return len(chunk)


def _write_all(fileno: int, data: bytes) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.write(fileno, view[done:])


# --- which is which --------------------------------------------------------------------------


def _open_again(fileno: int, mode: int) -> int | None:
    """Return a descriptor of our own, which does not wait, for a pipe or a terminal; or None."""
    kind = os.fstat(fileno).st_mode
    if not stat.S_ISFIFO(kind) and not os.isatty(fileno):
        return None
    flags = mode | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{fileno}", flags)
    except OSError:
        return None  # no /proc, or a terminal that belongs to another user


def _grow(fileno: int) -> None:
    """Let a pipe hold more, if it is one and the system allows it."""
    with contextlib.suppress(OSError, AttributeError):
        if fcntl.fcntl(fileno, fcntl.F_GETPIPE_SZ) < PIPE_BYTES:
            fcntl.fcntl(fileno, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _is_stream_socket(fileno: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fileno).st_mode):
        return False
    with socket.socket(fileno=os.dup(fileno)) as sock:
        return bool(sock.type & socket.SOCK_STREAM)


def open_source(fileno: int, pump: Pump, nursery: trio.Nursery) -> Source:
    if _is_stream_socket(fileno):
        sock = socket.socket(fileno=fileno)

        def receive_into(view: memoryview) -> int:
            return sock.recv_into(view, 0, _DONTWAIT)

        return _PolledSource(fileno, pump, receive_into, sock.close)
    own = _open_again(fileno, os.O_RDONLY)
    if own is None:
        return _ThreadedSource(fileno, pump, nursery)
    os.close(fileno)
    _grow(own)
    return _PolledSource(own, pump, lambda view: os.readv(own, [view]), partial(os.close, own))


def open_sink(fileno: int, pump: Pump, nursery: trio.Nursery) -> Sink:
    if _is_stream_socket(fileno):
        sock = socket.socket(fileno=fileno)

        def close() -> None:
            # Stdin may be the same socket, so closing this descriptor would tell nobody.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            sock.close()

        return _PolledSink(fileno, pump, lambda data: sock.send(data, _DONTWAIT), close)
    own = _open_again(fileno, os.O_WRONLY)
    if own is None:
        return _ThreadedSink(fileno, pump, nursery)
    os.close(fileno)
    _grow(own)
    return _PolledSink(own, pump, partial(os.write, own), partial(os.close, own))
