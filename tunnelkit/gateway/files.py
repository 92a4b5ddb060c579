"""A directory in a file, for gateways without a control plane, and for trying things out.

In TOML, read when the directory is made and at `reload`::

    [previews.8080-shop-k3j9x2]
    upstream = "tcp://127.0.0.1:8080"     # or "shop@sidecar/shop": what a peer serves
    access = "organisation"               # owner (the default), organisation, public
    owner = "ada"
    organisation = "acme"
    environment = "env-7"
    intercept = "ada's laptop"

    [paths.shop]                          # /shop/…
    upstream = "tcp://127.0.0.1:8080"
    owner = "ada"

    [callers.ada]
    organisations = ["acme"]
    token_hashes = ["sha256 of a token, in hexadecimal digits"]

A token is what the login cookie holds, or what comes as a bearer token.  The file holds hashes
alone; they are of tokens that cannot be guessed, so they need no salt.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tunnelkit.addresses import Address, Destination, parse_address, parse_destination
from tunnelkit.errors import ConfigurationError

from .sites import (
    Access,
    Caller,
    Credentials,
    Interception,
    PreviewName,
    Site,
    read_preview_name,
)

__all__ = ["FileDirectory"]

MIN_TOKEN_CHARACTERS: Final = 20
"""Shortest token that is looked at, characters.  Stops: passwords in the place of tokens, whose
hashes could be guessed."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_PATH_NAME: Final = re.compile(r"[A-Za-z0-9._~-]+")


class _Site(msgspec.Struct, forbid_unknown_fields=True):
    upstream: str
    access: Access = Access.OWNER
    owner: str = ""
    organisation: str = ""
    environment: str = ""
    intercept: str = ""
    http2: bool = False
    host: str = ""
    rewrites: bool = True


class _Caller(msgspec.Struct, forbid_unknown_fields=True):
    token_hashes: list[str]
    organisations: list[str] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    previews: dict[str, _Site] = {}
    paths: dict[str, _Site] = {}
    callers: dict[str, _Caller] = {}


class FileDirectory:
    """What a file says.

    Raises:
        ConfigurationError: the file cannot be read, or says something that cannot be; the text
            names the place.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._previews: Mapping[str, Site] = {}
        self._paths: Mapping[str, Site] = {}
        self._callers: Mapping[bytes, Caller] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file again; if it cannot be used, everything stays as it was.

        Raises:
            ConfigurationError: as the constructor.
        """
        found = _read(self._path)
        previews = {
            name: _site(name, one, f"previews.{name}") for name, one in found.previews.items()
        }
        paths = {name: _site(name, one, f"paths.{name}") for name, one in found.paths.items()}
        for name in previews:
            if read_preview_name(name) is None:
                raise ConfigurationError(f"previews.{name}: write {{port}}-{{service}}-{{hash}}")
        for name in paths:
            if not _PATH_NAME.fullmatch(name):
                raise ConfigurationError(f"paths.{name}: a name has letters, digits and . _ ~ -")
        self._callers = _callers(found.callers)
        self._previews, self._paths = previews, paths

    def sites(self) -> dict[str, Site]:
        """Return all sites, by host label or by ``/name/``."""
        return {**self._previews, **{f"/{name}/": site for name, site in self._paths.items()}}

    async def preview(self, name: PreviewName) -> Site | None:
        return self._previews.get(str(name))

    async def path(self, name: str) -> Site | None:
        return self._paths.get(name)

    async def caller(self, credentials: Credentials) -> Caller | None:
        for token in (credentials.bearer, credentials.cookie):
            # A dict leaks nothing of use by its timing: it is asked for the hash of a guess.
            if len(token) >= MIN_TOKEN_CHARACTERS:
                found = self._callers.get(hashlib.sha256(token.encode("latin-1")).digest())
                if found is not None:
                    return found
        return None


def _read(path: Path) -> _File:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
        return msgspec.convert(data, _File)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"cannot read the directory {path}: {why}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"the directory {path} cannot be used: {error}") from error


def _site(name: str, found: _Site, place: str) -> Site:
    upstream: Address | Destination
    if "://" in found.upstream:
        upstream = parse_address(found.upstream, what=f"{place}.upstream")
    else:
        upstream = parse_destination(found.upstream, what=f"{place}.upstream")
    if isinstance(upstream, Address) and upstream.scheme not in ("tcp", "unix", "memory"):
        raise ConfigurationError(
            f"{place}.upstream: write tcp://HOST:PORT, unix:///PATH or NAME@PEER"
        )
    if found.access is Access.ORGANISATION and not found.organisation:
        raise ConfigurationError(f"{place}: access is for an organisation, and none is named")
    if found.access is Access.OWNER and not found.owner:
        raise ConfigurationError(f"{place}: access is for the owner, and none is named")
    try:
        return Site(
            name,
            upstream,
            found.access,
            found.owner,
            found.organisation,
            found.environment,
            Interception(found.intercept) if found.intercept else None,
            found.http2,
            found.host,
            rewrites=found.rewrites,
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}") from error


def _callers(found: Mapping[str, _Caller]) -> dict[bytes, Caller]:
    callers: dict[bytes, Caller] = {}
    for name, one in found.items():
        for text in one.token_hashes:
            if not _HASH.fullmatch(text):
                raise ConfigurationError(
                    f"callers.{name}.token_hashes: write the sha256 of a token, as 64 hexadecimal "
                    "digits in lower case"
                )
            digest = bytes.fromhex(text)
            if digest in callers:
                raise ConfigurationError(f"callers.{name}: another caller has the same token")
            callers[digest] = Caller(name, frozenset(one.organisations))
    return callers
