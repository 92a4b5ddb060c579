"""Direct links of which peers tell each other: what is dialled, and what sessions do then."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab, serve_exchange, transfer
from tests.tunnelkit.pairs import RING, make_identity, wait_until
from tunnelkit.addresses import parse_address
from tunnelkit.broker import Broker, open_broker
from tunnelkit.carriers import SocketNetwork
from tunnelkit.carriers.upgrade_options import WebSocketOptions
from tunnelkit.direct import NetworkList, decode_addresses, encode_addresses
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.events import SessionMoved
from tunnelkit.limits import DEFAULT_PING_SECONDS
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


@pytest.mark.parametrize("zone", ["a\0b", "é", "lo"])
def test_an_address_with_a_zone_is_not_dialled(zone: str) -> None:
    """Which interface of this machine is meant is not for others to say."""
    named = decode_addresses(f"tcp://[::ffff:10.0.0.2%{zone}]:7")
    assert not any(NetworkList(["10.0.0.0/8"]).allows(address) for address in named)


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
async def open_stage(
    direct: tuple[str, ...] = ("10.0.0.0/8",), ping_seconds: float = DEFAULT_PING_SECONDS
) -> AsyncGenerator[Stage]:
    """Alice dials what bob names, if it lies in one of these networks; both know one broker.

    Args:
        ping_seconds: of bob.
    """
    async with open_lab(latency=0.01) as lab:
        await lab.broker()
        here: dict[str, Any] = {"host": BOB, "listen": [AT_BOB], "advertise": [AT_BOB]}
        bob = await lab.endpoint("bob", ping_seconds=ping_seconds, **here)
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


async def test_the_first_move_to_a_direct_link_is_no_failure(autojump_clock: MockClock) -> None:
    found: list[str] = []
    async with open_stage(direct=()) as stage:
        stage.alice.events.add(
            lambda e: found.append(e.why) if isinstance(e, SessionMoved) else None
        )
        stage.alice.dial(AT_BOB)
        await trio.sleep(5)
        assert stage.way == "direct"
    assert found == ["direct"]


@pytest.mark.parametrize("side", ["initiator", "responder"])
async def test_a_session_that_is_moved_off_a_direct_link_stays_off(
    side: str, autojump_clock: MockClock
) -> None:
    async with open_stage() as stage:
        mover, peer = (stage.alice, "bob") if side == "initiator" else (stage.bob, "alice")
        (relay,) = [link for link in mover.links if link.peer and link.peer.is_broker]
        await mover.move(peer, relay.pipe.description)
        await trio.sleep(20)
        assert stage.way == "broker"


async def test_a_session_returns_although_the_responder_left_first(
    autojump_clock: MockClock,
) -> None:
    """Bob looks more often, so that only he finds the link suspect, and nobody finds it lost."""
    async with open_stage(ping_seconds=1.0) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(transfer, stage.session, "x", 2_000_000)
        stage.lab.network.stall("alice", BOB)
        await trio.sleep(2.5)
        assert stage.way == "broker"
        stage.lab.network.unstall("alice", BOB)
        await trio.sleep(30)
        assert stage.way == "direct"


@pytest.mark.parametrize("how", ["named", "configured"])
async def test_two_who_dial_each_other_come_to_rest(how: str, autojump_clock: MockClock) -> None:
    async with open_lab(latency=0.02) as lab:
        await lab.broker()
        lab.network.host("10.0.0.3")
        bob = await open_both_ways(lab, "bob", BOB, "10.0.0.3", how)
        alice = await open_both_ways(lab, "alice", "10.0.0.3", BOB, how)
        lab.nursery.start_soon(serve_exchange, bob)
        session = await alice.open_session("bob")
        await trio.sleep(10)
        before = session.resumed_count, session.moved_count
        await trio.sleep(10)
        assert (session.resumed_count, session.moved_count) == before


async def open_both_ways(lab: Lab, name: str, host: str, other: str, how: str) -> Endpoint:
    """Open an endpoint that listens, and that dials another host of itself or when it is named."""
    here: dict[str, Any] = {"host": host, "listen": [address(host)]}
    if how == "configured":
        return await lab.endpoint(name, "broker", other, **here)
    return await lab.endpoint(name, advertise=[address(host)], direct=["10.0.0.0/8"], **here)


# --- on sockets ------------------------------------------------------------------------------

LOCAL = "tcp://127.0.0.1:0"


def dial(name: str, broker: Broker, **options: Any) -> AbstractAsyncContextManager[Endpoint]:
    """Open an endpoint on sockets, which dials *broker*."""
    identity = make_identity(name, now=time.time())
    return open_endpoint(identity, RING, dial=broker.addresses, **options)


async def test_no_secret_of_a_gateway_is_shown_at_an_address_that_a_peer_names() -> None:
    """Headers and tokens are for the servers that this side was told to dial."""
    options = WebSocketOptions(bearer_token="top-secret", headers=(("X-Key", "hidden"),))
    here = {"network": SocketNetwork(websocket=options), "direct": ["127.0.0.1"]}
    seen = bytearray()

    async def read(stream: trio.SocketStream) -> None:
        seen.extend(await stream.receive_some(4096))

    async with trio.open_nursery() as nursery, open_broker(RING, listen=[LOCAL]) as broker:
        doors = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, read, doors)
        named = f"ws://127.0.0.1:{doors[0].socket.getsockname()[1]}/x"
        async with (
            dial("alice", broker, **here),
            dial("mallory", broker, advertise=[named]) as evil,
        ):
            await evil.open_session("alice")
            await wait_until(lambda: seen)
        nursery.cancel_scope.cancel()
    assert seen.startswith(b"GET /x")
    assert b"top-secret" not in seen
    assert b"hidden" not in seen
