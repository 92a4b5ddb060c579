"""Direct links and peers that lie: whom they name, who answers there, and what that may do."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import address, open_lab
from tests.tunnelkit.impostors import EVIL, Stage, open_stage
from tests.tunnelkit.pairs import open_streams
from tests.tunnelkit.strangers import RawPeer
from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import PipeBroken, connect
from tunnelkit.direct import MAX_NEW_ADDRESSES, NEW_ADDRESS_SECONDS, encode_addresses
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ErrorCode, LinkError
from tunnelkit.handshake import Dialing
from tunnelkit.programs.watch import log_events
from tunnelkit.session import Session
from tunnelkit.wire.frames import FrameType, Value, encode_frame

# --- what is named ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["tcp://10.0.0.2:7", "wss://10.0.0.2:7/x"])
async def test_an_address_that_the_network_does_not_know_ends_nothing(
    text: str, autojump_clock: MockClock
) -> None:
    async with open_stage() as stage:
        session = await stage.mallory.open_session("alice")
        session.core.send_addresses(text)
        await trio.sleep(2)
        assert session.state == "open"
        assert stage.has_broker_alone


async def test_addresses_that_are_replaced_at_once_end_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        session = await stage.mallory.open_session("alice")
        with stage.mallory.pump.batch():
            for host in ("10.1.0.1", "10.1.0.2"):
                session.core.send_addresses(encode_addresses([address(host)]))
        await trio.sleep(2)
        assert session.state == "open"
        assert stage.has_broker_alone


async def name_many(stage: Stage, session: Session, pause: float) -> None:
    """Name four new addresses at a time, a hundred times."""
    for number in range(100):
        named = [address(f"10.7.{number}.{n}") for n in range(1, 5)]
        session.core.send_addresses(encode_addresses(named))
        await trio.sleep(pause)


def note_knocks(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> set[Address]:
    """Return the addresses that *endpoint* dials from now on."""
    knocked: set[Address] = set()
    hold = endpoint.hold_link

    async def note(address: Address, expected: tuple[str, bytes] | None = None) -> LinkError:
        knocked.add(address)
        return await hold(address, expected)

    monkeypatch.setattr(endpoint, "hold_link", note)
    return knocked


@pytest.mark.parametrize("pause", [0.0, 0.004, 0.02])
async def test_naming_others_again_and_again_knocks_at_few_doors(
    pause: float, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage() as stage:
        session = await stage.mallory.open_session("alice")
        knocked = note_knocks(stage.alice, monkeypatch)
        await name_many(stage, session, pause)
        await trio.sleep(0.2)
        assert len(knocked) <= MAX_NEW_ADDRESSES + 1 + 100 * pause / NEW_ADDRESS_SECONDS
        assert session.state == "open"


async def test_naming_others_again_and_again_fills_no_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stage() as stage:
        session = await stage.mallory.open_session("alice")
        with caplog.at_level(logging.INFO, "tunnelkit"):
            await name_many(stage, session, 0.01)
            await trio.sleep(0.2)
        assert len(caplog.records) <= MAX_NEW_ADDRESSES + 8  # one for each that was tried


async def test_one_peer_does_not_use_up_the_direct_links_of_others(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        session = await stage.mallory.open_session("alice")
        await name_many(stage, session, 0.004)
        there = address("10.0.0.2")
        await stage.lab.endpoint("carol", host=there.host, listen=[there], advertise=[there])
        to_carol = await stage.alice.open_session("carol")
        await trio.sleep(20)
        assert to_carol.link is not None
        assert to_carol.link.pipe.description == str(there)


async def test_a_peer_that_names_the_broker_does_not_cut_it_off(autojump_clock: MockClock) -> None:
    async with open_lab(latency=0.01) as lab:
        await lab.broker("10.0.0.9")
        alice = await lab.endpoint("alice", "10.0.0.9", direct=["10.0.0.0/8"])
        mallory = await lab.endpoint("mallory", "10.0.0.9")
        await trio.sleep(1)
        (own,) = alice.links
        mallory.advertised = encode_addresses([address("10.0.0.9")])
        session = await mallory.open_session("alice")
        await trio.sleep(0.2)
        await session.aclose()
        await trio.sleep(0.2)
        assert alice.links == [own]
        assert own.is_up


# --- who answers -----------------------------------------------------------------------------


async def test_who_answers_at_a_named_address_is_never_a_broker(
    autojump_clock: MockClock,
) -> None:
    """A broker could say of every peer that it is there no more, and end its sessions."""
    async with open_stage() as stage:
        to_bob = await stage.alice.open_session("bob")
        await stage.impersonate("mallory", stage.mallory.instance, is_broker=True)
        await stage.lure()
        with suppress(PipeBroken):  # alice has left
            new, impostor = os.urandom(16), stage.impostors[-1]
            impostor.say(FrameType.PRESENCE, subject="bob", instance=new, present=1)
        await trio.sleep(1)
        assert to_bob.state == "open"
        assert stage.has_broker_alone


async def test_a_hello_that_ends_late_is_believed_no_more(autojump_clock: MockClock) -> None:
    """Its address was taken back meanwhile."""
    async with open_stage() as stage:
        to_bob = await stage.alice.open_session("bob")
        await stage.impersonate("mallory", stage.mallory.instance, holds=True)
        session = await stage.lure()
        session.core.send_addresses("")
        await trio.sleep(0.5)
        late = stage.impostors[-1]
        assert late.held
        with suppress(PipeBroken):  # alice has left
            late.send(late.held)
        await trio.sleep(1)
        assert to_bob.state == "open"
        assert stage.has_broker_alone


@pytest.mark.parametrize("who", ["broker", "mallory", "bob"])
async def test_nothing_is_proven_to_another_process_at_a_named_address(
    who: str, autojump_clock: MockClock
) -> None:
    async with open_stage() as stage:
        instances = {"broker": stage.lab.brokers["broker"].instance, "bob": stage.bob.instance}
        subject = "" if who == "broker" else who
        instance = instances.get(who, os.urandom(16))
        await stage.impersonate(subject, instance, is_broker=who == "broker")
        await stage.lure()
        assert stage.impostors
        assert not [each for each in stage.impostors if each.received(FrameType.PROOF)]


@pytest.mark.parametrize("changes", [(), ("subject",), ("subject", "instance")])
async def test_nobody_becomes_alice_at_the_broker_by_passing_on_her_hello(
    changes: tuple[str, ...], autojump_clock: MockClock
) -> None:
    async with open_stage() as stage:
        (own,) = stage.alice.links
        said: dict[str, Value] = {"subject": "mallory", "instance": stage.mallory.instance}
        relays = await stage.relay(**{name: said[name] for name in changes})
        await stage.lure()
        assert relays
        assert not [each for each in relays if each.received(FrameType.HELLO_OK)]
        assert stage.alice.links == [own]
        assert own.is_up  # nobody took her place


async def test_frames_on_an_attachment_that_nobody_proved_are_not_taken(
    autojump_clock: MockClock,
) -> None:
    """Who knows bob's instance, which brokers tell, may answer as bob; it is not bob."""
    async with open_stage() as stage:
        session = await stage.alice.open_session("bob")
        mine, theirs = await open_streams(session, stage.bob)
        await theirs.send_all(b"true")
        assert await mine.receive_some() == b"true"
        await stage.impersonate("bob", stage.bob.instance)
        far = stage.bob.sessions[session.session_id]
        far.core.send_addresses(encode_addresses([address(EVIL)]))
        await trio.sleep(1)
        forge(stage.impostors[-1])
        await trio.sleep(1)
        await theirs.send_all(b"more")
        assert await mine.receive_some() == b"more"


