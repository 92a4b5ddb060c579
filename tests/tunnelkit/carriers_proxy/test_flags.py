"""What the programs make of their flags and of the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tunnelkit.certificates import authority
from tunnelkit.addresses import parse_address
from tunnelkit.carriers import SYSTEM_NETWORK, SocketNetwork
from tunnelkit.errors import ConfigurationError
from tunnelkit.programs.carriers import add_carrier_flags, make_network, reload_of
from tunnelkit.programs.flags import Flags, address

LINK = "wss://broker.example:443/tunnel"


def network_of(*arguments: str, environment: Mapping[str, str] | None = None) -> SocketNetwork:
    flags = Flags("test", "", example="")
    for name in ("--link", "--listen"):
        flags.add(name, address, metavar="ADDRESS", repeat=True, help="")
    add_carrier_flags(flags)
    environment = environment or {}
    return make_network(flags.parse([*arguments, "--link", LINK], environment), environment)


def proxy_of(network: SocketNetwork) -> str:
    proxy = network.proxy.choose(parse_address(LINK)) if network.proxy else None
    return str(proxy) if proxy else "none"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with a token."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("open-sesame\n")
    return file


ENVIRONMENT = {"HTTPS_PROXY": "http://user:secret@env:1"}


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, "none"),
        ([], ENVIRONMENT, "http://env:1"),
        (["--proxy", "environment"], ENVIRONMENT, "http://env:1"),
        (["--proxy", "none"], ENVIRONMENT, "none"),
        (["--proxy", "http://flag:2"], ENVIRONMENT, "http://flag:2"),
        ([], {**ENVIRONMENT, "TUNNELKIT_PROXY": "none"}, "none"),
        ([], {**ENVIRONMENT, "TUNNELKIT_PROXY": "http://ours:3"}, "http://ours:3"),
        ([], {**ENVIRONMENT, "NO_PROXY": "broker.example"}, "none"),
    ],
)
def test_proxy(arguments: list[str], environment: dict[str, str], expected: str) -> None:
    assert proxy_of(network_of(*arguments, environment=environment)) == expected


def test_nothing_given_is_the_system_s_network() -> None:
    assert network_of() is SYSTEM_NETWORK


@pytest.mark.parametrize(
    ("arguments", "environment", "because"),
    [
        (["--proxy", "http://u:secret@h/x"], {}, "^--proxy is not the address of a proxy"),
        ([], {"ALL_PROXY": "socks5://u:secret@h"}, "^ALL_PROXY names a SOCKS proxy"),
        (["--proxy-ca", "nowhere.pem", "--proxy", "h:1"], {}, "cannot read CA file nowhere.pem"),
        (["--ws-header", "secret"], {}, "^--ws-header is not NAME: VALUE"),
        (["--ws-header", "Host: secret"], {}, "^--ws-header: the WebSocket header host is set"),
        (["--ws-header", "X: secr\x00et"], {}, "^--ws-header: .* HTTP does not allow"),
        (["--ws-token", "nowhere"], {}, "^--ws-token nowhere does not exist"),
    ],
)
def test_wrong_setting(arguments: list[str], environment: dict[str, str], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because) as info:
        network_of(*arguments, environment=environment)
    assert "secret" not in str(info.value)


def test_headers_and_token_are_taken(secret: Path) -> None:
    network = network_of("--ws-header", "X-Team: a b", "--ws-token", str(secret))
    assert network.websocket.headers == (("X-Team", "a b"),)
    assert network.websocket.bearer_token == "open-sesame"
    assert not network.websocket.accept_tokens


def test_listener_may_accept_several_tokens(secret: Path) -> None:
    secret.write_text("new\n\nold\n")
    network = network_of("--ws-accept-token", str(secret))
    assert network.websocket.accept_tokens == ("new", "old")
    assert network.websocket.bearer_token is None


@pytest.mark.parametrize(
    ("content", "mode", "because"),
    [("", 0o600, "is empty"), ("a\nb", 0o600, "several lines"), ("a", 0o644, "chmod 600")],
)
def test_token_file_that_cannot_be_used(
    secret: Path, content: str, mode: int, because: str
) -> None:
    secret.write_text(content)
    secret.chmod(mode)
    with pytest.raises(ConfigurationError, match=because):
        network_of("--ws-token", str(secret))


def test_certificates_of_the_proxy_are_its_own() -> None:
    network = network_of("--proxy", "https://p:1", "--proxy-ca", authority().file)
    assert network.tls is None
    assert network.proxy is not None
    assert network.proxy.tls is not None


def test_tokens_are_read_again(secret: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = network_of("--ws-token", str(secret))
    reload = reload_of(network)
    assert reload is not None
    secret.write_text("newer")
    with caplog.at_level(logging.INFO, "tunnelkit.programs"):
        reload()
    assert network.websocket.bearer_token == "newer"
    assert "WebSocket tokens are reloaded" in caplog.text


def test_reload_that_fails_changes_nothing(secret: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = network_of("--ws-token", str(secret))
    reload = reload_of(network)
    assert reload is not None
    secret.write_text("")
    reload()
    assert network.websocket.bearer_token == "open-sesame"
    assert "are not reloaded, the old ones stay in use" in caplog.text


def test_without_files_there_is_nothing_to_reload() -> None:
    assert reload_of(network_of("--proxy", "http://p:1")) is None
