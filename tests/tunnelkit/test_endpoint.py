"""Endpoints: what peers may do to them, what is left of them, and what they say."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.pairs import (
    CARRIERS,
    NOW,
    RING,
    Pair,
    World,
    echo,
    make_identity,
    open_pair,
    open_streams,
    open_world,
    receive_all,
    wait_until,
)
from tests.tunnelkit.strangers import RawPeer, quiet_pump, settle
from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.auth import attach_message, sign
from tunnelkit.carriers import connect
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused, SessionError
from tunnelkit.session import Session
from tunnelkit.stream import Stream
from tunnelkit.testing import Attempt, MemoryNetwork, cancel_at_each_step, no_leaks
from tunnelkit.wire.frames import FrameType, Value, encode_fields, encode_frame

# --- hostile peers -------------------------------------------------------------------------


@asynccontextmanager
async def intruder(
    subject: str = "mallory", network: MemoryNetwork | None = None
) -> AsyncGenerator[tuple[RawPeer, Pair]]:
    """Alice and bob with a session, and a peer without rules that has a link to bob.

    Afterwards the session of alice and bob still works.
    """
    world = World("memory", network or MemoryNetwork())
    with quiet_pump():
        async with open_pair(world) as pair:
            network_of_peer = world.host("mallory")
            pipe = await connect(network_of_peer, pair.bob.addresses[0], pair.bob.pump)
            peer = RawPeer(pipe, make_identity(subject), pair.alice.instance)
            await peer.dial()
            yield peer, pair
            stream, other = await open_streams(pair.session, pair.bob)
            await stream.send_all(b"still here")
            assert await other.receive_some() == b"still here"
            pipe.close()


def attach(number: int = 1, /, **changes: Value) -> bytes:
    values: dict[str, Value] = {
        "session_id": os.urandom(16),
        "generation": 1,
        "received": 0,
        "role": 0,
        "peer": "bob",
        "proof_kind": 1,
        "proof": bytes(64),
        **changes,
    }
    return encode_frame(FrameType.ATTACH, encode_fields(FrameType.ATTACH, **values), session=number)


async def test_somebody_elses_session_is_refused(autojump_clock: MockClock) -> None:
    async with intruder() as (peer, pair):
        peer.send(attach(session_id=pair.session.session_id, generation=99))
        await settle()
        (answer,) = peer.received(FrameType.DETACHED)
        assert answer["code"] == ErrorCode.FORBIDDEN
        assert pair.session.state == "open"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"generation": 99}, ErrorCode.WRONG_HOLDER),
        ({"generation": 99, "proof_kind": 2, "proof": bytes(32)}, ErrorCode.BAD_PROOF),
        ({"generation": 99, "proof_kind": 2, "proof": b""}, ErrorCode.BAD_PROOF),
        ({"generation": 99, "proof_kind": 0, "proof": b""}, ErrorCode.BAD_PROOF),
        ({"generation": 99, "proof_kind": 7, "proof": b"x"}, ErrorCode.BAD_PROOF),
    ],
)
async def test_attach_of_an_impostor_harms_nothing(
    changes: dict[str, Value], code: ErrorCode, autojump_clock: MockClock
) -> None:
    """It has alice's token, key and instance, but not what the session's two ends agreed upon."""
    async with intruder("alice") as (peer, pair):
        received = pair.peer_session.core._acknowledged
        values: dict[str, Value] = {"session_id": pair.session.session_id, "received": received}
        peer.send(attach(1, **(values | changes)))
        await settle()
        (answer,) = peer.received(FrameType.DETACHED)
        assert answer["code"] == code
        assert pair.session.ended is None
        peer.pipe.close()


@pytest.mark.parametrize("generation", [0, 1])
async def test_stale_attach_of_the_peer_itself_is_refused(
    generation: int, autojump_clock: MockClock
) -> None:
    async with intruder("alice") as (peer, pair):
        session_id, received = pair.session.session_id, pair.peer_session.core._acknowledged
        message = attach_message(0, session_id, generation, received)
        proof = sign(make_identity("alice").key, message)
        peer.send(
            attach(session_id=session_id, generation=generation, received=received, proof=proof)
        )
        await settle()
        assert peer.received(FrameType.DETACHED)[0]["code"] == ErrorCode.STALE_GENERATION
        assert pair.session.ended is None
        peer.pipe.close()


async def test_impossible_numbers_need_a_proof_to_end_a_session(
    autojump_clock: MockClock,
) -> None:
    async with intruder("alice") as (peer, pair):
        peer.send(attach(session_id=pair.session.session_id, generation=99, received=10**6))
        await settle()
        assert len(peer.received(FrameType.DETACHED)) == 1
        assert pair.session.ended is None
        peer.pipe.close()


@pytest.mark.parametrize("number", [0, 2])
async def test_attach_with_a_number_of_the_other_side(
    number: int, autojump_clock: MockClock
) -> None:
    async with intruder() as (peer, _):
        peer.send(attach(number))
        await settle()
        (last,) = peer.received(FrameType.GO_AWAY)
        assert f"attach with session number {number}" in str(last["text"])
        assert peer.ending == "eof"


async def test_attach_twice_with_one_number(autojump_clock: MockClock) -> None:
    async with intruder() as (peer, _):
        peer.send(attach(1) + attach(1))
        await settle()
        assert "attach with session number 1" in str(peer.received(FrameType.GO_AWAY)[0]["text"])


async def test_an_invite_of_a_stranger_moves_nothing(autojump_clock: MockClock) -> None:
    async with intruder() as (peer, pair):
        (session_id,) = pair.bob.sessions
        values = encode_fields(FrameType.INVITE, session_id=session_id, peer="alice")
        peer.send(encode_frame(FrameType.INVITE, values))
        await settle()
        assert peer.received(FrameType.ATTACH) == []
        assert pair.session.moved_count == 0


async def test_only_a_broker_tells_of_presence(autojump_clock: MockClock) -> None:
    async with intruder() as (peer, _):
        values = encode_fields(FrameType.PRESENCE, subject="alice", instance=bytes(16), present=1)
        peer.send(encode_frame(FrameType.PRESENCE, values))
        await settle()
        assert "from a peer that is no broker" in str(peer.received(FrameType.GO_AWAY)[0]["text"])


async def test_session_without_a_session_open_carries_nothing(autojump_clock: MockClock) -> None:
    async with intruder() as (peer, pair):
        identity = encode_fields(FrameType.OPEN, target="test", metadata=())
        peer.send(
            attach() + encode_frame(FrameType.OPEN, identity, session=1, stream=1, sequence=1)
        )
        await settle()
        (answer,) = peer.received(FrameType.DETACHED)
        assert "before session-open" in str(answer["text"])
        assert len(pair.bob.sessions) == 1


async def test_sessions_on_a_link_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SESSIONS_PER_LINK", 20)
    async with intruder() as (peer, pair):
        peer.send(b"".join(attach(number) for number in range(1, 101, 2)))
        await settle()
        codes = [answer["code"] for answer in peer.received(FrameType.DETACHED)]
        assert codes == [ErrorCode.LIMIT_EXCEEDED] * 30
        assert len(pair.bob.sessions) == 21


async def test_attach_storm_is_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attach, detach, attach anew: what was detached still waits for its grace time."""
    monkeypatch.setattr(limits, "MAX_SESSIONS_PER_LINK", 20)
    gone = encode_fields(FrameType.DETACHED, code=int(ErrorCode.PEER_GONE), text="")
    async with intruder() as (peer, pair):
        for number in range(1, 201, 2):
            peer.send(attach(number) + encode_frame(FrameType.DETACHED, gone, session=number))
        await settle()
        assert len(pair.bob.sessions) <= 21
        answers = peer.received(FrameType.DETACHED)
        assert answers[-1]["code"] == ErrorCode.LIMIT_EXCEEDED


