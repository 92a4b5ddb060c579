"""A leg: one attachment of a session, a number on a link.

Until the peer is known to be there, what arrives on a leg is nobody's, and is dropped.  A leg that
the session has left goes on to deliver what was under way, and notes that something comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .errors import RemoteProtocolError
from .link import Link
from .wire.frames import FrameType, Value
from .wire.session import AttachmentLost, SessionCore

__all__ = ["Leg", "LegOwner"]


class LegOwner(Protocol):
    """The session that a leg belongs to."""

    core: SessionCore
    leg: Leg | None

    def leg_attached(self, leg: Leg, values: Mapping[str, Value]) -> None:
        """The peer is there."""

    def leg_detached(self, leg: Leg, code: int, text: str) -> None:
        """The broker or the peer ended an attachment, or the whole session."""

    def leg_failed(self, leg: Leg, error: RemoteProtocolError | AttachmentLost) -> None:
        """A frame was not right."""

    def leg_lost(self, leg: Leg) -> None:
        """The link of *leg* is gone."""


class Leg:
    """One attachment of a session; the user of its number on the link."""

    __slots__ = ("_session", "is_busy", "link", "number", "receive_frame")

    def __init__(self, session: LegOwner, link: Link, number: int = 0) -> None:
        self._session = session
        self.link = link
        self.is_busy = False
        """Whether a frame arrived since `is_busy` was last cleared; only an old leg notes it."""
        self.receive_frame: Callable[[int, int, int, int, memoryview], None] = self._too_early
        self.number = number or link.take_number(self)
        link.users[self.number] = self

    def begin(self) -> None:
        """Take frames from now on: the session goes on here."""
        self.receive_frame = self._session.core.receive

    def _too_early(
        self, kind: int, flags: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        """Nobody has proven that the peer is there: what comes is not its."""

    def grow_old(self) -> None:
        """Take note of frames that arrive from now on."""
        self.is_busy = True
        self.receive_frame = self._receive_late

    def _receive_late(
        self, kind: int, flags: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        self.is_busy = True
        self._session.core.receive(kind, flags, stream, sequence, payload)

    def leave(self, code: int, text: str) -> None:
        """Give the number up, and say so."""
        if self.link.users.pop(self.number, None) is not None and self.link.is_up:
            self.link.write_hop(FrameType.DETACHED, self.number, code=code, text=text[:200])

    def attached(self, values: Mapping[str, Value]) -> None:
        """The peer is there."""
        self._session.leg_attached(self, values)

    def detached(self, code: int, text: str) -> None:
        """The broker or the peer ended the attachment, or the whole session."""
        self.link.users.pop(self.number, None)
        self._session.leg_detached(self, code, text)

    def limit(self, cap: int) -> None:
        """The broker changes the cap."""
        if self._session.leg is self:
            self._session.core.limit(cap)

    def frame_failed(self, error: RemoteProtocolError | AttachmentLost) -> None:
        self._session.leg_failed(self, error)

    def link_writable(self) -> None:
        if self._session.leg is self:
            self._session.core.resume()

    def link_lost(self) -> None:
        self._session.leg_lost(self)
