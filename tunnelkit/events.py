"""What happens to links and sessions, as records that a program can watch.

How it works.  Each host (an endpoint, a broker) has one `EventHub`.  Where a link or a session
changes, the host makes a record and tells the hub, which calls its listeners then and there.
Nobody listens: no record is made.  There are two ways to listen:

- `EventHub.add` takes a function that is called at once, inside of the data plane.  It must be
  short and must not wait; what it raises is logged, and harms nobody else.
- `Watcher` (by `endpoint.watch()`) is an asynchronous iterator.  It begins with what there is, as
  events with `is_snapshot`, and goes on with what changes: no gap and no overlap between the two.
  Its queue is bounded; a reader that is too slow loses the oldest events and is told how many.

Records are plain data.  None of them holds a secret: of ids they have the beginning, and texts are
those of errors.  Texts may come from peers: escape them before a terminal shows them.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, ClassVar, Final, TypeAlias

import trio

from .errors import LocalProtocolError, code_name

__all__ = [
    "MAX_WAITING_EVENTS",
    "Event",
    "EventHub",
    "EventsMissed",
    "LinkDown",
    "LinkFacts",
    "LinkFailed",
    "LinkLeaving",
    "LinkRecovered",
    "LinkSuspect",
    "LinkUp",
    "Listener",
    "PeerArrived",
    "PeerLeft",
    "SessionEnded",
    "SessionFacts",
    "SessionMoved",
    "SessionOpen",
    "SessionResumed",
    "SessionSuspended",
    "StrangersRefused",
    "Watcher",
]

_log = logging.getLogger(__name__)

MAX_WAITING_EVENTS: Final = 1000
"""Most events that wait for one watcher.  Stops: a reader that does not read (or a flood of peers
that come and go) filling the memory."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """Which link."""

    id: int
    """Its number in this process; 1 is the first."""
    address: str
    """The other end of the connection."""
    peer: str
    """The subject at the other end; empty for a broker."""
    is_broker: bool
    dialled: bool
    """Whether this side dialled."""

    @property
    def who(self) -> str:
        """The other end, in words."""
        return "a broker" if self.is_broker else self.peer or "a stranger"

    def __str__(self) -> str:
        return f"{self.who} at {self.address}"


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """Which session."""

    id: str
    """The first 8 digits of its id."""
    peer: str
    role: str
    """``initiator`` or ``responder``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(ABC):
    """Something happened, or (`is_snapshot`) is so already."""

    kind: ClassVar[str] = ""
    """What happened, in lower case with hyphens; the same in logs and in JSON."""

    at: float = field(default_factory=lambda: trio.current_time())
    """When, in seconds of Trio's clock: for differences."""
    unix: float = field(default_factory=lambda: time.time())
    """When, in unix seconds: for people."""
    is_snapshot: bool = False

    @property
    @abstractmethod
    def text(self) -> str:
        """One sentence for people."""

    def as_dict(self) -> dict[str, object]:
        """Return the event as plain data for JSON."""
        values: dict[str, Any] = {"kind": self.kind, "text": self.text, **asdict(self)}
        if "code" in values:
            values["code_name"] = code_name(values["code"])
        return values


