from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnelkit.auth import Identity, generate_key, save_private_key
from tunnelkit.auth.files import write_secret_file
from tunnelkit.errors import ConfigurationError

MakeToken = Callable[..., str]


@pytest.fixture
def files(tmp_path: Path, holder: Ed25519PrivateKey, make_token: MakeToken) -> tuple[Path, Path]:
    """The key file and the token file of one holder."""
    save_private_key(tmp_path / "key.pem", holder)
    write_secret_file(tmp_path / "token", make_token().encode() + b"\n")
    return tmp_path / "key.pem", tmp_path / "token"


def test_identity_is_read_from_its_files(
    files: tuple[Path, Path], holder: Ed25519PrivateKey
) -> None:
    identity = Identity.load(*files)
    assert identity.subject == "devbox/alice"
    assert identity.public == holder.public_key().public_bytes_raw()
    assert identity.token.count(".") == 2


def test_repr_shows_neither_key_nor_token(files: tuple[Path, Path]) -> None:
    assert repr(Identity.load(*files)) == "<Identity devbox/alice>"


def test_key_that_the_token_does_not_name_is_refused(make_token: MakeToken) -> None:
    with pytest.raises(ConfigurationError, match="names another holder key"):
        Identity(generate_key(), make_token())


@pytest.mark.parametrize("text", [b"", b"no token", b"\xff.\xff.\xff"])
def test_file_without_a_token_is_a_clear_error(files: tuple[Path, Path], text: bytes) -> None:
    files[1].write_bytes(text)
    with pytest.raises(ConfigurationError, match="is not a tunnelkit token.*mint"):
        Identity.load(*files)


@pytest.mark.parametrize("which", [0, 1])
def test_file_open_to_others_is_refused(files: tuple[Path, Path], which: int) -> None:
    files[which].chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Identity.load(*files)
