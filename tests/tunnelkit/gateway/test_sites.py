"""What hosts and paths lead to, and who may go there."""

from __future__ import annotations

import pytest

from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.gateway import Access, Caller, Entry, PreviewName, Site, may_enter, read_preview_name
from tunnelkit.gateway.places import Api, NoPreview, PathRoute, Preview, Tunnel, place_of
from tunnelkit.http.head import RequestHead

UPSTREAM = Address("tcp", "127.0.0.1", 80)
ADA, EVE = Caller("ada", frozenset({"acme"})), Caller("eve", frozenset({"acme", ""}))


def head(target: str = "/", host: str = "shop.example", **fields: str) -> RequestHead:
    """Return a request."""
    pairs = [("Host", host), *((name.replace("_", "-"), value) for name, value in fields.items())]
    encoded = tuple((name.encode(), value.encode()) for name, value in pairs)
    return RequestHead(b"GET", target.encode(), b"1.1", encoded)


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("8080-shop-k3j9x2", PreviewName(8080, "shop", "k3j9x2")),
        ("80-my-shop-2-abc", PreviewName(80, "my-shop-2", "abc")),
        ("shop-k3j9x2", None),
        ("0-shop-x", None),
        ("080-shop-x", None),
        ("65536-shop-x", None),
        ("80--shop-x", None),
        ("80-shop-", None),
        ("80-Shop-x", None),
        ("80-sh.op-x", None),
        ("80-" + "a" * 60 + "-x", None),
        ("", None),
    ],
)
def test_preview_names(label: str, found: PreviewName | None) -> None:
    assert read_preview_name(label) == found
    assert found is None or str(found) == label


@pytest.mark.parametrize(
    ("access", "owner", "organisation", "caller", "entry"),
    [
        (Access.PUBLIC, "ada", "acme", None, Entry.ENTER),
        (Access.OWNER, "ada", "acme", None, Entry.LOGIN),
        (Access.OWNER, "ada", "acme", ADA, Entry.ENTER),
        (Access.OWNER, "ada", "acme", EVE, Entry.FORBIDDEN),
        (Access.ORGANISATION, "ada", "acme", EVE, Entry.ENTER),
        (Access.ORGANISATION, "ada", "other", ADA, Entry.ENTER),
        (Access.ORGANISATION, "ada", "other", EVE, Entry.FORBIDDEN),
        (Access.ORGANISATION, "ada", "", EVE, Entry.FORBIDDEN),
        (Access.OWNER, "", "", Caller(""), Entry.FORBIDDEN),
    ],
)
def test_who_may_enter(
    access: Access, owner: str, organisation: str, caller: Caller | None, entry: Entry
) -> None:
    assert may_enter(Site("x", UPSTREAM, access, owner, organisation), caller) is entry


def test_site_is_its_owners_unless_it_says_otherwise() -> None:
    assert Site("x", UPSTREAM).access is Access.OWNER


PREVIEW = Preview(PreviewName(80, "shop", "x"))


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (head("/a", "80-shop-x.p.example"), PREVIEW),
        (head("/a", "80-Shop-X.P.Example:8443"), PREVIEW),
        (head("/a", "80-shop-x.p.example."), PREVIEW),
        (head("http://80-shop-x.p.example/a", "evil"), PREVIEW),
        (head("/a", "80-shop-x.p.example.evil"), PathRoute("a")),
        (head("/a", "www.p.example"), NoPreview("www")),
        (head("/a", "b.80-shop-x.p.example"), NoPreview("b.80-shop-x")),
        (head("/a/b?c", "p.example"), PathRoute("a")),
        (head("/", "p.example"), Api()),
        (head("//a", "p.example"), Api()),
        (head("*", "p.example"), Api()),
        (head("/tunnel", "p.example", upgrade="websocket"), Tunnel()),
        (head("/tunnel", "p.example"), PathRoute("tunnel")),
        (head("/tunnel", "80-shop-x.p.example", upgrade="websocket"), PREVIEW),
        (head("/a", "[::1]:80"), PathRoute("a")),
    ],
)
def test_places(request_: RequestHead, place: object) -> None:
    assert place_of(request_, "p.example", "/tunnel") == place


def test_without_a_domain_no_host_is_special() -> None:
    assert place_of(head("/", "80-shop-x.p.example"), "", "/tunnel") == Api()


@pytest.mark.parametrize(
    "environment", ["a\r\nX: y", "a,env=b", "a;b", "a=b", "a b", "é", "a" * 257]
)
def test_environment_is_one_word(environment: str) -> None:
    assert Site("shop", UPSTREAM, environment="env-7:a").environment == "env-7:a"
    with pytest.raises(ConfigurationError, match="environment"):
        Site("shop", UPSTREAM, environment=environment)


@pytest.mark.parametrize("host", ["a\r\nX: y", "a b", "a/b", "é"])
def test_host_is_one(host: str) -> None:
    assert Site("shop", UPSTREAM, host="localhost:3000").host == "localhost:3000"
    with pytest.raises(ConfigurationError, match="host"):
        Site("shop", UPSTREAM, host=host)