async def test_attach_storm_of_a_patient_peer_is_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SESSIONS_PER_LINK", 20)
    gone = encode_fields(FrameType.DETACHED, code=int(ErrorCode.PEER_GONE), text="")
    async with intruder() as (peer, pair):
        for number in range(1, 2001, 2):
            peer.send(attach(number) + encode_frame(FrameType.DETACHED, gone, session=number))
            await trio.sleep(0.01)
        assert len(pair.bob.sessions) <= 21


async def test_frames_for_no_session_are_ignored(autojump_clock: MockClock) -> None:
    async with intruder() as (peer, _):
        for kind in (FrameType.DATA, FrameType.ACK, FrameType.SESSION_OPEN):
            peer.send(encode_frame(kind, b"junk", session=77, stream=1, sequence=1))
        await settle()
        assert not peer.ending


# --- what may be opened --------------------------------------------------------------------


async def test_target_outside_of_the_token_is_refused(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        identity = make_identity("alice", targets=["web:*"])
        async with world.endpoint("alice", dial=bob.addresses, identity=identity) as alice:
            session = await alice.open_session("bob")
            stream, _ = await open_streams(session, bob, "web:80")
            with pytest.raises(OpenRefused, match="token of alice does not allow 'db:5432'|target"):
                await open_streams(session, bob, "db:5432")
            await stream.aclose()


async def test_expiry_ends_opens_and_spares_streams(autojump_clock: MockClock) -> None:
    later = [NOW]
    world = World()
    async with world.endpoint("bob", listens=True, clock=lambda: later[0]) as bob:
        async with world.endpoint("alice", dial=bob.addresses) as alice:
            session = await alice.open_session("bob")
            stream, peer = await open_streams(session, bob)
            later[0] += 4000
            with pytest.raises(OpenRefused) as info:
                await open_streams(session, bob)
            assert info.value.code == ErrorCode.TOKEN_EXPIRED
            await stream.send_all(b"still open")
            assert await peer.receive_some() == b"still open"


@pytest.mark.parametrize("peer", ["carol", "bob"])
async def test_peer_that_is_not_there(peer: str, autojump_clock: MockClock) -> None:
    world = World()
    world.network.host("bob")
    async with world.endpoint("alice", dial=[world.address("bob", 1)]) as alice:
        with pytest.raises(SessionError, match=f"no session with '{peer}' within 10 s") as info:
            await alice.open_session(peer)
        assert info.value.code == ErrorCode.UNKNOWN_PEER
        assert "connection refused" in str(info.value)
        assert not alice.sessions


async def test_unreachable_peer_is_named(autojump_clock: MockClock) -> None:
    world = World()
    address = world.address("nowhere", 7)
    async with world.endpoint("alice", dial=[address]) as alice:
        await trio.sleep(1)
        assert "cannot connect to memory://nowhere:7: no such host" in alice.dial_errors[address]


async def test_refused_token_is_told_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        expired = make_identity("alice", now=NOW - 7200)
        async with world.endpoint("alice", dial=bob.addresses, identity=expired):
            await trio.sleep(100)
    told = [record for record in caplog.records if record.name == "tunnelkit.endpoint"]
    texts = [record.getMessage() for record in told if "expired" in record.getMessage()]
    assert len(texts) == 1
    assert expired.token not in caplog.text


async def test_strangers_are_logged_without_filling_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        for _ in range(50):
            pipe = await connect(world.network.host("stranger"), bob.addresses[0], bob.pump)
            pipe.try_send(b"GET / HTTP/1.1\r\n\r\n")
            await trio.sleep(0.01)
            pipe.close()
    texts = [r.getMessage() for r in caplog.records if r.name == "tunnelkit.host"]
    assert len(texts) == 1
    assert "HTTP" in texts[0]


# --- errors of the opener ------------------------------------------------------------------


async def test_address_in_use_is_the_only_error(autojump_clock: MockClock) -> None:
    async with no_leaks():
        world = World()
        async with world.endpoint("bob", listens=True) as bob:
            with pytest.raises(ConfigurationError, match="it is in use"):
                async with open_endpoint(
                    make_identity("bob"), RING, listen=bob.addresses, network=world.host("bob")
                ):
                    pytest.fail("two listeners on one port")


async def test_bad_address_is_refused_before_anything_begins() -> None:
    async with no_leaks():
        with pytest.raises(ConfigurationError, match="is not an address"):
            async with open_endpoint(make_identity("bob"), RING, dial=["nonsense"]):
                pytest.fail("opened")


async def test_error_of_the_body_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    async with no_leaks():
        with pytest.raises(ZeroDivisionError) as info:
            async with World().endpoint("bob", listens=True):
                raise ZeroDivisionError
        assert info.value.__context__ is None


# --- what is left --------------------------------------------------------------------------


async def use(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.bob.serve, echo)
        await trio.lowlevel.checkpoint()
        stream = await pair.session.open_stream("test")
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("way", ["dialer", "listener", "broker"])
@pytest.mark.parametrize("leave", ["normally", "by error", "cancelled"])
async def test_nothing_is_left(carrier: str, way: str, leave: str) -> None:
    async with no_leaks():
        async with open_world(carrier) as world:
            with trio.CancelScope() as scope:
                try:
                    async with open_pair(world, way=way) as pair:
                        await use(pair)
                        if leave == "by error":
                            raise ZeroDivisionError
                        if leave == "cancelled":
                            scope.cancel()
                            await trio.sleep_forever()
                except ZeroDivisionError:
                    pass
    assert scope.cancelled_caught is (leave == "cancelled")


@pytest.mark.parametrize("state", ["dialling", "unanswered", "backing off", "hello"])
async def test_nothing_is_left_of_an_endpoint_without_a_link(
    state: str, autojump_clock: MockClock
) -> None:
    async with no_leaks():
        world = World("memory", MemoryNetwork(latency=5))
        async with world.endpoint("bob", listens=True) as bob:
            if state == "unanswered":
                world.network.host("alice")
                world.network.stall("alice", "bob")
            where = [world.address("bob", 9)] if state == "backing off" else bob.addresses
            async with world.endpoint("alice", dial=where):
                await trio.sleep(13 if state == "hello" else 3)


# --- cancellation --------------------------------------------------------------------------


async def test_open_session_is_atomic(autojump_clock: MockClock) -> None:
    async with open_pair(World()) as pair:

        async def check(attempt: Attempt[Session]) -> None:
            if attempt.value is not None:
                await attempt.value.aclose()
            await settle()
            assert list(pair.alice.sessions.values()) == [pair.session]
            assert list(pair.bob.sessions) == list(pair.alice.sessions)

        assert await cancel_at_each_step(lambda: pair.alice.open_session("bob"), check=check)
        await use(pair)


async def test_close_of_a_session_ends_it_when_cancelled(autojump_clock: MockClock) -> None:
    async with open_pair(World()) as pair:

        async def open_and_close() -> None:
            session = await pair.alice.open_session("bob")
            try:
                await open_streams(session, pair.bob)
            finally:
                await session.aclose()

        await cancel_at_each_step(open_and_close)
        await settle()
        assert list(pair.alice.sessions.values()) == [pair.session]
        assert list(pair.bob.sessions) == list(pair.alice.sessions)
        await use(pair)


async def test_cancelled_serve_refuses_and_resets(autojump_clock: MockClock) -> None:
    async with open_pair(World()) as pair:

        async def serve() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.bob.serve, echo)
                await trio.lowlevel.checkpoint()
                stream = await pair.session.open_stream("test")
                nursery.cancel_scope.cancel()
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()

        await serve()
        with pytest.raises(OpenRefused, match="serves no streams"):
            await pair.session.open_stream("test")
        await cancel_at_each_step(serve, limit=100)
        await use(pair)


