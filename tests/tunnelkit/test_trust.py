"""Revocation and expiry in virtual time: who is cut off, where, how, and who goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.pairs import ISSUER, RING, open_streams
from tunnelkit.auth import KeyRing, RevocationList, Revoked, Trust, generate_key
from tunnelkit.broker import Broker
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import AuthenticationError, ErrorCode, OpenRefused, SessionError
from tunnelkit.session import Session
from tunnelkit.stream import Stream, StreamReset

WAYS = ("broker", "direct")


@dataclass
class Scene:
    """Alice has a session with bob, and in it a stream, of which `other` is bob's end."""

    lab: Lab
    alice: Endpoint
    bob: Endpoint
    session: Session
    stream: Stream
    other: Stream
    broker: Broker | None = None

    @property
    def peer_session(self) -> Session:
        return self.bob.sessions[self.session.session_id]


@asynccontextmanager
async def open_scene(
    way: str = "broker", *, alice_seconds: int = 3600, grace_seconds: float = 60
) -> AsyncGenerator[Scene]:
    async with open_lab() as lab:
        broker = await lab.broker() if way == "broker" else None
        identity = lab.identity("alice", lifetime_seconds=alice_seconds)
        bob = await lab.endpoint("bob", *([] if broker else ["nowhere"]), grace_seconds=60)
        if broker is None:
            await bob.listen(address("bob"))
        alice = await lab.endpoint(
            "alice",
            "broker" if broker else "bob",
            identity=identity,
            grace_seconds=grace_seconds,
        )
        session = await alice.open_session("bob")
        stream, other = await open_streams(session, bob)
        yield Scene(lab, alice, bob, session, stream, other, broker)


def a_list(
    lab: Lab, key: Ed25519PrivateKey = ISSUER, after: int = 0, **kinds: dict[str, int]
) -> str:
    revoked = Revoked(**kinds)
    return RevocationList.sign(key, revoked, lifetime_seconds=60, now=lab.wall, after=after).text


def tokens_of(endpoint: Endpoint) -> dict[str, int]:
    return {endpoint.identity.claims.token_id: 1}


async def code_of_reset(stream: Stream) -> int:
    """Return why a stream was reset; fails at a clean end."""
    with pytest.raises(StreamReset) as caught:
        while await stream.receive_some():
            pass
    return caught.value.code


# --- revocation: what ends -----------------------------------------------------------------


