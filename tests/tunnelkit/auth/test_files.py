from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tunnelkit.auth.files import MAX_FILE_BYTES, read_file, read_secret_file, write_secret_file
from tunnelkit.errors import ConfigurationError


def test_written_file_is_for_its_owner_only(tmp_path: Path) -> None:
    write_secret_file(tmp_path / "key", b"secret")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_secret_file(tmp_path / "key", "key") == b"secret"


def test_write_leaves_no_draft(tmp_path: Path) -> None:
    write_secret_file(tmp_path / "key", b"1")
    with pytest.raises(ConfigurationError):
        write_secret_file(tmp_path / "key", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_write_replaces_only_when_forced(tmp_path: Path) -> None:
    write_secret_file(tmp_path / "key", b"1")
    with pytest.raises(ConfigurationError, match="exists.*--force"):
        write_secret_file(tmp_path / "key", b"2")
    assert (tmp_path / "key").read_bytes() == b"1"
    write_secret_file(tmp_path / "key", b"3", force=True)
    assert (tmp_path / "key").read_bytes() == b"3"


def test_write_into_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot write .*No such file"):
        write_secret_file(tmp_path / "missing" / "key", b"")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_secret_open_to_others_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"{mode:04o}.*`chmod 600 {path}`"):
        read_secret_file(path, "key")


def test_public_file_may_be_open_to_others(tmp_path: Path) -> None:
    (tmp_path / "ring").write_bytes(b"{}")
    (tmp_path / "ring").chmod(0o644)
    assert read_file(tmp_path / "ring", "ring") == b"{}"


def test_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ring .*gone does not exist"):
        read_file(tmp_path / "gone", "ring")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_file(tmp_path, "ring")


def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_file(tmp_path / "pipe", "ring")


def test_huge_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_file(tmp_path / "big", "ring")


def test_path_that_cannot_be_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="cannot open ring"):
        read_file("a\0b", "ring")