# --- links ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp(Event):
    """A link is up: the hello succeeded."""

    kind: ClassVar[str] = "link-up"
    link: LinkFacts

    @property
    def text(self) -> str:
        return f"link to {self.link} is up"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSuspect(Event):
    """Nothing came from the peer for a while: it may be gone."""

    kind: ClassVar[str] = "link-suspect"
    link: LinkFacts

    @property
    def text(self) -> str:
        return f"link to {self.link} is suspect: nothing comes from there"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecovered(Event):
    """A suspect link is in good health again."""

    kind: ClassVar[str] = "link-recovered"
    link: LinkFacts

    @property
    def text(self) -> str:
        return f"link to {self.link} is well again"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLeaving(Event):
    """The peer asked to move elsewhere; it is going to close the link."""

    kind: ClassVar[str] = "link-leaving"
    link: LinkFacts
    code: int
    why: str

    @property
    def text(self) -> str:
        return f"link to {self.link} is about to end: {self.why} [{code_name(self.code)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown(Event):
    """A link that was up is gone."""

    kind: ClassVar[str] = "link-down"
    link: LinkFacts
    why: str
    code: int = 0
    """The peer's reason, where it gave one; else 0."""
    will_retry: bool = False
    """Whether this side dials it again."""

    @property
    def text(self) -> str:
        end = self.link.who if self.link.address in self.why else str(self.link)
        return f"link to {end} is down: {self.why}{_again(self.will_retry)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFailed(Event):
    """A link could not be made; once for each reason until it comes up."""

    kind: ClassVar[str] = "link-failed"
    address: str
    why: str
    code: int = 0
    """The peer's reason, where it refused; else 0."""
    will_retry: bool = True

    @property
    def text(self) -> str:
        where = "" if self.address in self.why else f"{self.address}: "
        return f"{where}{self.why}{_again(self.will_retry)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangersRefused(Event):
    """Somebody connected and did not get in; at most once a second."""

    kind: ClassVar[str] = "strangers-refused"
    why: str
    """What was wrong with the last one."""
    count: int
    """How many since the last event of this kind."""

    @property
    def text(self) -> str:
        more = f" ({self.count - 1} more since the last one)" if self.count > 1 else ""
        return self.why + more


# --- peers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerArrived(Event):
    """A peer can be reached over a link, or a new process of it can."""

    kind: ClassVar[str] = "peer-arrived"
    peer: str
    instance: str
    """The beginning of the random name of its process."""
    link: LinkFacts

    @property
    def text(self) -> str:
        return f"{self.peer} can be reached over {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLeft(Event):
    """A peer cannot be reached over a link any more; also for each peer of a link that is lost."""

    kind: ClassVar[str] = "peer-left"
    peer: str
    link: LinkFacts

    @property
    def text(self) -> str:
        return f"{self.peer} cannot be reached over {self.link} any more"


