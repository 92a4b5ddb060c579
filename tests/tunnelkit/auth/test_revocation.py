"""Revocation lists: signed, read, hostile; and what a trust makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.auth import (
    MAX_REVOCATIONS_BYTES,
    Capability,
    KeyRing,
    RevocationList,
    Revoked,
    Trust,
    generate_key,
    key_id,
    read_unverified,
)
from tunnelkit.auth.capability import MAX_LIFETIME_SECONDS
from tunnelkit.auth.encoding import encode_base64url
from tunnelkit.auth.jws import sign_object
from tunnelkit.auth.revocation import REVOCATIONS_TYPE
from tunnelkit.errors import AuthenticationError, ConfigurationError, ErrorCode

NOW = 1_800_000_000.0
ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECOND = Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
RING = KeyRing([ISSUER.public_key(), SECOND.public_key()])
MakeToken = Callable[..., str]


def name_of(key: Ed25519PrivateKey) -> str:
    return key_id(key.public_key().public_bytes_raw())


def signed(
    revoked: Revoked | None = None,
    key: Ed25519PrivateKey = ISSUER,
    *,
    now: float = NOW,
    after: int = 0,
) -> RevocationList:
    found = revoked if revoked is not None else Revoked(tokens={"t": 1})
    return RevocationList.sign(key, found, lifetime_seconds=60, now=now, after=after)


def forged(**changes: object) -> str:
    """Return a list that is signed, and says what `sign` would not."""
    claims = {"serial": 1, "iat": int(NOW), "exp": int(NOW) + 9, **changes}
    return sign_object(json.dumps(claims).encode(), REVOCATIONS_TYPE, ISSUER)


def refusal(text: str | bytes, ring: KeyRing = RING, now: float = NOW) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as caught:
        RevocationList.read(text, ring, now)
    return caught.value


# --- signing and reading -------------------------------------------------------------------


def test_a_list_is_read_as_it_was_signed() -> None:
    revoked = Revoked({"t": 1}, {name_of(ISSUER): 2}, {"i": 3}, {"devbox/alice": 4})
    found = RevocationList.read(signed(revoked).text, RING, NOW)
    assert found.revoked == revoked
    assert found.issuer_key_id == name_of(ISSUER)
    assert len(revoked) == 4


def test_the_serial_only_grows_and_survives_a_lost_file() -> None:
    first = signed()
    assert signed(after=first.serial).serial == first.serial + 1
    assert signed(now=NOW + 60).serial > first.serial


def test_a_list_becomes_stale() -> None:
    assert not signed().is_stale(NOW + 59)
    assert signed().is_stale(NOW + 60)


def test_a_list_that_is_too_large_is_not_signed() -> None:
    names = {f"{number:032}": 1 for number in range(1100)}
    with pytest.raises(ConfigurationError, match="--forget"):
        signed(Revoked(tokens=names))


def test_seven_hundred_entries_fit() -> None:
    names = {f"{number:032}": int(NOW) for number in range(700)}
    assert len(signed(Revoked(tokens=names)).text) <= MAX_REVOCATIONS_BYTES


def test_a_signer_does_not_revoke_itself() -> None:
    with pytest.raises(ConfigurationError, match="another issuer's key"):
        signed(Revoked(issuers={name_of(ISSUER): 1}))


@pytest.mark.parametrize("name", ["", "a b", "a\n", "x" * 256, "é"])
def test_a_malformed_name_is_not_signed(name: str) -> None:
    with pytest.raises(ConfigurationError, match="malformed"):
        signed(Revoked(subjects={name: 1}))


def test_a_list_of_a_stranger_is_refused() -> None:
    assert "not in the key ring" in refusal(signed(key=generate_key()).text).text


def test_a_list_whose_signer_has_expired_is_refused() -> None:
    old = attrs.evolve(RING.keys[0], expires_at=int(NOW))
    assert "not any more" in refusal(signed().text, KeyRing([old])).text


def test_a_changed_list_is_refused() -> None:
    head, payload, tail = signed().text.split(".")
    other = signed(Revoked()).text.split(".")[1]
    assert refusal(f"{head}.{other}.{tail}").text == "the revocation list's signature is wrong"
    assert payload != other


def test_a_list_of_the_future_is_refused() -> None:
    assert "future" in refusal(signed(now=NOW + 61).text).text
    RevocationList.read(signed(now=NOW + 60).text, RING, NOW)


def test_a_forged_list_that_names_its_signer_is_refused() -> None:
    assert "revokes the key" in refusal(forged(issuers={name_of(ISSUER): 1})).text


def test_a_token_is_no_list(make_token: MakeToken) -> None:
    assert "another type" in refusal(make_token()).text


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": -1},
        {"serial": 1 << 53},
        {"exp": "soon"},
        {"tokens": ["t"]},
        {"tokens": {"t": -1}},
        {"subjects": {"a b": 1}},
        {"holders": {"secret\n": 1}},
        {"issuers": None},
    ],
)
def test_malformed_claims_are_refused_without_quoting_them(changes: dict[str, object]) -> None:
    error = refusal(forged(**changes))
    assert "the revocation list's claims are malformed" in error.text
    assert "secret" not in error.text


def test_a_list_is_measured_before_it_is_read() -> None:
    assert "larger than" in refusal("x" * (MAX_REVOCATIONS_BYTES + 1)).text


@given(st.binary(max_size=300))
def test_garbage_raises_only_the_documented_error(data: bytes) -> None:
    refusal(data)


@given(st.data())
def test_a_list_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    text = bytearray(signed().text.encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    refusal(bytes(text))


@given(st.recursive(st.integers() | st.text() | st.none(), lambda x: st.dictionaries(st.text(), x)))
def test_signed_nonsense_raises_only_the_documented_error(claims: object) -> None:
    refusal(sign_object(json.dumps(claims).encode(), REVOCATIONS_TYPE, ISSUER))


def test_deep_nesting_is_refused() -> None:
    deep = b"[" * 20_000
    header = encode_base64url(
        json.dumps({"alg": "EdDSA", "typ": REVOCATIONS_TYPE, "kid": name_of(ISSUER)}).encode()
    )
    refusal(f"{header}.{encode_base64url(deep)}.{encode_base64url(bytes(64))}")


# --- entries -------------------------------------------------------------------------------


@pytest.fixture
def capability(make_token: MakeToken) -> Capability:
    return read_unverified(make_token(token_id="t"))


def test_what_is_named_is_revoked(capability: Capability) -> None:
    for revoked, words in (
        (Revoked(tokens={"t": 1}), "the token of devbox/alice is revoked"),
        (Revoked(holders={key_id(capability.holder): 1}), "the key of devbox/alice is revoked"),
        (Revoked(issuers={capability.issuer_key_id: 1}), "the issuer of"),
        (Revoked(subjects={"devbox/alice": int(NOW) + 1}), "older tokens of devbox/alice"),
    ):
        assert words in str(revoked.reason(capability))


def test_what_is_not_named_is_not(capability: Capability) -> None:
    other = Revoked({"T": 1}, {"t": 1}, {"t": 1}, {"devbox/alice": int(NOW), "devbox/bob": 1 << 50})
    assert other.reason(capability) is None


def test_entries_add_up_and_the_later_time_counts() -> None:
    both = Revoked(tokens={"a": 1, "b": 5}).merged(Revoked(tokens={"b": 2}, subjects={"c": 3}))
    assert both == Revoked(tokens={"a": 1, "b": 5}, subjects={"c": 3})


def test_an_entry_is_taken_off_by_its_name() -> None:
    assert Revoked(tokens={"a": 1}, holders={"a": 1, "b": 1}).without("a") == Revoked(
        holders={"b": 1}
    )


def test_entries_of_tokens_that_have_expired_are_pruned() -> None:
    old, new = 1, MAX_LIFETIME_SECONDS
    kept = Revoked({"old": old, "new": new}, {"key": old}, {"issuer": old}, {"old": old}).pruned(
        MAX_LIFETIME_SECONDS + 2
    )
    assert kept == Revoked({"new": new}, {"key": old}, {"issuer": old})


# --- trust ---------------------------------------------------------------------------------


def test_a_trust_refuses_a_revoked_token(make_token: MakeToken) -> None:
    trust = Trust(RING).with_revocations(signed().text, NOW)
    with pytest.raises(AuthenticationError, match="is revoked") as caught:
        trust.verify(make_token(token_id="t"), NOW)
    assert caught.value.code == ErrorCode.TOKEN_REVOKED
    assert trust.verify(make_token(token_id="other"), NOW).token_id == "other"


def test_a_ring_alone_is_a_trust(make_token: MakeToken) -> None:
    trust = Trust.of(RING)
    assert Trust.of(trust) is trust
    assert trust.fault(trust.verify(make_token(), NOW)) is None


def test_who_left_the_ring_is_not_believed_any_more(capability: Capability) -> None:
    fault = Trust(KeyRing([SECOND.public_key()])).fault(capability)
    assert fault is not None
    assert fault.code == ErrorCode.TOKEN_REVOKED
    assert "taken off" in fault.text


def test_an_older_list_is_ignored() -> None:
    newer = Trust(RING).with_revocations(signed(now=NOW).text, NOW)
    assert newer.with_revocations(signed(Revoked(), now=NOW - 9).text, NOW) is newer
    assert newer.with_revocations(signed().text, NOW) is newer


def test_a_forged_newer_list_is_refused_and_changes_nothing() -> None:
    trust = Trust(RING).with_revocations(signed().text, NOW)
    with pytest.raises(AuthenticationError):
        trust.with_revocations(signed(key=generate_key(), after=1 << 40).text, NOW)


def test_a_revoked_issuer_does_not_set_itself_free() -> None:
    first = signed(Revoked(issuers={name_of(ISSUER): 1}), SECOND)
    trust = Trust(RING).with_revocations(first.text, NOW)
    with pytest.raises(AuthenticationError, match="signed by a key that is revoked"):
        trust.with_revocations(signed(Revoked(), ISSUER, after=first.serial).text, NOW)


def test_a_list_whose_signer_left_gives_way_to_any() -> None:
    found = signed(key=ISSUER, after=1 << 50)
    trust = Trust(KeyRing([SECOND.public_key()]), found)
    assert trust.revocations is found  # until there is another one it stays in force
    newer = trust.with_revocations(signed(Revoked(), SECOND).text, NOW)
    assert newer.revocations is not None
    assert newer.revocations.serial == int(NOW)
