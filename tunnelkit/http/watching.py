"""Somebody who looks on while a request and its answer go by, and changes nothing (no I/O)."""

from __future__ import annotations

from typing import Protocol

from tunnelkit.wire.stream import Buffer

from .head import Fields, RequestHead, ResponseHead

__all__ = ["Watch"]


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
