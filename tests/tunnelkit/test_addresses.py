"""Addresses as people write them."""

from __future__ import annotations

import pytest

from tunnelkit.addresses import (
    Address,
    Destination,
    parse_address,
    parse_destination,
    parse_host_port,
)
from tunnelkit.errors import ConfigurationError

GOOD = {
    "tcp://127.0.0.1:7000": Address("tcp", "127.0.0.1", 7000),
    "tcp://broker.example:1": Address("tcp", "broker.example", 1),
    "tcp://[::1]:7000": Address("tcp", "::1", 7000),
    "tcp://host:0": Address("tcp", "host", 0),
    "tcp://host:65535": Address("tcp", "host", 65535),
    "tls://broker.example:443": Address("tls", "broker.example", 443),
    "ws://broker.example:80": Address("ws", "broker.example", 80),
    "ws://[::1]:80/a/b%20c": Address("ws", "::1", 80, "/a/b%20c"),
    "wss://broker.example:443/tunnel": Address("wss", "broker.example", 443, "/tunnel"),
    "memory://alice:80": Address("memory", "alice", 80),
    "unix:///run/tunnel.sock": Address("unix", path="/run/tunnel.sock"),
}
BAD = [
    "",
    "tcp://",
    "tcp://host",
    "tcp://host:",
    "tcp://:80",
    "tcp://host:http",
    "tcp://host:65536",
    "tcp://host:-1",
    "tcp://host:٣",
    "tcp://::1:80",
    "tcp://[::1",
    "tcp://host:80/path",
    "tcp://host:80?x=1",
    "ws://host",
    "ws://host:80/a b",
    "ws://host:80/é",
    "ws://host:80/a?b",
    "ws://host:80/a#b",
    "ws://me:secret@host:80/",
    "unix://relative.sock",
    "unix://",
    "http://host:80",
    "host:80",
    "/run/tunnel.sock",
]


@pytest.mark.parametrize("text", GOOD)
def test_parse(text: str) -> None:
    assert parse_address(text) == GOOD[text]


@pytest.mark.parametrize("text", GOOD)
def test_text_of_an_address_is_what_was_parsed(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", BAD)
def test_refuse(text: str) -> None:
    with pytest.raises(ConfigurationError) as info:
        parse_address(text, what="--dial")
    assert str(info.value).startswith(f"--dial {text!r}")


def test_path_of_a_websocket_may_be_left_out() -> None:
    assert parse_address("ws://host:80/") == parse_address("ws://host:80")


def test_host_and_port_alone_are_tcp() -> None:
    assert parse_host_port("127.0.0.1:80") == Address("tcp", "127.0.0.1", 80)
    assert parse_host_port("[::1]:80") == Address("tcp", "::1", 80)


def test_full_address_is_accepted_in_place_of_host_and_port() -> None:
    assert parse_host_port("unix:///tmp/x") == Address("unix", path="/tmp/x")


@pytest.mark.parametrize("text", ["80", "host", ":80", "host:", "host:99999", "::1:80"])
def test_refuse_host_and_port(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as 127.0.0.1:7000"):
        parse_host_port(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.8.9.1:1", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:1", True),
        ("unix:///x", True),
        ("memory://a:1", True),
        ("tls://127.0.0.1:1", True),
        ("tls://10.0.0.1:1", False),
        ("ws://127.0.0.1:1/x", True),
        ("ws://10.0.0.1:1/x", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://10.0.0.1:1", False),
        ("tcp://[::]:1", False),
        ("tcp://127.example.org:1", False),
    ],
)
def test_loopback(text: str, local: bool) -> None:
    assert parse_address(text).is_loopback is local


def test_name_is_what_was_looked_up() -> None:
    found = Address("tls", "192.0.2.1", 443, looked_up="broker.example")
    assert found == Address("tls", "192.0.2.1", 443)
    assert (found.name, Address("tls", "192.0.2.1", 443).name) == ("broker.example", "192.0.2.1")


@pytest.mark.parametrize(
    ("text", "target", "peer"),
    [
        ("ssh@devbox/alice", "ssh", "devbox/alice"),
        ("ssh@devbox/alice@laptop", "ssh", "devbox/alice@laptop"),
        ("db.example:5432@sidecar/web", "db.example:5432", "sidecar/web"),
        ("[::1]:22@sidecar/web", "[::1]:22", "sidecar/web"),
    ],
)
def test_destination_is_divided_at_the_first_at(text: str, target: str, peer: str) -> None:
    found = parse_destination(text)
    assert found == Destination(target, peer)
    assert str(found) == text
    assert found.is_address == (":" in target)


def test_destination_without_a_peer_is_for_the_usual_one() -> None:
    assert parse_destination("ssh", peer="devbox/a") == Destination("ssh", "devbox/a")
    assert parse_destination("ssh@devbox/b", peer="devbox/a").peer == "devbox/b"


@pytest.mark.parametrize(
    "text", ["", "ssh", "@devbox/a", "ssh@", "s h@a", "ssh@a b", "host:@a", "::1:22@a", "h:0x1@a"]
)
def test_destination_that_is_none_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--to .*(write|needs)"):
        parse_destination(text, what="--to")
