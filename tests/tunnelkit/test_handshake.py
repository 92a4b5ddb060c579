"""The hello: who is let in, who is not, and what each side is told."""

from __future__ import annotations

import os

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.tunnelkit.pairs import NOW, make_identity
from tests.tunnelkit.strangers import (
    Owner,
    accepting,
    dialing,
    join_links,
    quiet_pump,
    settle,
    stranger_at,
)
from tunnelkit import limits
from tunnelkit.auth import Identity
from tunnelkit.errors import (
    AuthenticationError,
    ErrorCode,
    LinkError,
    LinkRefused,
    RemoteProtocolError,
)
from tunnelkit.handshake import AGENT, Dialing
from tunnelkit.link import Link
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.testing import memory_pipe_pair
from tunnelkit.wire.frames import (
    FLAG_OPTIONAL,
    HEADER,
    MAGIC,
    VERSION,
    FrameType,
    decode_fields,
    encode_fields,
    encode_frame,
)
from tunnelkit.wire.states import LinkState

STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)


def hello(*, magic: bytes = MAGIC, low: int = VERSION, high: int = VERSION) -> bytes:
    """Return a hello made by hand."""
    payload = encode_fields(
        FrameType.HELLO,
        magic=magic,
        minimum_version=low,
        maximum_version=high,
        instance=b"x" * 16,
        nonce=os.urandom(32),
        features=0,
        agent="a test",
    )
    return encode_frame(FrameType.HELLO, payload)


def steal(identity: Identity) -> Identity:
    """Return an identity with that token and another private key."""
    thief = make_identity("thief")
    object.__setattr__(thief, "token", identity.token)
    return thief


# --- accepted ------------------------------------------------------------------------------


async def test_both_sides_learn_who_the_other_is(pump: Pump) -> None:
    dialer, _, acceptor, _ = join_links(pump)
    await settle()
    assert dialer.peer is not None
    assert acceptor.peer is not None
    assert (dialer.peer.subject, dialer.peer.instance) == ("bob", b"b" * 16)
    assert (acceptor.peer.subject, acceptor.peer.instance) == ("alice", b"a" * 16)
    assert dialer.peer.agent == acceptor.peer.agent == AGENT


async def test_only_the_acceptor_sees_a_capability(pump: Pump) -> None:
    dialer, _, acceptor, _ = join_links(pump)
    await settle()
    assert dialer.peer is not None
    assert acceptor.peer is not None
    assert dialer.peer.capability is None
    assert acceptor.peer.capability == make_identity("alice").claims or (
        acceptor.peer.capability is not None and acceptor.peer.capability.subject == "alice"
    )


async def test_range_of_versions_is_accepted(pump: Pump) -> None:
    peer, link, _ = stranger_at(pump)
    peer.send(hello(low=1, high=9))
    await settle()
    assert peer.received(FrameType.CHALLENGE)[0]["version"] == VERSION
    assert link.state is LinkState.PROOF_WAIT


async def test_unknown_optional_frame_is_skipped(pump: Pump) -> None:
    peer, link, _ = stranger_at(pump)
    peer.send(encode_frame(0x1D, b"later", flags=FLAG_OPTIONAL))
    await peer.dial()
    assert link.is_up


# --- refused -------------------------------------------------------------------------------

BAD_IDENTITIES = {
    "expired": (make_identity("alice", now=NOW - 7200), ErrorCode.TOKEN_EXPIRED, "has expired"),
    "early": (make_identity("alice", now=NOW + 7200), ErrorCode.UNAUTHENTICATED, "not valid yet"),
    "foreign": (make_identity("alice", issuer=STRANGER), ErrorCode.UNAUTHENTICATED, "key ring"),
    "stolen": (steal(make_identity("alice")), ErrorCode.WRONG_HOLDER, "key that the token names"),
}


@pytest.mark.parametrize("case", BAD_IDENTITIES)
async def test_dialer_learns_why_it_was_refused(case: str, pump: Pump) -> None:
    identity, code, text = BAD_IDENTITIES[case]
    _, owner, _, other = join_links(pump, identity=identity)
    await settle()
    (error,) = owner.closed
    assert isinstance(error, LinkRefused)
    assert error.code == code
    assert text in str(error)
    assert len(other.closed) == 1
    assert not owner.up
    assert not other.up


@pytest.mark.parametrize("case", BAD_IDENTITIES)
async def test_acceptor_says_why_it_refused(case: str, pump: Pump) -> None:
    identity, code, text = BAD_IDENTITIES[case]
    _, _, link, owner = join_links(pump, identity=identity)
    await settle()
    (error,) = owner.closed
    assert text in str(error)
    assert isinstance(error.__cause__, AuthenticationError)
    assert error.__cause__.code == code
    assert link.state is LinkState.CLOSED


@pytest.mark.parametrize("case", BAD_IDENTITIES)
async def test_no_secret_in_a_refusal(case: str, pump: Pump) -> None:
    identity = BAD_IDENTITIES[case][0]
    _, owner, _, other = join_links(pump, identity=identity)
    await settle()
    texts = str(owner.closed + other.closed)
    assert identity.token not in texts
    assert identity.token.split(".")[2] not in texts


