"""A pipe whose bytes are shown to a conversation as they go by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tunnelkit.carriers import Pipe
from tunnelkit.carriers.pipe import PipeBroken
from tunnelkit.wire.stream import Buffer

from .conversations import ByteRecorder, Conversation

__all__ = ["TapPipe", "tapped"]

T = TypeVar("T")


class TapPipe(Pipe):
    """A pipe around *inner*, which it owns: every call goes through unchanged.

    Args:
        inner: the pipe.
        conversation: who is told.
        is_client: whether the other side of the pipe is the client of the conversation.
    """

    def __init__(self, inner: Pipe, conversation: Conversation, *, is_client: bool) -> None:
        self.pump = inner.pump
        self.description = inner.description
        self._inner = inner
        self._told = conversation
        self._is_client = is_client

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        self._inner.start(handler)

    def want(self, readable: bool, writable: bool) -> None:
        self._inner.want(readable, writable)

    def try_send(self, data: Buffer) -> int:
        taken = self._inner.try_send(data)
        if taken:
            self._told.said(not self._is_client, data[:taken])
        return taken

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        taken = left = self._inner.try_send_many(buffers)
        for buffer in buffers:
            if left <= 0:
                break
            self._told.said(not self._is_client, buffer[:left])
            left -= len(buffer)
        return taken

    def try_receive_into(self, buffer: memoryview) -> int:
        count = self._receive(lambda: self._inner.try_receive_into(buffer))
        if count > 0:
            self._told.said(self._is_client, buffer[:count])
        elif not count:
            self._told.finished(self._is_client)
        return count

    def try_receive(self, max_bytes: int) -> Buffer | None:
        data = self._receive(lambda: self._inner.try_receive(max_bytes))
        if data:
            self._told.said(self._is_client, data)
        elif data is not None:
            self._told.finished(self._is_client)
        return data

    def _receive(self, receive: Callable[[], T]) -> T:
        try:
            return receive()
        except PipeBroken:
            self._told.ended(is_reset=True, by_client=self._is_client)
            raise

    def take_rest(self, max_bytes: int) -> bytes:
        data = self._inner.take_rest(max_bytes)
        if data:
            self._told.said(self._is_client, data)
        return data

    def limit_unsent(self, count: int) -> None:
        self._inner.limit_unsent(count)

    def unsent_bytes(self) -> int | None:
        return self._inner.unsent_bytes()

    def check(self) -> None:
        self._receive(self._inner.check)

    def send_eof(self) -> None:
        self._told.finished(not self._is_client)
        self._inner.send_eof()

    def close(self) -> None:
        self._told.ended(is_reset=False, by_client=not self._is_client)
        self._inner.close()

    def reset(self) -> None:
        self._told.ended(is_reset=True, by_client=not self._is_client)
        self._inner.reset()


def tapped(
    pipe: Pipe, recorder: ByteRecorder | None, client: str, server: str, *, is_client: bool = True
) -> Pipe:
    """Return a pipe whose bytes are recorded, or the pipe itself where nobody records."""
    conversation = recorder.begin(client, server) if recorder is not None else None
    return pipe if conversation is None else TapPipe(pipe, conversation, is_client=is_client)
