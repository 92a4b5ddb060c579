"""Streams of an HTTP/2 client that go to servers of HTTP/1.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, InformationalResponseReceived, ResponseReceived, StreamReset
from h2.events import TrailersReceived as Trailers

from tests.tunnelkit.http.h2_parties import Pairs, World2, fields
from tests.tunnelkit.http.test_proxy import OK, Side
from tunnelkit.http.h1_back import MAX_UNTAKEN_BYTES
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import Reached, Route

GET = b"GET /a HTTP/1.1\r\nhost: shop\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\nX-A: 1\r\n\r\n"


@dataclass
class World1(World2):
    """Servers of HTTP/1.1, in the order in which they were connected to."""

    sides: list[Side] = field(default_factory=list)
    backs: list[Reached] = field(default_factory=list)

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        found(Route("web", is_http1=True))

    def connect(self, route: Route, back: Reached) -> None:
        side = Side()
        side.into = back
        self.sides.append(side)
        self.backs.append(back)
        if not self.is_slow:
            back.attached(side)

    def asked(self, head: Pairs, *, ends: bool = True) -> bytes:
        """Let the client ask; return what the newest server got."""
        self.client.ask(head, ends=ends)
        return self.sides[-1].read()

    def answers(self) -> dict[int, bytes]:
        """Return the bodies that the client got, by stream."""
        bodies: dict[int, bytes] = {}
        while self.client.side.got:
            for event in self.client.read():
                if isinstance(event, DataReceived):
                    stream_id = event.stream_id or 0
                    bodies[stream_id] = bodies.get(stream_id, b"") + (event.data or b"")
        return bodies


@pytest.fixture
def world() -> World1:
    return World1()


def end(side: Side) -> None:
    """End a server's connection."""
    assert side.into is not None
    side.into.finish()


def test_request_and_answer_in_other_words(world: World1) -> None:
    assert world.asked(fields("/a")) == GET
    world.sides[0].push(b"HTTP/1.1 203 Fine\r\nX-Two: 2\r\nContent-Length: 2\r\n\r\nhi")
    events = world.client.read()
    first: Any = events[0]
    assert first.headers == [(":status", "203"), ("x-two", "2"), ("content-length", "2")]
    assert isinstance(events[1], DataReceived)
    assert events[1].data == b"hi"


def test_connection_is_used_again(world: World1) -> None:
    for _ in range(2):
        assert world.asked(fields("/a")) == GET
        world.sides[0].push(OK + b"hi")
    assert len(world.sides) == 1
    assert world.answers() == {1: b"hi", 3: b"hi"}


def test_streams_at_once_have_connections_of_their_own(world: World1) -> None:
    assert [world.asked(fields("/a")) for _ in range(3)] == [GET] * 3
    for number in (2, 0, 1):
        world.sides[number].push(OK + b"h%d" % number)
    assert world.answers() == {1: b"h0", 3: b"h1", 5: b"h2"}


def test_body_whose_length_is_not_known_is_chunked(world: World1) -> None:
    head = world.asked(fields("/a", "POST"), ends=False)
    assert b"transfer-encoding: chunked" in head
    for piece in (b"one", b"three"):
        world.client.machine.send_data(1, piece)
    world.client.machine.send_headers(1, [("x-sum", "8"), ("host", "evil")], end_stream=True)
    world.client.push()
    want = b"3\r\none\r\n5\r\nthree\r\n0\r\nx-sum: 8\r\n\r\n"
    assert world.sides[0].read() == want


def test_body_whose_length_is_known_is_not(world: World1) -> None:
    head = world.asked(fields("/a", "POST", content_length="5"), ends=False)
    assert b"chunked" not in head
    world.client.machine.send_data(1, b"hello", end_stream=True)
    world.client.push()
    assert world.sides[0].read() == b"hello"


def test_post_without_a_body_says_so(world: World1) -> None:
    assert world.asked(fields("/a", "POST")).endswith(b"content-length: 0\r\n\r\n")


def test_crumbs_of_a_cookie_are_one(world: World1) -> None:
    head = [*fields("/a"), ("cookie", "a=1"), ("cookie", "b=2")]
    assert b"\r\ncookie: a=1; b=2\r\n\r\n" in world.asked(head)


