"""Which proxy an address goes through: a table of cases, and URLs that name none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.addresses import Address, parse_address
from tunnelkit.carriers import ProxySettings
from tunnelkit.carriers.proxy_settings import NoProxy, parse_proxy
from tunnelkit.errors import ConfigurationError

# --- URLs -----------------------------------------------------------------------------------

URLS = {
    "http://proxy:3128": ("http://proxy:3128", ""),
    "proxy:3128": ("http://proxy:3128", ""),
    "http://proxy": ("http://proxy:80", ""),
    "https://proxy/": ("https://proxy:443", ""),
    "HTTP://Proxy.Example:1": ("http://proxy.example:1", ""),
    "http://[::1]:8080": ("http://[::1]:8080", ""),
    "http://10.0.0.1:8080": ("http://10.0.0.1:8080", ""),
    "http://user:secret@proxy:1": ("http://proxy:1", "user:secret"),
    "http://user@proxy:1": ("http://proxy:1", "user:"),
    "http://a%40b:%2F%3a%23ü@proxy:1": ("http://proxy:1", "a@b:/:#ü"),
    "user:secret@proxy:1": ("http://proxy:1", "user:secret"),
    "  http://proxy:1 ": ("http://proxy:1", ""),
}


@pytest.mark.parametrize("text", URLS)
def test_url_of_a_proxy(text: str) -> None:
    proxy = parse_proxy(text)
    assert (str(proxy), proxy.login) == URLS[text]


@pytest.mark.parametrize(
    "text",
    [
        *("", "http://", "http://:1", "http://h:port", "http://h:99999", "http://[::1", "ftp://h"),
        *("http://h/path", "http://h?q", "http://h#f", "http://u:s#cret@h:1", "http://a b:1"),
        *("http://u:sec%0aret@h:1", "http://u%3Au:secret@h:1", "http://a%b:1", "socks5://h:1"),
        *("socks5h://u:secret@h:1", "http://h\x00:1", "http://h;x:1"),
    ],
)
def test_url_of_no_proxy(text: str) -> None:
    with pytest.raises(ConfigurationError) as info:
        parse_proxy(text, what="--proxy")
    assert str(info.value).startswith("--proxy")
    assert "ecret" not in str(info.value)


@given(st.text())
def test_any_text_is_a_proxy_or_one_error(text: str) -> None:
    try:
        proxy = parse_proxy(text)
    except ConfigurationError:
        return
    assert parse_proxy(str(proxy)).address == proxy.address


def test_login_is_not_shown() -> None:
    settings = ProxySettings.of_url("http://user:secret@proxy:1")
    shown = f"{settings} {settings!r} {settings.choose(Address('tcp', 'a', 1))!r}"
    assert "secret" not in shown
    assert "user" not in shown


# --- what is dialled straight ---------------------------------------------------------------

STRAIGHT = [
    ("", "broker", False),
    ("*", "broker", True),
    ("*", "2001:db8::1", True),
    ("broker", "broker", True),
    ("broker", "BROKER.", True),
    ("BROKER.", "broker", True),
    ("broker", "my-broker", False),
    ("example.org", "a.b.example.org", True),
    (".example.org", "a.example.org", True),
    (".example.org", "example.org", True),
    (".example.org", "badexample.org", False),
    ("*.example.org", "a.example.org", True),
    ("*.example.org", "example.org", False),
    (".", "a", False),
    ("a, b ,,c d", "b", True),
    ("a, b ,,c d", "d", True),
    ("10.1.2.3", "10.1.2.3", True),
    ("10.1.2.3", "10.1.2.30", False),
    ("10.0.0.0/8", "10.200.0.1", True),
    ("10.0.0.7/8", "10.200.0.1", True),
    ("10.0.0.0/8", "11.0.0.1", False),
    ("10.0.0.0/8", "::ffff:10.0.0.1", True),
    ("10.0.0.0/99", "10.0.0.1", False),
    ("2001:db8::/32", "2001:db8::1", True),
    ("2001:db8::1", "2001:db8:0::1", True),
    ("[2001:db8::1]", "2001:db8::1", True),
    ("0.0.0.0/0", "2001:db8::1", False),
    ("10.0.0.0/8", "10.example.org", False),
    ("broker:443", "broker", True),
    ("broker:444", "broker", False),
    ("10.0.0.1:443", "10.0.0.1", True),
    ("[2001:db8::1]:443", "2001:db8::1", True),
    ("[2001:db8::1]:444", "2001:db8::1", False),
    ("*:443", "broker", True),
    ("*:80", "broker", False),
    ("", "localhost", True),
    ("", "a.localhost", True),
    ("", "localhost.example", False),
    ("", "127.9.9.9", True),
    ("", "::1", True),
    ("", "::ffff:127.0.0.1", True),
]


@pytest.mark.parametrize(("text", "host", "is_straight"), STRAIGHT)
def test_no_proxy(text: str, host: str, is_straight: bool) -> None:
    assert NoProxy(text).covers(host, 443) is is_straight


@given(st.text(), st.text())
def test_no_proxy_takes_any_text(text: str, host: str) -> None:
    NoProxy(text).covers(host, 443)


# --- the environment ------------------------------------------------------------------------

ENVIRONMENTS = [
    ({}, "tcp://b:1", None),
    ({"HTTPS_PROXY": "http://p:1"}, "tcp://b:1", "http://p:1"),
    ({"HTTPS_PROXY": "http://p:1"}, "tls://b:1", "http://p:1"),
    ({"HTTPS_PROXY": "http://p:1"}, "wss://b:1/x", "http://p:1"),
    ({"HTTPS_PROXY": "http://p:1"}, "ws://b:1", None),
    ({"HTTPS_PROXY": "http://p:1", "https_proxy": "q:2"}, "wss://b:1", "http://q:2"),
    ({"HTTPS_PROXY": "http://p:1", "https_proxy": " "}, "wss://b:1", "http://p:1"),
    ({"http_proxy": "http://p:1"}, "ws://b:1", "http://p:1"),
    ({"http_proxy": "http://p:1"}, "wss://b:1", None),
    ({"HTTP_PROXY": "http://p:1"}, "ws://b:1", None),
    ({"ALL_PROXY": "http://p:1"}, "ws://b:1", "http://p:1"),
    ({"ALL_PROXY": "http://p:1"}, "tcp://b:1", "http://p:1"),
    ({"all_proxy": "http://p:1", "https_proxy": "q:2"}, "tcp://b:1", "http://q:2"),
    ({"ALL_PROXY": "http://p:1", "NO_PROXY": "b"}, "tcp://b:1", None),
    ({"ALL_PROXY": "http://p:1", "no_proxy": "b"}, "tcp://b:1", None),
    ({"ALL_PROXY": "http://p:1", "no_proxy": "c", "NO_PROXY": "b"}, "tcp://b:1", "http://p:1"),
    ({"ALL_PROXY": "http://p:1"}, "tcp://localhost:1", None),
    ({"ALL_PROXY": "http://p:1"}, "unix:///run/x.sock", None),
    ({"HTTPS_PROXY": "socks5://p:1"}, "ws://b:1", None),
    ({"HTTPS_PROXY": "socks5://p:1", "NO_PROXY": "b"}, "tcp://b:1", None),
]


@pytest.mark.parametrize(("environment", "address", "expected"), ENVIRONMENTS)
def test_environment(environment: dict[str, str], address: str, expected: str | None) -> None:
    settings = ProxySettings.of_environment(environment)
    proxy = settings.choose(parse_address(address)) if settings else None
    assert (str(proxy) if proxy else None) == expected


def test_wrong_variable_is_named_when_a_link_needs_it() -> None:
    settings = ProxySettings.of_environment({"ALL_PROXY": "socks5://u:secret@p:1"})
    assert settings is not None
    with pytest.raises(ConfigurationError, match="ALL_PROXY names a SOCKS proxy") as info:
        settings.choose(Address("tcp", "b", 1))
    assert "secret" not in str(info.value)


def test_named_proxy_is_for_everything_but_unix() -> None:
    settings = ProxySettings.of_url("http://p:1")
    for address in ("tcp://127.0.0.1:1", "tls://localhost:1", "ws://b:1", "wss://b:1"):
        assert str(settings.choose(parse_address(address))) == "http://p:1"
    assert settings.choose(Address("unix", path="/run/x.sock")) is None


def test_named_proxy_is_checked_at_once() -> None:
    with pytest.raises(ConfigurationError, match="^--proxy is not the address"):
        ProxySettings.of_url("http://h/x", what="--proxy")
