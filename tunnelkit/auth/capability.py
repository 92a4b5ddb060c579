"""Capability tokens: who may meet whom, and which targets they may open, until when.

How it works
------------
A token is a JWS in compact form (RFC 7515), signed with EdDSA and with nothing else.  Its header
has exactly the members ``alg``, ``kid`` and ``typ``; its claims are::

    sub      the subject: the name under which its holder is known
    cnf      {"jwk": ...}: the holder's public key (RFC 7800, RFC 8037); a proof made with the
             private half must come with the token: to have read it is not enough to use it
    exp      unix seconds from which it is refused
    nbf, iat unix seconds before which it is refused (with CLOCK_LEEWAY_SECONDS of grace)
    jti      the token's own name, for logs and audits
    peers    patterns of the subjects that it may meet; none: nobody
    targets  patterns of the targets that it may open at an exit; none: nothing
    env      the environment it belongs to, or ""
    caller   true: its holder only begins sessions, and several processes may use it at once
             (docs/wire-protocol.md §9.5a); left out where it is false

In a pattern only ``*`` is special and stands for any text, the empty one included.  Subjects,
environments and token ids consist of letters, digits and ``. _ - / : @ +``; targets consist of
visible ASCII.

Reading goes from cheap to dear: size, shape, header, the issuer's key, the signature, and only then
the claims.  Nothing here reads a clock: the time is an argument, in unix seconds.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable

import attrs
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import AuthenticationError, ConfigurationError, ErrorCode
from ..limits import MAX_TOKEN_BYTES
from .jws import Header, check_signature, sign_object, split_object, untrusted
from .keys import KEY_BYTES, Jwk, KeyRing, RingKey, jwk_of, key_id, public_key_from_jwk

__all__ = [
    "CLOCK_LEEWAY_SECONDS",
    "MAX_LIFETIME_SECONDS",
    "MAX_PATTERNS",
    "MAX_TEXT_CHARS",
    "Capability",
    "matches",
    "may_meet",
    "may_open",
    "mint",
    "read_unverified",
    "verify",
]

MAX_TEXT_CHARS = 255
"""Characters of a subject, pattern, environment or token id.  Stops: log and table floods."""

MAX_PATTERNS = 64
"""Patterns in `peers`, and in `targets`.  Bounds the work of one permission check."""

MAX_LIFETIME_SECONDS = 366 * 86400
"""Longest life that `mint` gives, in seconds: nobody has to remember a revocation for longer."""

CLOCK_LEEWAY_SECONDS = 60
"""Seconds by which a token may seem to come from the future: clocks of two machines differ.  Expiry
has no such grace."""

TOKEN_TYPE = "tk-cap+jwt"

_NAME = re.compile(rf"[A-Za-z0-9._/:@+-]{{1,{MAX_TEXT_CHARS}}}")
_NAME_PATTERN = re.compile(rf"[A-Za-z0-9._/:@+*-]{{1,{MAX_TEXT_CHARS}}}")
_TARGET = re.compile(rf"[!-~]{{1,{MAX_TEXT_CHARS}}}")


class _Confirmation(msgspec.Struct):
    jwk: Jwk


class _Claims(msgspec.Struct):
    sub: str
    cnf: _Confirmation
    exp: int
    nbf: int
    iat: int
    jti: str
    peers: list[str]
    targets: list[str]
    env: str = ""
    caller: bool = False


@attrs.frozen
class Capability:
    """What a token grants.  Only `verify` gives one that can be believed."""

    subject: str
    holder: bytes
    """The raw 32-byte Ed25519 public key of the one who may use the token."""
    expires_at: int
    """Unix seconds."""
    not_before: int
    """Unix seconds."""
    peers: tuple[str, ...]
    targets: tuple[str, ...]
    environment: str
    token_id: str
    issuer_key_id: str
    issued_at: int = 0
    """Unix seconds."""
    is_caller: bool = False
    """Whether its holder only begins sessions, in as many processes at once as it likes."""

    def check_time(self, now: float) -> None:
        """Refuse what is not valid at *now*, in unix seconds.

        Raises:
            AuthenticationError: expired (`ErrorCode.TOKEN_EXPIRED`) or not valid yet.
        """
        if not now < self.expires_at:  # so written that a NaN is refused
            raise AuthenticationError(
                f"the token of {self.subject} has expired: get a new one", ErrorCode.TOKEN_EXPIRED
            )
        if not now >= self.not_before - CLOCK_LEEWAY_SECONDS:
            raise AuthenticationError(
                f"the token of {self.subject} is not valid yet: compare the machines' clocks"
            )


def mint(
    signing_key: Ed25519PrivateKey,
    *,
    subject: str,
    holder: bytes,
    lifetime_seconds: int,
    peers: Iterable[str],
    targets: Iterable[str],
    environment: str = "",
    is_caller: bool = False,
    now: float,
    token_id: str | None = None,
) -> str:
    """Sign a new token.

    Args:
        holder: the raw 32-byte Ed25519 public key of the one who will use it.
        lifetime_seconds: 1 to `MAX_LIFETIME_SECONDS`.
        is_caller: whether the holder only begins sessions; several may run at once then.
        now: unix seconds.
        token_id: random where it is not given.

    Raises:
        ConfigurationError: an argument breaks a rule that `verify` would enforce.
    """
    if not 1 <= lifetime_seconds <= MAX_LIFETIME_SECONDS:
        raise ConfigurationError(f"a token's lifetime is 1 to {MAX_LIFETIME_SECONDS} seconds")
    if len(holder) != KEY_BYTES:
        raise ConfigurationError(f"a holder key has {KEY_BYTES} bytes, not {len(holder)}")
    claims = {
        "sub": subject,
        "cnf": {"jwk": jwk_of(holder)},
        "exp": int(now) + lifetime_seconds,
        "nbf": int(now),
        "iat": int(now),
        "jti": secrets.token_hex(16) if token_id is None else token_id,
        "peers": list(peers),
        "targets": list(targets),
        "env": environment,
    }
    if is_caller:
        claims["caller"] = True
    payload = json.dumps(claims, separators=(",", ":")).encode()
    kid = key_id(signing_key.public_key().public_bytes_raw())
    try:
        _capability(payload, kid)
    except ValueError as error:
        raise ConfigurationError(f"cannot sign this token: {error}") from None
    token = sign_object(payload, TOKEN_TYPE, signing_key)
    if len(token) > MAX_TOKEN_BYTES:
        raise ConfigurationError(
            f"the token would have {len(token)} bytes, more than {MAX_TOKEN_BYTES}: "
            "use fewer or shorter patterns"
        )
    return token


def verify(token: str | bytes, ring: KeyRing, now: float) -> Capability:
    """Return what *token* grants at *now*, in unix seconds.

    It expires when the ring's belief in its issuer's key does, if that is earlier.  The caller
    still has to ask the holder for a proof (`tunnelkit.auth.verify_signature`).

    Raises:
        AuthenticationError: `ErrorCode.TOKEN_EXPIRED`, or `ErrorCode.UNAUTHENTICATED` for whatever
            else is wrong.  Nothing else is raised, whatever the bytes.
    """
    text, header, payload = _split(token)
    key = ring.get(header.kid)
    if key is None:
        raise AuthenticationError(
            "the token is signed by a key that is not in the key ring: take a token of a known "
            "issuer, or add the issuer's public key to the ring"
        )
    check_signature(text, key.public, "token")
    capability = untrusted("token", "claims", lambda: _capability(payload, header.kid))
    capability.check_time(now)
    _check_issuer(key, now)
    if key.expires_at and key.expires_at < capability.expires_at:
        return attrs.evolve(capability, expires_at=key.expires_at)
    return capability


def _check_issuer(key: RingKey, now: float) -> None:
    if key.has_expired(now):
        raise AuthenticationError(
            "the token is signed by an issuer's key that has been replaced: get a new one",
            ErrorCode.TOKEN_EXPIRED,
        )
    if not key.is_believed(now):
        raise AuthenticationError("the token is signed by a key that the ring does not believe yet")


def read_unverified(token: str | bytes) -> Capability:
    """Return what *token* claims, without believing it: for display, and for its own holder.

    Raises:
        AuthenticationError: it is malformed.
    """
    _text, header, payload = _split(token)
    return untrusted("token", "claims", lambda: _capability(payload, header.kid))


def may_meet(a: Capability, b: Capability) -> bool:
    """Whether each of the two allows the other; so the order does not matter."""
    return _any_matches(a.peers, b.subject) and _any_matches(b.peers, a.subject)


def may_open(capability: Capability, target: str) -> bool:
    """Whether *capability* allows its holder to open *target* at an exit."""
    return _TARGET.fullmatch(target) is not None and _any_matches(capability.targets, target)


def matches(pattern: str, text: str) -> bool:
    """Whether *text* fits *pattern*, in which only ``*`` is special.

    Takes time in proportion to the lengths' product at worst: no pattern makes it explode, as a
    regular expression with many stars would.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in middle:  # the leftmost place for each piece leaves most room for the next
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True