async def test_listen_is_atomic(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob") as bob:

        def check(attempt: Attempt[Address]) -> None:
            assert len(bob.listeners) == (not attempt.cancelled)

        await cancel_at_each_step(lambda: bob.listen(world.address("bob", 5)), check=check)


@pytest.mark.parametrize("way", ["dialer", "broker"])
async def test_opening_everything_can_be_cancelled_anywhere(
    way: str, autojump_clock: MockClock
) -> None:
    async def run() -> None:
        async with open_pair(World(), way=way) as pair:
            await open_streams(pair.session, pair.bob)

    async with no_leaks():
        assert await cancel_at_each_step(run) > 3


# --- serving -------------------------------------------------------------------------------


async def test_handler_that_returns_closes_its_stream(autojump_clock: MockClock) -> None:
    async def greet(stream: Stream) -> None:
        await stream.send_all(b"hello")

    async with open_pair(World()) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.bob.serve, greet)
        await trio.lowlevel.checkpoint()
        assert await receive_all(await pair.session.open_stream("test")) == b"hello"
        nursery.cancel_scope.cancel()


async def test_handler_that_raises_resets_its_stream(autojump_clock: MockClock) -> None:
    async def fail(stream: Stream) -> None:
        raise ZeroDivisionError

    async def serve(bob: Endpoint) -> None:
        with pytest.RaisesGroup(ZeroDivisionError):
            await bob.serve(fail)

    async with open_pair(World()) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(serve, pair.bob)
        await trio.lowlevel.checkpoint()
        stream = await pair.session.open_stream("test")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_links_and_peers_can_be_watched(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        changes: list[tuple[int, int]] = []
        bob.events.add(lambda event: changes.append((len(bob.links), len(bob.sessions))))
        async with world.endpoint("alice", dial=bob.addresses) as alice:
            await alice.open_session("bob")
            assert bob.peers() == {"alice"}
            assert (1, 1) in changes
        await wait_until(lambda: not bob.links)
        assert changes[-1] == (0, 0)
        assert bob.peers() == set()
