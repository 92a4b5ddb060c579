from __future__ import annotations

import hashlib
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.auth import (
    INITIATOR,
    NO_SHARE,
    RESPONDER,
    Exchange,
    attach_mac,
    attach_message,
    check_attach_mac,
    hello_message,
    session_open_message,
    sign,
    verify_signature,
)
from tunnelkit.errors import AuthenticationError, ErrorCode, LocalProtocolError

SESSION = bytes(range(16))
HASH = hashlib.sha256(b"token").digest()


def test_hello_message_byte_for_byte() -> None:
    message = hello_message(b"n" * 32, b"m" * 32, b"i" * 16, b"j" * 16, b"token", "bob")
    parts = [b"tunnelkit/1 hello\0", b"n" * 32, b"m" * 32, b"i" * 16, b"j" * 16, HASH]
    parts.append(hashlib.sha256(b"bob").digest())
    assert message == b"".join(parts)


def test_session_open_message_byte_for_byte() -> None:
    message = session_open_message(RESPONDER, SESSION, b"s" * 32, b"p" * 32, b"token")
    parts = [b"tunnelkit/1 session-open\0\x01", SESSION, b"s" * 32, b"p" * 32, HASH]
    assert message == b"".join(parts)


def test_attach_message_byte_for_byte() -> None:
    message = attach_message(INITIATOR, SESSION, 2, (1 << 64) - 1)
    expected = b"tunnelkit/1 attach\0\x00" + SESSION + bytes([0] * 7 + [2]) + b"\xff" * 8
    assert message == expected


def test_messages_of_the_two_roles_and_purposes_differ() -> None:
    messages = [
        hello_message(bytes(32), bytes(32), bytes(16), bytes(16), b"", ""),
        session_open_message(INITIATOR, bytes(16), bytes(32), NO_SHARE, b""),
        session_open_message(RESPONDER, bytes(16), bytes(32), NO_SHARE, b""),
        attach_message(INITIATOR, bytes(16), 0, 0),
        attach_message(RESPONDER, bytes(16), 0, 0),
    ]
    assert not any(a.startswith(b) or b.startswith(a) for a, b in combinations(messages, 2))


@pytest.mark.parametrize(
    "arguments",
    [
        (b"n" * 31, b"m" * 32, b"i" * 16, b"j" * 16),
        (b"n" * 32, b"m" * 33, b"i" * 16, b"j" * 16),
        (b"n" * 32, b"m" * 32, b"", b"j" * 16),
        (b"n" * 32, b"m" * 32, b"i" * 16, b"j" * 17),
    ],
)
def test_hello_message_refuses_wrong_lengths(arguments: tuple[bytes, bytes, bytes, bytes]) -> None:
    with pytest.raises(LocalProtocolError, match="bytes instead of"):
        hello_message(*arguments, b"token", "bob")


@pytest.mark.parametrize(("role", "number"), [(2, 0), (-1, 0), (0, -1), (0, 1 << 64)])
def test_attach_message_refuses_values_that_do_not_fit(role: int, number: int) -> None:
    with pytest.raises(LocalProtocolError):
        attach_message(role, SESSION, number, 0)


def test_signature_of_the_holder_is_accepted(holder: Ed25519PrivateKey) -> None:
    verify_signature(holder.public_key().public_bytes_raw(), b"message", sign(holder, b"message"))


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_any_other_signature_raises_only_wrong_holder(public: bytes, signature: bytes) -> None:
    with pytest.raises(AuthenticationError) as caught:
        verify_signature(public, b"message", signature)
    assert caught.value.code == ErrorCode.WRONG_HOLDER


@pytest.mark.parametrize("sign_bit", [0, 0x80])
def test_key_under_which_anybody_signs_is_refused(sign_bit: int) -> None:
    identity = b"\x01" + bytes(30) + bytes([sign_bit])  # the neutral point
    forged = b"\x01" + bytes(63)
    with pytest.raises(AuthenticationError):
        verify_signature(identity, b"any message", forged)


def test_signature_belongs_to_its_message(holder: Ed25519PrivateKey) -> None:
    with pytest.raises(AuthenticationError):
        verify_signature(holder.public_key().public_bytes_raw(), b"other", sign(holder, b"message"))


def test_both_ends_derive_the_same_key() -> None:
    a, b = Exchange(), Exchange()
    assert a.derive(b.share, SESSION) == b.derive(a.share, SESSION)
    assert len(a.derive(b.share, SESSION)) == len(a.share) == 32


def test_key_belongs_to_its_session() -> None:
    a, b = Exchange(), Exchange()
    assert a.derive(b.share, SESSION) != a.derive(b.share, bytes(16))


def test_derivation_does_not_change() -> None:
    """A change here breaks every peer of another version."""
    exchange = Exchange(X25519PrivateKey.from_private_bytes(bytes(range(32))))
    key = exchange.derive(bytes([9]) + bytes(31), SESSION)
    assert key.hex() == "4e944f5b6b106a4982f5c3dd1af748006ca85c60687648c9c018083410a39595"


# Points of small order (RFC 7748 section 6.1): whoever sends one would know the secret.
SMALL = ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "ed" + "ff" * 30 + "7f"]


@pytest.mark.parametrize("share", SMALL)
def test_share_of_small_order_is_refused(share: str) -> None:
    with pytest.raises(AuthenticationError, match="share") as caught:
        Exchange().derive(bytes.fromhex(share), SESSION)
    assert caught.value.code == ErrorCode.BAD_PROOF


@pytest.mark.parametrize("length", [0, 31, 33])
def test_share_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(AuthenticationError, match="share"):
        Exchange().derive(b"\x09" * length, SESSION)


def test_exchange_shows_no_key() -> None:
    assert "X25519" not in repr(Exchange())


def test_attach_mac_is_accepted_by_the_peer() -> None:
    message = attach_message(INITIATOR, SESSION, 1, 0)
    check_attach_mac(b"k" * 32, message, attach_mac(b"k" * 32, message))


@given(st.binary(max_size=40))
def test_any_other_mac_is_a_bad_proof(mac: bytes) -> None:
    with pytest.raises(AuthenticationError) as caught:
        check_attach_mac(b"k" * 32, b"message", mac)
    assert caught.value.code == ErrorCode.BAD_PROOF


@pytest.mark.parametrize(
    "other",
    [
        attach_message(RESPONDER, SESSION, 1, 5),
        attach_message(INITIATOR, bytes(16), 1, 5),
        attach_message(INITIATOR, SESSION, 2, 5),
        attach_message(INITIATOR, SESSION, 1, 6),
    ],
)
def test_mac_belongs_to_its_attach(other: bytes) -> None:
    mac = attach_mac(b"k" * 32, attach_message(INITIATOR, SESSION, 1, 5))
    with pytest.raises(AuthenticationError):
        check_attach_mac(b"k" * 32, other, mac)
