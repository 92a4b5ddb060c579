"""Stdin and stdout as one pipe of the pump, whatever they are (`sides` tells them apart).

A reset cannot be seen on a descriptor, only an end of file, and whoever reads stdout may act on
that at once: ssh ends and sends SIGHUP.  So where bytes are missing, stdout stays open until
`release`, and there is time to say what happened.

The pipe owns its descriptors.  `take_over` leaves /dev/null in the place of stdin or stdout, so
that the end of the sending direction is an end of file for the reader at that very moment.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from functools import partial

import trio

from tunnelkit.carriers import Pipe, PipeBroken
from tunnelkit.pump import Pump
from tunnelkit.wire.stream import Buffer

from .sides import open_sink, open_source

__all__ = ["DescriptorPipe", "take_over"]


def take_over(fileno: int) -> int:
    """Return a new descriptor for what *fileno* leads to, and let that one lead nowhere.

    Raises:
        OSError: *fileno* is not open.
    """
    taken = fcntl.fcntl(fileno, fcntl.F_DUPFD_CLOEXEC, 3)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, fileno)
    os.close(nowhere)
    return taken


class DescriptorPipe(Pipe):
    """A pipe that receives from one descriptor and sends to another; it owns both.

    Args:
        stdin: what to receive from.
        stdout: what to send to; may lead to the same socket as *stdin*.
        nursery: for the threads that files need.
    """

    def __init__(self, stdin: int, stdout: int, pump: Pump, nursery: trio.Nursery) -> None:
        self.pump = pump
        self.description = "stdin and stdout"
        self.broken: str | None = None
        self.is_deserted = False
        """Whether the pipe broke because whoever was at its other side has gone."""
        self.is_held = False
        """Whether stdout stays open until `release`, because bytes are missing."""
        self._source = open_source(stdin, pump, nursery)
        self._sink = open_sink(stdout, pump, nursery)

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        self._source.start(partial(handler, True, False))
        self._sink.start(partial(handler, False, True))

    def want(self, readable: bool, writable: bool) -> None:
        self._source.want(readable)
        self._sink.want(writable)

    def _fail(self, name: str, error: OSError) -> PipeBroken:
        self.is_held = True
        if self.broken is None:
            self.broken = f"{name}: {(error.strerror or str(error)).lower()}"
            self.is_deserted = isinstance(error, BrokenPipeError | ConnectionResetError)
        return PipeBroken(self.broken)

    def try_send(self, data: Buffer) -> int:
        try:
            return self._sink.send(data)
        except OSError as error:
            raise self._fail("stdout", error) from error

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        total = 0
        for buffer in buffers:
            taken = self.try_send(buffer)
            total += taken
            if taken < len(buffer):
                break
        return total

    def try_receive_into(self, buffer: memoryview) -> int:
        data = self.try_receive(len(buffer))
        if data is None:
            return -1
        buffer[: len(data)] = data
        return len(data)

    def try_receive(self, max_bytes: int) -> Buffer | None:
        try:
            return self._source.receive(max_bytes)
        except OSError as error:
            raise self._fail("stdin", error) from error

    def check(self) -> None:
        """Nothing can be known of a descriptor without reading or writing."""

    def send_eof(self) -> None:
        self._sink.close()

    def close(self) -> None:
        self._source.close()
        if not self.is_held:
            self._sink.close()

    def reset(self) -> None:
        """Let nobody take what was written for the whole: `release` follows."""
        self.is_held = True
        self._source.close()

    def release(self) -> None:
        """Close both directions, whatever has happened."""
        self._source.close()
        self._sink.close()

    async def wait_written(self) -> None:
        """Wait until all that was taken is written and stdout is closed.

        Raises:
            PipeBroken: the last bytes could not be written.
        Cancellation: atomic.
        """
        await self._sink.closed.wait()
        if self._sink.error is not None:
            raise self._fail("stdout", self._sink.error)
