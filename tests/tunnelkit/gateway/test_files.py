"""A directory in a file: what it says, and what it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tunnelkit.addresses import Address, Destination
from tunnelkit.errors import ConfigurationError
from tunnelkit.gateway import Access, Caller, Credentials, Interception, PreviewName
from tunnelkit.gateway.files import FileDirectory

TOKEN = "a token that is long enough"
GOOD = f"""
[previews.80-shop-x]
upstream = "tcp://127.0.0.1:8080"
owner = "ada"
intercept = "ada's laptop"
[paths.shop]
upstream = "shop@sidecar/shop"
access = "organisation"
organisation = "acme"
[callers.ada]
organisations = ["acme"]
token_hashes = ["{hashlib.sha256(TOKEN.encode()).hexdigest()}"]
"""


def directory(folder: Path, text: str = GOOD) -> FileDirectory:
    """Return what a file says."""
    (folder / "sites.toml").write_text(text)
    return FileDirectory(folder / "sites.toml")


async def test_sites(tmp_path: Path) -> None:
    book = directory(tmp_path)
    site = await book.preview(PreviewName(80, "shop", "x"))
    assert site is not None
    assert (site.upstream, site.owner) == (Address("tcp", "127.0.0.1", 8080), "ada")
    assert (site.access, site.intercept) == (Access.OWNER, Interception("ada's laptop"))
    below = await book.path("shop")
    assert below is not None
    assert below.upstream == Destination("shop", "sidecar/shop")
    assert await book.path("other") is None


async def test_callers(tmp_path: Path) -> None:
    book = directory(tmp_path)
    ada = Caller("ada", frozenset({"acme"}))
    assert await book.caller(Credentials(TOKEN)) == ada
    assert await book.caller(Credentials(bearer=TOKEN)) == ada
    assert await book.caller(Credentials(bearer=TOKEN[:-1])) is None
    assert await book.caller(Credentials("ada")) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[", "cannot be used"),
        ("[previews.80-shop-x]", "upstream"),
        ('[previews.shop]\nupstream="tcp://a:1"\nowner="a"', "previews.shop: write"),
        ('[previews.80-shop-x]\nupstream="tcp://a"\nowner="a"', "previews.80-shop-x.upstream"),
        ('[previews.80-shop-x]\nupstream="ws://a:1"\nowner="a"', "write tcp://HOST:PORT"),
        ('[previews.80-shop-x]\nupstream="tcp://a:1"', "the owner, and none is named"),
        ('[paths.a]\nupstream="tcp://a:1"\naccess="organisation"', "an organisation, and none"),
        ('[paths."a/b"]\nupstream="tcp://a:1"\naccess="public"', "paths.a/b: a name has"),
        ('[paths.a]\nupstream="tcp://a:1"\naccess="all"', "all"),
        ('[paths.a]\nupstream="tcp://a:1"\nacces="public"', "acces"),
        ('[callers.a]\ntoken_hashes=["secret"]', "callers.a.token_hashes"),
    ],
)
def test_file_that_cannot_be_used(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        directory(tmp_path, text)
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    book = directory(tmp_path)
    (tmp_path / "sites.toml").write_text("[")
    with pytest.raises(ConfigurationError):
        book.reload()
    assert await book.path("shop") is not None
    (tmp_path / "sites.toml").write_text("")
    book.reload()
    assert await book.path("shop") is None


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        FileDirectory(tmp_path / "none.toml")
