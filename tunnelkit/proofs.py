"""How the two ends of a session prove themselves to each other, past any broker (no I/O).

Each end shows a capability and an X25519 share, both signed (`session_open`, `accept_open`); from
then on they have a key that no broker knows.  Every attach carries a proof over the session's id,
the generation and the last number received: a MAC under that key, or, as long as the sender does
not have it, a signature by its holder key (docs/wire-protocol.md §7.4 and §7.5).
"""

from __future__ import annotations

from collections.abc import Mapping

from .auth import (
    NO_SHARE,
    Capability,
    Exchange,
    Identity,
    Trust,
    attach_mac,
    attach_message,
    check_attach_mac,
    may_meet,
    session_open_message,
    session_renew_message,
    sign,
    verify_signature,
)
from .errors import AuthenticationError, ErrorCode
from .wire.frames import ProofKind, Role, Value

__all__ = ["SessionProofs"]


class SessionProofs:
    """What one end of a session proves, and what it knows of the other one.

    Args:
        identity: who this end is.
        peer: the subject that the other end must have.
    """

    def __init__(self, identity: Identity, role: Role, session_id: bytes, peer: str) -> None:
        self.capability: Capability | None = None
        """What the peer has shown; None until its `session-open` was accepted."""
        self.identity = identity
        """Who this end is, by the token that it showed last."""
        self._role = int(role)
        self._session_id = session_id
        self._peer = peer
        self._exchange = Exchange()
        self._peer_share = NO_SHARE
        self._key: bytes | None = None

    def session_open(self) -> tuple[bytes, bytes, bytes]:
        """Return share, token and signature for this end's `session-open`.

        The initiator sends it first; the responder calls this after `accept_open`.
        """
        share, token = self._exchange.share, self.identity.token.encode()
        message = session_open_message(self._role, self._session_id, share, self._peer_share, token)
        return share, token, sign(self.identity.key, message)

    def accept_open(self, values: Mapping[str, Value], trust: Trust, now: float) -> None:
        """Check the peer's `session-open`, and derive the key.

        Args:
            trust: whose tokens are believed.
            now: unix seconds.

        Raises:
            AuthenticationError: it is not accepted; the session is to end.
        """
        if values["role"] != 1 - self._role:
            raise AuthenticationError("session-open of the wrong role", ErrorCode.PROTOCOL_ERROR)
        token, share = _bytes(values["token"]), _bytes(values["share"])
        capability = trust.verify(token, now)
        own_share = NO_SHARE if self._role == Role.RESPONDER else self._exchange.share
        message = session_open_message(1 - self._role, self._session_id, share, own_share, token)
        verify_signature(capability.holder, message, _bytes(values["signature"]))
        self._check_claims(capability)
        self._key = self._exchange.derive(share, self._session_id)
        self._peer_share = share
        self.capability = capability

    def renew(self, identity: Identity) -> tuple[bytes, bytes]:
        """Be *identity* from now on; return token and signature for `session-renew`."""
        self.identity = identity
        token = identity.token.encode()
        return token, sign(identity.key, session_renew_message(self._role, self._session_id, token))

    def accept_renew(self, values: Mapping[str, Value], trust: Trust, now: float) -> None:
        """Check the peer's `session-renew`; an older token than the one it showed is ignored.

        Args:
            trust: whose tokens are believed.
            now: unix seconds.

        Raises:
            AuthenticationError: it is not accepted; the session is to end.
        """
        token = _bytes(values["token"])
        capability = trust.verify(token, now)
        message = session_renew_message(1 - self._role, self._session_id, token)
        verify_signature(capability.holder, message, _bytes(values["signature"]))
        self._check_claims(capability)
        if self.capability is None or capability.issued_at >= self.capability.issued_at:
            self.capability = capability

    def fault(self, trust: Trust) -> AuthenticationError | None:
        """Say whose token in this session is not believed any more, and why; or return None.

        This side's own issuer need not be on its own ring.
        """
        peers = trust.fault(self.capability) if self.capability is not None else None
        return peers or trust.revocation(self.identity.claims)

    def expiry(self, now: float) -> AuthenticationError | None:
        """Say whose token in this session has expired at *now*, in unix seconds, or return None."""
        for each in (self.identity.claims, self.capability):
            if each is not None and not now < each.expires_at:
                return AuthenticationError(
                    f"the token of {each.subject} has expired: get a new one, and the session "
                    "begins anew",
                    ErrorCode.TOKEN_EXPIRED,
                )
        return None

    def _check_claims(self, capability: Capability) -> None:
        if capability.subject != self._peer:
            raise AuthenticationError(
                f"{capability.subject} answers where {self._peer} was expected",
                ErrorCode.FORBIDDEN,
            )
        if capability.is_caller and self._role == Role.INITIATOR:
            raise AuthenticationError(
                f"the token of {self._peer} is a caller's: it begins sessions, and answers none",
                ErrorCode.FORBIDDEN,
            )
        if not may_meet(self.identity.claims, capability):
            raise AuthenticationError(
                f"the tokens do not let {self.identity.subject} and {self._peer} meet",
                ErrorCode.FORBIDDEN,
            )

    def attach(self, generation: int, received: int) -> tuple[int, bytes]:
        """Return kind and proof for an attach of this end at these numbers."""
        message = attach_message(self._role, self._session_id, generation, received)
        if self._key is not None:
            return ProofKind.MAC, attach_mac(self._key, message)
        return ProofKind.SIGNATURE, sign(self.identity.key, message)

    def check_attach(self, generation: int, received: int, kind: Value, proof: Value) -> None:
        """Check the peer's proof, as far as this end has anything to protect.

        Raises:
            AuthenticationError: it does not prove that the attach comes from the session's peer.
        """
        if self._key is None or self.capability is None:
            return
        message = attach_message(1 - self._role, self._session_id, generation, received)
        if kind == ProofKind.MAC:
            check_attach_mac(self._key, message, _bytes(proof))
        elif kind == ProofKind.SIGNATURE:
            verify_signature(self.capability.holder, message, _bytes(proof))
        else:
            raise AuthenticationError("attach without a proof", ErrorCode.BAD_PROOF)


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)  # the field table says so
    return value
