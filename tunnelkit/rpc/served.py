"""Calls of the peer that are carried out here, and what comes and goes beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import trio

from .backlog import Backlog
from .channels import MAX_MESSAGE_BYTES
from .codes import RpcCode, RpcError
from .flow import Credit, Feed
from .messages import Id, Request, encode_error
from .payload import ByteFeed, is_payload

if TYPE_CHECKING:
    from tunnelkit.stream import Stream

__all__ = ["Batch", "Served", "Values"]


class Batch:
    """The answers of a batch, which are sent together once all are there."""

    def __init__(self, count: int, send: Callable[[bytes], None], backlog: Backlog) -> None:
        self._missing = count
        self._send = send
        self._backlog = backlog
        self._bytes = 0
        self._answers: list[bytes] = []

    def add(self, answer: bytes, request_id: Id) -> None:
        """One answer is there; one that does not fit in beside the others becomes an error."""
        try:
            if self._bytes + len(answer) + 2 > MAX_MESSAGE_BYTES:
                text = f"the answers of a batch have at most {MAX_MESSAGE_BYTES} bytes"
                raise RpcError(RpcCode.TOO_LARGE, text)
            self._backlog.add(len(answer))
        except RpcError as error:
            text = f"{error.text}: call alone"
            answer = encode_error(request_id, RpcCode.TOO_LARGE, text)
            self._backlog.change(len(answer))
        self._bytes += len(answer) + 1
        self._answers.append(answer)
        self.skip()

    def skip(self) -> None:
        """One message is not answered."""
        self._missing -= 1
        if not self._missing and self._answers:
            self._backlog.change(-sum(map(len, self._answers)))
            self._send(b"[" + b",".join(self._answers) + b"]")


class Served:
    """A call of the peer that is carried out here."""

    __slots__ = (
        "batch",
        "credit",
        "has_stream",
        "is_cancelled",
        "is_done",
        "request",
        "result",
        "scope",
        "size",
        "stream",
        "values",
    )

    def __init__(self, request: Request, batch: Batch | None) -> None:
        self.request = request
        self.size = len(request.params)
        """Bytes of its arguments."""
        self.result: Any = None
        """The type of the result, or of its items, once that is known."""
        self.batch = batch
        self.scope = trio.CancelScope()
        self.is_cancelled = False
        """Whether nobody waits for the answer any more."""
        self.is_done = False
        """Whether it was carried out, and not refused or left."""
        self.has_stream = False
        """Whether the payload goes over a stream of its own, which may be yet to come."""
        self.credit = Credit()
        """What may be sent of a streamed result."""
        self.values: Feed[Any] | None = None
        """What comes of a streamed argument, where there is one."""
        self.stream: Stream | None = None
        """That of the payload, once it is there."""

    def cancel(self) -> None:
        """The caller gave up, or is gone."""
        self.is_cancelled = True
        self.scope.cancel()

    def go_over(self, stream: Stream) -> None:
        """The payload has a stream of its own."""
        self.stream = stream
        if is_payload(self.result):
            self.credit.go_over(stream)
        if isinstance(self.values, ByteFeed):
            self.values.go_over(stream)


class Values(AsyncIterator[Any]):
    """A streamed argument, for the method that takes it."""

    def __init__(self, feed: Feed[Any]) -> None:
        self._feed = feed

    def __aiter__(self) -> Values:
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        return await self._feed.take()