async def test_replayed_proof_is_refused(pump: Pump) -> None:
    first, second = accepting(), accepting()
    dialer = dialing()
    answer = first.receive(FrameType.HELLO, 0, memoryview(dialer.begin())[HEADER.size :])
    proof = dialer.receive(FrameType.CHALLENGE, 0, memoryview(answer)[HEADER.size :])
    second.receive(FrameType.HELLO, 0, memoryview(hello())[HEADER.size :])
    with pytest.raises(AuthenticationError) as info:
        second.receive(FrameType.PROOF, 0, memoryview(proof)[HEADER.size :])
    assert info.value.code == ErrorCode.WRONG_HOLDER


def test_a_proof_for_one_acceptor_is_worth_nothing_at_another() -> None:
    acceptor, dialer = accepting(), dialing()
    answer = acceptor.receive(FrameType.HELLO, 0, memoryview(dialer.begin())[HEADER.size :])
    values = decode_fields(FrameType.CHALLENGE, memoryview(answer)[HEADER.size :])
    told = encode_fields(FrameType.CHALLENGE, **{**values, "subject": "somebody else"})
    proof = dialer.receive(FrameType.CHALLENGE, 0, memoryview(told))
    with pytest.raises(AuthenticationError) as info:
        acceptor.receive(FrameType.PROOF, 0, memoryview(proof)[HEADER.size :])
    assert info.value.code == ErrorCode.WRONG_HOLDER


@pytest.mark.parametrize("expected", [("somebody else", bytes(16)), ("bob", b"x" * 16)])
def test_nothing_is_proven_to_another_than_the_one_expected(expected: tuple[str, bytes]) -> None:
    acceptor = accepting()
    dialer = Dialing(make_identity("alice"), bytes(16), bytes(32), expected)
    answer = acceptor.receive(FrameType.HELLO, 0, memoryview(dialer.begin())[HEADER.size :])
    with pytest.raises(RemoteProtocolError, match="another process"):
        dialer.receive(FrameType.CHALLENGE, 0, memoryview(answer)[HEADER.size :])


@pytest.mark.parametrize(("low", "high"), [(0, 0), (2, 9), (7, 3)])
async def test_unsupported_versions_are_named(low: int, high: int, pump: Pump) -> None:
    peer, link, _ = stranger_at(pump)
    peer.send(hello(low=low, high=high))
    await settle()
    (refusal,) = peer.received(FrameType.REFUSE)
    assert refusal["code"] == ErrorCode.UNSUPPORTED_VERSION
    assert (refusal["minimum_version"], refusal["maximum_version"]) == (VERSION, VERSION)
    assert refusal["text"] == f"versions {low} to {high} are not supported"
    assert link.state is LinkState.CLOSED


def test_dialer_names_the_versions_of_the_other_side() -> None:
    dialer = dialing()
    payload = encode_fields(
        FrameType.REFUSE,
        code=ErrorCode.UNSUPPORTED_VERSION,
        minimum_version=3,
        maximum_version=4,
        text="too old",
    )
    with pytest.raises(LinkRefused, match="too old; it speaks versions 3 to 4, this program 1"):
        dialer.receive(FrameType.REFUSE, 0, memoryview(payload))


def test_dialer_refuses_a_version_that_it_did_not_offer() -> None:
    payload = encode_fields(
        FrameType.CHALLENGE,
        magic=MAGIC,
        version=2,
        instance=bytes(16),
        nonce=bytes(32),
        features=0,
        subject="",
        agent="",
    )
    with pytest.raises(RemoteProtocolError, match="version that was not offered"):
        dialing().receive(FrameType.CHALLENGE, 0, memoryview(payload))


async def test_wrong_magic(pump: Pump) -> None:
    peer, _, owner = stranger_at(pump)
    peer.send(hello(magic=b"\xf4abc"))
    await settle()
    assert "wrong magic" in str(owner.closed[0])
    assert "wrong magic" in str(peer.received(FrameType.REFUSE)[0]["text"])


@pytest.mark.parametrize("kind", [k for k in FrameType if k != FrameType.HELLO])
async def test_first_frame_that_is_no_hello(kind: FrameType, pump: Pump) -> None:
    peer, _, owner = stranger_at(pump)
    peer.send(encode_frame(kind))
    await settle()
    assert f"{kind.name} while waiting (hello-wait)" in str(owner.closed[0])
    assert peer.received(FrameType.REFUSE)[0]["code"] == ErrorCode.PROTOCOL_ERROR


async def test_second_hello_is_refused(pump: Pump) -> None:
    peer, _, owner = stranger_at(pump)
    peer.send(hello() + hello())
    await settle()
    assert "HELLO while waiting (proof-wait)" in str(owner.closed[0])


# --- hostile first bytes -------------------------------------------------------------------

