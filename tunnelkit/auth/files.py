"""Secret files: mode 0600, never readable by others, never overwritten by accident."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..errors import ConfigurationError

__all__ = ["MAX_FILE_BYTES", "read_file", "read_secret_file", "write_secret_file"]

MAX_FILE_BYTES = 1 << 20
"""Bytes read from a key, ring or token file.  Stops a device or a wrong path filling the memory."""


def read_file(path: str | Path, what: str) -> bytes:
    """Return the content of a small file; *what* names it in errors ("key ring").

    Raises:
        ConfigurationError: it cannot be read, is no regular file, or is too large.
    """
    return _read(Path(path), what, secret=False)


def read_secret_file(path: str | Path, what: str) -> bytes:
    """Return the content of a file that only its owner may read.

    Raises:
        ConfigurationError: as `read_file`, or group or others can read it.
    """
    return _read(Path(path), what, secret=True)


def _read(path: Path, what: str, *, secret: bool) -> bytes:
    try:
        # Without O_NONBLOCK opening a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigurationError(f"{what} {path} does not exist: check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot open {what} {path}: {reason}") from error
    try:
        # Asked of the open file, so that nobody can swap it between the check and the read.
        _check_status(os.fstat(descriptor), path, what, secret=secret)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {what} {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{what} {path} is larger than {MAX_FILE_BYTES} bytes")
    return data


def _check_status(status: os.stat_result, path: Path, what: str, *, secret: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{what} {path} is not a regular file: check the path")
    if secret and status.st_mode & 0o077:
        raise ConfigurationError(
            f"{what} {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}): "
            f"run `chmod 600 {path}`"
        )


def write_secret_file(path: str | Path, data: bytes, *, force: bool = False) -> None:
    """Write *data* with mode 0600, whole or not at all.

    Args:
        force: replace a file that is there.

    Raises:
        ConfigurationError: the file exists and *force* is off, or it cannot be written.
    """
    path = Path(path)
    try:
        # mkstemp makes the file with mode 0600.
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            if force:
                os.replace(draft, path)
            else:
                os.link(draft, path)  # unlike a rename, this refuses to replace
        finally:
            if os.path.lexists(draft):
                os.unlink(draft)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists: choose another name, or replace it with --force"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
