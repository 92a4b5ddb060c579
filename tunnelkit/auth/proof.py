"""What is signed, and with what: hellos, session keys and attaches (docs/wire-protocol.md).

Every message begins with a line of its own, so that a signature made for one purpose is worthless
for any other, and has parts of fixed length only, so that no two inputs give the same bytes.  The
token goes in as its SHA-256: a proof belongs to one token.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import AuthenticationError, ErrorCode, LocalProtocolError
from .keys import is_weak_key

__all__ = [
    "INITIATOR",
    "NO_SHARE",
    "RESPONDER",
    "Exchange",
    "attach_mac",
    "attach_message",
    "check_attach_mac",
    "hello_message",
    "renew_message",
    "session_open_message",
    "session_renew_message",
    "sign",
    "verify_signature",
]

INITIATOR = 0
RESPONDER = 1

SHARE_BYTES = 32
NO_SHARE = bytes(SHARE_BYTES)
"""Stands for the peer's share in the initiator's session-open message: it has not seen it yet."""

_HELLO = b"tunnelkit/1 hello\0"
_RENEW = b"tunnelkit/1 renew\0"
_SESSION_OPEN = b"tunnelkit/1 session-open\0"
_SESSION_RENEW = b"tunnelkit/1 session-renew\0"
_ATTACH = b"tunnelkit/1 attach\0"
_ATTACH_KEY = b"tunnelkit/1 attach"


def _exactly(count: int, what: str, value: bytes) -> bytes:
    if len(value) != count:
        raise LocalProtocolError(f"{what} has {len(value)} bytes instead of {count}")
    return bytes(value)


def _role(role: int) -> bytes:
    if role not in (INITIATOR, RESPONDER):
        raise LocalProtocolError(f"a role is {INITIATOR} or {RESPONDER}, not {role}")
    return bytes([role])


def _u64(what: str, value: int) -> bytes:
    try:
        return value.to_bytes(8, "big")
    except OverflowError:
        raise LocalProtocolError(f"{what} does not fit in 64 bits") from None


def hello_message(
    nonce_dialer: bytes,
    nonce_acceptor: bytes,
    instance_dialer: bytes,
    instance_acceptor: bytes,
    token: bytes,
    acceptor: str,
) -> bytes:
    """Return what the holder of *token* signs in a hello.

    Args:
        nonce_dialer: 32 fresh random bytes, as `nonce_acceptor`.
        instance_dialer: the 16 bytes that name the process, as `instance_acceptor`.
        acceptor: the subject of whom it is shown to, "" for a broker: nobody else can use it.

    Raises:
        LocalProtocolError: an argument has the wrong length.
    """
    transcript = nonce_dialer, nonce_acceptor, instance_dialer, instance_acceptor
    shown_to = hashlib.sha256(acceptor.encode()).digest()
    return _of_link(_HELLO, transcript, token) + shown_to


def renew_message(transcript: tuple[bytes, bytes, bytes, bytes], token: bytes) -> bytes:
    """Return what the holder of *token* signs to go on under it, on a link that is up.

    Args:
        transcript: the nonces and instances of the link's hello, as `hello_message` takes them.

    Raises:
        LocalProtocolError: a part has the wrong length.
    """
    return _of_link(_RENEW, transcript, token)


def _of_link(label: bytes, transcript: tuple[bytes, bytes, bytes, bytes], token: bytes) -> bytes:
    nonce_dialer, nonce_acceptor, instance_dialer, instance_acceptor = transcript
    return b"".join(
        (
            label,
            _exactly(32, "a nonce", nonce_dialer),
            _exactly(32, "a nonce", nonce_acceptor),
            _exactly(16, "an instance", instance_dialer),
            _exactly(16, "an instance", instance_acceptor),
            hashlib.sha256(token).digest(),
        )
    )


def session_open_message(
    role: int, session_id: bytes, share: bytes, peer_share: bytes, token: bytes
) -> bytes:
    """Return what each end signs when it opens a session.

    Args:
        role: `INITIATOR` or `RESPONDER`: that of the one who signs.
        session_id: 16 bytes.
        share: the signer's 32 bytes from `Exchange.share`.
        peer_share: the other's, or `NO_SHARE` where the initiator signs.

    Raises:
        LocalProtocolError: an argument has the wrong length or value.
    """
    return b"".join(
        (
            _SESSION_OPEN,
            _role(role),
            _exactly(16, "a session id", session_id),
            _exactly(SHARE_BYTES, "a share", share),
            _exactly(SHARE_BYTES, "a share", peer_share),
            hashlib.sha256(token).digest(),
        )
    )


def session_renew_message(role: int, session_id: bytes, token: bytes) -> bytes:
    """Return what an end signs to go on in a session under another token.

    Args:
        role: `INITIATOR` or `RESPONDER`: that of the one who signs.
        session_id: 16 bytes.

    Raises:
        LocalProtocolError: an argument has the wrong length or value.
    """
    return b"".join(
        (
            _SESSION_RENEW,
            _role(role),
            _exactly(16, "a session id", session_id),
            hashlib.sha256(token).digest(),
        )
    )


def sign(private: Ed25519PrivateKey, message: bytes) -> bytes:
    """Return the 64-byte Ed25519 signature of *message*."""
    return private.sign(message)


def verify_signature(public: bytes, message: bytes, signature: bytes) -> None:
    """Check that the holder of the raw 32-byte key *public* signed *message*.

    Raises:
        AuthenticationError: it did not (`ErrorCode.WRONG_HOLDER`).  Nothing else is raised,
            whatever the bytes.
    """
    try:
        if is_weak_key(public):
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise AuthenticationError(
            "the proof was not made with the key that the token names", ErrorCode.WRONG_HOLDER
        ) from None


@attrs.frozen(repr=False)
class Exchange:
    """One end's half of an X25519 key agreement; use a new one for each session."""

    _private: X25519PrivateKey = attrs.field(factory=X25519PrivateKey.generate)

    @property
    def share(self) -> bytes:
        """The 32 bytes to send to the peer."""
        return self._private.public_key().public_bytes_raw()

    def derive(self, peer_share: bytes, session_id: bytes) -> bytes:
        """Return the 32-byte key that both ends, and nobody between them, know.

        Raises:
            AuthenticationError: the peer's share is malformed, or one of the few that lead to a
                secret which anybody can guess (RFC 7748 §6.1).
            LocalProtocolError: the session id has not 16 bytes.
        """
        salt = _exactly(16, "a session id", session_id)
        try:
            secret = self._private.exchange(X25519PublicKey.from_public_bytes(peer_share))
        except ValueError:  # cryptography refuses an all-zero secret by itself
            secret = b""
        if not any(secret):
            raise AuthenticationError("the peer's key share is not acceptable", ErrorCode.BAD_PROOF)
        return HKDF(SHA256(), length=32, salt=salt, info=_ATTACH_KEY).derive(secret)


def attach_message(role: int, session_id: bytes, generation: int, last_received: int) -> bytes:
    """Return what is authenticated when one end attaches a session to a link.

    Args:
        role: `INITIATOR` or `RESPONDER`: that of the one who attaches.
        session_id: 16 bytes.
        generation: the attachment's number, 64 bits.
        last_received: the last sequence number received, 64 bits.

    Raises:
        LocalProtocolError: an argument has the wrong length or value.
    """
    return b"".join(
        (
            _ATTACH,
            _role(role),
            _exactly(16, "a session id", session_id),
            _u64("a generation", generation),
            _u64("a sequence number", last_received),
        )
    )


def attach_mac(key: bytes, message: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA256 of *message* under the key of `Exchange.derive`."""
    return hmac.digest(key, message, "sha256")


def check_attach_mac(key: bytes, message: bytes, mac: bytes) -> None:
    """Check a peer's MAC, in constant time.

    Raises:
        AuthenticationError: it is wrong (`ErrorCode.BAD_PROOF`).
    """
    if not hmac.compare_digest(attach_mac(key, message), mac):
        raise AuthenticationError(
            "the attach was not made by the peer that opened the session", ErrorCode.BAD_PROOF
        )
