"""The files that say whom a program believes and who it is, read again on SIGHUP.

A program holds no secret that it could not read again: when a ring is rotated, a list is renewed or
a token minted anew, the files are replaced and the program is sent SIGHUP.  What cannot be used is
logged, and what was read before stays in use.  A revocation list that comes from elsewhere, by the
admin socket or from a broker, is written to ``--revoked``, so that a restart does not forget it.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from tunnelkit.auth import Identity, KeyRing, RevocationList, Trust
from tunnelkit.auth.files import read_file, write_secret_file
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import AuthenticationError, ConfigurationError
from tunnelkit.host import LinkHost
from tunnelkit.pump import Timer

from .flags import Flags, load_identity

__all__ = ["Credentials", "add_revoked_flag"]

_log = logging.getLogger("tunnelkit.programs")


def add_revoked_flag(flags: Flags) -> None:
    """Add where revocations are kept."""
    flags.add(
        "--revoked",
        metavar="FILE",
        help="revocation list; what a broker or the admin socket brings is written to it",
    )


class Credentials:
    """What a program read from ``--keys`` and ``--revoked``, and from ``--key`` and ``--token``.

    Raises:
        ConfigurationError: a file cannot be used.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._host: LinkHost[Any] | None = None  # of whatever links
        self._stale_timer: Timer | None = None
        self.trust = self._with_list(Trust(options.keys))
        self._identity = load_identity(options) if hasattr(options, "token") else None

    @property
    def identity(self) -> Identity:
        """Who the program is; a broker is nobody."""
        assert self._identity is not None  # programs without --token do not ask
        return self._identity

    @property
    def summary(self) -> dict[str, list[str]]:
        """What ``--check`` prints of it."""
        found = self.trust.revocations
        if found is None:
            return {"issuers": list(self.trust.ring.key_ids)}
        lines = [f"{len(found.revoked)} entries, serial {found.serial}"]
        return {"issuers": list(self.trust.ring.key_ids), "revoked": lines}

    def keep(self, host: LinkHost[Any]) -> None:
        """Have *host* believe what is read from now on, and write down what it learns."""
        self._host = host
        host.on_learned = self._learned
        self._tell_when_stale(host)

    def reload(self) -> None:
        """Read all files again."""
        host = self._host
        if host is None:
            return
        self._try("--keys and --revoked", lambda: self._reload_trust(host))
        if isinstance(host, Endpoint) and self._identity is not None:
            self._try("--key and --token", lambda: self._reload_identity(host))

    def reload_with(self, other: Callable[[], None] | None) -> Callable[[], None]:
        """Return what a program does on SIGHUP: `reload`, and what else there is to read."""

        def reload() -> None:
            self.reload()
            if other is not None:
                other()

        return reload

    def _reload_trust(self, host: LinkHost[Any]) -> str:
        ring = KeyRing.load(self._options.keys.source)
        self.trust = self._with_list(Trust(ring, host.trust.revocations))
        host.set_trust(self.trust)
        self._tell_when_stale(host)
        found = self.trust.revocations
        entries = len(found.revoked) if found is not None else 0
        return f"{len(ring)} issuers are believed, {entries} entries are revoked"

    def _reload_identity(self, host: Endpoint) -> str:
        identity = load_identity(self._options)
        if identity.token != host.identity.token:
            host.set_identity(identity)
        left = identity.claims.expires_at - time.time()
        return f"the token of {identity.subject} holds for {left / 3600:.1f} hours"

    def _with_list(self, trust: Trust) -> Trust:
        """Return *trust* with the list of ``--revoked``, if there is one and it is newer."""
        path = self._options.revoked
        if path is None or not os.path.lexists(path):
            return trust
        try:
            text = read_file(path, "revocation list").strip()
            trust = trust.with_revocations(text, time.time())
        except AuthenticationError as error:
            raise ConfigurationError(f"revocation list {path}: {error.text}") from None
        return trust

    def _learned(self, found: RevocationList) -> None:
        """A list came from elsewhere: write it down, so that a restart does not forget it."""
        _log.info(
            "a revocation list is in force: %d entries, serial %d", len(found.revoked), found.serial
        )
        if self._host is not None:
            self._tell_when_stale(self._host)
        path = self._options.revoked
        if path is None:
            _log.info("it is forgotten at a restart: give --revoked FILE to keep it")
            return
        try:
            write_secret_file(path, found.text.encode() + b"\n", force=True)
        except ConfigurationError as error:
            _log.error("the revocation list is in force, but not kept: %s", error)

    def _tell_when_stale(self, host: LinkHost[Any]) -> None:
        """Warn of a list that was not renewed in time, now or when that is so."""
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        found = host.trust.revocations
        if found is not None:
            left = max(found.expires_at - time.time(), 0.0)
            self._stale_timer = host.pump.call_later(left, lambda: _warn_of_stale(found))

    @staticmethod
    def _try(what: str, read: Callable[[], str]) -> None:
        try:
            result = read()
        except ConfigurationError as error:
            _log.error("%s are not reloaded, the old ones stay in use: %s", what, error)
        else:
            _log.info("%s are reloaded: %s", what, result)


def _warn_of_stale(found: RevocationList) -> None:
    _log.warning(
        "the revocation list of serial %d is stale: it stays in force; sign a newer one with "
        "`python -m tunnelkit.auth revoke`",
        found.serial,
    )
