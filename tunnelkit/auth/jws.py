"""Signed objects in compact form (RFC 7515), with EdDSA and nothing else (no I/O).

Tokens and revocation lists are made and read here: with one algorithm, and a header that is
checked field by field, what is left of the format is to join and to split three parts.  Reading
goes from cheap to dear: size, shape, header, and only then, in `check_signature`, the signature.
Whatever the bytes, a reader raises `AuthenticationError`, with a text that quotes none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import AuthenticationError
from .encoding import decode_base64url, encode_base64url
from .keys import key_id

__all__ = ["Header", "check_signature", "sign_object", "split_object", "type_of", "untrusted"]

_T = TypeVar("_T")


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """The header of whatever is signed; `typ` says what it is."""

    alg: Literal["EdDSA"]
    typ: str
    kid: str


def sign_object(payload: bytes, kind: str, signing_key: Ed25519PrivateKey) -> str:
    """Return *payload* signed, as an object of the type *kind*."""
    kid = key_id(signing_key.public_key().public_bytes_raw())
    header = msgspec.json.encode({"typ": kind, "alg": "EdDSA", "kid": kid})
    text = f"{encode_base64url(header)}.{encode_base64url(payload)}"
    return f"{text}.{encode_base64url(signing_key.sign(text.encode('ascii')))}"


def split_object(
    signed: str | bytes, kind: str, what: str, most_bytes: int
) -> tuple[str, Header, bytes]:
    """Return a signed object as text, its header and its payload; no signature is checked.

    Args:
        kind: the `typ` that it must have.
        what: names it in errors ("token").
        most_bytes: how large it may be.

    Raises:
        AuthenticationError: it is too large or malformed, or of another type.
    """
    if len(signed) > most_bytes:
        raise AuthenticationError(f"the {what} is larger than {most_bytes} bytes")
    try:
        text = signed if isinstance(signed, str) else signed.decode("ascii")
        raw_header, payload, _signature = map(decode_base64url, text.split("."))
    except ValueError:
        raise AuthenticationError(f"the {what} is not three base64url parts with dots") from None
    header = untrusted(what, "headers", lambda: msgspec.json.decode(raw_header, type=Header))
    if header.typ != kind:
        raise AuthenticationError(f"the {what}'s headers are malformed: it is another type")
    return text, header, payload


def type_of(signed: bytes) -> str:
    """Return the `typ` of a signed object, or "" where that cannot be read."""
    try:
        return msgspec.json.decode(
            decode_base64url(signed.partition(b".")[0].decode("ascii")), type=Header
        ).typ
    except (ValueError, RecursionError):
        return ""


def check_signature(text: str, key: Ed25519PublicKey, what: str) -> None:
    """Check the signature of a signed object.

    Raises:
        AuthenticationError: it was not made with *key*.
    """
    signed, _, signature = text.rpartition(".")
    try:
        key.verify(decode_base64url(signature), signed.encode("ascii"))
    except (InvalidSignature, ValueError):
        raise AuthenticationError(f"the {what}'s signature is wrong") from None


def untrusted(what: str, part: str, parse: Callable[[], _T]) -> _T:
    """Run *parse*, and turn its failures into the one error that a signed object may cause."""
    try:
        return parse()
    except msgspec.ValidationError as error:
        text = f"the {what}'s {part} are malformed: {_harmless(error)}"
        raise AuthenticationError(text) from None
    except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
        raise AuthenticationError(f"the {what}'s {part} are malformed") from None


def _harmless(error: msgspec.ValidationError) -> str:
    """Return where and what, without the sender's bytes (an unknown name would be quoted)."""
    return re.sub(r"`[^`$]*`|'[^']*'", "it", str(error)).replace("\n", " ")[:100]
