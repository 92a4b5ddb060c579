"""Keys and tokens that the tests of `tunnelkit.auth` share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnelkit.auth import KeyRing, mint

NOW = 1_800_000_000.0


@pytest.fixture
def now() -> float:
    """A moment, in unix seconds; tokens of `make_token` begin at it and last an hour."""
    return NOW


@pytest.fixture(scope="session")
def issuer() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def holder() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))


@pytest.fixture(scope="session")
def ring(issuer: Ed25519PrivateKey) -> KeyRing:
    return KeyRing([issuer.public_key()])


@pytest.fixture(scope="session")
def make_token(issuer: Ed25519PrivateKey, holder: Ed25519PrivateKey) -> Callable[..., str]:
    """Mint a token of `devbox/alice`; keyword arguments replace what it says."""

    def make(**changes: object) -> str:
        claims: dict[str, object] = {
            "subject": "devbox/alice",
            "holder": holder.public_key().public_bytes_raw(),
            "lifetime_seconds": 3600,
            "peers": ["sidecar/*"],
            "targets": ["127.0.0.1:*"],
            "environment": "dev",
            "now": NOW,
            **changes,
        }
        return mint(issuer, **claims)  # type: ignore[arg-type]

    return make
