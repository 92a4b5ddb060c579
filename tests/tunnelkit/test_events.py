"""Events of links and sessions: which, in which order, and to whom."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.tunnelkit.pairs import NOW, RING, World, clock, make_identity, open_pair, wait_until
from tunnelkit import limits
from tunnelkit.broker import Broker, open_broker
from tunnelkit.carriers import connect
from tunnelkit.errors import ErrorCode, LocalProtocolError
from tunnelkit.events import (
    MAX_WAITING_EVENTS,
    Event,
    EventHub,
    EventsMissed,
    LinkDown,
    LinkFacts,
    LinkFailed,
    LinkLeaving,
    LinkUp,
    PeerArrived,
    PeerLeft,
    SessionEnded,
    SessionFacts,
    SessionMoved,
    SessionOpen,
    SessionResumed,
    SessionSuspended,
    StrangersRefused,
    Watcher,
)
from tunnelkit.host import LinkHost
from tunnelkit.testing import MemoryNetwork, cancel_at_each_step, no_leaks

E = TypeVar("E", bound=Event)

LINK = LinkFacts(1, "memory://bob:7", "bob", is_broker=False, dialled=True)
OTHER = LinkFacts(2, "memory://broker:7", "", is_broker=True, dialled=True)
SESSION = SessionFacts("0a1b2c3d", "bob", "initiator")


def heard_from(host: LinkHost[Any]) -> list[Event]:
    """Return a list to which the events of *host* are added as they come."""
    heard: list[Event] = []
    host.events.add(heard.append)
    return heard


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def only(kind: type[E], events: Sequence[Event]) -> E:
    """Return the one event of this kind."""
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


# --- what happens to links ------------------------------------------------------------------


async def test_first_link_peer_and_session_come_in_order(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        heard = heard_from(bob)
        async with world.endpoint("alice", dial=bob.addresses) as alice:
            await alice.open_session("bob")
    assert kinds(heard)[:3] == ["link-up", "peer-arrived", "session-open"]
    assert only(LinkUp, heard).link.peer == "alice"


async def test_address_that_fails_is_told_once_for_each_reason(autojump_clock: MockClock) -> None:
    world = World()
    address = world.address("nowhere", 7)
    async with world.endpoint("alice", dial=[address]) as alice:
        heard = heard_from(alice)
        await trio.sleep(60)
    failed = only(LinkFailed, heard)
    assert (failed.address, failed.will_retry) == ("memory://nowhere:7", True)
    assert "no such host" in failed.why


async def test_refusal_has_the_peers_code(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        expired = make_identity("alice", now=NOW - 7200)
        async with world.endpoint("alice", dial=bob.addresses, identity=expired) as alice:
            heard = heard_from(alice)
            await trio.sleep(1)
    assert only(LinkFailed, heard).code == ErrorCode.TOKEN_EXPIRED


async def test_silent_link_is_suspect_and_recovers(autojump_clock: MockClock) -> None:
    world = World(network=MemoryNetwork(latency=0.01))
    async with open_pair(world) as pair:
        await trio.sleep(1)
        heard = heard_from(pair.alice)
        world.network.stall("alice", "bob")
        await wait_until(lambda: "link-suspect" in kinds(heard))
        world.network.unstall("alice", "bob")
        await trio.sleep(limits.DEFAULT_PING_SECONDS)
        assert kinds(heard) == ["link-suspect", "link-recovered"]


async def test_lost_link_says_why_and_that_it_is_dialled_again(autojump_clock: MockClock) -> None:
    world = World()
    async with open_pair(world) as pair:
        heard = heard_from(pair.alice)
        world.network.cut("alice", "bob")
        await wait_until(lambda: "session-resumed" in kinds(heard))
    down = only(LinkDown, heard[:3])
    assert (down.link.peer, down.will_retry, down.code) == ("bob", True, 0)
    assert "lost" in down.why


async def test_peers_over_a_lost_link_are_gone(autojump_clock: MockClock) -> None:
    world = World()
    async with world.broker() as address:
        async with world.endpoint("bob", dial=[address]):
            async with world.endpoint("alice", dial=[address]) as alice:
                await alice.open_session("bob")
                heard = heard_from(alice)
                world.network.cut("alice", "broker")
                await wait_until(lambda: "link-down" in kinds(heard))
                left = only(PeerLeft, heard)
                assert (left.peer, left.link.is_broker) == ("bob", True)
                assert left.link == only(LinkDown, heard).link


async def test_strangers_are_told_with_the_reason(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("bob", listens=True) as bob:
        heard = heard_from(bob)
        pipe = await connect(world.network.host("stranger"), bob.addresses[0], bob.pump)
        pipe.try_send(b"GET / HTTP/1.1\r\n\r\n")
        await trio.sleep(1)
        pipe.close()
    told = only(StrangersRefused, heard)
    assert told.count == 1
    assert "HTTP" in told.why


async def test_displaced_endpoint_is_told_by_whom(autojump_clock: MockClock) -> None:
    world = World()
    async with world.broker() as address, world.endpoint("alice", dial=[address]) as first:
        await wait_until(lambda: first.links)
        heard = heard_from(first)
        async with world.endpoint("alice", dial=[address]):
            await trio.sleep(1)
        down = only(LinkDown, heard)
    assert (down.code, down.will_retry) == (ErrorCode.DISPLACED, False)
    assert "a newer link of alice" in down.why


async def test_broker_that_drains_is_leaving(autojump_clock: MockClock) -> None:
    world = World()
    async with open_broker_of(world) as broker:
        async with world.endpoint("alice", dial=broker.addresses) as alice:
            await wait_until(lambda: alice.links)
            heard = heard_from(alice)
            await broker.drain(0.1)
            await wait_until(lambda: "link-down" in kinds(heard))
    assert kinds(heard)[:2] == ["link-leaving", "link-down"]
    assert only(LinkLeaving, heard).code == ErrorCode.GOING_AWAY


# --- what happens to sessions ---------------------------------------------------------------


async def test_session_is_suspended_and_resumed(autojump_clock: MockClock) -> None:
    world = World()
    async with open_pair(world) as pair:
        heard = heard_from(pair.alice)
        world.network.cut("alice", "bob")
        await wait_until(lambda: "session-resumed" in kinds(heard))
        about = [k for k in kinds(heard) if k.startswith("session")]
        resumed = only(SessionResumed, heard)
        assert about == ["session-suspended", "session-resumed"]
        assert resumed.session.id == pair.session.session_id.hex()[:8]
        assert resumed.pause_seconds == resumed.at - only(SessionSuspended, heard).at
        assert resumed.resumed_count == 1


async def test_resumed_session_counts_what_is_sent_again(autojump_clock: MockClock) -> None:
    world = World(network=MemoryNetwork(latency=0.05))
    async with open_pair(world) as pair:
        heard = heard_from(pair.alice)
        stream = await pair.session.open_stream("test", wait_opened=False)
        await stream.send_all(bytes(1000))
        world.network.cut("alice", "bob")
        await wait_until(lambda: "session-resumed" in kinds(heard))
        assert 1000 <= only(SessionResumed, heard).replayed_bytes < 1200
        stream.reset()


async def test_session_survives_a_new_broker(autojump_clock: MockClock) -> None:
    world = World()
    listen = world.address("broker", 7000)
    async with (
        world.endpoint("bob", dial=[listen]),
        world.endpoint("alice", dial=[listen]) as alice,
    ):
        async with world.broker(listen=listen):
            await alice.open_session("bob")
            heard = heard_from(alice)
        await trio.sleep(1)
        async with world.broker(listen=listen):
            await wait_until(lambda: "session-resumed" in kinds(heard))
            up = only(LinkUp, heard)
            assert only(SessionResumed, heard).link == up.link
            assert only(PeerArrived, heard).peer == "bob"


async def test_session_that_changes_links_without_a_pause_has_moved(
    autojump_clock: MockClock,
) -> None:
    world = World(network=MemoryNetwork(latency=0.01))
    async with world.broker("one") as one, world.broker("two") as two:
        async with world.endpoint("bob", dial=[one, two]):
            async with world.endpoint("alice", dial=[one, two]) as alice:
                await alice.open_session("bob")
                await trio.sleep(1)
                heard = heard_from(alice)
                world.network.stall("alice", "one")
                await wait_until(lambda: "session-moved" in kinds(heard))
                moved = only(SessionMoved, heard)
                world.network.unstall("alice", "one")
    assert moved.why == "failure"
    assert ("one" in moved.source.address, "two" in moved.link.address) == (True, True)


async def test_session_that_was_told_to_move_says_so_once(autojump_clock: MockClock) -> None:
    world = World(network=MemoryNetwork(latency=0.01))
    async with world.broker("one") as one, world.broker("two") as two:
        async with world.endpoint("bob", dial=[one, two]) as bob:
            async with world.endpoint("alice", dial=[one, two]) as alice:
                session = await alice.open_session("bob")
                await trio.sleep(1)
                mine, theirs = heard_from(alice), heard_from(bob)
                await session.move(alice.links[1])
                await trio.sleep(1)
    assert (only(SessionMoved, mine).why, only(SessionMoved, theirs).why) == ("command", "peer")
    assert session.moved_by == "failure"


async def test_end_of_a_session_has_code_and_reason(autojump_clock: MockClock) -> None:
    world = World()
    async with open_pair(world) as pair:
        mine, theirs = heard_from(pair.alice), heard_from(pair.bob)
        await pair.session.aclose()
        await trio.sleep(1)
    assert only(SessionEnded, mine).code == ErrorCode.SESSION_CLOSED
    assert only(SessionEnded, theirs).why == "closed by the peer"


async def test_session_that_was_never_open_ends_without_more(autojump_clock: MockClock) -> None:
    world = World()
    async with world.endpoint("alice") as alice:
        heard = heard_from(alice)
        alice.begin_session("bob").end(ErrorCode.CANCELLED, "not wanted")
    assert kinds(heard) == ["session-ended"]


async def test_broker_tells_its_links(autojump_clock: MockClock) -> None:
    world = World()
    async with open_broker_of(world) as broker:
        heard = heard_from(broker)
        async with world.endpoint("alice", dial=broker.addresses) as alice:
            await wait_until(lambda: alice.links)
        await trio.sleep(1)
    assert kinds(heard) == ["link-up", "link-down"]
    assert only(LinkUp, heard).link.peer == "alice"


def open_broker_of(world: World) -> AbstractAsyncContextManager[Broker]:
    """Open a broker on the host `broker`; gives the broker itself."""
    address = world.address("broker")
    return open_broker(RING, listen=[address], network=world.host("broker"), clock=clock)


# --- watching -------------------------------------------------------------------------------


async def test_watch_begins_with_what_there_is(autojump_clock: MockClock) -> None:
    async with open_pair(World()) as pair, pair.alice.watch() as events:
        first = [await anext(events) for _ in range(3)]
        assert kinds(first) == ["link-up", "peer-arrived", "session-open"]
        assert all(event.is_snapshot for event in first)
        pair.session.end(ErrorCode.CANCELLED, "enough")
        last = await anext(events)
        assert (last.kind, last.is_snapshot) == ("session-ended", False)


async def test_snapshot_tells_trouble_too(autojump_clock: MockClock) -> None:
    world = World(network=MemoryNetwork(latency=0.01))
    async with open_pair(world) as pair:
        await trio.sleep(1)
        pair.alice.dial(world.address("nowhere", 7))
        world.network.stall("alice", "bob")
        await wait_until(lambda: pair.session.is_suspect)
        suspect = kinds(pair.alice.snapshot())
        await wait_until(lambda: pair.session.is_suspended)
        lost = kinds(pair.alice.snapshot())
    assert suspect == ["link-up", "link-suspect", "peer-arrived", "link-failed", "session-open"]
    assert set(lost) == {"link-failed", "session-suspended"}


async def test_watch_ends_with_the_endpoint_after_its_last_events(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    told: list[Event] = []

    async def read(watcher: Watcher, task_status: trio.TaskStatus[None]) -> None:
        async with watcher as events:
            task_status.started()
            async for event in events:
                told.append(event)

    async with open_pair(World()) as pair:
        await nursery.start(lambda task_status: read(pair.alice.watch(), task_status))
    await wait_until(lambda: "link-down" in kinds(told))
    assert "session-ended" in kinds(told)


async def test_watch_of_a_closed_host_is_empty(autojump_clock: MockClock) -> None:
    async with World().endpoint("alice") as alice:
        pass
    async with alice.watch() as events:
        assert [event async for event in events] == []


async def test_two_watchers_get_everything(autojump_clock: MockClock) -> None:
    hub = EventHub()
    async with watch(hub) as one, watch(hub) as two:
        hub.tell(LinkUp(link=LINK))
        assert (await anext(one)) is (await anext(two))


async def test_watcher_that_left_is_not_heard_any_more(autojump_clock: MockClock) -> None:
    hub = EventHub()
    async with no_leaks():
        async with watch(hub):
            assert hub.is_heard
        assert not hub.is_heard


async def test_slow_reader_loses_the_oldest_and_is_told(autojump_clock: MockClock) -> None:
    hub = EventHub()
    async with watch(hub, [SessionOpen(session=SESSION, link=LINK)]) as events:
        for number in range(MAX_WAITING_EVENTS + 5):
            hub.tell(StrangersRefused(why="x", count=number))
        snapshot, missed, oldest = [await anext(events) for _ in range(3)]
    assert snapshot.is_snapshot
    assert isinstance(missed, EventsMissed)
    assert isinstance(oldest, StrangersRefused)
    assert (missed.count, oldest.count) == (5, 5)


async def test_reader_waits_for_the_next_event(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    hub = EventHub()

    async def tell() -> None:
        await trio.sleep(5)
        hub.tell(LinkUp(link=LINK))

    async with watch(hub) as events:
        nursery.start_soon(tell)
        assert (await anext(events)).at == trio.current_time()


async def test_cancelled_reader_loses_nothing(autojump_clock: MockClock) -> None:
    hub = EventHub()
    read: list[Event | None] = []

    def tell_and_read() -> Awaitable[Event]:
        hub.tell(LinkUp(link=LINK))
        return anext(events)

    async with watch(hub) as events:
        told: list[Event] = []
        hub.add(told.append)
        await cancel_at_each_step(tell_and_read, check=lambda attempt: read.append(attempt.value))
        got = [event for event in read if event is not None]
        got += [await anext(events) for _ in range(len(told) - len(got))]
    assert got == told


async def test_watcher_has_one_reader(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async with watch(EventHub()) as events:
        nursery.start_soon(events.__anext__)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(events)
        nursery.cancel_scope.cancel()


async def test_watcher_is_entered_once_and_first() -> None:
    watcher = watch(EventHub())
    with pytest.raises(LocalProtocolError, match="enter the watcher first"):
        await anext(watcher)
    async with watcher:
        pass
    with pytest.raises(LocalProtocolError, match="entered once"):
        await watcher.__aenter__()


async def test_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("a bug")

    hub = EventHub()
    heard: list[Event] = []
    hub.add(fail)
    hub.add(heard.append)
    hub.tell(LinkUp(link=LINK))
    assert len(heard) == 1
    assert "a listener failed at: link to bob" in caplog.text


def watch(hub: EventHub, snapshot: Sequence[Event] = ()) -> Watcher:
    return Watcher(hub, lambda: snapshot)


# --- records --------------------------------------------------------------------------------

WHEN: dict[str, Any] = {"at": 1.0, "unix": 2.0}
RECORDS = [
    (LinkDown(link=LINK, why="gone", **WHEN), "link to bob at memory://bob:7 is down: gone"),
    (
        LinkDown(link=OTHER, why="link over memory://broker:7 lost", will_retry=True, **WHEN),
        "link to a broker is down: link over memory://broker:7 lost; trying again",
    ),
    (LinkFailed(address="tcp://a:1", why="refused", **WHEN), "tcp://a:1: refused; trying again"),
    (StrangersRefused(why="no hello", count=3, **WHEN), "no hello (2 more since the last one)"),
    (
        SessionEnded(session=SESSION, code=12, why="", **WHEN),
        "session with bob ended [state-lost]",
    ),
    (
        SessionMoved(session=SESSION, source=LINK, link=OTHER, why="command", **WHEN),
        "session with bob moved from bob at memory://bob:7 to a broker at memory://broker:7 "
        "(command)",
    ),
    (
        SessionResumed(
            session=SESSION,
            link=LINK,
            pause_seconds=0.25,
            replayed_bytes=7,
            resumed_count=2,
            **WHEN,
        ),
        "session with bob is open again (resumed 2, after 0.25 s, 7 bytes replayed)",
    ),
]


@pytest.mark.parametrize(("event", "text"), RECORDS, ids=lambda value: getattr(value, "kind", ""))
def test_event_is_a_sentence_for_people(event: Event, text: str) -> None:
    assert event.text == text


@pytest.mark.parametrize("event", [event for event, _ in RECORDS], ids=lambda event: event.kind)
def test_event_is_json_for_programs(event: Event) -> None:
    data = json.loads(json.dumps(event.as_dict()))
    assert (data["kind"], data["text"]) == (event.kind, event.text)
    assert (data["at"], data["unix"], data["is_snapshot"]) == (1.0, 2.0, False)


def test_code_has_its_name_in_json() -> None:
    event = SessionEnded(session=SESSION, code=12, why="", at=1.0, unix=2.0)
    assert event.as_dict()["code_name"] == "state-lost"


async def test_events_tell_no_secret(autojump_clock: MockClock) -> None:
    async with open_pair(World()) as pair:
        heard = [*pair.alice.snapshot(), *heard_from(pair.alice)]
        text = json.dumps([event.as_dict() for event in heard])
        assert pair.alice.identity.token not in text
        assert pair.session.session_id.hex() not in text
