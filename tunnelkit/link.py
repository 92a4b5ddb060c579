"""A link: one carrier after the hello, carrying the frames of many sessions both ways.

How it works.  Nobody but the link touches its pipe.  Receiving is synchronous: when the pump says
that the pipe is readable, the link reads once into the pump's large buffer and hands every whole
frame to whom its session number belongs, as a view that is valid for the call.  `outbox` is the
sending half: try first, one system call for a batch, and what does not fit lets everybody wait.
`liveness` judges whether the peer is still there; the link keeps the timer and sends the pings.

A link never raises into the pump: what goes wrong ends the link with an error that `link_closed`
tells its owner, once.  Sessions find that their outlet is gone, and attach elsewhere.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Final, Protocol

import trio

from . import limits
from .auth import Identity
from .bucket import Bucket
from .carriers import Pipe, PipeBroken
from .carriers.farewell import REFUSAL_SECONDS, Farewell
from .errors import AuthenticationError, LinkError, LinkLost, RemoteProtocolError
from .handshake import Accepting, Dialing, NotALink, Peer, check_first_bytes
from .liveness import TICKS, Health, Liveness
from .outbox import FIRST_BYTES, Outbox
from .pump import Timer
from .renewal import allowance, renewal
from .wire.frames import (
    FLAG_OPTIONAL,
    FRAME_TYPES,
    OPTIONAL_FRAMES,
    FrameType,
    decode_fields,
    encode_fields,
    encode_frame,
)
from .wire.reader import FrameReader, Taker
from .wire.states import LinkState

__all__ = ["Health", "Link", "LinkOwner", "LinkUser", "new_instance"]

MAX_GO_AWAYS: Final = 4
"""How often a peer may say that it goes away.  Stops: events and log lines without end."""

_log = logging.getLogger(__name__)


class LinkOwner(Protocol):
    """Who is told what happens to a link; the calls must not raise."""

    def link_up(self, link: Link) -> None:
        """The hello succeeded; `link.peer` says who it is."""

    def hop_frame(self, link: Link, kind: FrameType, session: int, payload: memoryview) -> None:
        """A hop frame that is not the link's own arrived; RemoteProtocolError ends the link."""

    def stray_frame(
        self, link: Link, kind: int, flags: int, session: int, payload: memoryview
    ) -> None:
        """An end-to-end frame for a session number that nobody uses on this link arrived."""

    def health_changed(self, link: Link) -> None:
        """`link.health` changed between up and suspect."""

    def link_closed(self, link: Link, error: LinkError) -> None:
        """The link is gone, or was never up; called exactly once."""


class LinkUser(Taker, Protocol):
    """Who uses a session number of a link."""

    def link_writable(self) -> None:
        """The link is clear again: write what waits."""

    def link_lost(self) -> None:
        """The link is gone."""


def new_instance() -> bytes:
    """Return the 128-bit random name of a process (or of an endpoint in it)."""
    return os.urandom(16)


