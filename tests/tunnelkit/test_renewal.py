"""Newer tokens for links and sessions that are up, in virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.pairs import (
    ISSUER,
    NOW,
    World,
    make_identity,
    make_key,
    open_streams,
)
from tests.tunnelkit.strangers import RawPeer, quiet_pump, settle
from tests.tunnelkit.test_trust import WAYS, open_scene
from tunnelkit.auth import Identity, mint, renew_message, sign
from tunnelkit.auth.keys import generate_key
from tunnelkit.carriers import connect
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused
from tunnelkit.renewal import MAX_AT_ONCE, allowance
from tunnelkit.wire.frames import FrameType


@pytest.mark.parametrize("way", WAYS)
async def test_a_session_outlives_its_first_token(way: str, autojump_clock: MockClock) -> None:
    async with open_scene(way, alice_seconds=100) as scene:
        scene.lab.wall += 50
        scene.alice.set_identity(scene.lab.identity("alice"))
        await trio.sleep(1)
        scene.lab.wall += 1000
        await open_streams(scene.session, scene.bob)
        await scene.stream.send_all(b"still open")
        assert await scene.other.receive_some() == b"still open"
        assert scene.session.resumed_count == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_renewed_session_attaches_again(way: str, autojump_clock: MockClock) -> None:
    async with open_scene(way, alice_seconds=100) as scene:
        scene.alice.set_identity(scene.lab.identity("alice"))
        await trio.sleep(1)
        scene.lab.wall += 1000
        scene.lab.network.cut("alice", "broker" if way == "broker" else "bob")
        await trio.sleep(5)
        assert scene.session.state == "open"
        assert scene.session.resumed_count == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_renewed_link_takes_new_sessions(way: str, autojump_clock: MockClock) -> None:
    async with open_scene(way, alice_seconds=100) as scene:
        (link,) = scene.alice.links
        scene.alice.set_identity(scene.lab.identity("alice"))
        await trio.sleep(1)
        scene.lab.wall += 1000
        session = await scene.alice.open_session("bob")
        assert session.link is link


async def test_the_responder_renews_as_well(autojump_clock: MockClock) -> None:
    async with open_scene(alice_seconds=7200) as scene:
        scene.lab.wall += 3000
        scene.bob.set_identity(scene.lab.identity("bob"))
        await trio.sleep(1)
        scene.lab.wall += 3000
        await open_streams(scene.session, scene.bob)
        scene.lab.network.cut("bob", "broker")
        await trio.sleep(5)
        assert scene.session.state == "open"


async def test_the_holder_key_may_be_another_one(autojump_clock: MockClock) -> None:
    async with open_scene(alice_seconds=100) as scene:
        key = generate_key()
        token = mint(
            ISSUER,
            subject="alice",
            holder=key.public_key().public_bytes_raw(),
            lifetime_seconds=3600,
            peers=["*"],
            targets=["*"],
            now=scene.lab.wall,
        )
        scene.alice.set_identity(Identity(key, token))
        await trio.sleep(1)
        scene.lab.wall += 1000
        scene.lab.network.cut("alice", "broker")
        await trio.sleep(5)
        assert scene.session.state == "open"
        capability = scene.peer_session.peer_capability
        assert capability is not None
        assert capability.holder == key.public_key().public_bytes_raw()


async def test_an_identity_of_somebody_else_is_refused(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        with pytest.raises(ConfigurationError, match="this endpoint is alice"):
            scene.alice.set_identity(scene.lab.identity("mallory"))
        assert scene.alice.subject == "alice"


async def test_a_token_that_opens_less_counts_at_once(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        scene.alice.set_identity(scene.lab.identity("alice", targets=["other"]))
        await trio.sleep(1)
        with pytest.raises(OpenRefused, match="does not allow target"):
            await open_streams(scene.session, scene.bob)


async def test_a_token_that_meets_the_peer_no_more_ends_the_session(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        scene.alice.set_identity(scene.lab.identity("alice", peers=["carol"]))
        assert (await scene.session.wait_ended()).code == ErrorCode.FORBIDDEN


async def test_a_broker_tells_whom_a_renewed_token_may_meet(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        scene.alice.set_identity(scene.lab.identity("alice", peers=["carol"]))
        carol = await scene.lab.endpoint("carol")
        await trio.sleep(1)
        assert "bob" not in scene.alice.peers()
        assert "alice" not in scene.bob.peers()
        assert "alice" in carol.peers()


# --- hostile -------------------------------------------------------------------------------


async def raw_peer(world: World, bob: Endpoint) -> RawPeer:
    pipe = await connect(world.host("mallory"), bob.addresses[0], bob.pump)
    peer = RawPeer(pipe, make_identity("mallory"))
    await peer.dial()
    return peer


def renew(peer: RawPeer, identity: Identity, key_of: str = "") -> None:
    assert peer.handshake is not None
    assert peer.handshake.peer is not None
    assert peer.handshake.peer.transcript is not None
    token = identity.token.encode()
    key = make_key(key_of) if key_of else identity.key
    signature = sign(key, renew_message(peer.handshake.peer.transcript, token))
    peer.say(FrameType.RENEW, token=token, signature=signature)


@pytest.mark.parametrize(
    ("identity", "key_of", "code"),
    [
        (make_identity("alice"), "", ErrorCode.FORBIDDEN),
        (make_identity("mallory"), "thief", ErrorCode.WRONG_HOLDER),
        (make_identity("mallory", now=NOW - 7200), "", ErrorCode.TOKEN_EXPIRED),
        (make_identity("mallory", issuer=generate_key()), "", ErrorCode.UNAUTHENTICATED),
    ],
    ids=["somebody else", "stolen", "expired", "stranger"],
)
async def test_a_renewal_that_is_not_accepted_ends_the_link(
    identity: Identity, key_of: str, code: int, autojump_clock: MockClock
) -> None:
    world = World()
    with quiet_pump():
        async with world.endpoint("bob", listens=True) as bob:
            peer = await raw_peer(world, bob)
            renew(peer, identity, key_of)
            await settle()
            (answer,) = peer.received(FrameType.GO_AWAY)
            assert answer["code"] == code
            assert not bob.links


async def test_an_older_token_is_ignored(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        peer = await raw_peer(world, bob)
        renew(peer, make_identity("mallory", now=NOW - 60, targets=["old"]))
        await settle()
        (link,) = bob.links
        assert link.peer is not None
        assert link.peer.capability is not None
        assert link.peer.capability.targets == ("*",)


async def test_renewals_come_at_a_bounded_rate(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        peer = await raw_peer(world, bob)
        for _ in range(MAX_AT_ONCE + 1):
            renew(peer, make_identity("mallory"))
        await settle()
        assert [m["code"] for m in peer.received(FrameType.GO_AWAY)] == [ErrorCode.LIMIT_EXCEEDED]


@pytest.mark.parametrize("kind", [FrameType.RENEW, FrameType.REVOCATIONS])
async def test_what_the_other_side_may_not_say_ends_the_link(
    kind: FrameType, autojump_clock: MockClock
) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        async with world.endpoint("alice", dial=bob.addresses) as alice:
            await trio.sleep(1)
            (link,) = bob.links
            if kind is FrameType.RENEW:  # from the side that accepted
                link.write_hop(kind, token=b"", signature=bytes(64))
            else:  # from a peer that is no broker
                link.write_hop(kind, list=b"")
            await trio.sleep(0.01)
            assert link not in bob.links
            assert not alice.links or alice.links[0] is not link


def test_an_allowance_fills_up_again() -> None:
    left = allowance()
    assert [left.take(0.0) for _ in range(MAX_AT_ONCE + 1)] == [True] * MAX_AT_ONCE + [False]
    assert left.take(1.0)
    assert not left.take(1.5)
