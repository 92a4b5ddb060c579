"""Revocation lists: what is not believed any more, although its time is not over (no I/O).

How it works
------------
A list is signed by an issuer, as a token is: a JWS, EdDSA only, of a type of its own.  Its claims::

    serial    a number that only grows; of two lists the one with the higher serial counts
    iat, exp  unix seconds; after `exp` the list stays in force and is reported as stale
    tokens    the ids (`jti`) of tokens
    holders   the names (RFC 7638) of holder keys
    issuers   the names of issuers' keys
    subjects  the names of holders: tokens issued *before* the time beside the name are revoked

Each of the last four is an object from names to unix seconds: for subjects the time before which
tokens are revoked, for the others when they were put on the list.

`read` believes a list only if it is signed by a key on the ring; not one that names its own signer,
and not one whose signer was revoked by the list that is in force: a stolen key could set itself
free.  Who keeps lists, and what follows from them, is in `trust`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

import attrs
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import AuthenticationError, ConfigurationError
from .capability import CLOCK_LEEWAY_SECONDS, MAX_LIFETIME_SECONDS, MAX_TEXT_CHARS, Capability
from .jws import check_signature, sign_object, split_object, untrusted
from .keys import KeyRing, key_id

__all__ = ["MAX_REVOCATIONS_BYTES", "REVOCATIONS_TYPE", "RevocationList", "Revoked"]

MAX_REVOCATIONS_BYTES: Final = 48 * 1024
"""Largest signed list, bytes: some 700 entries, which fit one request of the admin socket.
Stops: a list that fills the memory of everybody who is sent it."""

REVOCATIONS_TYPE: Final = "tk-revocations+jwt"

_WHAT: Final = "revocation list"
_NAME: Final = re.compile(rf"[A-Za-z0-9._/:@+-]{{1,{MAX_TEXT_CHARS}}}")


class _Claims(msgspec.Struct):
    serial: int
    iat: int
    exp: int
    tokens: dict[str, int] = {}
    holders: dict[str, int] = {}
    issuers: dict[str, int] = {}
    subjects: dict[str, int] = {}


@attrs.frozen
class Revoked:
    """The entries of a list, by kind: names, each with a time in unix seconds."""

    tokens: Mapping[str, int] = attrs.field(factory=dict)
    holders: Mapping[str, int] = attrs.field(factory=dict)
    issuers: Mapping[str, int] = attrs.field(factory=dict)
    subjects: Mapping[str, int] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return sum(len(entries) for entries in self.by_kind().values())

    def by_kind(self) -> dict[str, Mapping[str, int]]:
        """Return the four kinds by their names."""
        return attrs.asdict(self, recurse=False)

    def merged(self, more: Revoked) -> Revoked:
        """Return the entries of both; the later time counts."""
        mine, theirs = self.by_kind(), more.by_kind()
        return Revoked(**{kind: _later(mine[kind], theirs[kind]) for kind in mine})

    def without(self, name: str) -> Revoked:
        """Return the entries but those of this name, of whatever kind."""
        kinds = self.by_kind()
        return Revoked(
            **{
                kind: {key: at for key, at in entries.items() if key != name}
                for kind, entries in kinds.items()
            }
        )

    def pruned(self, now: float) -> Revoked:
        """Return the entries without those of tokens that have expired by *now* in any case."""
        oldest = now - MAX_LIFETIME_SECONDS
        kept = {
            kind: {name: at for name, at in entries.items() if at >= oldest}
            for kind, entries in (("tokens", self.tokens), ("subjects", self.subjects))
        }
        return attrs.evolve(self, **kept)

    def reason(self, capability: Capability) -> str | None:
        """Say what of a capability is revoked, or return None."""
        if capability.token_id in self.tokens:
            return f"the token of {capability.subject} is revoked"
        if capability.issued_at < self.subjects.get(capability.subject, 0):
            return f"older tokens of {capability.subject} are revoked"
        if capability.issuer_key_id in self.issuers:
            return f"the issuer of the token of {capability.subject} is revoked"
        if self.holders and key_id(capability.holder) in self.holders:
            return f"the key of {capability.subject} is revoked"
        return None


def _later(mine: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, int]:
    return {name: max(mine.get(name, 0), theirs.get(name, 0)) for name in {**mine, **theirs}}


@attrs.frozen
class RevocationList:
    """A list as it was signed.  Only `read` gives one that can be believed."""

    serial: int
    issued_at: int
    """Unix seconds."""
    expires_at: int
    """Unix seconds; from then on it is stale, and still in force."""
    revoked: Revoked
    issuer_key_id: str
    text: str = attrs.field(repr=False)
    """The signed form."""

    def is_stale(self, now: float) -> bool:
        """Whether a newer list should have come by *now*, in unix seconds."""
        return not now < self.expires_at

    @classmethod
    def sign(
        cls,
        signing_key: Ed25519PrivateKey,
        revoked: Revoked,
        *,
        lifetime_seconds: int,
        now: float,
        after: int = 0,
    ) -> RevocationList:
        """Sign a new list.

        Its serial is the time, so that a list that is begun anew, because the old file was lost,
        still follows the lost one.

        Args:
            lifetime_seconds: 1 to `MAX_LIFETIME_SECONDS`.
            now: unix seconds.
            after: the serial of the list that this one follows.

        Raises:
            ConfigurationError: it names its own signer, or is too large.
        """
        kid = key_id(signing_key.public_key().public_bytes_raw())
        if kid in revoked.issuers:
            raise ConfigurationError(
                "a list cannot revoke the key that signs it: sign it with another issuer's key"
            )
        if not 1 <= lifetime_seconds <= MAX_LIFETIME_SECONDS:
            raise ConfigurationError(f"a list's lifetime is 1 to {MAX_LIFETIME_SECONDS} seconds")
        claims = {
            "serial": max(int(now), after + 1),
            "iat": int(now),
            "exp": int(now) + lifetime_seconds,
            **{kind: dict(entries) for kind, entries in revoked.by_kind().items()},
        }
        text = sign_object(
            json.dumps(claims, separators=(",", ":")).encode(), REVOCATIONS_TYPE, signing_key
        )
        if len(text) > MAX_REVOCATIONS_BYTES:
            raise ConfigurationError(
                f"the list would have {len(text)} bytes, more than {MAX_REVOCATIONS_BYTES}: take "
                "entries off that are not needed (--forget), or revoke by subject or issuer"
            )
        try:
            return cls.read_unverified(text)
        except AuthenticationError as error:
            raise ConfigurationError(f"cannot sign this list: {error.text}") from None

    @classmethod
    def read_unverified(cls, signed: str | bytes) -> RevocationList:
        """Return what a list says, without believing it.

        Raises:
            AuthenticationError: it is malformed or too large.  Nothing else is raised.
        """
        text, header, payload = split_object(signed, REVOCATIONS_TYPE, _WHAT, MAX_REVOCATIONS_BYTES)
        return untrusted(_WHAT, "claims", lambda: _list_of(text, header.kid, payload))

    @classmethod
    def read(cls, signed: str | bytes, ring: KeyRing, now: float) -> RevocationList:
        """Return a list that an issuer on *ring* has signed.

        Args:
            now: unix seconds.

        Raises:
            AuthenticationError: it cannot be believed.  Nothing else is raised, whatever the
                bytes.
        """
        found = cls.read_unverified(signed)
        key = ring.find(found.issuer_key_id, now)
        if key is None:
            raise AuthenticationError(
                f"the {_WHAT} is signed by a key that is not in the key ring, or not any more: "
                "sign it with an issuer's key that is (`python -m tunnelkit.auth revoke`)"
            )
        check_signature(found.text, key, _WHAT)
        if found.issuer_key_id in found.revoked.issuers:
            raise AuthenticationError(f"the {_WHAT} revokes the key that signed it")
        if not now >= found.issued_at - CLOCK_LEEWAY_SECONDS:
            raise AuthenticationError(f"the {_WHAT} is of the future: compare the machines' clocks")
        return found


def _list_of(text: str, kid: str, payload: bytes) -> RevocationList:
    """Read the claims; raises ValueError with a text that quotes none of them."""
    claims = msgspec.json.decode(payload, type=_Claims)
    revoked = Revoked(claims.tokens, claims.holders, claims.issuers, claims.subjects)
    times = [claims.serial, claims.iat, claims.exp]
    for kind, entries in revoked.by_kind().items():
        times += entries.values()
        if not all(_NAME.fullmatch(name) for name in entries):
            raise ValueError(f"a name in {kind} is malformed")
    if not all(0 <= time < 1 << 53 for time in times):
        raise ValueError("a time or the serial is out of range")
    return RevocationList(claims.serial, claims.iat, claims.exp, revoked, kid, text)
