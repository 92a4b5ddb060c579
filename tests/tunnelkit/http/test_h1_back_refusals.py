"""Servers of HTTP/1.1 behind a client of HTTP/2 that breaks off, lies about lengths, or is slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, StreamReset

from tests.tunnelkit.http.h2_parties import fields
from tests.tunnelkit.http.test_h1_back import GET, World1, end
from tests.tunnelkit.http.test_proxy import OK, World
from tunnelkit.http.body import Frame
from tunnelkit.http.h1_back import MAX_UNTAKEN_BYTES, http1_head
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import Limits, Route

NO = b"HTTP/1.1 404 Gone\r\nContent-Length: 2\r\n\r\nno"


@pytest.fixture
def world() -> World1:
    return World1()


def test_download_that_waits_can_be_given_up(world: World1) -> None:
    world.client.takes_data = False
    world.asked(fields("/a"))
    world.sides[0].push(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    for _ in range(2 * MAX_UNTAKEN_BYTES // 16_384):
        world.sides[0].push(bytes(16_384))
    world.client.read()
    world.client.machine.reset_stream(1, ErrorCodes.CANCEL)
    world.client.push()
    assert (world.sides[0].ended, world.over) == ("reset", 0)


class Watch:
    """Somebody who looks on, and remembers how it ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def over(self, why: str) -> None:
        self.ends.append(why)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@dataclass
class Watched(World1):
    """A world in which somebody looks on."""

    watch: Watch = field(default_factory=Watch)
    late_routes: list[Callable[[Route], None]] | None = None

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        if self.late_routes is not None:
            self.late_routes.append(found)
            return
        found(Route("web", is_http1=True, watch=self.watch))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\nhi", OK + b"h", OK + b"hi"])
def test_whoever_looks_on_is_told_the_end_once(answer: bytes) -> None:
    world = Watched()
    world.asked(fields("/a"))
    world.sides[0].push(answer)
    end(world.sides[0])
    assert [why != "" for why in world.watch.ends] == [answer == OK + b"h"]


def test_upload_is_not_asked_again_without_its_body(world: World1) -> None:
    world.asked(fields("/a"))
    world.sides[0].push(OK + b"hi")
    world.client.read()
    stream_id = world.client.ask(fields("/a", "PUT"), ends=False)
    world.client.machine.send_data(stream_id, b"precious", end_stream=True)
    world.client.push()
    end(world.sides[0])
    assert len(world.sides) == 1
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "502")


def test_length_without_a_body_is_refused(world: World1) -> None:
    world.client.ask(fields("/a", "POST", content_length="9"))
    assert world.client.seen(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR
    assert world.sides == []


def test_trailers_before_the_length_has_come_are_refused(world: World1) -> None:
    world.asked(fields("/a", "POST", content_length="9"), ends=False)
    world.sides[0].push(NO)
    world.client.read()
    world.client.machine.send_data(1, b"ab")
    world.client.machine.send_headers(1, [("x-sum", "2")], end_stream=True)
    world.client.push()
    world.client.ask(fields("/a"))
    assert world.sides[0].ended == "reset"
    assert world.sides[1].read() == GET


@pytest.mark.parametrize("value", ["9, 9", "+9", "1_0", "9" * 30])
def test_length_that_is_none_is_refused(world: World1, value: str) -> None:
    world.client.ask(fields("/a", "POST", content_length=value), ends=False)
    assert world.sides == []


def test_length_that_is_said_twice_is_refused(world: World1) -> None:
    head = [*fields("/a", "POST", content_length="2"), ("content-length", "2")]
    world.client.ask(head, ends=False)
    assert world.client.seen(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR
    assert world.sides == []


def test_request_without_an_authority_has_an_empty_host() -> None:
    found = http1_head(RequestHead(b"GET", b"/a", b"2", ()), Frame.NOTHING)
    assert found.write() == b"GET /a HTTP/1.1\r\nhost: \r\n\r\n"


def test_body_without_a_length_has_its_limit_too() -> None:
    world = World1(limits=Limits(body_bytes=1000))
    world.asked(fields("/a", "POST"), ends=False)
    world.client.machine.send_data(1, bytes(1000))
    world.client.push()
    assert world.sides[0].ended == ""
    world.client.machine.send_data(1, b"x")
    world.client.push()
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "413")
    assert world.sides[0].ended == "reset"


def test_whoever_looks_on_is_told_of_a_client_that_left_before_its_route() -> None:
    world = Watched()
    world.late_routes = []
    world.client.ask(fields("/a"))
    world.client.machine.reset_stream(1)
    world.client.push()
    world.late_routes[0](Route("web", is_http1=True, watch=world.watch))
    assert len(world.watch.ends) == 1


def test_whoever_looks_on_is_told_of_a_client_of_http1_that_left_before_its_route() -> None:
    watch = Watch()
    routes: list[Callable[[Route], None]] = []
    world = World()
    world.route = lambda head, found: routes.append(found)  # type: ignore[method-assign] # a fake
    world.client.push(GET)
    world.proxy.reset(0, "gone")
    routes[0](Route("web", watch=watch))
    assert len(watch.ends) == 1
