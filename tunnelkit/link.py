"""A link: one carrier after the hello, carrying the frames of many sessions both ways.

How it works.  Nobody but the link touches its pipe.  Receiving is synchronous: when the pump says
that the pipe is readable, the link reads once into the pump's large buffer and hands every whole
frame to whom its session number belongs, as a view that is valid for the call.  Sending is
try-first: frames are put on the *cork*, and the cork is written with one system call at the end
of the pump's batch, or when it holds 64 KiB.  What the socket does not take stays in the
*backlog*; until that is written the link is not *clear*, and nobody numbers new frames, so control
can still overtake bulk.  Because no step waits, a cancelled user cannot leave half a frame behind,
and a frame once begun is finished by this link or the link is closed.

Liveness: any inbound byte counts.  After a quiet interval a ping goes out; after one more the link
is suspect, after two it is dead.  A wall clock that jumps (the lid of a laptop) asks at once.

A link never raises into the pump: what goes wrong ends the link with an error that `link_closed`
tells its owner, once.  Sessions find that their outlet is gone, and attach elsewhere.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

import trio

from . import limits
from .carriers import Pipe, PipeBroken
from .errors import AuthenticationError, LinkError, LinkLost, RemoteProtocolError
from .handshake import Accepting, Dialing, Peer, check_first_bytes
from .pump import Timer
from .wire.frames import FrameType, decode_fields, encode_fields, encode_frame
from .wire.reader import FrameReader
from .wire.sending import Sender
from .wire.session import AttachmentLost
from .wire.states import LinkState
from .wire.stream import Buffer

__all__ = ["Health", "Link", "LinkOwner", "LinkUser", "new_instance"]

JOIN_BYTES: Final = 16 * 1024
"""Corked frames up to this size in all are joined: one copy is cheaper than many buffers."""

_JUMP_SECONDS: Final = 2.0
"""A wall clock that runs this much ahead of the monotonic one has jumped."""

_TICKS: Final = 3
"""Looks at a link's liveness in one ping interval; what is found late is late by one of them."""

_log = logging.getLogger(__name__)


