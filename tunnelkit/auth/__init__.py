"""Who may do what: capability tokens, the keys behind them, and proofs of holding a key.

How it works
------------
An **issuer** signs a token (`mint`) that names a subject, the peers it may meet, the targets it may
open, an expiry and a **holder key**.  Whoever is shown the token checks it against a `KeyRing` of
issuers' public keys (`verify`), and then asks for a proof that the sender holds the private half of
the holder key.  So a token that is seen on its way, by a broker for instance, is of no use.

Three proofs, each over a message of its own (`proof`):

1. In a **hello**, the holder signs both nonces, both process instances and the token: it holds for
   this one link, between these two processes.
2. In a **session-open**, each end signs its X25519 share.  The two ends derive a key that the
   broker between them does not learn (`Exchange`).
3. In an **attach**, each end authenticates the session's id, the generation and the last number
   received under that key: a stranger who learns the id cannot take over the session.

The broker asks `may_meet` of two capabilities; the exit, which trusts no broker, verifies the
initiator's token with a ring of its own and asks `may_open` for each target.

An issuer is replaced by a ring that believes the old key for some time beside the new one (`keys`,
`rotation`).  What must not wait for its expiry is put on a revocation list (`revocation`), which
everybody who has a ring is given; ring and list together are a `Trust` (`trust`).

Nothing here reads the clock: times are arguments, in unix seconds.  Files of secrets have mode 0600
and are refused otherwise.  `python -m tunnelkit.auth --help` makes keys and tokens from a shell.
"""

from ..limits import MAX_TOKEN_BYTES
from .capability import (
    Capability,
    may_meet,
    may_open,
    mint,
    read_unverified,
    verify,
)
from .identity import Identity
from .keys import KeyRing, RingKey, generate_key, key_id, load_private_key, save_private_key
from .proof import (
    INITIATOR,
    NO_SHARE,
    RESPONDER,
    Exchange,
    attach_mac,
    attach_message,
    check_attach_mac,
    hello_message,
    renew_message,
    session_open_message,
    session_renew_message,
    sign,
    verify_signature,
)
from .revocation import MAX_REVOCATIONS_BYTES, RevocationList, Revoked
from .trust import Trust

__all__ = [
    "INITIATOR",
    "MAX_REVOCATIONS_BYTES",
    "MAX_TOKEN_BYTES",
    "NO_SHARE",
    "RESPONDER",
    "Capability",
    "Exchange",
    "Identity",
    "KeyRing",
    "RevocationList",
    "Revoked",
    "RingKey",
    "Trust",
    "attach_mac",
    "attach_message",
    "check_attach_mac",
    "generate_key",
    "hello_message",
    "key_id",
    "load_private_key",
    "may_meet",
    "may_open",
    "mint",
    "read_unverified",
    "renew_message",
    "save_private_key",
    "session_open_message",
    "session_renew_message",
    "sign",
    "verify",
    "verify_signature",
]
