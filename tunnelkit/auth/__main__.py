"""``python -m tunnelkit.auth``: make keys and tokens, and look at them, from a shell."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .. import _version
from ..command_line import CommandParser
from ..errors import AuthenticationError, ConfigurationError, TunnelError
from .capability import Capability, mint, read_unverified, verify
from .files import read_file, write_secret_file
from .jws import type_of
from .keys import KeyRing, generate_key, key_id, load_private_key, save_private_key
from .revocation import REVOCATIONS_TYPE, RevocationList
from .revoke_command import add_revoke, json_of_list, show_list
from .rotate_command import add_rotate
from .words import PROGRAM as _PROGRAM
from .words import lifetime, moment

__all__ = ["main"]

EXIT_FAULT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

_GUIDE = f"""\
A token says who its holder is, whom it may meet, which targets it may open, and until when.  It is
signed by an issuer and names the holder's key: the token alone is of no use.

example: a laptop that serves the orders service of the environment "dev" for an hour
  {_PROGRAM} keygen --out issuer.pem
  {_PROGRAM} keygen --out laptop.pem
  {_PROGRAM} mint --signing-key issuer.pem --holder-key laptop.pem.pub.json \\
      --subject devbox/alice --lifetime 1h --peer 'sidecar/*' --out laptop.token
  {_PROGRAM} inspect laptop.token --keys issuer.pem.pub.json

Give issuer.pem.pub.json to brokers and exits as their key ring; keep issuer.pem to yourself.