async def test_a_revoked_token_ends_session_and_streams_at_both_ends(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        peer_session = scene.peer_session
        scene.broker.learn_revocations(a_list(scene.lab, tokens=tokens_of(scene.alice)))
        for session in (scene.session, peer_session):
            assert (await session.wait_ended()).code == ErrorCode.TOKEN_REVOKED
        for stream in (scene.stream, scene.other):
            assert await code_of_reset(stream) == ErrorCode.TOKEN_REVOKED


@pytest.mark.parametrize("who", ["alice", "bob"])
async def test_an_exit_cuts_off_without_any_broker(who: str, autojump_clock: MockClock) -> None:
    async with open_scene("direct") as scene:
        peer_session = scene.peer_session
        cutter = getattr(scene, who)
        other = scene.bob if who == "alice" else scene.alice
        cutter.learn_revocations(a_list(scene.lab, tokens=tokens_of(other)))
        for session in (scene.session, peer_session):
            assert (await session.wait_ended()).code == ErrorCode.TOKEN_REVOKED
        for stream in (scene.stream, scene.other):
            assert await code_of_reset(stream) == ErrorCode.TOKEN_REVOKED


async def test_an_issuer_that_leaves_the_ring_takes_its_links_along(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        peer_session = scene.peer_session
        scene.broker.set_trust(KeyRing([generate_key().public_key()]))
        assert (await scene.session.wait_ended()).code == ErrorCode.TOKEN_REVOKED
        assert (await peer_session.wait_ended()).code == ErrorCode.TOKEN_REVOKED
        await trio.sleep(1)
        assert not scene.broker.links
        assert not scene.alice.links


async def test_a_dialler_that_was_revoked_backs_off_and_says_why(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        scene.broker.learn_revocations(a_list(scene.lab, tokens=tokens_of(scene.alice)))
        await trio.sleep(14)
        assert not scene.alice.links
        assert "is revoked: ask the issuer" in scene.alice.dial_errors[address("broker")]
        await trio.sleep(100)
        texts = [r.getMessage() for r in caplog.records if r.name == "tunnelkit.endpoint"]
        assert len([text for text in texts if "trying again" in text]) <= 2


async def test_others_notice_nothing(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        await scene.lab.endpoint("mallory")
        mallory = await scene.lab.endpoint("mallory2")
        scene.broker.learn_revocations(a_list(scene.lab, tokens=tokens_of(mallory)))
        await trio.sleep(1)
        await scene.stream.send_all(b"still here")
        assert await scene.other.receive_some() == b"still here"
        assert scene.session.resumed_count == 0


async def test_a_revoked_peer_opens_no_session(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        bob = await lab.endpoint("bob")
        alice = await lab.endpoint("alice")
        bob.learn_revocations(a_list(lab, tokens=tokens_of(alice)))
        with pytest.raises(SessionError, match="is revoked") as caught:
            await alice.open_session("bob")
        assert caught.value.code == ErrorCode.TOKEN_REVOKED


async def test_tokens_issued_later_are_good(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        scene.lab.wall += 10
        scene.broker.learn_revocations(a_list(scene.lab, subjects={"alice": int(scene.lab.wall)}))
        await scene.session.wait_ended()
        scene.alice.set_identity(scene.lab.identity("alice"))
        session = await scene.alice.open_session("bob", timeout=60)
        assert session.state == "open"


async def test_a_hello_that_has_begun_begins_anew(autojump_clock: MockClock) -> None:
    async with open_lab(latency=0.1) as lab:
        broker = await lab.broker()
        alice = await lab.endpoint("alice")
        await trio.sleep(0.35)
        assert not alice.links
        broker.learn_revocations(a_list(lab, tokens=tokens_of(alice)))
        await trio.sleep(5)
        assert not alice.links
        assert "is revoked" in alice.dial_errors[address("broker")]


# --- revocation: how it travels ------------------------------------------------------------


async def test_a_broker_passes_its_list_on(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        learnt: list[RevocationList] = []
        scene.bob.on_learned = learnt.append
        assert scene.broker.learn_revocations(a_list(scene.lab, tokens={"x": 1}))
        late = await scene.lab.endpoint("late")
        await trio.sleep(1)
        for endpoint in (scene.alice, scene.bob, late):
            assert endpoint.trust.revocations == scene.broker.trust.revocations
        assert len(learnt) == 1


async def test_an_endpoint_believes_a_list_by_its_own_ring_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = generate_key()
    async with open_scene() as scene:
        assert scene.broker is not None
        scene.broker.set_trust(KeyRing([*RING.keys, stranger.public_key()]))
        scene.broker.learn_revocations(a_list(scene.lab, stranger, tokens={"x": 1}))
        await trio.sleep(1)
        assert scene.bob.trust.revocations is None
        assert scene.session.state == "open"
        assert "its revocation list is ignored" in caplog.text


async def test_a_forged_list_is_refused_and_an_older_one_ignored(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        broker = await lab.broker()
        assert broker.learn_revocations(a_list(lab, tokens={"x": 1}))
        assert not broker.learn_revocations(a_list(lab, tokens={"y": 1}))
        with pytest.raises(AuthenticationError):
            broker.learn_revocations(a_list(lab, generate_key(), after=1 << 40))


async def test_a_list_too_large_for_a_link_stays_where_it_is(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene() as scene:
        assert scene.broker is not None
        many = {f"{number:032}": 1 for number in range(400)}
        assert scene.broker.learn_revocations(a_list(scene.lab, tokens=many))
        await trio.sleep(1)
        assert scene.bob.trust.revocations is None
        assert "too many to be passed on" in caplog.text
        assert scene.session.state == "open"


async def test_programs_may_begin_with_a_list(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice = lab.identity("alice")
        text = a_list(lab, tokens={alice.claims.token_id: 1})
        broker = await lab.broker()
        broker.set_trust(Trust(RING).with_revocations(text, lab.wall))
        endpoint = await lab.endpoint("alice", identity=alice)
        await trio.sleep(1)
        assert "is revoked" in endpoint.dial_errors[address("broker")]


# --- expiry --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_opens_are_refused_from_the_second_of_expiry(
    way: str, autojump_clock: MockClock
) -> None:
    async with open_scene(way, alice_seconds=100) as scene:
        wall = int(scene.lab.wall)
        scene.lab.wall = wall + 99.9
        await open_streams(scene.session, scene.bob)
        scene.lab.wall = wall + 100.0
        with pytest.raises(OpenRefused, match="has expired") as caught:
            await open_streams(scene.session, scene.bob)
        assert caught.value.code == ErrorCode.TOKEN_EXPIRED
        await scene.stream.send_all(b"still open")
        assert await scene.other.receive_some() == b"still open"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", ["alice", "bob"])
async def test_the_session_ends_at_the_next_attach_at_both_ends(
    way: str, cut: str, autojump_clock: MockClock
) -> None:
    async with open_scene(way, alice_seconds=100) as scene:
        peer_session = scene.peer_session
        scene.lab.wall += 100
        scene.lab.network.cut(
            cut, "broker" if way == "broker" else "alice" if cut == "bob" else "bob"
        )
        for session in (scene.session, peer_session):
            error = await session.wait_ended()
            assert error.code == ErrorCode.TOKEN_EXPIRED
            assert "the token of alice has expired" in error.text
        for stream in (scene.stream, scene.other):
            assert await code_of_reset(stream) == ErrorCode.TOKEN_EXPIRED


async def test_a_token_that_expires_while_the_link_is_down_is_the_cause(
    autojump_clock: MockClock,
) -> None:
    async with open_scene(alice_seconds=100) as scene:
        peer_session = scene.peer_session
        scene.lab.kill("broker")
        await trio.sleep(5)
        assert scene.session.ended is None
        scene.lab.wall += 100
        for session in (scene.session, peer_session):
            assert (await session.wait_ended()).code == ErrorCode.TOKEN_EXPIRED


async def test_no_link_is_made_with_an_expired_token(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene(alice_seconds=100) as scene:
        scene.lab.wall += 100
        scene.lab.network.cut("alice", "broker")
        await trio.sleep(100)
        assert not scene.alice.links
        texts = [r.getMessage() for r in caplog.records if "has expired" in r.getMessage()]
        assert len([text for text in texts if "SIGHUP" in text]) == 1


async def test_a_newer_token_ends_the_waiting_at_once(autojump_clock: MockClock) -> None:
    async with open_scene(alice_seconds=100) as scene:
        scene.lab.wall += 100
        scene.lab.network.cut("alice", "broker")
        await trio.sleep(10)
        scene.alice.set_identity(scene.lab.identity("alice"))
        await trio.sleep(0.1)
        assert scene.alice.links
        assert (await scene.alice.open_session("bob")).state == "open"