def _any_matches(patterns: tuple[str, ...], text: str) -> bool:
    return "*" in patterns or any(matches(pattern, text) for pattern in patterns)


def _split(token: str | bytes) -> tuple[str, Header, bytes]:
    return split_object(token, TOKEN_TYPE, "token", MAX_TOKEN_BYTES)


def _capability(payload: bytes, issuer_key_id: str) -> Capability:
    """Read the claims; raises ValueError with a text that quotes none of them."""
    claims = msgspec.json.decode(payload, type=_Claims)
    _check_text("sub", claims.sub, _NAME)
    _check_text("jti", claims.jti, _NAME)
    if claims.env:
        _check_text("env", claims.env, _NAME)
    _check_patterns("peers", claims.peers, _NAME_PATTERN)
    _check_patterns("targets", claims.targets, _TARGET)
    _check_times(claims)
    return Capability(
        subject=claims.sub,
        holder=public_key_from_jwk(claims.cnf.jwk),
        expires_at=claims.exp,
        not_before=max(claims.nbf, claims.iat),
        peers=tuple(claims.peers),
        targets=tuple(claims.targets),
        environment=claims.env,
        token_id=claims.jti,
        issuer_key_id=issuer_key_id,
        issued_at=claims.iat,
        is_caller=claims.caller,
    )


def _check_text(claim: str, value: str, alphabet: re.Pattern[str]) -> None:
    if not alphabet.fullmatch(value):
        what = "visible ASCII" if alphabet is _TARGET else "letters, digits and . _ - / : @ +"
        raise ValueError(f"{claim} is not 1 to {MAX_TEXT_CHARS} characters of {what}")


def _check_patterns(claim: str, values: list[str], alphabet: re.Pattern[str]) -> None:
    if len(values) > MAX_PATTERNS:
        raise ValueError(f"{claim} has more than {MAX_PATTERNS} patterns")
    for value in values:
        _check_text(claim, value, alphabet)


def _check_times(claims: _Claims) -> None:
    for value in (claims.exp, claims.nbf, claims.iat):
        if not 0 <= value < 1 << 53:  # beyond this, other languages lose digits
            raise ValueError("a time is not unix seconds")
