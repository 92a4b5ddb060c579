"""Somebody who takes bytes message by message, as far as they can be taken now (no I/O)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from tunnelkit.wire.stream import Buffer

from .errors import HttpRefused
from .head import MAX_HEAD_BYTES
from .outlet import Outlet

__all__ = ["Intake"]

T = TypeVar("T")


class Intake(ABC):
    """One connection of HTTP/1.x: its bytes are pushed into it, and `outlet` leads back to it."""

    def __init__(self) -> None:
        self.outlet = Outlet()
        self._is_taking = False
        self._holds_back = False
        """Whether it pushed more than could be taken, and keeps the rest."""
        self._head = b""
        """Lines of a head of which not all has come."""

    def offer(self, data: Buffer) -> int:
        taken = 0
        self._is_taking = True
        try:
            while taken < len(data):
                used = self._take(data[taken:] if taken else data)
                if not used:
                    break
                taken += used
        except HttpRefused as error:
            self._refused(error)
            return len(data)
        finally:
            self._is_taking = False
        self._holds_back = taken < len(data)
        return taken

    def pull(self) -> None:
        """Take what it keeps, unless it pushes right now; what is new it pushes by itself."""
        if self._holds_back and not self._is_taking:
            self.outlet.end.resume()

    def _read_head(
        self, data: Buffer, read: Callable[[bytes], tuple[T, int] | None]
    ) -> tuple[T | None, int]:
        """Return the head that ends in *data*, and how many bytes of *data* it took.

        Raises:
            HttpRefused: it is none.
        """
        before = len(self._head)
        lines = self._head + bytes(data[: MAX_HEAD_BYTES + 4 - before])
        found = read(lines)
        if found is None:
            self._head = lines
            return None, len(lines) - before
        self._head = b""
        return found[0], found[1] - before

    @abstractmethod
    def _take(self, data: Buffer) -> int:
        """Take a part of *data*; return how many bytes: none where it has to wait."""

    @abstractmethod
    def _refused(self, error: HttpRefused) -> None:
        """What came breaks a rule, and what follows it cannot be read."""
