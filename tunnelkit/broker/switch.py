"""The broker's links: frames of sessions pass through as runs, undecoded.

A *leg* is one side of a joined session on one link.  Frames that arrive for a leg go out on its
twin, with the session number replaced in place in the receive buffer; many frames in a row are one
write.  If the other link cannot take them, they wait in the twin's queue, whole frames only, and
the broker goes on reading.  Queues are emptied by deficit round robin, so a session with much to
send does not hold up the others on its link.  A queue that grows over the session's cap means that
an endpoint does not keep to what it was told: only that attachment is ended, and replay heals it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from tunnelkit import limits
from tunnelkit.carriers import Pipe
from tunnelkit.handshake import Accepting, Dialing
from tunnelkit.link import Link, LinkOwner
from tunnelkit.wire.reader import Run

__all__ = ["Leg", "SwitchLink"]

QUANTUM_BYTES: Final = 64 * 1024
"""What a session may send in one turn on a busy link, bytes."""


class Leg:
    """One side of a session on one link."""

    __slots__ = (
        "_deficit",
        "bytes_out",
        "cap",
        "link",
        "number",
        "on_overrun",
        "queue",
        "queued",
        "twin",
    )

    def __init__(self, link: SwitchLink, number: int, on_overrun: Callable[[Leg], None]) -> None:
        self.link = link
        self.number = number
        self.on_overrun = on_overrun
        self.twin: Leg | None = None
        self.cap = 0
        self.queue: deque[bytes] = deque()
        self.queued = 0
        self.bytes_out = 0
        self._deficit = 0

    @property
    def out_number(self) -> int:
        """The number that frames arriving here have on the other link."""
        return self.twin.number if self.twin is not None else 0

    def forward(self, frames: memoryview) -> None:
        """Frames arrived here: send them on."""
        if self.twin is not None:
            self.twin.send(frames)

    def send(self, frames: memoryview) -> None:
        """Write whole frames to this leg's link, or queue them."""
        self.bytes_out += len(frames)
        link = self.link
        if link.is_clear and not self.queue:
            link.write_through(frames)
            return
        if not self.queue:
            link.active.append(self)
        self.queue.append(bytes(frames))
        self.queued += len(frames)
        if self.queued > self.cap + limits.BROKER_SLACK_BYTES:
            self.on_overrun(self)

    def take_turn(self) -> bool:
        """Write what one turn allows; return whether more is waiting."""
        self._deficit += QUANTUM_BYTES
        queue = self.queue
        while queue and len(queue[0]) <= self._deficit and self.link.is_clear:
            chunk = queue.popleft()
            self._deficit -= len(chunk)
            self.queued -= len(chunk)
            self.link.write(chunk)
        if not queue:
            self._deficit = 0
        return bool(queue)

    def purge(self) -> None:
        """Forget what is queued."""
        self.queue.clear()
        self.queued = 0


class SwitchLink(Link):
    """A link of a broker."""

    def __init__(
        self,
        pipe: Pipe,
        handshake: Dialing | Accepting,
        owner: LinkOwner,
        *,
        ping_seconds: float = limits.DEFAULT_PING_SECONDS,
    ) -> None:
        super().__init__(pipe, handshake, owner, ping_seconds=ping_seconds)
        self.active: deque[Leg] = deque()
        self.legs: dict[int, Leg] = {}

    def write_through(self, frames: memoryview) -> None:
        """Write a view that is valid only now: a copy on the cork if small, else at once."""
        if len(frames) < limits.KEEP_BY_REFERENCE_BYTES:
            self.write(bytes(frames))
        else:
            self.write_now(frames)

    def _find(self, number: int) -> Run | None:
        return self.legs.get(number)

    def _deliver(self, count: int) -> None:
        self._reader.received_runs(count, self._frame, self._find)

    def resume_users(self) -> None:
        active = self.active
        while active and self.is_clear:
            leg = active.popleft()
            if leg.queue and leg.take_turn():
                active.append(leg)