class Health(Enum):
    """How sure we are that the peer is there."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


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


class LinkUser(Protocol):
    """Who uses a session number of a link."""

    @property
    def receive_frame(self) -> Callable[[int, int, int, int, memoryview], None]:
        """Takes (type, flags, stream, sequence, payload) of an end-to-end frame."""

    def frame_failed(self, error: RemoteProtocolError | AttachmentLost) -> None:
        """`receive_frame` raised *error*: the session ends, or its attachment does."""

    def link_writable(self) -> None:
        """The link is clear again: write what waits."""

    def link_lost(self) -> None:
        """The link is gone."""


def new_instance() -> bytes:
    """Return the 128-bit random name of a process (or of an endpoint in it)."""
    return os.urandom(16)


class Link:
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
        self.pipe = pipe
        self.pump = pipe.pump
        self.owner = owner
        self.is_dialer = isinstance(handshake, Dialing)
        self.peer: Peer | None = None
        self.state = handshake.state
        self.health = Health.UP
        self.users: dict[int, LinkUser] = {}
        self.is_clear = True
        self.error: LinkError | None = None
        self.round_trip_seconds: float | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self._handshake: Dialing | Accepting | None = handshake
        self._handshake_seconds = handshake_seconds
        self._ping_seconds = ping_seconds
        self._reader = FrameReader(self.pump.scratch)
        self._cork: list[Buffer] = []
        self._cork_bytes = 0
        self._backlog: deque[Buffer] = deque()
        self._dirty: list[Sender] = []
        self._is_deferred = False
        self._numbers = 1 if self.is_dialer else 2
        self._highest_peer_number = 0
        self._turn = 0
        self._pongs_waiting = 0
        self._heard = False
        self._tick_seconds = ping_seconds / _TICKS
        self._silent_ticks = 0
        self._ping_sent_at: float | None = None
        self._wall = 0.0
        self._clock = 0.0
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
        self.state = LinkState.CLOSED
        self.health = Health.DOWN
        self.is_clear = False
        self._cork.clear()
        self._backlog.clear()
        self._dirty.clear()
        if self._timer is not None:
            self._timer.cancel()
        self.pipe.close()
        users, self.users = list(self.users.values()), {}
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
        self._want_flush()

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
        if self._cork_bytes > limits.MAX_UNWRITTEN_BYTES and not self.is_clear:
            lost = self._lost("the peer does not read what it asks for")
            self.pump.call_soon(lambda: self.close(lost))
            return
        self.write(encode_frame(kind, encode_fields(kind, **values), session=session))

    def write(self, first: Buffer, second: Buffer | None = None) -> None:
        """Put one whole frame on the cork."""
        if self.error is not None:
            return
        self._cork.append(first)
        self._cork_bytes += len(first)
        if second is not None:
            self._cork.append(second)
            self._cork_bytes += len(second)
        if not self._is_deferred:
            self._is_deferred = True
            self.pump.defer(self._flush)
        if self._cork_bytes >= limits.CORK_BYTES and self.is_clear:
            self._write_cork()

    def write_now(self, frames: Buffer) -> None:
        """Write whole frames that cannot be kept, after what is corked; the link must be clear."""
        if self._cork:
            self._write_cork()
        if self.is_clear:
            self._send([frames], len(frames))
        elif self.error is None:
            self._backlog.append(bytes(frames))

    def want_state(self, session: Sender) -> None:
        """Let *session* write its acks and windows before the next flush."""
        dirty = self._dirty
        if not dirty or dirty[-1] is not session:
            dirty.append(session)
            self._want_flush()

    def _want_flush(self) -> None:
        if not self._is_deferred:
            self._is_deferred = True
            self.pump.defer(self._flush)

    def _flush(self) -> None:
        """Write what is corked; the end of a batch."""
        self._is_deferred = True
        if self._dirty and self.is_clear:
            now = trio.current_time()
            dirty, self._dirty = self._dirty, []
            for session in dirty:
                if session.outlet is self:
                    session.write_state(now)
        self._is_deferred = False
        if self._cork and self.is_clear:
            self._write_cork()
        if self._close_when_flushed is not None and not self._backlog and not self._cork:
            self.close(self._close_when_flushed)

    def _write_cork(self) -> None:
        cork, self._cork = self._cork, []
        size, self._cork_bytes = self._cork_bytes, 0
        buffers: list[Buffer] = [b"".join(cork)] if size <= JOIN_BYTES and len(cork) > 1 else cork
        self._send(buffers, size)

    def _send(self, buffers: list[Buffer], size: int) -> None:
        """Give whole frames to the pipe; what it does not take becomes the backlog."""
        try:
            if len(buffers) == 1:
                sent = self.pipe.try_send(buffers[0])
            else:
                sent = self.pipe.try_send_many(buffers)
        except PipeBroken as error:
            lost = self._lost(error)
            self.pump.call_soon(lambda: self.close(lost))
            self.is_clear = False
            return
        self.bytes_out += sent
        if sent < size:
            self._backlog.extend(_after(buffers, sent))
            self.is_clear = False
            self.pipe.want(readable=True, writable=True)

    def _drain(self) -> None:
        """The pipe is writable: write the backlog, then let the users go on."""
        backlog = self._backlog
        while backlog:
            try:
                sent = self.pipe.try_send_many(list(backlog))
            except PipeBroken as error:
                self.close(self._lost(error))
                return
            if not sent:
                return
            self.bytes_out += sent
            _drop(backlog, sent)
        self.is_clear = True
        self._pongs_waiting = 0
        self._flush()
        self._resume_users()
        if self.is_clear and self.error is None:
            self.pipe.want(readable=True, writable=False)

    def _resume_users(self) -> None:
        """Let everybody who waits write, beginning with another one each time."""
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
                self._drain()
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
        self._reader.received(count, self._frame)

    def _lost(self, why: object) -> LinkLost:
        when = " during the hello" if self._handshake is not None else ""
        return LinkLost(f"link over {self.pipe.description} lost{when}: {why}")

    def _fail(self, error: RemoteProtocolError | AuthenticationError) -> None:
        """The peer broke the rules: say so as far as it can be said, and close."""
        if isinstance(self._handshake, Accepting):
            last = self._handshake.refusal(error)
        elif self.is_up:
            values = encode_fields(
                FrameType.GO_AWAY, code=error.code, reconnect_after_ms=1000, text=error.text[:200]
            )
            last = encode_frame(FrameType.GO_AWAY, values)
        else:
            last = b""
        if last and self.is_clear:
            self._send([*self._cork, last], self._cork_bytes + len(last))
            self.pipe.send_eof()
        ended = LinkError(f"link over {self.pipe.description} ended: {error}")
        ended.__cause__ = error
        self.close(ended)

    def _frame(
        self, kind: int, flags: int, session: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        if kind >= 0x20 and self._handshake is None:
            user = self.users.get(session)
            if user is not None:
                try:
                    user.receive_frame(kind, flags, stream, sequence, payload)
                except (RemoteProtocolError, AttachmentLost) as error:
                    user.frame_failed(error)
            else:
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
            self._reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
            self._start_liveness()
            self.owner.link_up(self)

    def _hop_frame(self, kind: int, flags: int, session: int, payload: memoryview) -> None:
        if self.error is not None:
            return  # closed by a frame that arrived together with this one
        try:
            frame_type = FrameType(kind)
        except ValueError:
            if flags & 1:
                return
            raise RemoteProtocolError(f"unknown frame type {kind:#04x}") from None
        match frame_type:
            case FrameType.PING:
                self._answer_ping(payload)
            case FrameType.PONG:
                self._receive_pong(payload)
            case FrameType.GO_AWAY:
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
        self._wall, self._clock = time.time(), trio.current_time()
        self._timer = self.pump.call_later(self._tick_seconds, self._check_liveness)
        self.probe()

    def _check_liveness(self) -> None:
        wall, clock = time.time(), trio.current_time()
        jumped = wall - self._wall - (clock - self._clock) > _JUMP_SECONDS
        self._wall, self._clock = wall, clock
        if self._heard:
            self._heard = False
            self._silent_ticks = 0
            self._set_health(Health.UP)
        else:
            self._silent_ticks += 1
            # The last byte is at least this many ticks old, and less than one tick older.
            if self._silent_ticks == 3 * _TICKS - 1:
                silence = self._ping_seconds * 3
                self.close(self._lost(f"no byte from the peer for {silence:g} s"))
                return
            if self._silent_ticks == 2 * _TICKS - 1:
                self._set_health(Health.SUSPECT)
        if jumped or self._silent_ticks % _TICKS == _TICKS - 1:
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


def _after(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """Return what is left of *buffers* after *sent* bytes; what may change is copied."""
    rest: deque[Buffer] = deque(buffers)
    _drop(rest, sent)
    return [_kept(item) for item in rest]


def _kept(buffer: Buffer) -> Buffer:
    """Return a buffer that stays as it is: a copy of anything that its owner may change."""
    if isinstance(buffer, memoryview) and buffer.readonly:
        return buffer
    return bytes(buffer)


def _drop(buffers: deque[Buffer], sent: int) -> None:
    while sent:
        first = buffers[0]
        if len(first) <= sent:
            sent -= len(first)
            buffers.popleft()
        else:
            buffers[0] = memoryview(first)[sent:]
            return
