"""An identity: a holder's private key with the token that names its public half."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import AuthenticationError, ConfigurationError
from .capability import Capability, mint, read_unverified
from .files import read_secret_file
from .keys import generate_key, load_private_key

__all__ = ["Identity"]


def _same_holder(identity: Identity, _attribute: object, claims: Capability) -> None:
    if claims.holder != identity.public:
        raise ConfigurationError(
            f"the token of {claims.subject} names another holder key than this private key: "
            "take the key that it was issued for, or ask for a new token"
        )


@attrs.frozen(repr=False)
class Identity:
    """What a program needs to prove who it is.

    Raises:
        AuthenticationError: the token is malformed.
        ConfigurationError: the token names another key.
    """

    key: Ed25519PrivateKey
    token: str
    public: bytes = attrs.field(init=False)
    """The raw 32-byte public half of `key`."""
    claims: Capability = attrs.field(init=False, validator=_same_holder)
    """What the token says.  Not verified: that is for those who are shown it."""

    @public.default
    def _public_of_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @claims.default
    def _claims_of_token(self) -> Capability:
        return read_unverified(self.token)

    @property
    def subject(self) -> str:
        """The name under which its peers know it."""
        return self.claims.subject

    def __repr__(self) -> str:
        return f"<Identity {self.subject}>"

    @classmethod
    def issue(
        cls,
        issuer: Ed25519PrivateKey,
        subject: str,
        *,
        peers: Iterable[str],
        targets: Iterable[str],
        lifetime_seconds: int = 3600,
        is_caller: bool = False,
        now: float | None = None,
    ) -> Identity:
        """Make a key and a token for it, for programs that issue identities themselves.

        Args:
            issuer: the key that signs; its public half must be on the rings of the peers.
            subject: the name of the new identity.
            peers: patterns of the subjects that it may meet.
            targets: patterns of the targets that it may open.
            lifetime_seconds: how long the token is valid.
            is_caller: whether it only begins sessions; several processes may use it at once then.
            now: unix seconds; the present time if it is None.
        """
        key = generate_key()
        token = mint(
            issuer,
            subject=subject,
            holder=key.public_key().public_bytes_raw(),
            lifetime_seconds=lifetime_seconds,
            peers=tuple(peers),
            targets=tuple(targets),
            is_caller=is_caller,
            now=time.time() if now is None else now,
        )
        return cls(key, token)

    @classmethod
    def load(cls, key_path: str | Path, token_path: str | Path) -> Identity:
        """Read both files.

        Raises:
            ConfigurationError: one cannot be read, is open to other users or malformed, or they do
                not belong together.
        """
        key = load_private_key(key_path)
        text = read_secret_file(token_path, "token").strip()
        try:
            return cls(key, text.decode("ascii"))
        except (AuthenticationError, UnicodeDecodeError):
            raise ConfigurationError(
                f"token {token_path} is not a tunnelkit token: "
                "make one with `python -m tunnelkit.auth mint`"
            ) from None