class Link(Outbox):
    """One link.  Made by an endpoint or a broker from a connected pipe; call `start` once.

    Args:
        pipe: the carrier, connected.
        handshake: this side's part of the hello.
        owner: who is told.
        is_dialer: whether this side made the connection.
        ping_seconds: quiet time after which a ping goes out.
    """

    def __init__(
        self,
        pipe: Pipe,
        handshake: Dialing | Accepting,
        owner: LinkOwner,
        *,
        ping_seconds: float = limits.DEFAULT_PING_SECONDS,
        handshake_seconds: float = limits.HANDSHAKE_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(pipe)
        self.owner = owner
        self.id = 0
        """Its number among the links of its owner, who sets it."""
        self.is_dialer = isinstance(handshake, Dialing)
        self.peer: Peer | None = None
        self.state = handshake.state
        self.health = Health.UP
        self.users: dict[int, LinkUser] = {}
        self.error: LinkError | None = None
        self.since: float | None = None
        """When it came up, unix seconds."""
        self.round_trip_seconds: float | None = None
        self.bytes_in = 0
        self.allowance = allowance()
        """What the peer may still cost in signatures to check."""
        self.attaches = Bucket(limits.MAX_SESSIONS_PER_LINK, limits.MAX_ATTACHES_PER_SECOND)
        """How often the peer may still attach a session."""
        self._handshake: Dialing | Accepting | None = handshake
        self._handshake_seconds = handshake_seconds
        self._ping_seconds = ping_seconds
        self._reader = FrameReader(self.pump.scratch)
        self.retry_after_seconds = 0.0
        self._numbers = 1 if self.is_dialer else 2
        self._highest_peer_number = 0
        self._turn = 0
        self._pongs_waiting = 0
        self._go_aways = 0
        self._heard = False
        self._tick_seconds = ping_seconds / TICKS
        self._liveness: Liveness | None = None
        self._ping_sent_at: float | None = None
        self._timer: Timer | None = None
        self._close_when_flushed: LinkError | None = None

    def __repr__(self) -> str:
        who = self.peer.subject or "broker" if self.peer is not None else "stranger"
        return f"<Link to {who} over {self.pipe.description}: {self.state.value}>"

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the hello."""
        handshake = self._handshake
        assert handshake is not None  # only `start` comes before the hello
        self._timer = self.pump.call_later(self._handshake_seconds, self._hello_timed_out)
        self.limit_unsent(FIRST_BYTES)
        self.pipe.start(self._ready)
        self.pipe.want(readable=True, writable=False)
        first = handshake.begin()
        if first:
            with self.pump.batch():
                self.write(first)

    def close(self, error: LinkError) -> None:
        """End the link now.  Everybody who uses it is told; the error goes to the owner."""
        if self.error is not None:
            return
        self.error = error
        error.was_up = self.peer is not None
        error.retry_after_seconds = max(error.retry_after_seconds, self.retry_after_seconds)
        self.state = LinkState.CLOSED
        self.health = Health.DOWN
        self.close_outbox()
        self._reader.close()
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(error.__cause__, NotALink):
            Farewell(self.pipe, REFUSAL_SECONDS)  # so that the answer can be read
        else:
            self.pipe.close()
        users = list(self.users.values())
        self.users.clear()  # in place: frames that arrived together with the last one are nobody's
        for user in users:
            user.link_lost()
        self.owner.link_closed(self, error)

    def go_away(self, code: int, text: str, reconnect_after_seconds: float = 0.0) -> None:
        """Ask the peer to move its sessions elsewhere; the link stays up until it is closed."""
        if self.state not in (LinkState.UP, LinkState.LEAVING):
            return
        self.write_hop(
            FrameType.GO_AWAY,
            code=code,
            reconnect_after_ms=int(reconnect_after_seconds * 1000),
            text=text,
        )

    def close_after_flush(self, error: LinkError) -> None:
        """Close once everything that was written has gone to the pipe."""
        self._close_when_flushed = error
        self.want_flush()

    def renew(self, identity: Identity) -> None:
        """Go on under another token of the same subject; for the side that dialled."""
        if self.peer is not None and self.is_dialer and self.is_up:
            token, signature = renewal(identity, self.peer)
            self.write_hop(FrameType.RENEW, token=token, signature=signature)

    @property
    def is_up(self) -> bool:
        """Whether sessions can use the link."""
        return self.state is LinkState.UP or self.state is LinkState.LEAVING

    # --- sending ----------------------------------------------------------------------------

    def take_number(self, user: LinkUser) -> int:
        """Return a session number of this link that was never used before."""
        number = self._numbers
        self._numbers += 2
        self.users[number] = user
        return number

    def is_new_peer_number(self, number: int) -> bool:
        """Take note of a session number that the peer chose; say whether it may choose it."""
        is_new = number > self._highest_peer_number and number % 2 != self._numbers % 2
        if is_new:
            self._highest_peer_number = number
        return is_new

    def write_hop(self, kind: FrameType, session: int = 0, **values: int | bytes | str) -> None:
        """Write a hop frame; a peer that causes many of them and reads none loses the link."""
        if self.waiting_bytes > limits.MAX_UNWRITTEN_BYTES:
            lost = self._lost("the peer does not read what it asks for")
            self.pump.call_soon(lambda: self.close(lost))
            return
        flags = FLAG_OPTIONAL if kind in OPTIONAL_FRAMES else 0
        self.write(encode_frame(kind, encode_fields(kind, **values), session=session, flags=flags))

    def send_failed(self, error: PipeBroken) -> None:
        self.close(self._lost(error))

    def flushed(self) -> None:
        if self._close_when_flushed is not None:
            self.close(self._close_when_flushed)

    def resume_users(self) -> None:
        """Let everybody who waits write, beginning with another one each time."""
        self._pongs_waiting = 0
        users = list(self.users.values())
        self._turn = (self._turn + 1) % max(1, len(users))
        for user in users[self._turn :] + users[: self._turn]:
            if not self.is_clear:
                break
            user.link_writable()

    # --- receiving --------------------------------------------------------------------------

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            if readable:
                self._receive()
            if writable and self.error is None and not self.is_clear:
                self.drain()
            elif writable and self.error is None:
                self.pipe.want(readable=True, writable=False)
        except Exception as error:
            # A bug.  It costs this link, which replay heals, and not everybody who uses the pump.
            _log.exception("unexpected error on %r", self)
            ended = LinkError(f"link over {self.pipe.description} ended: internal error")
            ended.__cause__ = error
            self.close(ended)

    def _receive(self) -> None:
        try:
            space = self._reader.space()
            count = self.pipe.try_receive_into(space)
            if count > 0:
                if not self.bytes_in:
                    check_first_bytes(space[:count])
                self._heard = True
                self.bytes_in += count
                self._deliver(count)
            elif count == 0:
                self.close(self._lost("the peer closed the connection"))
        except PipeBroken as error:
            self.close(self._lost(error))
        except (RemoteProtocolError, AuthenticationError) as error:
            self._fail(error)

    def _deliver(self, count: int) -> None:
        """Hand over the frames in *count* bytes that were received."""
        self._reader.received(count, self._frame, self.users)

    def _lost(self, why: object) -> LinkLost:
        when = " during the hello" if self._handshake is not None else ""
        return LinkLost(f"link over {self.pipe.description} lost{when}: {why}")

    def _fail(self, error: RemoteProtocolError | AuthenticationError) -> None:
        """The peer broke the rules: say so as far as it can be said, and close."""
        if isinstance(self._handshake, Accepting):
            last = error.answer if isinstance(error, NotALink) else self._handshake.refusal(error)
        elif self.is_up:
            values = encode_fields(
                FrameType.GO_AWAY, code=error.code, reconnect_after_ms=1000, text=error.text[:200]
            )
            last = encode_frame(FrameType.GO_AWAY, values)
        else:
            last = b""
        if last:
            self.send_last(last)
        ended = LinkError(f"link over {self.pipe.description} ended: {error}")
        ended.__cause__ = error
        self.close(ended)

    def _frame(
        self, kind: int, flags: int, session: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        if kind >= 0x20 and self._handshake is None:
            self.owner.stray_frame(self, kind, flags, session, payload)
        elif self._handshake is not None:
            self._hello_frame(self._handshake, kind, flags, payload)
        else:
            self._hop_frame(kind, flags, session, payload)

    def _hello_frame(
        self, handshake: Dialing | Accepting, kind: int, flags: int, payload: memoryview
    ) -> None:
        try:
            answer = handshake.receive(kind, flags, payload)
        except LinkError as refused:
            self.close(refused)
            raise RemoteProtocolError("refused") from refused
        self.state = handshake.state
        if answer:
            self.write(answer)
        if handshake.peer is not None:
            self._handshake = None
            self.peer = handshake.peer
            self.since = time.time()
            self._reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
            self._start_liveness()
            self.owner.link_up(self)

    def _hop_frame(self, kind: int, flags: int, session: int, payload: memoryview) -> None:
        if self.error is not None:
            return  # closed by a frame that arrived together with this one
        frame_type = FRAME_TYPES.get(kind)
        if frame_type is None:
            if flags & 1:
                return
            raise RemoteProtocolError(f"unknown frame type {kind:#04x}")
        match frame_type:
            case FrameType.PING:
                self._answer_ping(payload)
            case FrameType.PONG:
                self._receive_pong(payload)
            case FrameType.GO_AWAY:
                self._go_aways += 1
                if self._go_aways > MAX_GO_AWAYS:
                    raise RemoteProtocolError("go-away again and again")
                self.state = LinkState.LEAVING
                self.owner.hop_frame(self, frame_type, session, payload)
            case _ if frame_type >= FrameType.ATTACH:
                self.owner.hop_frame(self, frame_type, session, payload)
            case _:
                raise RemoteProtocolError(f"{frame_type.name} after the hello")

    # --- liveness ---------------------------------------------------------------------------

    def _hello_timed_out(self) -> None:
        self.close(
            LinkLost(
                f"no complete hello over {self.pipe.description} within "
                f"{self._handshake_seconds:g} s: the other side is no tunnel endpoint, or is stuck"
            )
        )

    def _start_liveness(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._liveness = Liveness(time.time(), trio.current_time())
        self._timer = self.pump.call_later(self._tick_seconds, self._check_liveness)
        self.probe()

    def _check_liveness(self) -> None:
        liveness = self._liveness
        assert liveness is not None  # the timer is set after it
        liveness.tick(self._heard, time.time(), trio.current_time())
        self._heard = False
        if liveness.health is Health.DOWN:
            silence = self._ping_seconds * 3
            self.close(self._lost(f"no byte from the peer for {silence:g} s"))
            return
        self._set_health(liveness.health)
        if liveness.probe_is_due:
            self.probe()
        self._timer = self.pump.call_later(self._tick_seconds, self._check_liveness)

    def _set_health(self, health: Health) -> None:
        if health is not self.health:
            self.health = health
            self.owner.health_changed(self)

    def probe(self) -> None:
        """Send a ping now."""
        if self._ping_sent_at is None:
            self._ping_sent_at = trio.current_time()
        self.write_hop(FrameType.PING, nonce=0)

    def _answer_ping(self, payload: memoryview) -> None:
        values = decode_fields(FrameType.PING, payload)
        if self._pongs_waiting < limits.MAX_PINGS_IN_FLIGHT:
            if not self.is_clear:
                self._pongs_waiting += 1
            self.write(encode_frame(FrameType.PONG, encode_fields(FrameType.PONG, **values)))

    def _receive_pong(self, payload: memoryview) -> None:
        decode_fields(FrameType.PONG, payload)
        if self._ping_sent_at is not None:
            self.round_trip_seconds = trio.current_time() - self._ping_sent_at
            self._ping_sent_at = None
