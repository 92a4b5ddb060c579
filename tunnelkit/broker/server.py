"""`Broker`: joins the links of endpoints and switches the frames of their sessions.

How it works.  The registry decides (`registry`), the links switch (`switch`), and this file
connects the two: it accepts links, turns frames for the broker into calls of the registry, and
carries out the actions that come back.  There is no task per link and none per session; a
`kill -9` loses nothing that the endpoints cannot replay, because nothing here is the only copy of
anything.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address, as_addresses
from tunnelkit.auth import KeyRing, Trust
from tunnelkit.carriers import SYSTEM_NETWORK, Network, Pipe
from tunnelkit.errors import AuthenticationError, ErrorCode, LinkError, RemoteProtocolError
from tunnelkit.events import Event
from tunnelkit.handshake import Accepting, Dialing
from tunnelkit.host import LinkHost
from tunnelkit.link import Link
from tunnelkit.pump import Pump, Timer, acquire_pump, release_pump
from tunnelkit.telling import snapshot_of
from tunnelkit.wire.frames import FrameType, Role, Value, decode_fields

from .registry import Action, Attach, Close, Join, Limit, Registry, Send, Unjoin
from .switch import Leg, SwitchLink

__all__ = ["Broker", "open_broker"]

_log = logging.getLogger(__name__)

EXPIRE_EVERY_SECONDS = 1.0


class Broker(LinkHost[SwitchLink]):
    """A running broker.  Made by `open_broker`."""

    def __init__(
        self,
        ring: KeyRing | Trust,
        network: Network,
        pump: Pump,
        registry: Registry,
        *,
        ping_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(ring, network, pump, ping_seconds=ping_seconds, clock=clock)
        self.registry = registry
        self.links: set[SwitchLink] = set()
        self.overruns = 0
        self._emptied = trio.Event()
        self._timer: Timer = pump.call_later(EXPIRE_EVERY_SECONDS, self._expire)

    def own_name(self) -> tuple[str, bool]:
        return "", True

    def make_link(
        self, pipe: Pipe, handshake: Accepting | Dialing, ping_seconds: float
    ) -> SwitchLink:
        return SwitchLink(pipe, handshake, self, ping_seconds=ping_seconds)

    async def drain(
        self, timeout: float = limits.DEFAULT_DRAIN_SECONDS, *, quiet: float = math.inf
    ) -> None:
        """Accept no more, ask everybody to go, and wait until they have or *timeout* is over.

        Args:
            timeout: how long to wait at most, seconds.
            quiet: end earlier once nothing has passed through any session for so long, seconds:
                those that have another way have taken it, and idle ones lose nothing by waiting
                for the next broker.

        Cancellation: atomic; what is left is closed with the broker.
        """
        self.stop_listening()
        with self.pump.batch():
            for link in self.links:
                link.go_away(ErrorCode.GOING_AWAY, "the broker is shutting down")
        with trio.move_on_after(timeout):
            passed = -1
            while self.registry.joined_count and passed != self._passed_bytes():
                passed = self._passed_bytes()
                self._emptied = trio.Event()
                with trio.move_on_after(quiet):
                    await self._emptied.wait()

    def _passed_bytes(self) -> int:
        """How much has passed through the sessions that are joined."""
        return sum(leg.bytes_out for link in self.links for leg in link.legs.values())

    def close(self) -> None:
        """Close everything now; `open_broker` calls it."""
        self._timer.cancel()
        self.close_links()

    # --- links ------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        assert isinstance(link, SwitchLink)  # `make_link` makes no other
        peer = link.peer
        assert peer is not None  # a link that is up knows its peer
        assert peer.capability is not None  # the accepting side was shown a token
        self.links.add(link)
        self.tell.link_up(link)
        self._do(self.registry.link_up(link, peer.capability, peer.instance))
        self._pass_on([link])

    def link_closed(self, link: Link, error: LinkError) -> None:
        assert isinstance(link, SwitchLink)  # `make_link` makes no other
        self.forget_link(link)
        self.links.discard(link)
        self.tell.link_down(link, error)
        self._do(self.registry.link_down(link))

    def health_changed(self, link: Link) -> None:
        """Nothing to do but to tell: the endpoints notice by themselves."""
        self.tell.link_health(link)

    def snapshot(self) -> list[Event]:
        return snapshot_of({link: {} for link in sorted(self.links, key=lambda link: link.id)})

    def stray_frame(
        self, link: Link, kind: int, flags: int, session: int, payload: memoryview
    ) -> None:
        """Frames that were under way when a leg was detached: nothing to do."""

    def hop_frame(self, link: Link, kind: FrameType, session: int, payload: memoryview) -> None:
        values = decode_fields(kind, payload)
        match kind:
            case FrameType.ATTACH:
                attach = _attach_of(values)
                now = trio.current_time()
                self._do(self.registry.attach(link, session, attach, now=now, wall=self.clock()))
            case FrameType.DETACHED:
                code, text = values["code"], values["text"]
                assert isinstance(code, int)  # the field table says so
                self._do(self.registry.detached(link, session, code, str(text)))
            case FrameType.GO_AWAY:
                self.tell.link_leaving(link, values)
            case FrameType.RENEW:
                self._receive_renew(link, values)
            case _:
                raise RemoteProtocolError(f"{kind.name} to a broker")

    # --- trust ------------------------------------------------------------------------------

    def _receive_renew(self, link: Link, values: Mapping[str, Value]) -> None:
        assert isinstance(link, SwitchLink)  # `make_link` makes no other
        self.receive_renew(link, values)
        assert link.peer is not None  # the hello is over
        assert link.peer.capability is not None  # the accepting side was shown a token
        self._do(self.registry.renewed(link, link.peer.capability))

    def expel(self, link: SwitchLink, fault: AuthenticationError) -> None:
        self._do(self.registry.expel(link, fault.code, fault.text[:200]))
        super().expel(link, fault)

    def trust_changed(self) -> None:
        found = self.trust.revocations
        if found is not None and len(found.text) > limits.MAX_CONTROL_BYTES:
            _log.warning(
                "the revocation list has %d bytes, too many to be passed on over links: give it to "
                "each endpoint by its admin socket, or by --revoked",
                len(found.text),
            )
        self._pass_on(self.links)

    def _pass_on(self, links: Iterable[SwitchLink]) -> None:
        """Send the revocation list to endpoints: they believe it by their own rings."""
        found = self.trust.revocations
        if found is None or len(found.text) > limits.MAX_CONTROL_BYTES:
            return
        for link in links:
            if link.is_up:
                link.write_hop(FrameType.REVOCATIONS, list=found.text.encode())

    # --- carrying out -----------------------------------------------------------------------

    def _do(self, actions: Iterable[Action]) -> None:
        with self.pump.batch():
            for action in actions:
                match action:
                    case Send(link, kind, session, values):
                        assert isinstance(link, SwitchLink)  # the keys are our links
                        link.write_hop(kind, session, **values)
                    case Join():
                        self._join(action)
                    case Limit():
                        self._limit(action)
                    case Unjoin((link, number)):
                        assert isinstance(link, SwitchLink)  # the keys are our links
                        self._unjoin(link, number)
                    case Close(link, code, text):
                        assert isinstance(link, SwitchLink)  # the keys are our links
                        link.go_away(code, text)
                        link.close_after_flush(LinkError(text))
        if not self.registry.joined_count:
            self._emptied.set()

    def _join(self, action: Join) -> None:
        legs = []
        for link, number in (action.left, action.right):
            assert isinstance(link, SwitchLink)  # the keys are our links
            leg = Leg(link, number, self._overrun)
            leg.cap = action.cap
            link.legs[number] = leg
            legs.append(leg)
        legs[0].twin, legs[1].twin = legs[1], legs[0]

    def _limit(self, action: Limit) -> None:
        for link, number in (action.left, action.right):
            assert isinstance(link, SwitchLink)  # the keys are our links
            link.legs[number].cap = max(action.cap, link.legs[number].queued)
            link.write_hop(FrameType.LIMIT, number, cap=action.cap)

    def _unjoin(self, link: SwitchLink, number: int) -> None:
        leg = link.legs.pop(number, None)
        if leg is not None:
            leg.purge()
            if leg.twin is not None:
                leg.twin.twin = None
                leg.twin = None

    def _overrun(self, leg: Leg) -> None:
        self.overruns += 1
        self._do(self.registry.overrun(leg.link, leg.number))

    def _expire(self) -> None:
        self._do(self.registry.expire(trio.current_time()))
        self._timer = self.pump.call_later(EXPIRE_EVERY_SECONDS, self._expire)


def _attach_of(values: dict[str, Value]) -> Attach:
    role = values["role"]
    if role not in (0, 1):
        raise RemoteProtocolError("attach with an unknown role")
    session_id, proof = values["session_id"], values["proof"]
    generation, received = values["generation"], values["received"]
    proof_kind = values["proof_kind"]
    assert isinstance(session_id, bytes)  # the field table says so, here and below
    assert isinstance(proof, bytes)
    assert isinstance(generation, int)
    assert isinstance(received, int)
    assert isinstance(proof_kind, int)
    return Attach(
        session_id, generation, received, Role(role), str(values["peer"]), proof_kind, proof
    )


@asynccontextmanager
async def open_broker(
    ring: KeyRing | Trust,
    *,
    listen: Iterable[Address | str],
    network: Network = SYSTEM_NETWORK,
    budget_bytes: int = limits.BROKER_BUDGET_BYTES,
    grace_seconds: float = limits.DEFAULT_GRACE_SECONDS,
    ping_seconds: float = limits.DEFAULT_PING_SECONDS,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Broker]:
    """Run a broker until the block is left.

    Args:
        ring: the issuers whose tokens it accepts, alone or with what was revoked.
        listen: addresses on which to accept links.
        network: where carriers come from.
        budget_bytes: the sum of what sessions may have queued here.
        grace_seconds: how long one side of a session waits here for the other.
        ping_seconds: quiet time after which a link is probed.
        clock: returns unix seconds, for the expiry of tokens.

    Raises:
        ConfigurationError: an address is wrong or cannot be listened on.
    """
    offered = as_addresses(listen)
    pump = acquire_pump()
    try:
        registry = Registry(budget_bytes=budget_bytes, grace_seconds=grace_seconds)
        broker = Broker(ring, network, pump, registry, ping_seconds=ping_seconds, clock=clock)
        try:
            for address in offered:
                await broker.listen(address)
            yield broker
        finally:
            broker.close()
    finally:
        await release_pump(pump)
