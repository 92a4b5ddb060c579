"""Newer tokens for what is up already: a link goes on, under another token (no I/O).

A link stands under the token of its hello.  When that comes near its end, the dialler shows a newer
one of the same subject (`renewal`), signed over the nonces of the hello, so that it holds for this
link alone; the acceptor checks it (`renewed`).  What sessions do is in `proofs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from .auth import Identity, Trust, renew_message, sign, verify_signature
from .bucket import Bucket
from .errors import AuthenticationError, ErrorCode, RemoteProtocolError
from .handshake import Peer
from .wire.frames import Value

__all__ = ["allowance", "renewal", "renewed"]

MAX_AT_ONCE: Final = 16
"""Renewals, and lists of a broker, that a peer may send in a row.
Stops: signatures that this side is made to check without end."""

EACH_SECONDS: Final = 1.0
"""The time after which one more is allowed, seconds."""


def allowance() -> Bucket:
    """Return how often a peer may ask for costly work."""
    return Bucket(MAX_AT_ONCE, 1 / EACH_SECONDS)


def renewal(identity: Identity, peer: Peer) -> tuple[bytes, bytes]:
    """Return token and signature of a `renew` on the link to *peer*, which is up."""
    assert peer.transcript is not None  # a link that is up has one
    token = identity.token.encode()
    return token, sign(identity.key, renew_message(peer.transcript, token))


def renewed(peer: Peer, values: Mapping[str, Value], trust: Trust, now: float) -> Peer:
    """Return who is at the other end after its `renew`; the same where that is older.

    Args:
        now: unix seconds.

    Raises:
        AuthenticationError: it is not accepted; the link is to end.
        RemoteProtocolError: the acceptor of the link sent it.
    """
    if peer.capability is None or peer.transcript is None:
        raise RemoteProtocolError("renew from the side that accepted the link")
    token, signature = values["token"], values["signature"]
    assert isinstance(token, bytes)  # the field table says so, here and below
    assert isinstance(signature, bytes)
    capability = trust.verify(token, now)
    verify_signature(capability.holder, renew_message(peer.transcript, token), signature)
    if (capability.subject, capability.is_caller) != (peer.subject, peer.capability.is_caller):
        raise AuthenticationError(
            f"a link of {peer.subject} cannot go on as {capability.subject}", ErrorCode.FORBIDDEN
        )
    if capability.issued_at < peer.capability.issued_at:
        return peer
    return dataclasses.replace(peer, capability=capability)