HTTP = b"GET /status HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n"
TLS = bytes.fromhex("16030100f1010000ed0303") + bytes(230)
HOSTILE = {
    "tls": (TLS, "looks like TLS"),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "looks like SSH"),
    "giant": (HEADER.pack(1, 0, 0, 0, 0, 0xFFFFFFFF, 0), "over the limit of 8192"),
    "zeros": (bytes(64), "type 0x00, not a hello"),
    "ones": (b"\xff" * 64, "over the limit"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_first_bytes_end_the_link_at_once(case: str, pump: Pump) -> None:
    data, text = HOSTILE[case]
    peer, link, owner = stranger_at(pump)
    peer.send(data)
    await settle()
    (error,) = owner.closed
    assert text in str(error)
    assert link.pipe.description in str(error)
    assert peer.ending == "eof"
    assert len(peer.received(FrameType.REFUSE)) == 1


@pytest.mark.parametrize("request_", [HTTP, b"POST / HTTP/1.0\r\n\r\n" + bytes(100_000)])
async def test_http_is_answered_in_words(
    autojump_clock: MockClock, pump: Pump, request_: bytes
) -> None:
    left, right = memory_pipe_pair(pump)
    owner = Owner()
    Link(right, accepting(), owner).start()
    while request_:
        request_ = request_[left.try_send(request_) :]
        await settle()
    assert "looks like HTTP" in str(owner.closed[0])
    answer = bytes(left.try_receive(10_000) or b"")
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"\r\nUpgrade: tunnelkit/1\r\n" in answer
    assert b"the port of a tunnel" in answer


async def test_dialer_tells_that_it_reached_a_web_server(pump: Pump) -> None:
    dialer, owner, acceptor, _ = join_links(pump)
    acceptor.pipe.try_send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await settle()
    assert "looks like HTTP" in str(owner.closed[0])
    assert dialer.state is LinkState.CLOSED


async def test_hello_over_the_limit_is_refused(pump: Pump) -> None:
    peer, _, owner = stranger_at(pump)
    peer.send(encode_frame(FrameType.HELLO, bytes(limits.MAX_HELLO_BYTES + 1)))
    await settle()
    assert "8193 bytes is over the limit of 8192" in str(owner.closed[0])


async def test_strangers_hold_no_more_than_a_hello(pump: Pump) -> None:
    peer, link, _ = stranger_at(pump)
    frame = encode_frame(FrameType.HELLO, bytes(limits.MAX_HELLO_BYTES))
    peer.send(frame[:-1])
    await settle()
    assert link._reader.pending_bytes == len(frame) - 1


@pytest.mark.parametrize("pause", [0.0, 0.1, 3.0])
async def test_endless_slow_hello_ends_in_10_s(
    pause: float, autojump_clock: MockClock, pump: Pump
) -> None:
    peer, _, owner = stranger_at(pump)
    began = trio.current_time()
    while not owner.closed:
        if pause:
            peer.send(encode_frame(0x1F, flags=FLAG_OPTIONAL))
        await trio.sleep(pause or 1)
    assert trio.current_time() - began == pytest.approx(limits.HANDSHAKE_TIMEOUT_SECONDS, abs=3)
    assert "no complete hello over" in str(owner.closed[0])
    assert "within 10 s" in str(owner.closed[0])


async def test_dialer_gives_up_on_silence(autojump_clock: MockClock, pump: Pump) -> None:
    dialer, owner, acceptor, _ = join_links(pump)
    acceptor.pipe.want(readable=False, writable=False)
    await trio.sleep(limits.HANDSHAKE_TIMEOUT_SECONDS + 0.1)
    assert "the other side is no tunnel endpoint, or is stuck" in str(owner.closed[0])
    assert dialer.state is LinkState.CLOSED


async def test_link_lost_during_the_hello(pump: Pump) -> None:
    peer, _, owner = stranger_at(pump)
    peer.send(hello())
    peer.pipe.close()
    await settle()
    assert "lost during the hello: broken pipe" in str(owner.closed[0])


@given(data=st.binary(min_size=1, max_size=400), pieces=st.integers(1, 7))
@example(data=b"GET ", pieces=1)
async def test_random_bytes_never_raise_into_the_pump(data: bytes, pieces: int) -> None:
    pump = acquire_pump()
    with quiet_pump():
        peer, link, owner = stranger_at(pump)
        size = max(1, len(data) // pieces)
        for start in range(0, len(data), size):
            if not owner.closed:
                peer.send(data[start : start + size])
                await settle()
        link.close(LinkError("the test is over"))
    await release_pump(pump)
    assert not owner.up


@given(data=st.binary(max_size=300), is_proof=st.booleans())
async def test_random_payloads_in_a_hello_are_refused(data: bytes, is_proof: bool) -> None:
    pump = acquire_pump()
    with quiet_pump():
        peer, link, owner = stranger_at(pump)
        peer.send(hello() * is_proof)
        peer.send(encode_frame(FrameType.PROOF if is_proof else FrameType.HELLO, data))
        await settle()
    await release_pump(pump)
    assert len(owner.closed) == 1
    assert link.state is LinkState.CLOSED
