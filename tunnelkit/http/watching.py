"""Somebody who looks on while a request and its answer go by, and changes nothing (no I/O)."""

from __future__ import annotations

from typing import Protocol

from tunnelkit.wire.stream import Buffer

from .head import Fields, RequestHead, ResponseHead

__all__ = ["Onlooker", "Watch", "both"]


class Watch(Protocol):
    """Looks at one request and its answer; made by whoever routes the request.

    The calls come in the order in which things go by; both bodies may do so at the same time.  No
    call may wait, take long, or raise.  A buffer is valid only during the call.
    """

    def request_data(self, data: Buffer) -> None:
        """Bytes of the request's body, without what frames them."""

    def request_ended(self, trailers: Fields) -> None:
        """The request has ended, and none of it is missing."""

    def sent_to(self, head: RequestHead, server: str) -> None:
        """The request goes to a server.

        Args:
            head: as it is sent, which may have been written anew.
            server: who it is, for people.
        """

    def answer_begun(self, head: ResponseHead) -> None:
        """The head of an answer, interim ones (1xx) included, as the client gets it."""

    def answer_data(self, data: Buffer) -> None:
        """Bytes of the answer's body, without what frames them."""

    def answer_ended(self, trailers: Fields) -> None:
        """The answer has ended, and none of it is missing."""

    def over(self, why: str) -> None:
        """Nothing more comes, whatever was missing; always the last call, and made once.

        Args:
            why: what is missing was cut off; "": nothing is.
        """


class Onlooker:
    """A watch that does nothing: what those begin with who look at a part."""

    __slots__ = ()

    def request_data(self, data: Buffer) -> None:
        pass

    def request_ended(self, trailers: Fields) -> None:
        pass

    def sent_to(self, head: RequestHead, server: str) -> None:
        pass

    def answer_begun(self, head: ResponseHead) -> None:
        pass

    def answer_data(self, data: Buffer) -> None:
        pass

    def answer_ended(self, trailers: Fields) -> None:
        pass

    def over(self, why: str) -> None:
        pass


class _Both:
    """Two who look on."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Watch, second: Watch) -> None:
        self._first = first
        self._second = second

    def request_data(self, data: Buffer) -> None:
        self._first.request_data(data)
        self._second.request_data(data)

    def request_ended(self, trailers: Fields) -> None:
        self._first.request_ended(trailers)
        self._second.request_ended(trailers)

    def sent_to(self, head: RequestHead, server: str) -> None:
        self._first.sent_to(head, server)
        self._second.sent_to(head, server)

    def answer_begun(self, head: ResponseHead) -> None:
        self._first.answer_begun(head)
        self._second.answer_begun(head)

    def answer_data(self, data: Buffer) -> None:
        self._first.answer_data(data)
        self._second.answer_data(data)

    def answer_ended(self, trailers: Fields) -> None:
        self._first.answer_ended(trailers)
        self._second.answer_ended(trailers)

    def over(self, why: str) -> None:
        self._first.over(why)
        self._second.over(why)


def both(first: Watch | None, second: Watch | None) -> Watch | None:
    """Return a watch for two who look on, as far as there are any."""
    if first is None or second is None:
        return first or second
    return _Both(first, second)
