"""How often somebody may ask for something, and how often a thing is told (no I/O)."""

from __future__ import annotations

__all__ = ["Bucket", "Seldom"]


class Bucket:
    """So many at once, and then so many a second.

    Args:
        most: how many may be taken at once.
        per_second: how many more may be taken each second after that.
    """

    __slots__ = ("_counted_at", "_left", "most", "per_second")

    def __init__(self, most: float, per_second: float) -> None:
        self.most = most
        self.per_second = per_second
        self._left = most
        self._counted_at = float("-inf")

    def take(self, now: float) -> bool:
        """Take one; say whether there was one.  *now* is seconds of any one steady clock."""
        gained = (now - self._counted_at) * self.per_second
        self._left = min(self._left + gained, self.most)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Seldom:
    """Something that strangers can cause as often as they like, and that is told now and then.

    Stops: logs that a port scan fills.

    Args:
        seconds: the shortest time from one telling to the next.
    """

    __slots__ = ("_count", "_told_at", "seconds")

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self._told_at = float("-inf")
        self._count = 0

    def count(self, now: float) -> int:
        """Count one; return how many there were since the last telling, or 0: say nothing now."""
        self._count += 1
        if now - self._told_at < self.seconds:
            return 0
        self._told_at = now
        count, self._count = self._count, 0
        return count

    def ending(self, now: float) -> str | None:
        """Count one; return what a line about it ends with, or None: say nothing now."""
        count = self.count(now)
        if not count:
            return None
        return f" ({count - 1} more since the last line)" if count > 1 else ""
