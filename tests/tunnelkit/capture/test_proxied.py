"""What a recorder sees of exchanges that go through the real proxies of HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.events import RequestReceived

from tests.tunnelkit.capture.exchanges import recorder_with
from tests.tunnelkit.capture.har_spec import faults_of
from tests.tunnelkit.http.h2_parties import World2, fields
from tests.tunnelkit.http.test_proxy import GET, OK, World
from tunnelkit.capture import Exchange, Recorder, har_of
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import Route


def watched(world: World | World2) -> Recorder:
    """Record all that goes through a world."""
    recorder = recorder_with()
    route = world.route

    def watching(head: RequestHead, found: Callable[[Route], None]) -> None:
        def with_watch(way: Route) -> None:
            way.watch = recorder.begin(head, client="127.0.0.1:50000")
            found(way)

        route(head, with_watch)

    world.route = watching  # type: ignore[method-assign]
    return recorder


@pytest.fixture
def world() -> World:
    return World()


def only(recorder: Recorder) -> Exchange:
    """Return the one exchange that was recorded, after a look at its HAR."""
    (found,) = recorder.exchanges()
    assert list(faults_of(har_of([found]))) == []
    return found


def test_request_and_answer(world: World) -> None:
    recorder = watched(world)
    world.ask(GET % b"a")
    world.servers[b"a"].push(OK + b"hi")
    found = only(recorder)
    assert found.answer is not None
    assert (found.request.target, found.answer.status) == (b"/a", 200)
    assert (found.answer_body.data, found.answer_body.has_ended) == (b"hi", True)
    assert (found.is_over, found.why) == (True, "")
    assert found.sent == found.request


def test_requests_of_one_connection_are_exchanges_of_their_own(world: World) -> None:
    recorder = watched(world)
    for name in (b"a", b"b", b"a"):
        world.ask(GET % name)
        world.servers[name].push(OK + b"hi")
    assert [found.request.target for found in recorder.exchanges()] == [b"/a", b"/b", b"/a"]
    assert all(found.is_over for found in recorder.exchanges())


def test_bodies_in_chunks_are_kept_without_them(world: World) -> None:
    recorder = watched(world)
    chunks = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"
    world.ask(b"POST /a HTTP/1.1\r\nHost: a\r\n" + chunks)
    world.servers[b"a"].push(b"HTTP/1.1 200 OK\r\n" + chunks)
    found = only(recorder)
    for body, trailers in (
        (found.request_body, found.request_trailers),
        (found.answer_body, found.answer_trailers),
    ):
        assert (body.data, body.has_ended, trailers) == (b"abcde", True, ((b"X-Sum", b"1"),))


def test_interim_answer_is_kept_beside_the_final_one(world: World) -> None:
    recorder = watched(world)
    world.ask(GET % b"a")
    world.servers[b"a"].push(b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + OK + b"hi")
    found = only(recorder)
    assert [head.status for head in found.interim] == [103]
    assert found.answer_body.data == b"hi"


def test_upgrade_is_kept_without_what_is_said_after_it(world: World) -> None:
    recorder = watched(world)
    lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    world.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n" + lines)
    world.servers[b"a"].push(b"HTTP/1.1 101 Switching Protocols\r\n" + lines)
    world.client.push(b"frame of a client")
    world.servers[b"a"].push(b"frame of a server")
    found = only(recorder)
    assert found.answer is not None
    assert found.answer.status == 101
    assert (found.request_body.data, found.answer_body.data) == (b"", b"")


def test_stream_of_events_is_there_while_it_goes_on(world: World) -> None:
    recorder = watched(world)
    world.ask(GET % b"a")
    world.servers[b"a"].push(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
    )
    found = only(recorder)
    assert (found.answer_body.data, found.is_over) == (b"data: 1\n\n", False)


def test_answer_that_breaks_off_says_so(world: World) -> None:
    recorder = watched(world)
    world.ask(GET % b"a")
    server = world.servers[b"a"]
    server.push(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab")
    assert server.into is not None
    server.into.finish()
    found = only(recorder)
    assert (found.answer_body.data, found.answer_body.has_ended) == (b"ab", False)
    assert found.is_over
    assert found.why


def test_answer_of_our_own_is_kept(world: World) -> None:
    recorder = watched(world)
    world.refuse_with = 502
    world.client.push(GET % b"a")
    found = only(recorder)
    assert found.answer is not None
    assert (found.answer.status, found.is_over) == (502, True)
    assert b"nobody is there" in found.answer_body.data


def test_stream_of_http_2() -> None:
    world = World2()
    recorder = watched(world)
    head = [*fields("/a", "POST", authorization="Bearer s3cret")]
    asked = world.client.ask(head, ends=False)
    world.client.machine.send_data(asked, b"question", end_stream=True)
    world.client.push()
    world.servers[b"a"].seen(RequestReceived)
    world.servers[b"a"].answer(1, b"answer")
    world.client.read()
    found = only(recorder)
    entry: Any = har_of([found])["log"]
    request = entry["entries"][0]["request"]
    assert (request["url"], request["httpVersion"]) == ("http://shop/a", "HTTP/2")
    assert (found.request_body.data, found.answer_body.data) == (b"question", b"answer")
    assert dict(found.request.fields)[b"authorization"] == b"Bearer [redacted]"
    assert found.is_over
