"""Rings with times, and the replacement of an issuer's key (`keys`, `rotation`)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnelkit.auth import KeyRing, RingKey, generate_key, key_id, mint, verify
from tunnelkit.auth.rotation import pruned, rotated
from tunnelkit.errors import AuthenticationError, ConfigurationError, ErrorCode

WEEK = 7 * 86400
MakeToken = Callable[..., str]


def name_of(key: Ed25519PrivateKey) -> str:
    return key_id(key.public_key().public_bytes_raw())


@pytest.mark.parametrize(
    ("not_before", "expires_at", "now", "is_believed"),
    [
        (0, 0, 0.0, True),
        (100, 0, 99.9, False),
        (100, 0, 100.0, True),
        (0, 200, 199.9, True),
        (0, 200, 200.0, False),
        (0, 200, float("nan"), False),
        (100, 200, 150.0, True),
    ],
)
def test_a_key_is_believed_in_its_time(
    issuer: Ed25519PrivateKey, not_before: int, expires_at: int, now: float, is_believed: bool
) -> None:
    ring = KeyRing([RingKey(issuer.public_key(), not_before, expires_at)])
    assert (ring.find(name_of(issuer), now) is not None) == is_believed
    assert ring.find(name_of(issuer)) is not None


def test_times_survive_the_file(issuer: Ed25519PrivateKey) -> None:
    ring = KeyRing([RingKey(issuer.public_key(), 100, 200), generate_key().public_key()])
    (first, second) = KeyRing.from_jwks(ring.to_jwks()).keys
    assert (first.not_before, first.expires_at) == (100, 200)
    assert (second.not_before, second.expires_at) == (0, 0)


@pytest.mark.parametrize("value", [-1, 1 << 53, 1.5, "soon", None])
def test_a_time_that_is_none_is_refused(issuer: Ed25519PrivateKey, value: object) -> None:
    ring = json.loads(KeyRing([issuer.public_key()]).to_jwks())
    ring["keys"][0]["exp"] = value
    with pytest.raises(ConfigurationError, match="not a JSON Web Key Set"):
        KeyRing.from_jwks(json.dumps(ring))


def test_both_keys_are_believed_during_the_overlap(
    issuer: Ed25519PrivateKey, ring: KeyRing, make_token: MakeToken, now: float
) -> None:
    new = generate_key()
    after = rotated(ring, name_of(issuer), new.public_key(), overlap_seconds=WEEK, now=now)
    old_token = make_token(lifetime_seconds=30 * 86400)
    assert verify(old_token, after, now + WEEK - 1).expires_at == now + WEEK
    assert after.get(name_of(new)) == RingKey(new.public_key())


def test_the_old_key_is_not_believed_after_the_overlap(
    issuer: Ed25519PrivateKey, ring: KeyRing, make_token: MakeToken, now: float
) -> None:
    new = generate_key().public_key()
    after = rotated(ring, name_of(issuer), new, overlap_seconds=WEEK, now=now)
    with pytest.raises(AuthenticationError, match="has been replaced") as caught:
        verify(make_token(lifetime_seconds=30 * 86400), after, now + WEEK)
    assert caught.value.code == ErrorCode.TOKEN_EXPIRED


def test_a_key_that_is_not_believed_yet_verifies_nothing(
    issuer: Ed25519PrivateKey, make_token: MakeToken, now: float
) -> None:
    ring = KeyRing([RingKey(issuer.public_key(), int(now) + 10)])
    with pytest.raises(AuthenticationError, match="not believe yet"):
        verify(make_token(), ring, now)


def test_a_second_rotation_lengthens_no_ones_life(issuer: Ed25519PrivateKey, now: float) -> None:
    ring = KeyRing([RingKey(issuer.public_key(), 0, int(now) + 60)])
    new = generate_key().public_key()
    after = rotated(ring, name_of(issuer), new, overlap_seconds=WEEK, now=now)
    assert after.keys[0].expires_at == now + 60


@pytest.mark.parametrize("is_there", [False, True])
def test_only_a_key_of_the_ring_is_replaced(
    issuer: Ed25519PrivateKey, now: float, is_there: bool
) -> None:
    keys = [RingKey(issuer.public_key(), 0, int(now))] if is_there else []
    with pytest.raises(ConfigurationError, match="on the ring"):
        new = generate_key().public_key()
        rotated(KeyRing(keys), name_of(issuer), new, overlap_seconds=1, now=now)


def test_pruning_takes_off_what_has_expired(issuer: Ed25519PrivateKey, now: float) -> None:
    new = generate_key().public_key()
    ring = KeyRing([RingKey(issuer.public_key(), 0, int(now)), RingKey(new)])
    assert pruned(ring, now).keys == (RingKey(new),)
    assert len(pruned(ring, now - 1)) == 2


def test_pruning_leaves_no_empty_ring(issuer: Ed25519PrivateKey, now: float) -> None:
    with pytest.raises(ConfigurationError, match="nothing would be left"):
        pruned(KeyRing([RingKey(issuer.public_key(), 0, 1)]), now)


def test_a_token_of_the_new_key_is_refused_by_the_old_ring(
    holder: Ed25519PrivateKey, ring: KeyRing, now: float
) -> None:
    raw = holder.public_key().public_bytes_raw()
    token = mint(
        generate_key(), subject="a", holder=raw, lifetime_seconds=9, peers=[], targets=[], now=now
    )
    with pytest.raises(AuthenticationError, match="not in the key ring"):
        verify(token, ring, now)
