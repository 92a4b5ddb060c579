"""Direct links of which peers tell each other: what is dialled, and what sessions do then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab, serve_exchange, transfer
from tunnelkit.addresses import parse_address
from tunnelkit.direct import NetworkList, decode_addresses, encode_addresses
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.session import Session

BOB = "10.0.0.2"
AT_BOB = address(BOB)

# --- the decisions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "named", "allowed"),
    [
        ("", "tcp://10.0.0.2:1", False),
        ("10.0.0.0/8", "tcp://10.0.0.2:1", True),
        ("10.0.0.0/8", "tls://11.0.0.2:1", False),
        ("10.0.0.0/8", "tcp://[::ffff:10.0.0.2]:1", True),
        ("10.0.0.2", "wss://10.0.0.2:1/tunnel", True),
        ("0.0.0.0/0 ::/0", "tcp://metadata.internal:80", False),
        ("0.0.0.0/0", "tcp://[::1]:80", False),
        ("fd00::/8", "tcp://[fd00::1]:80", True),
    ],
)
def test_only_numeric_addresses_in_listed_networks_count(
    networks: str, named: str, allowed: bool
) -> None:
    assert NetworkList(networks.split()).allows(parse_address(named)) is allowed


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "example.com", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no network"):
        NetworkList([text])


def test_what_is_no_address_is_left_out() -> None:
    text = (
        "tcp://10.0.0.2:7 unix:///run/docker.sock gopher://x \x1b[0m tcp://10.0.0.2:7 wss://[::1]:9"
    )
    assert list(map(str, decode_addresses(text))) == ["tcp://10.0.0.2:7", "wss://[::1]:9"]


def test_addresses_survive_the_way() -> None:
    addresses = [parse_address("tcp://10.0.0.2:7"), parse_address("wss://[fd00::1]:443/tunnel")]
    assert decode_addresses(encode_addresses(addresses)) == addresses


# --- the links -------------------------------------------------------------------------------


@dataclass
class Stage:
    lab: Lab
    alice: Endpoint
    bob: Endpoint
    session: Session

    @property
    def way(self) -> str:
        """Where alice's side of the session is: "direct", "broker" or "nowhere"."""
        link = self.session.link
        if link is None or link.peer is None:
            return "nowhere"
        return "broker" if link.peer.is_broker else "direct"


@asynccontextmanager
async def open_stage(direct: tuple[str, ...] = ("10.0.0.0/8",)) -> AsyncGenerator[Stage]:
    """Alice dials what bob names, if it lies in one of these networks; both know one broker."""
    async with open_lab(latency=0.01) as lab:
        await lab.broker()
        bob = await lab.endpoint("bob", host=BOB, listen=[AT_BOB], advertise=[AT_BOB])
        alice = await lab.endpoint("alice", direct=direct)
        lab.nursery.start_soon(serve_exchange, bob)
        stage = Stage(lab, alice, bob, await alice.open_session("bob"))
        await trio.sleep(1)
        yield stage


async def test_session_moves_to_the_direct_link(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        assert stage.way == "direct"
        await transfer(stage.session, "x", 300_000)
        assert stage.lab.brokers["broker"].registry.session_count == 0


async def test_nothing_is_dialled_without_a_list(autojump_clock: MockClock) -> None:
    async with open_stage(direct=()) as stage:
        assert stage.way == "broker"
        assert len(stage.alice.links) == 1


async def test_the_side_that_answers_can_dial_as_well(autojump_clock: MockClock) -> None:
    async with open_stage(direct=()) as stage:
        alice = await stage.lab.endpoint(
            "ann", host="10.0.0.3", listen=[address("10.0.0.3")], advertise=[address("10.0.0.3")]
        )
        bob = await stage.lab.endpoint("bill", direct=["10.0.0.3"])
        session = await alice.open_session("bill")
        await trio.sleep(1)
        assert session.link is not None
        assert session.link.peer is not None
        assert (session.link.peer.subject, len(bob.links)) == ("bill", 2)


async def test_session_goes_back_to_the_broker_and_returns(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(transfer, stage.session, "x", 2_000_000)
        stage.lab.network.stall("alice", BOB)
        await trio.sleep(10)
        assert stage.way == "broker"
        stage.lab.network.unstall("alice", BOB)
        await trio.sleep(10)
        assert stage.way == "direct"


async def test_direct_link_is_closed_with_the_last_session(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.session.aclose()
        await trio.sleep(1)
        assert [link.peer.is_broker for link in stage.alice.links if link.peer] == [True]


async def test_another_process_at_the_address_is_left(autojump_clock: MockClock) -> None:
    async with open_stage(direct=()) as stage:
        await stage.lab.endpoint("mallory", host="10.6.6.6", listen=[address("10.6.6.6")])
        stage.bob.advertised = encode_addresses([address("10.6.6.6")])
        carol = await stage.lab.endpoint("carol", direct=["10.0.0.0/8"])
        session = await carol.open_session("bob")
        await trio.sleep(3)
        assert [link.peer.is_broker for link in carol.links if link.peer] == [True]
        assert "another process" in carol.direct.failing[address("10.6.6.6")]
        assert session.state == "open"


async def test_killed_broker_does_not_touch_a_direct_session(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        resumed = stage.session.resumed_count
        stage.lab.kill()
        await transfer(stage.session, "x", 300_000)
        assert stage.session.resumed_count == resumed
