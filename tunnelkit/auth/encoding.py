"""Canonical base64url, as JOSE writes it: no padding, one spelling for each value (no I/O)."""

from __future__ import annotations

import base64

__all__ = ["decode_base64url", "encode_base64url"]


def encode_base64url(data: bytes) -> str:
    """Return *data* in base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Return the bytes that *text* stands for.

    Raises:
        ValueError: *text* is not the one spelling that `encode_base64url` gives.  Python's own
            decoder skips foreign characters, so that one value would have many spellings.
    """
    data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if encode_base64url(data) != text:
        raise ValueError("not canonical base64url")
    return data
