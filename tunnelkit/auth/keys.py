"""Ed25519 keys: private ones in PEM files, public ones in a key ring.

A key is named by its RFC 7638 thumbprint, so that the name cannot lie about the key.

A ring may say from when and until when it believes a key, by the members ``nbf`` and ``exp`` of its
JWK (unix seconds; RFC 7517 §4 allows members of one's own, and readers that do not know them ignore
them).  That is how an issuer is replaced without a moment in which good tokens are refused: the new
key is there before it signs, and the old one stays until what it has signed is renewed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import attrs
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ..errors import ConfigurationError
from .encoding import decode_base64url, encode_base64url
from .files import read_file, read_secret_file, write_secret_file

__all__ = [
    "Jwk",
    "KeyRing",
    "RingKey",
    "generate_key",
    "is_weak_key",
    "jwk_of",
    "key_id",
    "load_private_key",
    "public_key_from_jwk",
    "save_private_key",
]

KEY_BYTES = 32  # an Ed25519 public key (RFC 8032 §5.1.5)

# Every encoding of the eight points of small order, less the sign bit.  Under such a "key" anybody
# can make signatures, and Ed25519 libraries do not all refuse it.
_WEAK_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


class Jwk(msgspec.Struct, omit_defaults=True):
    """A public Ed25519 key as RFC 8037 writes it; other members are ignored, but not `d`."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str = ""
    # Present only in a private key, which has no business in a token or a ring.
    d: str = ""


class _RingJwk(Jwk):
    nbf: int = 0
    exp: int = 0


class _Jwks(msgspec.Struct):
    keys: list[_RingJwk]


@attrs.frozen
class RingKey:
    """A public key on a ring, with the time in which it is believed."""

    public: Ed25519PublicKey
    not_before: int = 0
    """Unix seconds; 0: always."""
    expires_at: int = 0
    """Unix seconds; 0: for ever."""

    @property
    def key_id(self) -> str:
        """The name of the key."""
        return key_id(self.raw)

    @property
    def raw(self) -> bytes:
        """The key as 32 bytes."""
        return self.public.public_bytes_raw()

    def is_believed(self, now: float) -> bool:
        """Whether *now*, in unix seconds, is in its time."""
        return self.not_before <= now and not self.has_expired(now)

    def has_expired(self, now: float) -> bool:
        """Whether its time is over at *now*, in unix seconds."""
        return self.expires_at != 0 and not now < self.expires_at


def generate_key() -> Ed25519PrivateKey:
    """Return a new private key."""
    return Ed25519PrivateKey.generate()


def key_id(raw: bytes) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url) of a raw 32-byte public key."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": encode_base64url(raw)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encode_base64url(hashlib.sha256(canonical.encode()).digest())


def is_weak_key(raw: bytes) -> bool:
    """Whether anybody could sign under this raw public key, without knowing a private one."""
    return raw[:31] + bytes([raw[31] & 0x7F]) in _WEAK_KEYS if len(raw) == KEY_BYTES else False


def jwk_of(raw: bytes) -> dict[str, str]:
    """Return the JWK of a raw 32-byte public key, without its name."""
    return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(raw)}


def public_key_from_jwk(jwk: Jwk) -> bytes:
    """Return the raw 32-byte key of *jwk*.

    Raises:
        ValueError: it is not one public Ed25519 key, or carries another key's name.
    """
    if jwk.d:
        raise ValueError("it holds a private key")
    raw = decode_base64url(jwk.x)
    if len(raw) != KEY_BYTES:
        raise ValueError(f"its x stands for {len(raw)} bytes instead of {KEY_BYTES}")
    if is_weak_key(raw):
        raise ValueError("it is a key under which anybody can sign")
    if jwk.kid not in ("", key_id(raw)):
        raise ValueError("its kid is not the RFC 7638 thumbprint of the key")
    return raw


