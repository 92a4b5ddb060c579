"""Replace an issuer's key on a ring, without a moment in which good tokens are refused (no I/O).

1. `rotated`: the new key is on the ring at once, and the old one stays for the *overlap*.  The ring
   goes to everybody who has one, before the new key signs anything.
2. Every token that the old key has signed is replaced by one that the new key signs.
3. `pruned`: when the overlap is over, the old key is taken off, and the ring goes out once more.
   Nothing breaks if that is late: the old key is not believed after its time in any case.
"""

from __future__ import annotations

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..errors import ConfigurationError
from .keys import KeyRing, RingKey

__all__ = ["pruned", "rotated"]


def rotated(
    ring: KeyRing, old_key_id: str, new: Ed25519PublicKey, *, overlap_seconds: int, now: float
) -> KeyRing:
    """Return *ring* with a new key, and an old one that is believed no longer than the overlap.

    Args:
        overlap_seconds: how long what the old key signed is still believed.
        now: unix seconds.

    Raises:
        ConfigurationError: the old key is not on the ring, or its time is over.
    """
    old = ring.get(old_key_id)
    if old is None or old.has_expired(now):
        state = "is not" if old is None else "has expired"
        raise ConfigurationError(
            f"the signing key {old_key_id} {state} on the ring: give the ring that it belongs to"
        )
    until = int(now) + overlap_seconds
    if old.expires_at:
        until = min(until, old.expires_at)
    kept = [attrs.evolve(key, expires_at=until) if key is old else key for key in ring.keys]
    return KeyRing([*kept, RingKey(new)], ring.source)


def pruned(ring: KeyRing, now: float) -> KeyRing:
    """Return *ring* without the keys whose time is over at *now*, in unix seconds.

    Raises:
        ConfigurationError: none would be left.
    """
    kept = [key for key in ring.keys if not key.has_expired(now)]
    if not kept:
        raise ConfigurationError(
            "every key on the ring has expired: nothing would be left; make a new issuer's key "
            "with `python -m tunnelkit.auth keygen`"
        )
    return KeyRing(kept, ring.source)