exit status: 0 done, 2 something is wrong (one line on stderr says what to do), 130 interrupted
"""


def _build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = CommandParser(
        prog=_PROGRAM,
        description="Make keys and capability tokens, and look at them.",
        epilog=_GUIDE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tunnelkit {_version.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_keygen(commands)
    _add_mint(commands)
    _add_inspect(commands)
    add_rotate(commands)
    add_revoke(commands)
    return parser


def _add_keygen(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keygen = commands.add_parser(
        "keygen",
        help="make a key pair",
        description="Make an Ed25519 key: FILE (private, mode 0600) and FILE.pub.json (public).",
        epilog=f"example: {_PROGRAM} keygen --out issuer.pem",
    )
    keygen.add_argument("--out", required=True, metavar="FILE", help="where the private key goes")
    keygen.add_argument("--force", action="store_true", help="replace files that exist")
    keygen.set_defaults(run=_keygen)


def _add_mint(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "mint",
        help="sign a token for a holder's key",
        description="Sign a capability token.  In a pattern, * stands for any text.",
        epilog=f"example: {_PROGRAM} mint --signing-key issuer.pem --holder-key web.pem.pub.json "
        "--subject sidecar/web --lifetime 12h --peer 'devbox/*' --target '127.0.0.1:*' "
        "--out web.token",
    )
    add = command.add_argument
    add("--signing-key", required=True, metavar="FILE", help="the issuer's private key")
    add("--holder-key", required=True, metavar="FILE", help="the holder's key: FILE.pub.json")
    add("--subject", required=True, help="the holder's name, such as devbox/alice")
    add("--lifetime", required=True, type=lifetime, help="how long it holds: 90s, 30m, 12h, 7d")
    add("--peer", action="append", default=[], metavar="PATTERN", help="a subject it may meet")
    add("--target", action="append", default=[], metavar="PATTERN", help="a target it may open")
    add("--environment", default="", help="the environment it belongs to")
    add(
        "--caller",
        action="store_true",
        help="the holder only begins sessions, and several processes may use the token at once",
    )
    add("--out", required=True, metavar="FILE", help="where the token goes (mode 0600)")
    add("--force", action="store_true", help="replace a file that exists")
    command.set_defaults(run=_mint)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="show what a token or a revocation list says, and whether it can be believed",
        description="Show what a token or a revocation list says; never its signature.",
        epilog=f"example: {_PROGRAM} inspect web.token --keys issuer.pem.pub.json",
    )
    inspect.add_argument("file", metavar="FILE", help="the token, or the list")
    inspect.add_argument("--keys", metavar="RING", help="public keys to verify it with (JWKS)")
    inspect.add_argument("--json", action="store_true", help="one JSON object, for programs")
    inspect.set_defaults(run=_inspect)


def _keygen(options: argparse.Namespace) -> None:
    public_path = f"{options.out}.pub.json"
    if not options.force and os.path.lexists(public_path):
        raise ConfigurationError(
            f"{public_path} exists: choose another name, or replace it with --force"
        )
    key = generate_key()
    ring = KeyRing([key.public_key()])
    save_private_key(options.out, key, force=options.force)
    write_secret_file(public_path, ring.to_jwks().encode(), force=options.force)
    print(f"private key: {options.out} (keep it to yourself)")
    print(f"public key:  {public_path} (key id {ring.key_ids[0]})")


def _holder_key(path: str) -> bytes:
    """Return the raw public key in a set of one key, or the public half of a private key."""
    if not read_file(path, "holder key").lstrip().startswith(b"{"):
        return load_private_key(path).public_key().public_bytes_raw()
    keys = KeyRing.load(path).raw_keys()
    if len(keys) != 1:
        raise ConfigurationError(f"holder key {path} has {len(keys)} keys: give a file with one")
    return keys[0]


def _mint(options: argparse.Namespace) -> None:
    token = mint(
        load_private_key(options.signing_key),
        subject=options.subject,
        holder=_holder_key(options.holder_key),
        lifetime_seconds=options.lifetime,
        peers=options.peer,
        targets=options.target,
        environment=options.environment,
        is_caller=options.caller,
        now=time.time(),
    )
    write_secret_file(options.out, token.encode() + b"\n", force=options.force)
    expires_at = read_unverified(token).expires_at
    print(f"token: {options.out} for {options.subject}, expires {moment(expires_at, time.time())}")


def _verdict(token: bytes, keys: str | None) -> tuple[bool, str, AuthenticationError | None]:
    """Return whether the token is good, the same in words, and the error if it is not."""
    if keys is None:
        return False, "not checked (give the issuer's public keys with --keys)", None
    try:
        capability = verify(token, KeyRing.load(keys), time.time())
    except AuthenticationError as error:
        return False, f"no: {error}", error
    return True, f"yes, with key {capability.issuer_key_id}", None


def _show(claims: Capability, verified: str) -> None:
    now = time.time()
    rows = {
        "subject": claims.subject,
        "peers": " ".join(claims.peers) or "(nobody)",
        "targets": " ".join(claims.targets) or "(none)",
        "environment": claims.environment or "(none)",
        "caller": "yes" if claims.is_caller else "no",
        "expires": moment(claims.expires_at, now),
        "valid from": moment(claims.not_before, now),
        "holder key": key_id(claims.holder),
        "issuer key": claims.issuer_key_id,
        "token id": claims.token_id,
        "verified": verified,
    }
    for name, value in rows.items():
        print(f"{name + ':':<13}{value}")


def _json_of(claims: Capability, verified: bool) -> str:
    members = {
        "subject": claims.subject,
        "peers": claims.peers,
        "targets": claims.targets,
        "environment": claims.environment,
        "caller": claims.is_caller,
        "expires_at": claims.expires_at,
        "not_before": claims.not_before,
        "expired": time.time() >= claims.expires_at,
        "holder_key_id": key_id(claims.holder),
        "issuer_key_id": claims.issuer_key_id,
        "token_id": claims.token_id,
        "verified": verified,
    }
    return json.dumps(members, indent=2)


def _inspect(options: argparse.Namespace) -> None:
    token = read_file(options.file, "token").strip()
    if type_of(token) == REVOCATIONS_TYPE:
        _inspect_list(options, token)
        return
    try:
        claims = read_unverified(token)
    except AuthenticationError as error:
        raise ConfigurationError(
            f"token {Path(options.file)}: {error.text}: make one with `{_PROGRAM} mint`"
        ) from None
    good, verified, fault = _verdict(token, options.keys)
    if options.json:
        print(_json_of(claims, good))
    else:
        _show(claims, verified)
    if fault is not None:
        raise ConfigurationError(f"token {options.file} is not valid: {fault.text}") from fault


def _inspect_list(options: argparse.Namespace, text: bytes) -> None:
    what = f"revocation list {options.file}"
    try:
        found = RevocationList.read_unverified(text)
    except AuthenticationError as error:
        raise ConfigurationError(f"{what}: {error.text}") from None
    fault: AuthenticationError | None = None
    verified = "not checked (give the issuers' public keys with --keys)"
    if options.keys is not None:
        try:
            RevocationList.read(text, KeyRing.load(options.keys), time.time())
            verified = f"yes, with key {found.issuer_key_id}"
        except AuthenticationError as error:
            verified, fault = f"no: {error}", error
    if options.json:
        is_good = options.keys is not None and fault is None
        print(json.dumps(json_of_list(found, verified=is_good), indent=2))
    else:
        show_list(found, verified)
    if fault is not None:
        raise ConfigurationError(f"{what} is not valid: {fault.text}") from fault


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    try:
        options = _build_parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except TunnelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAULT
    except BrokenPipeError:
        # The reader has gone (`... | head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