def save_private_key(path: str | Path, key: Ed25519PrivateKey, *, force: bool = False) -> None:
    """Write *key* as PEM PKCS8 with mode 0600.

    Raises:
        ConfigurationError: the file exists and *force* is off, or it cannot be written.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret_file(path, pem, force=force)


def load_private_key(path: str | Path) -> Ed25519PrivateKey:
    """Read a key that `save_private_key` or ``openssl genpkey`` wrote.

    Raises:
        ConfigurationError: it cannot be read, other users can read it, or it is no Ed25519
            key.
    """
    pem = read_secret_file(path, "private key")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # No cause attached: a parser's text could quote a piece of the key.
        raise ConfigurationError(
            f"private key {path} is not an unencrypted PEM file: "
            "make one with `python -m tunnelkit.auth keygen`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"private key {path} is not an Ed25519 key: "
            "make one with `python -m tunnelkit.auth keygen`"
        )
    return key


class KeyRing:
    """The public keys whose signatures are believed, by key id.  Does not change once made.

    Args:
        keys: the keys; one that is no `RingKey` is believed at all times.
        source: the file that it was read from.
    """

    def __init__(
        self, keys: Iterable[bytes | Ed25519PublicKey | RingKey] = (), source: str = ""
    ) -> None:
        self.source = source
        self._keys = {key.key_id: key for key in map(_ring_key, keys)}

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(self.key_ids) or 'empty'}>"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The names of the keys, in the order in which they were given."""
        return tuple(self._keys)

    @property
    def keys(self) -> tuple[RingKey, ...]:
        """The keys with their times."""
        return tuple(self._keys.values())

    def find(self, kid: str, now: float | None = None) -> Ed25519PublicKey | None:
        """Return the key of this name, or None.

        Args:
            now: unix seconds; where it is given, a key that is not believed then is not found.
        """
        key = self._keys.get(kid)
        return key.public if key is not None and (now is None or key.is_believed(now)) else None

    def get(self, kid: str) -> RingKey | None:
        """Return the key of this name with its times, or None."""
        return self._keys.get(kid)

    def raw_keys(self) -> list[bytes]:
        """Return the keys as 32 bytes each."""
        return [key.raw for key in self.keys]

    def to_jwks(self) -> str:
        """Return the ring as a JSON Web Key Set (RFC 7517 §5)."""
        return json.dumps({"keys": [_ring_jwk(key) for key in self.keys]}, indent=2) + "\n"

    @classmethod
    def from_jwks(cls, text: str | bytes, source: str = "key ring") -> KeyRing:
        """Read a JSON Web Key Set; *source* names it in errors.

        Raises:
            ConfigurationError: it is not a set of public Ed25519 keys, or is empty.
        """
        try:
            keys = [_read_ring_key(jwk) for jwk in msgspec.json.decode(text, type=_Jwks).keys]
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{source} is not a JSON Web Key Set of public Ed25519 keys: {error}"
            ) from None
        if not keys:
            raise ConfigurationError(f"{source} holds no key, so it would refuse every token")
        return cls(keys)

    @classmethod
    def load(cls, path: str | Path) -> KeyRing:
        """Read a JSON Web Key Set from a file.

        Raises:
            ConfigurationError: it cannot be read, or is not a set of public Ed25519 keys.
        """
        ring = cls.from_jwks(read_file(path, "key ring"), f"key ring {path}")
        ring.source = str(path)
        return ring


def _ring_key(key: bytes | Ed25519PublicKey | RingKey) -> RingKey:
    if isinstance(key, RingKey):
        return key
    return RingKey(Ed25519PublicKey.from_public_bytes(key) if isinstance(key, bytes) else key)


def _ring_jwk(key: RingKey) -> dict[str, str | int]:
    times = {"nbf": key.not_before, "exp": key.expires_at}
    members = {**jwk_of(key.raw), "kid": key.key_id, "use": "sig", "alg": "EdDSA"}
    return {**members, **{name: time for name, time in times.items() if time}}


def _read_ring_key(jwk: _RingJwk) -> RingKey:
    raw = public_key_from_jwk(jwk)
    if not (0 <= jwk.nbf < 1 << 53 and 0 <= jwk.exp < 1 << 53):
        raise ValueError("nbf or exp of a key is not unix seconds")
    return RingKey(Ed25519PublicKey.from_public_bytes(raw), jwk.nbf, jwk.exp)
