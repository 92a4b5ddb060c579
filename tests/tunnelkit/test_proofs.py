"""What the ends of a session prove when a token is renewed, revoked, or has expired."""

from __future__ import annotations

import pytest

from tests.tunnelkit.pairs import ISSUER, NOW, RING, make_identity, make_key
from tunnelkit.auth import Identity, KeyRing, RevocationList, Revoked, Trust
from tunnelkit.auth import session_renew_message as message_of
from tunnelkit.auth.keys import generate_key
from tunnelkit.auth.proof import hello_message, renew_message, sign
from tunnelkit.errors import AuthenticationError, ErrorCode
from tunnelkit.proofs import SessionProofs
from tunnelkit.wire.frames import Role, Value

SESSION = b"s" * 16
TRUST = Trust(RING)


def opened(alice: Identity | None = None) -> tuple[SessionProofs, SessionProofs]:
    """Return the two ends of a session, each of which has accepted the other."""
    left = SessionProofs(alice or make_identity("alice"), Role.INITIATOR, SESSION, "bob")
    right = SessionProofs(make_identity("bob"), Role.RESPONDER, SESSION, "alice")
    for sender, receiver in ((left, right), (right, left)):
        share, token, signature = sender.session_open()
        values: dict[str, Value] = {"share": share, "token": token, "signature": signature}
        receiver.accept_open({**values, "role": int(sender is right)}, TRUST, NOW)
    return left, right


def fields(token: bytes, signature: bytes) -> dict[str, Value]:
    return {"token": token, "signature": signature}


def test_a_newer_token_takes_the_place_of_the_older_one() -> None:
    left, right = opened()
    newer = make_identity("alice", now=NOW + 9, targets=["new"])
    right.accept_renew(fields(*left.renew(newer)), TRUST, NOW + 10)
    assert right.capability is not None
    assert right.capability.targets == ("new",)
    assert left.identity is newer


def test_an_older_token_is_ignored() -> None:
    left, right = opened()
    older = make_identity("alice", now=NOW - 9, targets=["old"])
    right.accept_renew(fields(*left.renew(older)), TRUST, NOW)
    assert right.capability is not None
    assert right.capability.targets == ("*",)


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        (make_identity("mallory"), ErrorCode.FORBIDDEN),
        (make_identity("alice", peers=["carol"]), ErrorCode.FORBIDDEN),
        (make_identity("alice", now=NOW - 7200), ErrorCode.TOKEN_EXPIRED),
        (make_identity("alice", issuer=generate_key()), ErrorCode.UNAUTHENTICATED),
    ],
    ids=["somebody else", "may not meet", "expired", "stranger"],
)
def test_a_token_that_is_not_accepted(identity: Identity, code: int) -> None:
    left, right = opened()
    before = right.capability
    with pytest.raises(AuthenticationError) as caught:
        right.accept_renew(fields(*left.renew(identity)), TRUST, NOW)
    assert caught.value.code == code
    assert right.capability is before


@pytest.mark.parametrize(
    "message",
    [
        message_of(1, SESSION, make_identity("alice").token.encode()),
        message_of(0, b"t" * 16, make_identity("alice").token.encode()),
        message_of(0, SESSION, b"another token"),
    ],
    ids=["role", "session", "token"],
)
def test_a_proof_is_for_one_role_session_and_token(message: bytes) -> None:
    _, right = opened()
    token = make_identity("alice").token.encode()
    signature = sign(make_key("alice"), message)
    with pytest.raises(AuthenticationError) as caught:
        right.accept_renew(fields(token, signature), TRUST, NOW)
    assert caught.value.code == ErrorCode.WRONG_HOLDER


def test_a_renewal_of_a_link_is_no_hello_and_differs_in_every_part() -> None:
    parts = (b"a" * 32, b"b" * 32, b"c" * 16, b"d" * 16)
    hello = hello_message(*parts, b"t", "a")
    messages = {hello, renew_message(parts, b"t"), renew_message(parts, b"u")}
    for index, part in enumerate(parts):
        changed = list(parts)
        changed[index] = b"x" * len(part)
        messages.add(renew_message((changed[0], changed[1], changed[2], changed[3]), b"t"))
    assert len(messages) == 7


@pytest.mark.parametrize("whose", ["alice", "bob"])
def test_either_token_can_be_revoked(whose: str) -> None:
    left, _ = opened()
    token_id = {"alice": left.identity.claims, "bob": left.capability}[whose]
    assert token_id is not None
    revoked = Revoked(tokens={token_id.token_id: 1})
    found = RevocationList.sign(ISSUER, revoked, lifetime_seconds=9, now=NOW)
    fault = left.fault(TRUST.with_revocations(found.text, NOW))
    assert fault is not None
    assert fault.code == ErrorCode.TOKEN_REVOKED
    assert whose in fault.text
    assert left.fault(TRUST) is None


def test_ones_own_issuer_need_not_be_on_ones_own_ring() -> None:
    left, right = opened()
    assert right.fault(Trust(KeyRing([generate_key().public_key()]))) is not None
    left.capability = None
    assert left.fault(Trust(KeyRing([generate_key().public_key()]))) is None


def test_either_token_can_expire() -> None:
    left, right = opened(make_identity("alice", lifetime_seconds=100))
    for end in (left, right):
        assert end.expiry(NOW + 99.9) is None
        expired = end.expiry(NOW + 100)
        assert expired is not None
        assert "the token of alice has expired" in expired.text