def test_chunks_and_trailers_of_an_answer(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(CHUNKED + b"3\r\none\r\n0\r\nX-Sum: 3\r\n\r\n")
    events = world.client.read()
    found: Any = [event for event in events if isinstance(event, (ResponseReceived, Trailers))]
    assert [one.headers for one in found] == [[(":status", "200")], [("x-sum", "3")]]


def test_interim_answers_go_through(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + OK + b"hi")
    kinds = [type(event) for event in world.client.read()[:2]]
    assert kinds == [InformationalResponseReceived, ResponseReceived]


def test_answer_until_the_end_of_the_connection(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(b"HTTP/1.1 200 OK\r\n\r\nhi")
    end(world.sides[0])
    assert world.answers() == {1: b"hi"}
    assert world.client.machine.open_outbound_streams == 0


def test_answer_that_breaks_off_does_not_look_whole(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(OK + b"h")
    end(world.sides[0])
    assert world.client.seen(StreamReset).error_code == ErrorCodes.INTERNAL_ERROR


@pytest.mark.parametrize(
    "answer",
    [b"\0\0\0", b"HTTP/1.1 101 Up\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"],
)
def test_answer_that_breaks_a_rule_is_a_bad_gateway(world: World1, answer: bytes) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(answer)
    end(world.sides[0])
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "502")


def test_stale_connection_is_not_the_clients_concern(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(OK + b"hi")
    world.client.ask(fields("/a"))
    end(world.sides[0])
    assert world.sides[1].read() == GET
    world.sides[1].push(OK + b"ho")
    assert world.answers()[3] == b"ho"


def test_early_answer_outlives_its_server(world: World1) -> None:
    world.asked(fields("/a", "POST"), ends=False)
    world.sides[0].push(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno")
    end(world.sides[0])
    events = world.client.read()
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"no"]
    assert isinstance(events[-1], StreamReset)
    assert events[-1].error_code == ErrorCodes.NO_ERROR


def test_slow_client_stops_its_server(world: World1) -> None:
    world.client.takes_data = False
    world.asked(fields("/a"))
    size = 10 * MAX_UNTAKEN_BYTES
    world.sides[0].push(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // 16_384):
        world.sides[0].push(bytes(16_384))
    world.client.read()
    assert world.sides[0].waiting > 8 * MAX_UNTAKEN_BYTES
    world.client.takes_data = True
    world.client.machine.acknowledge_received_data(65_535, 1)
    world.client.push()
    assert len(world.answers()[1]) + 65_535 == size


def test_slow_server_stops_its_client(world: World1) -> None:
    world.asked(fields("/a", "POST"), ends=False)
    world.sides[0].room = 1000
    sent = 0
    while room := min(world.client.machine.local_flow_control_window(1), 16_384):
        world.client.machine.send_data(1, bytes(room))
        world.client.push()
        world.client.read()
        sent += room
    assert sent < 500_000
    world.sides[0].room = 1 << 30
    world.backs[0].resume()
    assert world.sides[0].read().count(b"\0") == sent


def test_reset_of_the_client_breaks_the_servers_connection(world: World1) -> None:
    world.asked(fields("/a"))
    world.client.machine.reset_stream(1, ErrorCodes.CANCEL)
    world.client.push()
    assert world.sides[0].ended == "reset"


def test_requests_wait_for_the_connection(world: World1) -> None:
    world.is_slow = True
    world.client.ask(fields("/a", "POST"), ends=False)
    world.client.machine.send_data(1, b"body", end_stream=True)
    world.client.push()
    world.backs[0].attached(world.sides[0])
    assert world.sides[0].read().endswith(b"4\r\nbody\r\n0\r\n\r\n")


def test_body_that_waited_for_the_connection_goes_on(world: World1) -> None:
    world.is_slow = True
    world.client.ask(fields("/a", "POST"), ends=False)
    while room := min(world.client.machine.local_flow_control_window(1), 16_384):
        world.client.machine.send_data(1, bytes(room))
        world.client.push()
        world.client.read()
    world.backs[0].attached(world.sides[0])
    world.client.read()
    assert world.client.machine.local_flow_control_window(1) > 0


def test_server_that_is_away_is_answered_for(world: World1) -> None:
    world.is_slow = True
    asked = world.client.ask(fields("/a"))
    world.backs[0].failed(504, "nobody is there")
    assert b"nobody is there" in world.client.read_body(asked)[0]


def test_client_that_leaves_leaves_nothing_behind(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(OK + b"hi")
    world.client.ask(fields("/a"))
    world.client.ask(fields("/a"))
    world.proxy.reset(0, "gone")
    assert [side.ended for side in world.sides] == ["reset", "reset"]
    assert world.over == 1
