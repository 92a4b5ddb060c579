"""Certificates of a test run: a CA, what it vouches for, and what it does not."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from tunnelkit.carriers import TlsSettings

__all__ = ["Authority", "authority", "tls_settings"]

_PAST = datetime.now(UTC) - timedelta(days=30)


class Authority:
    """A CA with a folder of its own for what it issues."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tunnelkit-test-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self._ca = trustme.CA()
        self.file = str(self.folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, *names: str, expired: bool = False) -> dict[str, Any]:
        """Return the files of a new certificate for *names*, as arguments of `TlsSettings`."""
        options: dict[str, Any] = {"not_before": _PAST, "not_after": _PAST + timedelta(days=1)}
        issued = self._ca.issue_cert(*names, **(options if expired else {}))
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        files = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
        for blob in issued.cert_chain_pems:
            blob.write_to_path(files["certificate"], append=True)
        issued.private_key_pem.write_to_path(files["key"])
        return files


_authorities: defaultdict[str, Authority] = defaultdict(Authority)


def authority(name: str = "good") -> Authority:
    """Return the CA of that name, the same at each call."""
    return _authorities[name]


@functools.cache
def tls_settings() -> TlsSettings:
    """Return settings with which a process can dial and listen on this machine."""
    ca = authority()
    return TlsSettings(**ca.issue("127.0.0.1", "localhost", "right", "left"), ca=ca.file)