def forge(impostor: RawPeer) -> None:
    """Write into the stream, and end it, over the attachment that alice asked for."""
    number = impostor.numbers(FrameType.ATTACH)[-1]
    received = impostor.received(FrameType.ATTACH)[-1]["received"]
    assert isinstance(received, int)  # the field table says so
    for kind, data, sequence in ((FrameType.DATA, b"forged", 1), (FrameType.END, b"", 2)):
        impostor.send(
            encode_frame(kind, data, session=number, stream=1, sequence=received + sequence)
        )


# --- what it may do --------------------------------------------------------------------------


def send_away(peer: RawPeer) -> None:
    peer.say(FrameType.GO_AWAY, code=int(ErrorCode.DISPLACED), reconnect_after_ms=0, text="bye")


async def test_who_was_dialled_where_it_said_cannot_stop_a_program(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stopped: list[str] = []
        log_events(stage.alice, stopped.append)
        await stage.impersonate("mallory", stage.mallory.instance)
        await stage.lure()
        send_away(stage.impostors[-1])
        await trio.sleep(1)
        assert stopped == []


async def test_who_has_dialled_cannot_stop_a_program(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stopped: list[str] = []
        log_events(stage.alice, stopped.append)
        at_alice, host = stage.alice.addresses[0], stage.lab.network.host(EVIL)
        evil = RawPeer(
            await connect(host, at_alice, stage.alice.pump), stage.lab.identity("mallory")
        )
        evil.handshake = Dialing(evil.identity, evil.instance, os.urandom(32))
        evil.send(evil.handshake.begin())
        await trio.sleep(1)
        send_away(evil)
        await trio.sleep(1)
        assert evil.handshake.peer is not None
        assert stopped == []


async def test_attaches_over_a_direct_link_come_at_a_bounded_rate(
    autojump_clock: MockClock,
) -> None:
    """Each costs a proof and an event."""
    async with open_lab(latency=0.001) as lab:
        lab.network.host("nobody")
        bob = await lab.endpoint("bob", "nobody", host="bobs", listen=[address("bobs")])
        alice = await lab.endpoint("alice", "bobs")
        session = await alice.open_session("bob")
        far, (link,) = bob.sessions[session.session_id], alice.links
        begun = trio.current_time()
        for _ in range(limits.MAX_SESSIONS_PER_LINK // 100 + 20):
            with alice.pump.batch():
                for _ in range(100):
                    session.attach(link)
            await trio.sleep(0.005)
        bound = limits.MAX_ATTACHES_PER_SECOND * (trio.current_time() - begun)
        assert far.moved_count + far.resumed_count <= limits.MAX_SESSIONS_PER_LINK + bound
