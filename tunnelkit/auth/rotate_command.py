"""``python -m tunnelkit.auth rotate``: a new issuer's key, beside the old one for a while."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import TypeAlias

from ..errors import ConfigurationError
from .files import read_secret_file, write_secret_file
from .keys import KeyRing, RingKey, generate_key, key_id, load_private_key, save_private_key
from .rotation import pruned, rotated
from .words import PROGRAM, lifetime, moment, table

__all__ = ["add_rotate"]

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_DESCRIPTION = """\
Make a new issuer's key and put it on the ring beside the old one, which is believed for the overlap
only.  The new key takes the place of the old file, which is kept as FILE.old, unless --out names
another place.  With --prune, take keys off the ring whose time is over, and do nothing else."""


def add_rotate(commands: _Commands) -> None:
    """Add the command."""
    command = commands.add_parser(
        "rotate",
        help="replace an issuer's key, with an overlap",
        description=_DESCRIPTION,
        epilog=f"example: {PROGRAM} rotate --signing-key issuer.pem --ring ring.json --overlap 7d",
    )
    add = command.add_argument
    add("--signing-key", metavar="FILE", help="the issuer's private key that is to be replaced")
    add("--ring", required=True, metavar="FILE", help="the key ring (JWKS); it is written anew")
    add("--overlap", type=lifetime, default=lifetime("7d"), metavar="TIME", help="default: 7d")
    add("--out", metavar="FILE", help="where the new private key goes; the old one stays")
    add("--prune", action="store_true", help="take keys off whose time is over")
    add("--force", action="store_true", help="replace FILE.old, or the file of --out")
    add("--dry-run", action="store_true", help="show what would be, and write nothing")
    add("--json", action="store_true", help="one JSON object, for programs")
    command.set_defaults(run=_rotate)


def _rotate(options: argparse.Namespace) -> None:
    if options.prune == bool(options.signing_key):
        raise ConfigurationError(f"give either --signing-key or --prune: see `{PROGRAM} rotate -h`")
    now = time.time()
    ring = KeyRing.load(options.ring)
    steps = _prune(options, ring, now) if options.prune else _replace(options, ring, now)
    if options.json:
        print(json.dumps(_json_of(options, ring, *steps), indent=2))
    else:
        _show(options, ring, *steps, now)


def _prune(options: argparse.Namespace, ring: KeyRing, now: float) -> tuple[KeyRing, list[str]]:
    after = pruned(ring, now)
    if not options.dry_run:
        write_secret_file(options.ring, after.to_jwks().encode(), force=True)
    return after, [f"give {options.ring} to every broker and endpoint, and have it read: SIGHUP"]


def _replace(options: argparse.Namespace, ring: KeyRing, now: float) -> tuple[KeyRing, list[str]]:
    old = load_private_key(options.signing_key)
    key = generate_key()
    after = rotated(
        ring,
        key_id(old.public_key().public_bytes_raw()),
        key.public_key(),
        overlap_seconds=options.overlap,
        now=now,
    )
    place, kept = options.out or options.signing_key, f"{options.signing_key}.old"
    public = f"{place}.pub.json"
    for path in (place, public) if options.out else (kept,):
        _check_free(path, force=options.force)
    if not options.dry_run:
        # In this order, so that whatever is interrupted leaves a key that its ring believes.
        if not options.out:
            old_text = read_secret_file(options.signing_key, "private key")
            write_secret_file(kept, old_text, force=options.force)
        write_secret_file(options.ring, after.to_jwks().encode(), force=True)
        save_private_key(place, key, force=not options.out or options.force)
        if not _is_same(public, options.ring):
            one = KeyRing([key.public_key()])
            write_secret_file(public, one.to_jwks().encode(), force=True)
    return after, [
        f"give {options.ring} to every broker and endpoint, and have it read: SIGHUP",
        f"sign new tokens, and the revocation list, with {place}: `{PROGRAM} mint`, `revoke`",
        f"when the overlap is over: `{PROGRAM} rotate --prune --ring {options.ring}`",
    ]


def _check_free(path: str, *, force: bool) -> None:
    if not force and os.path.lexists(path):
        raise ConfigurationError(f"{path} exists: move it away, or replace it with --force")


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _rows(ring: KeyRing, other: KeyRing, word: str, now: float) -> list[tuple[str, ...]]:
    def until(key: RingKey) -> str:
        return moment(key.expires_at, now) if key.expires_at else "for ever"

    rows: list[tuple[str, ...]] = []
    for key in ring.keys:
        note = "" if other.get(key.key_id) is not None else word
        rows.append((f"  {key.key_id}", until(key), note))
    return rows


def _show(
    options: argparse.Namespace, before: KeyRing, after: KeyRing, steps: list[str], now: float
) -> None:
    print(
        table(
            [
                ("before", "believed until", ""),
                *_rows(before, after, "goes", now),
                ("after", "", ""),
                *_rows(after, before, "new", now),
            ]
        )
    )
    if options.dry_run:
        print("nothing was written (--dry-run)")
        return
    print("next:")
    for number, step in enumerate(steps, 1):
        print(f"  {number}. {step}")


def _json_of(
    options: argparse.Namespace, before: KeyRing, after: KeyRing, steps: list[str]
) -> dict[str, object]:
    def described(ring: KeyRing) -> list[dict[str, object]]:
        return [
            {
                "key_id": key.key_id,
                "not_before": key.not_before or None,
                "expires_at": key.expires_at or None,
            }
            for key in ring.keys
        ]

    return {
        "written": not options.dry_run,
        "before": described(before),
        "after": described(after),
        "next": steps,
    }
