"""Clients that do not take what they are sent, or do not leave when they are told to."""

from __future__ import annotations

from h2.events import ConnectionTerminated

from tests.tunnelkit.http.h2_parties import World2, fields
from tests.tunnelkit.http.test_endings import LARGE, LAST
from tests.tunnelkit.http.test_proxy import World
from tunnelkit.http.routing import Limits

UPGRADE = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
LIMITS = Limits(60, 3600)


def test_half_of_a_tunnel_has_all_the_time() -> None:
    world = World()
    world.ask(UPGRADE)
    server = world.servers[b"a"]
    server.push(b"HTTP/1.1 101 Up\r\n\r\nhi")
    assert server.into is not None
    server.into.finish()
    world.proxy.resume()
    assert world.timers == []
    world.client.push(b"more")
    assert server.read() == b"more"


def test_client_that_never_takes_the_last_answer_is_sent_away() -> None:
    world = World(limits=LIMITS)
    world.client.push(LAST)
    world.client.room = 1000
    world.servers[b"a"].push(LARGE)
    for timer in list(world.timers):
        timer()
    assert (world.client.ended, world.over) == ("reset", 1)


def test_client_that_is_slow_and_idle_loses_nothing() -> None:
    world = World2(limits=LIMITS)
    asked = world.client.ask(fields("/a"))
    world.client.side.room = 10
    server = world.servers[b"a"]
    server.read()
    server.answer(asked, bytes(10_000))
    world.client.side.room = 5_000
    world.proxy.resume()
    assert world.expire() == 60
    assert world.client.side.ended == ""
    world.client.side.room = 1 << 20
    world.proxy.resume()
    assert len(world.client.read_body(asked)[0]) == 10_000


def test_client_that_takes_nothing_is_sent_away() -> None:
    world = World2(limits=LIMITS)
    asked = world.client.ask(fields("/a"))
    world.client.side.room = 10
    server = world.servers[b"a"]
    server.read()
    server.answer(asked, bytes(10_000))
    assert [world.expire(), world.expire()] == [60, 60]
    assert (world.client.side.ended, world.over) == ("reset", 1)


def test_client_that_does_not_leave_is_left() -> None:
    world = World2(limits=LIMITS)
    world.expire()
    assert isinstance(world.client.read()[-1], ConnectionTerminated)
    assert (world.client.side.ended, world.client.side.is_stopped) == ("finished", False)
    world.expire()
    assert world.client.side.is_stopped


def test_client_that_leaves_is_waited_for_no_more() -> None:
    world = World2(limits=LIMITS)
    world.expire()
    world.proxy.finish()
    assert world.timers == []
