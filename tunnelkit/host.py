"""What everything with links has: listeners, links from hello to end, and a name for the process.

An endpoint and a broker differ in what they do with frames; that they listen, take strangers
through the hello, and leave no link behind is the same, and is here.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import trio

from . import limits
from .addresses import Address
from .auth import KeyRing, RevocationList, Trust
from .bucket import Seldom
from .carriers import Listener, Network, Pipe
from .errors import AuthenticationError, ErrorCode, LinkError, RemoteProtocolError
from .events import Event, EventHub, StrangersRefused, Watcher
from .handshake import Accepting, Dialing
from .link import Link, new_instance
from .pump import Pump
from .renewal import renewed
from .telling import Teller
from .wire.frames import Value
from .wire.states import LinkState

__all__ = ["LinkHost"]

_log = logging.getLogger(__name__)

L = TypeVar("L", bound=Link)


class LinkHost(ABC, Generic[L]):
    """The owner of links; the base of `Endpoint` and of `Broker`.

    Args:
        ring: the issuers whose tokens are believed, alone or with what was revoked.
        network: where carriers come from.
        ping_seconds: quiet time after which a link is probed.
        clock: returns unix seconds, for the expiry of tokens.
    """

    def __init__(
        self,
        ring: KeyRing | Trust,
        network: Network,
        pump: Pump,
        *,
        ping_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.trust = Trust.of(ring)
        self.on_learned: Callable[[RevocationList], None] = lambda found: None
        """Called with a list that a broker sent, or the admin socket took."""
        self.network = network
        self.pump = pump
        self.clock = clock
        self.instance = new_instance()
        self.listeners: list[Listener] = []
        self.events = EventHub()
        self.tell = Teller(self.events)
        self._ping_seconds = ping_seconds
        self._strangers = Seldom()
        self._closed: dict[L, trio.Event] = {}
        self._link_count = 0
        self.is_closed = False

    @abstractmethod
    def make_link(self, pipe: Pipe, handshake: Accepting | Dialing, ping_seconds: float) -> L:
        """Return a link, not yet started."""

    @abstractmethod
    def own_name(self) -> tuple[str, bool]:
        """Return this side's subject, and whether it is a broker."""

    @property
    def addresses(self) -> list[Address]:
        """Where links are accepted, with the real ports."""
        return [listener.address for listener in self.listeners]

    async def listen(self, address: Address) -> Address:
        """Accept links on *address*; return it with the real port.

        Raises:
            ConfigurationError: it cannot be listened on.
        Cancellation: atomic.
        """
        listener = await self.network.listen(address, self.pump, self.accept_link)
        self.listeners.append(listener)
        return listener.address

    def accept_link(self, pipe: Pipe) -> None:
        """Start a link over a pipe that the peer connected."""
        subject, is_broker = self.own_name()
        handshake = Accepting(
            self.trust,
            subject=subject,
            is_broker=is_broker,
            instance=self.instance,
            nonce=os.urandom(32),
            clock=self.clock,
        )
        self.add_link(pipe, handshake).start()

    def add_link(self, pipe: Pipe, handshake: Accepting | Dialing) -> L:
        """Make a link that this host owns until it has ended."""
        link = self.make_link(pipe, handshake, self._ping_seconds)
        self._link_count += 1
        link.id = self._link_count
        self._closed[link] = trio.Event()
        return link

    async def wait_link_closed(self, link: L) -> LinkError:
        """Wait until *link* is gone, and return why.

        Cancellation: atomic.
        """
        closed = self._closed.get(link)
        if closed is not None:
            await closed.wait()
        assert link.error is not None  # a closed link says why
        return link.error

    # --- trust ------------------------------------------------------------------------------

    @property
    def ring(self) -> KeyRing:
        """The issuers whose tokens are believed."""
        return self.trust.ring

    def set_trust(self, trust: Trust | KeyRing) -> None:
        """Believe others from now on.

        Links and sessions under a token that is not believed any more end at once; so do hellos
        that have begun, which the peer begins anew.
        """
        self.trust = Trust.of(trust)
        with self.pump.batch():
            self.trust_changed()  # sessions end first: they are told over links that end too
            for link in list(self._closed):
                self._review(link)

    @abstractmethod
    def trust_changed(self) -> None:
        """`trust` is another one; links will be looked at."""

    def learn_revocations(self, signed: str | bytes) -> bool:
        """Take a revocation list if it is newer than the one in force; say whether it was.

        Raises:
            AuthenticationError: it cannot be believed.
        """
        trust = self.trust.with_revocations(signed, self.clock())
        if trust is self.trust or trust.revocations is None:
            return False
        self.set_trust(trust)
        self.on_learned(trust.revocations)
        return True

    def _review(self, link: L) -> None:
        """End *link* if its peer would not be let in any more."""
        if link.peer is None:
            if not link.is_dialer:
                link.close(LinkError("the key ring or the revocations changed during the hello"))
            return
        capability = link.peer.capability
        fault = self.trust.fault(capability) if capability is not None else None
        if fault is not None:
            self.expel(link, fault)

    def expel(self, link: L, fault: AuthenticationError) -> None:
        """Tell the peer of *link* why, and close, whether it reads that or not."""
        error = LinkError(f"link over {link.pipe.description} ended: {fault}")
        link.go_away(fault.code, fault.text[:200])
        link.state = LinkState.LEAVING
        link.close_after_flush(error)
        self.pump.call_later(limits.CLOSE_TIMEOUT_SECONDS, lambda: link.close(error))

    def receive_renew(self, link: L, values: Mapping[str, Value]) -> None:
        """The peer goes on under a newer token.

        Raises:
            AuthenticationError, RemoteProtocolError: it is not accepted; the link is to end.
        """
        assert link.peer is not None  # the hello is over
        if not link.allowance.take(trio.current_time()):
            raise RemoteProtocolError("renewals come too fast", ErrorCode.LIMIT_EXCEEDED)
        link.peer = renewed(link.peer, values, self.trust, self.clock())

    def forget_link(self, link: L) -> None:
        """A link has ended."""
        if link.peer is None and not link.is_dialer and link.error is not None:
            self._stranger_failed(link.error)
        closed = self._closed.pop(link, None)
        if closed is not None:
            closed.set()

    def _stranger_failed(self, error: LinkError) -> None:
        """Log why somebody did not get in, at most one line a second."""
        count = self._strangers.count(trio.current_time())
        if count:
            event = StrangersRefused(why=str(error), count=count)
            _log.warning("%s", event.text, extra={"fields": {"event": event.kind}})
            self.events.tell(event)

    def stop_listening(self) -> None:
        """Accept no more links."""
        for listener in self.listeners:
            listener.close()

    def close_links(self) -> None:
        """Accept no more links, and close those that there are, strangers included.

        Whoever watches is told of their end, and that it was the last.
        """
        self.is_closed = True
        self.stop_listening()
        for link in list(self._closed):
            link.close(LinkError("closed by this side"))
        self.events.close()

    # --- events -----------------------------------------------------------------------------

    def watch(self) -> Watcher:
        """Return the events of this host, beginning with what there is.

        Use it as ``async with host.watch() as events: async for event in events: ...``.
        """
        return Watcher(self.events, self.snapshot)

    @abstractmethod
    def snapshot(self) -> list[Event]:
        """Return what there is now, as events."""
