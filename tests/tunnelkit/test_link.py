"""Links after the hello: liveness, hostile frames, writing, and endings."""

from __future__ import annotations

import time
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.strangers import (
    Owner,
    RawPeer,
    join_links,
    quiet_pump,
    settle,
    stranger_at,
)
from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LinkError, LinkLost
from tunnelkit.link import MAX_GO_AWAYS, Health, Link
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.testing import MemoryNetwork, no_leaks
from tunnelkit.wire.frames import (
    FLAG_OPTIONAL,
    HEADER,
    FrameType,
    Value,
    encode_fields,
    encode_frame,
)
from tunnelkit.wire.states import LinkState
from tunnelkit.wire.stream import Buffer

SUSPECT_WITHIN = 2 * limits.DEFAULT_PING_SECONDS
DEAD_WITHIN = 3 * limits.DEFAULT_PING_SECONDS


class User:
    """Uses a session number of a link."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int, bytes]] = []
        self.resumed = 0
        self.lost = 0

    def receive_frame(
        self, kind: int, flags: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        self.frames.append((kind, stream, bytes(payload)))

    def frame_failed(self, error: Exception) -> None:
        raise AssertionError from error

    def link_writable(self) -> None:
        self.resumed += 1

    def link_lost(self) -> None:
        self.lost += 1


async def up(pump: Pump, network: MemoryNetwork | None = None) -> tuple[RawPeer, Link, Owner]:
    """Return a stranger that has made its hello, and the link to it."""
    peer, link, owner = stranger_at(pump, network)
    await peer.dial()
    return peer, link, owner


# --- liveness ------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.9, 1.5, 2.5, 2.99, 3.0, 3.1, 4.4, 5.9, 6.1])
async def test_silent_peer_is_found_within_10_s(
    offset: float, autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork()
    _, owner, _, _ = join_links(pump, network)
    await trio.sleep(offset + 0.01)
    network.stall("left", "right")
    began = trio.current_time()
    await wait_until(lambda: owner.closed)
    assert trio.current_time() - began <= DEAD_WITHIN + 0.05
    assert isinstance(owner.closed[0], LinkLost)
    assert "no byte from the peer" in str(owner.closed[0])


@pytest.mark.parametrize("offset", [0.0, 1.5, 2.97, 5.9])
async def test_link_is_suspect_before_it_is_dead(
    offset: float, autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork()
    _, owner, _, _ = join_links(pump, network)
    await trio.sleep(offset + 0.01)
    network.stall("left", "right")
    began = trio.current_time()
    await wait_until(lambda: owner.healths or owner.closed)
    assert trio.current_time() - began <= SUSPECT_WITHIN + 0.05
    assert owner.healths == [Health.SUSPECT]
    assert not owner.closed


async def test_suspect_link_recovers(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    dialer, owner, _, _ = join_links(pump, network)
    await settle()
    network.stall("left", "right")
    await trio.sleep(SUSPECT_WITHIN + 0.1)
    network.unstall("left", "right")
    await trio.sleep(limits.DEFAULT_PING_SECONDS)
    assert owner.healths == [Health.SUSPECT, Health.UP]
    assert dialer.health is Health.UP


async def test_idle_link_stays_up(autojump_clock: MockClock, pump: Pump) -> None:
    dialer, owner, _, other = join_links(pump)
    await trio.sleep(3600)
    assert dialer.is_up
    assert not owner.healths + other.healths
    assert not owner.closed


async def test_any_byte_counts_as_life(autojump_clock: MockClock, pump: Pump) -> None:
    peer, link, owner = await up(pump)
    for byte in encode_frame(0x1D, bytes(60), flags=FLAG_OPTIONAL):
        peer.send(bytes([byte]))
        await trio.sleep(2.5)
    assert link.is_up
    assert not owner.healths


async def test_jump_of_the_wall_clock_probes_at_once(
    autojump_clock: MockClock, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, wall = 0.0, time.time()
    monkeypatch.setattr(time, "time", lambda: wall + trio.current_time() + ahead)
    peer, _, _ = await up(pump)
    await settle()
    peer.send(encode_frame(0x1D, flags=FLAG_OPTIONAL))
    pings = len(peer.received(FrameType.PING))
    ahead = 3600.0
    await trio.sleep(limits.DEFAULT_PING_SECONDS / 2)
    assert len(peer.received(FrameType.PING)) > pings


async def test_round_trip_is_measured(autojump_clock: MockClock, pump: Pump) -> None:
    dialer, _, _, _ = join_links(pump, MemoryNetwork(latency=0.2))
    await trio.sleep(2)
    assert dialer.round_trip_seconds == pytest.approx(0.4)


async def test_ping_is_answered_with_its_nonce(pump: Pump) -> None:
    peer, _, _ = await up(pump)
    peer.say(FrameType.PING, nonce=77)
    await settle()
    assert {"nonce": 77} in peer.received(FrameType.PONG)


async def test_ping_flood_of_a_peer_that_does_not_read_is_bounded(pump: Pump) -> None:
    peer, link, _ = await up(pump, MemoryNetwork(capacity_bytes=4096))
    peer.deaf()
    ping = encode_frame(FrameType.PING, encode_fields(FrameType.PING, nonce=1))
    for _ in range(200):
        peer.send(ping * 100)
        await settle()
    waiting = sum(len(item) for item in [*link._backlog, *link._cork])
    assert link.is_up
    assert waiting < limits.CORK_BYTES + limits.MAX_PINGS_IN_FLIGHT * 32


# --- frames that should not be -------------------------------------------------------------


async def test_unknown_optional_frame_is_skipped_later_too(pump: Pump) -> None:
    peer, link, owner = await up(pump)
    peer.send(encode_frame(0x1D, b"x" * 70_000, flags=FLAG_OPTIONAL))
    peer.say(FrameType.DETACHED, 5, code=0, text="")
    await settle()
    assert link.is_up
    assert [kind for kind, _, _ in owner.hops] == [FrameType.DETACHED]


BAD_FRAMES = {
    "unknown": (encode_frame(0x1D), "unknown frame type 0x1d"),
    "hello": (encode_frame(FrameType.HELLO), "HELLO after the hello"),
    "refuse": (encode_frame(FrameType.REFUSE), "REFUSE after the hello"),
    "short ping": (encode_frame(FrameType.PING, b"123"), "cut off"),
    "long ping": (encode_frame(FrameType.PING, bytes(9)), "1 bytes too many"),
    "oversize": (HEADER.pack(0x24, 0, 0, 1, 1, 262_145, 1), "262145 bytes is over the limit"),
    "giant": (HEADER.pack(0x24, 0, 0, 1, 1, 0xFFFFFFFF, 1), "over the limit of 262144"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
async def test_bad_frame_ends_the_link_and_says_why(case: str, pump: Pump) -> None:
    frame, text = BAD_FRAMES[case]
    peer, _, owner = await up(pump)
    with quiet_pump():
        peer.send(frame)
        await settle()
    assert text in str(owner.closed[0])
    (last,) = peer.received(FrameType.GO_AWAY)
    assert last["code"] == ErrorCode.PROTOCOL_ERROR
    assert text in str(last["text"])
    assert peer.ending == "eof"


@given(seed=st.integers(0, 2**32), size=st.integers(1, 2000))
async def test_random_bytes_after_the_hello_never_raise_into_the_pump(seed: int, size: int) -> None:
    pump = acquire_pump()
    with quiet_pump():
        peer, link, owner = await up(pump)
        peer.send(Random(seed).randbytes(size))
        await settle()
        link.close(LinkError("the test is over"))
    await release_pump(pump)
    assert len(owner.closed) == 1


@given(
    frames=st.lists(
        st.tuples(st.sampled_from(list(FrameType)), st.binary(max_size=80), st.integers(0, 3)),
        min_size=1,
        max_size=6,
    )
)
async def test_random_payloads_after_the_hello_never_raise(
    frames: list[tuple[FrameType, bytes, int]],
) -> None:
    pump = acquire_pump()
    with quiet_pump():
        peer, link, _ = await up(pump)
        data = [encode_frame(kind, payload, session=number) for kind, payload, number in frames]
        peer.send(b"".join(data))
        await settle()
        link.close(LinkError("the test is over"))
    await release_pump(pump)


async def test_frames_after_the_close_reach_nobody(pump: Pump) -> None:
    peer, _, owner = await up(pump)
    owner.on_hop = lambda link: link.close(LinkError("enough"))
    detached = encode_fields(FrameType.DETACHED, code=0, text="")
    peer.send(encode_frame(FrameType.DETACHED, detached, session=1) * 3)
    await settle()
    assert len(owner.hops) == 1
    assert len(owner.closed) == 1


async def test_error_of_the_owner_ends_only_this_link(pump: Pump) -> None:
    peer, _, owner = await up(pump)
    other, _, _ = await up(pump)

    def fail(link: Link) -> None:
        raise ZeroDivisionError

    owner.on_hop = fail
    peer.say(FrameType.DETACHED, 1, code=0, text="")
    await settle()
    other.say(FrameType.PING, nonce=5)
    await settle()
    assert "internal error" in str(owner.closed[0])
    assert peer.ending
    assert {"nonce": 5} in other.received(FrameType.PONG)


async def test_stray_frames_go_to_the_owner(pump: Pump) -> None:
    peer, _, owner = await up(pump)
    peer.send(encode_frame(FrameType.DATA, b"data", session=9, stream=1, sequence=1))
    await settle()
    assert owner.strays == [(FrameType.DATA, 9)]


async def test_go_away_makes_the_link_leaving(pump: Pump) -> None:
    peer, link, owner = await up(pump)
    peer.say(FrameType.GO_AWAY, code=int(ErrorCode.GOING_AWAY), reconnect_after_ms=5, text="bye")
    await settle()
    assert link.state is LinkState.LEAVING
    assert link.is_up
    assert owner.hops[0][0] is FrameType.GO_AWAY


async def test_go_aways_without_end_end_the_link(pump: Pump) -> None:
    peer, _, owner = await up(pump)
    for _ in range(MAX_GO_AWAYS):
        peer.say(FrameType.GO_AWAY, code=0, reconnect_after_ms=0, text="bye")
    await settle()
    assert not owner.closed
    peer.say(FrameType.GO_AWAY, code=0, reconnect_after_ms=0, text="bye")
    await settle()
    assert "go-away again and again" in str(owner.closed[0])
    assert len(owner.hops) == MAX_GO_AWAYS


# --- writing -------------------------------------------------------------------------------


def ping(nonce: Value) -> bytes:
    return encode_frame(FrameType.PING, encode_fields(FrameType.PING, nonce=nonce))


@pytest.mark.parametrize("capacity", [1, 7, 23, 100, 5000])
async def test_frames_stay_whole_however_little_fits(
    capacity: int, autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork()
    dialer, _, acceptor, _ = join_links(pump, network)
    await settle()
    network.set_path("left", "right", capacity_bytes=capacity, latency=0.001)
    user = User()
    acceptor.users[4] = user
    payloads = [Random(n).randbytes(n * 37 % 900) for n in range(20)]
    for number, payload in enumerate(payloads):
        dialer.write(encode_frame(FrameType.DATA, payload, session=4, stream=number))
    await trio.sleep(30 if capacity > 1 else 100)
    assert [(stream, data) for _, stream, data in user.frames] == list(enumerate(payloads))


async def test_payload_of_a_changing_buffer_is_copied(pump: Pump) -> None:
    network = MemoryNetwork()
    dialer, _, acceptor, _ = join_links(pump, network)
    await settle()
    network.set_path("left", "right", capacity_bytes=10)
    user, payload = User(), bytearray(b"a" * 1000)
    acceptor.users[4] = user
    with pump.batch():
        dialer.write(HEADER.pack(0x24, 0, 0, 4, 1, 1000, 0), memoryview(payload))
    payload[:] = b"b" * 1000
    await settle()
    assert user.frames == [(0x24, 1, b"a" * 1000)]


async def test_users_resume_when_the_link_is_clear_again(pump: Pump) -> None:
    peer, link, _ = await up(pump, MemoryNetwork(capacity_bytes=1000))
    users = [User(), User()]
    for user in users:
        link.take_number(user)
    peer.deaf()
    with pump.batch():
        link.write(encode_frame(0x1D, bytes(5000), flags=FLAG_OPTIONAL))
    assert [user.resumed for user in users] == [0, 0]
    peer.pipe.want(readable=True, writable=False)
    await settle()
    assert [user.resumed for user in users] == [1, 1]


async def test_one_batch_is_one_write(pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    _, link, _ = await up(pump)
    sizes: list[int] = []
    send = link.pipe.try_send

    def note(data: Buffer) -> int:
        sizes.append(len(data))
        return send(data)

    monkeypatch.setattr(link.pipe, "try_send", note)
    with pump.batch():
        for nonce in range(10):
            link.write(ping(nonce))
    assert sizes == [320]


async def test_numbers_of_a_link_are_never_used_again(pump: Pump) -> None:
    dialer, _, acceptor, _ = join_links(pump)
    assert [dialer.take_number(User()) for _ in range(3)] == [1, 3, 5]
    assert [acceptor.take_number(User()) for _ in range(3)] == [2, 4, 6]


# --- ending --------------------------------------------------------------------------------


async def test_close_tells_everybody_once(pump: Pump) -> None:
    dialer, owner, _, other = join_links(pump)
    await settle()
    user = User()
    dialer.take_number(user)
    for _ in range(3):
        dialer.close(LinkError("enough"))
    await settle()
    assert [str(error) for error in owner.closed] == ["enough"]
    assert user.lost == 1
    assert dialer.health is Health.DOWN
    assert "the peer closed the connection" in str(other.closed[0])


async def test_reset_carrier_is_named(pump: Pump) -> None:
    peer, _, owner = await up(pump)
    peer.pipe.reset()
    await settle()
    assert isinstance(owner.closed[0], LinkLost)
    assert "connection reset by peer" in str(owner.closed[0])


async def test_close_after_flush_writes_everything_first(pump: Pump) -> None:
    peer, link, owner = await up(pump, MemoryNetwork(capacity_bytes=1000))
    peer.deaf()
    with pump.batch():
        for nonce in range(100):
            link.write(ping(nonce))
        link.close_after_flush(LinkError("done"))
    await settle()
    assert not owner.closed
    peer.pipe.want(readable=True, writable=False)
    await settle()
    assert [values["nonce"] for values in peer.received(FrameType.PING)][-100:] == list(range(100))
    assert str(owner.closed[0]) == "done"


async def test_writing_to_a_closed_link_does_nothing(pump: Pump) -> None:
    peer, link, _ = await up(pump)
    link.close(LinkError("done"))
    link.write(ping(1))
    link.write_now(ping(1))
    link.go_away(0, "")
    await settle()
    assert peer.ending == "eof"


@pytest.mark.parametrize("when", ["hello", "up", "backlog"])
async def test_nothing_is_left_of_a_closed_link(
    when: str, autojump_clock: MockClock, pump: Pump
) -> None:
    async with no_leaks():
        peer, link, _ = stranger_at(pump, MemoryNetwork(capacity_bytes=2000))
        if when != "hello":
            await peer.dial()
        if when == "backlog":
            peer.deaf()
            link.write(encode_frame(0x1D, bytes(5000), flags=FLAG_OPTIONAL))
            await settle()
        link.close(LinkError("done"))
        peer.pipe.close()
