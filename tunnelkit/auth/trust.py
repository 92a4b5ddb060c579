"""`Trust`: whom to believe; a key ring, and a revocation list that takes some of it back (no I/O).

How it works
------------
A trust is a value: a broker or an endpoint has one, and whoever wants to change it makes another
and sets it as a whole (`LinkHost.set_trust`), so that no check ever sees one half of a change.

`verify` is for what a peer shows now.  `fault` is for what was believed before: when a trust is
replaced, each link and session is asked whether it would still be let in.  Expiry is not its
affair: that ends opens and attaches by itself.

A newer list (`with_revocations`) must be signed by a key on the ring that the list in force has not
revoked, and have a higher serial.  Where the signer of the list in force has left the ring, any
list that the ring believes takes its place.
"""

from __future__ import annotations

import attrs

from ..errors import AuthenticationError, ErrorCode
from .capability import Capability, verify
from .keys import KeyRing
from .revocation import RevocationList

__all__ = ["Trust"]


@attrs.frozen
class Trust:
    """A key ring, and what was revoked of it.

    Args:
        ring: the issuers whose tokens are believed.
        revocations: the list in force, if there is one.
    """

    ring: KeyRing
    revocations: RevocationList | None = None

    @classmethod
    def of(cls, source: Trust | KeyRing) -> Trust:
        """Return a trust as it is, and a ring as a trust without revocations."""
        return source if isinstance(source, Trust) else cls(source)

    def verify(self, token: str | bytes, now: float) -> Capability:
        """Return what *token* grants at *now*, in unix seconds.

        Raises:
            AuthenticationError: as `tunnelkit.auth.verify`, or `ErrorCode.TOKEN_REVOKED`.
        """
        capability = verify(token, self.ring, now)
        fault = self.revocation(capability)
        if fault is not None:
            raise fault
        return capability

    def fault(self, capability: Capability) -> AuthenticationError | None:
        """Say why a capability that was believed before is not any more; expiry does not count."""
        if self.ring.get(capability.issuer_key_id) is None:
            return AuthenticationError(
                f"the issuer of the token of {capability.subject} was taken off the key ring",
                ErrorCode.TOKEN_REVOKED,
            )
        return self.revocation(capability)

    def revocation(self, capability: Capability) -> AuthenticationError | None:
        """Say what of a capability is on the list, or return None; the ring does not count."""
        reason = self.revocations and self.revocations.revoked.reason(capability)
        if not reason:
            return None
        text = f"{reason}: ask the issuer for a new one"
        return AuthenticationError(text, ErrorCode.TOKEN_REVOKED)

    def with_revocations(self, signed: str | bytes, now: float) -> Trust:
        """Return this trust with a newer list; itself where the list is the same or older.

        Args:
            now: unix seconds.

        Raises:
            AuthenticationError: the list cannot be believed.  Nothing else is raised.
        """
        current = self.revocations
        if current is None or self.ring.get(current.issuer_key_id) is None:
            return attrs.evolve(self, revocations=RevocationList.read(signed, self.ring, now))
        if RevocationList.read_unverified(signed).serial <= current.serial:
            return self
        found = RevocationList.read(signed, self.ring, now)
        if found.issuer_key_id in current.revoked.issuers:
            raise AuthenticationError(
                "the revocation list is signed by a key that is revoked", ErrorCode.TOKEN_REVOKED
            )
        return attrs.evolve(self, revocations=found)
