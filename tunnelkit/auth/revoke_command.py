"""``python -m tunnelkit.auth revoke``: put tokens, keys, names and issuers on a signed list."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from ..errors import AuthenticationError, ConfigurationError
from .capability import read_unverified
from .files import read_file, write_secret_file
from .keys import KeyRing, RingKey, load_private_key
from .revocation import RevocationList, Revoked
from .words import PROGRAM, lifetime, moment

__all__ = ["add_revoke", "json_of_list", "show_list"]

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_DESCRIPTION = """\
Add entries to a revocation list, and sign it anew; without an entry, only sign it anew, for another
lifetime or with another issuer's key.  The file is made if it is not there.  Then give it to each
broker, which passes it on:  python -m tunnelkit.admin SOCKET revocations FILE"""

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{43}")


def add_revoke(commands: _Commands) -> None:
    """Add the command."""
    command = commands.add_parser(
        "revoke",
        help="put tokens, keys, subjects or issuers on a revocation list",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example: {PROGRAM} revoke --list revoked.jws --signing-key issuer.pem "
        "--token laptop.token",
    )
    add = command.add_argument
    add("--list", required=True, metavar="FILE", help="the list; it is made or written anew")
    add("--signing-key", required=True, metavar="FILE", help="an issuer's private key")
    add("--keys", metavar="RING", help="key ring, where another issuer has signed the list before")
    add("--token", action="append", default=[], metavar="FILE", help="revoke this token")
    add("--token-id", action="append", default=[], metavar="ID", help="revoke the token of this id")
    key = "a file of the key, or its key id"
    add("--holder", action="append", default=[], metavar="KEY", help=f"revoke this holder: {key}")
    add("--issuer", action="append", default=[], metavar="KEY", help=f"revoke this issuer: {key}")
    add("--subject", action="append", default=[], help="revoke all its tokens issued so far")
    add(
        "--issued-before",
        type=_time,
        metavar="TIME",
        help="for --subject: only tokens issued before this (2026-07-31T12:00:00, UTC, or seconds)",
    )
    add("--forget", action="append", default=[], metavar="NAME", help="take an entry off the list")
    add("--lifetime", type=lifetime, default=lifetime("30d"), help="until it is stale; default 30d")
    add("--dry-run", action="store_true", help="show what would be, and write nothing")
    add("--json", action="store_true", help="one JSON object, for programs")
    command.set_defaults(run=_revoke)


def _time(text: str) -> int:
    """Read a time as unix seconds."""
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text)
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write for example 2026-07-31T12:00:00, or unix seconds"
        ) from None


def _revoke(options: argparse.Namespace) -> None:
    now = time.time()
    signer = load_private_key(options.signing_key)
    ring = KeyRing.load(options.keys) if options.keys else KeyRing()
    ring = KeyRing([*ring.keys, RingKey(signer.public_key())])
    before = _load(options.list, ring) if os.path.lexists(options.list) else None
    revoked = before.revoked.pruned(now) if before is not None else Revoked()
    for name in options.forget:
        if len(revoked.without(name)) == len(revoked):
            raise ConfigurationError(f"--forget {name}: no entry of the list has this name")
        revoked = revoked.without(name)
    after = RevocationList.sign(
        signer,
        revoked.merged(_asked(options, now)),
        lifetime_seconds=options.lifetime,
        now=now,
        after=before.serial if before is not None else 0,
    )
    if not options.dry_run:
        write_secret_file(options.list, after.text.encode() + b"\n", force=True)
    if options.json:
        print(json.dumps(json_of_list(after, verified=True), indent=2))
        return
    show_list(after, f"yes, with key {after.issuer_key_id}")
    if options.dry_run:
        print("nothing was written (--dry-run)")
    else:
        print(f"next: python -m tunnelkit.admin SOCKET revocations {options.list}, at each broker")


def _load(path: str, ring: KeyRing) -> RevocationList:
    """Read a list that is to be written anew; what somebody put into it is not signed."""
    text = read_file(path, "revocation list").strip()
    try:
        found = RevocationList.read_unverified(text)
        # Its signer's time may be over: the one who signs it anew answers for it.
        always = KeyRing([key.public for key in ring.keys])
        return RevocationList.read(text, always, max(time.time(), found.issued_at))
    except AuthenticationError as error:
        raise ConfigurationError(
            f"revocation list {path}: {error.text}; or give the ring of its signer with --keys"
        ) from None


def _asked(options: argparse.Namespace, now: float) -> Revoked:
    at = int(now)
    # A token that was issued in this very second is one of those issued so far.
    before = at + 1 if options.issued_before is None else options.issued_before
    return Revoked(
        tokens=dict.fromkeys([*map(_token_id, options.token), *options.token_id], at),
        holders=dict.fromkeys([_key_id(text, "--holder") for text in options.holder], at),
        issuers=dict.fromkeys([_key_id(text, "--issuer") for text in options.issuer], at),
        subjects=dict.fromkeys(options.subject, before),
    )


def _token_id(path: str) -> str:
    try:
        return read_unverified(read_file(path, "token").strip()).token_id
    except AuthenticationError as error:
        raise ConfigurationError(f"token {path}: {error.text}") from None


def _key_id(text: str, what: str) -> str:
    """Return the name of a key, of which *text* is the name, or a file with it alone."""
    if _KEY_ID.fullmatch(text) and not os.path.lexists(text):
        return text
    if read_file(text, what).lstrip().startswith(b"{"):
        ids = KeyRing.load(text).key_ids
        if len(ids) != 1:
            raise ConfigurationError(f"{what} {text} has {len(ids)} keys: give a key id instead")
        return ids[0]
    return RingKey(load_private_key(text).public_key()).key_id


def show_list(found: RevocationList, verified: str) -> None:
    """Print what a list says."""
    now = time.time()
    stale = " (stale: sign it anew)" if found.is_stale(now) else ""
    rows = {
        "serial": str(found.serial),
        "signed": moment(found.issued_at, now),
        "stale from": moment(found.expires_at, now) + stale,
        "issuer key": found.issuer_key_id,
        "verified": verified,
    }
    for name, value in rows.items():
        print(f"{name + ':':<13}{value}")
    for kind, entries in found.revoked.by_kind().items():
        for name, at in entries.items():
            print(_entry(kind, name, at, now))
    if not len(found.revoked):
        print("nothing is revoked")


def _entry(kind: str, name: str, at: int, now: float) -> str:
    if kind == "subjects":
        return f"revoked:     tokens of {name} issued before {moment(at, now)}"
    words: Mapping[str, str] = {"tokens": "token", "holders": "holder key", "issuers": "issuer"}
    return f"revoked:     {words[kind]} {name}, {moment(at, now)}"


def json_of_list(found: RevocationList, *, verified: bool) -> dict[str, object]:
    """Return what a list says, as plain data."""
    return {
        "serial": found.serial,
        "issued_at": found.issued_at,
        "expires_at": found.expires_at,
        "stale": found.is_stale(time.time()),
        "issuer_key_id": found.issuer_key_id,
        "verified": verified,
        **{kind: dict(entries) for kind, entries in found.revoked.by_kind().items()},
    }