# --- sessions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpen(Event):
    """A session is open for the first time: streams can flow."""

    kind: ClassVar[str] = "session-open"
    session: SessionFacts
    link: LinkFacts

    @property
    def text(self) -> str:
        return f"session with {self.session.peer} is open"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSuspended(Event):
    """A session has no link: its streams pause until it is resumed or ends."""

    kind: ClassVar[str] = "session-suspended"
    session: SessionFacts
    why: str

    @property
    def text(self) -> str:
        return f"session with {self.session.peer} waits for a link{_because(self.why)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(Event):
    """A suspended session goes on."""

    kind: ClassVar[str] = "session-resumed"
    session: SessionFacts
    link: LinkFacts
    pause_seconds: float
    replayed_bytes: int
    """What this side sends again, bytes."""
    resumed_count: int
    """How often the session has been attached again."""

    @property
    def text(self) -> str:
        return (
            f"session with {self.session.peer} is open again (resumed {self.resumed_count}, "
            f"after {self.pause_seconds:.3g} s, {self.replayed_bytes} bytes replayed)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMoved(Event):
    """An open session went to another link."""

    kind: ClassVar[str] = "session-moved"
    session: SessionFacts
    source: LinkFacts
    link: LinkFacts
    """Where it is now."""
    why: str
    """``failure``: the old link is not good any more; ``direct``: a direct link is up;
    ``command``; ``peer``: the peer moved it."""
    pause_seconds: float = 0.0
    replayed_bytes: int = 0

    @property
    def text(self) -> str:
        return (
            f"session with {self.session.peer} moved from {self.source} to {self.link} ({self.why})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """A session is over."""

    kind: ClassVar[str] = "session-ended"
    session: SessionFacts
    code: int
    why: str

    @property
    def text(self) -> str:
        end = f" [{code_name(self.code)}]"
        return f"session with {self.session.peer} ended{_because(self.why)}{end}"


# --- of the queue itself -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsMissed(Event):
    """This reader was too slow: events between the last one and the next one were dropped."""

    kind: ClassVar[str] = "events-missed"
    count: int

    @property
    def text(self) -> str:
        return f"{self.count} events were missed: they came faster than they were read"


def _again(will_retry: bool) -> str:
    return "; trying again" if will_retry else ""


def _because(why: str) -> str:
    return f": {why}" if why else ""


# --- listening -----------------------------------------------------------------------------

Listener: TypeAlias = Callable[[Event], object]
"""Called with each event, inside of the data plane: it must not wait."""


class EventHub:
    """Those who listen to one host."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._watchers: list[Watcher] = []
        self._is_closed = False

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens; if not, make no record."""
        return bool(self._listeners)

    def add(self, listener: Listener) -> None:
        """Call *listener* with each event from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Call *listener* no more; nothing happens if it was not there."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def tell(self, event: Event) -> None:
        """Hand *event* to everybody who listens now, in the order in which they came."""
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                # A bug of the listener; links and sessions have no part in it.
                _log.exception("a listener failed at: %s", event.text)

    def close(self) -> None:
        """Nothing happens any more: iterations end once they have told what waits."""
        self._is_closed = True
        for watcher in list(self._watchers):
            watcher.finish()

    def enter(self, watcher: Watcher) -> None:
        """Attach a watcher; `Watcher` calls it."""
        self._watchers.append(watcher)
        self.add(watcher.put)
        if self._is_closed:
            watcher.finish()

    def leave(self, watcher: Watcher) -> None:
        """Detach a watcher; `Watcher` calls it."""
        self._watchers.remove(watcher)
        self.remove(watcher.put)


class Watcher:
    """Events of one host, to be read with ``async for`` inside of ``async with``.

    Made by `endpoint.watch()` and `broker.watch()`.  It has no task: nothing happens but in the
    task that reads it.

    Args:
        hub: where the events come from.
        snapshot: returns events that say what there is now.
    """

    def __init__(self, hub: EventHub, snapshot: Callable[[], Sequence[Event]]) -> None:
        self._hub = hub
        self._snapshot = snapshot
        self._present: deque[Event] = deque()
        self._waiting: deque[Event] = deque()
        self._missed = 0
        self._news = trio.Event()
        self._is_attached = False
        self._is_finished = False
        self._is_reading = False

    async def __aenter__(self) -> Watcher:
        """Begin to watch.

        Raises:
            LocalProtocolError: it was entered before.
        Cancellation: atomic.
        """
        if self._is_attached or self._is_finished:
            raise LocalProtocolError("a watcher is entered once: call watch() again")
        await trio.lowlevel.checkpoint()
        self._present.extend(replace(event, is_snapshot=True) for event in self._snapshot())
        self._is_attached = True
        self._hub.enter(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub.leave(self)
        self.finish()
        self._present.clear()
        self._waiting.clear()
        self._missed = 0

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; waits for it.

        Raises:
            LocalProtocolError: the watcher was not entered.
            trio.BusyResourceError: another task waits for an event of this watcher.
        Cancellation: atomic.
        """
        if not self._is_attached:
            raise LocalProtocolError("enter the watcher first: async with endpoint.watch() as ...")
        if self._is_reading:
            raise trio.BusyResourceError("another task reads these events: give each its own watch")
        self._is_reading = True
        try:
            await trio.lowlevel.checkpoint()
            while not (self._present or self._waiting or self._is_finished):
                await self._news.wait()
        finally:
            self._is_reading = False
        return self._take()

    def _take(self) -> Event:
        if self._present:
            return self._present.popleft()
        if self._missed:
            count, self._missed = self._missed, 0
            return EventsMissed(count=count)
        if self._waiting:
            return self._waiting.popleft()
        raise StopAsyncIteration

    def put(self, event: Event) -> None:
        """Add an event; the hub calls it."""
        if len(self._waiting) >= MAX_WAITING_EVENTS:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(event)
        self._wake()

    def finish(self) -> None:
        """Nothing more is to come; the hub calls it."""
        self._is_finished = True
        self._wake()

    def _wake(self) -> None:
        if self._is_reading:
            news, self._news = self._news, trio.Event()
            news.set()
