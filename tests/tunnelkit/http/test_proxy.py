"""One client connection whose requests go to different servers, between ends made up here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tunnelkit.http.answers import Reply, plain_reply
from tunnelkit.http.head import RequestHead
from tunnelkit.http.proxy import HttpProxy
from tunnelkit.http.routing import NO_LIMITS, Limits, Reached, Route
from tunnelkit.wire.stream import Buffer, End

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class Side:
    """The other side of an end: keeps what it is given, and pushes what it is told to."""

    def __init__(self) -> None:
        self.got = b""
        self.offers = 0
        self.room = 1 << 30
        self.ended = ""
        self.is_stopped = False
        self.into: End | None = None
        self._waiting = b""

    def push(self, data: bytes) -> None:
        """Push bytes, now or when they are taken."""
        self._waiting += data
        self.resume()

    @property
    def waiting(self) -> int:
        """How many bytes were not taken yet."""
        return len(self._waiting)

    def offer(self, data: Buffer) -> int:
        self.offers += 1
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.got += taken
        return len(taken)

    def finish(self) -> None:
        self.ended = self.ended or "finished"

    def abort(self, code: int, text: str) -> None:
        self.ended = "reset"

    def reset(self, code: int, text: str) -> None:
        self.ended = "reset"

    def stop(self, code: int, text: str) -> None:
        self.is_stopped = True
        self._waiting = b""

    def resume(self) -> None:
        while self._waiting and self.into is not None:
            taken = self.into.offer(self._waiting)
            self._waiting = self._waiting[taken:]
            if not taken:
                return

    def read(self) -> bytes:
        """Return what came since the last time, and make room."""
        data, self.got = self.got, b""
        return data


@dataclass
class World:
    """An owner, a client, and the servers that were connected to, by the first part of a path."""

    servers: dict[bytes, Side] = field(default_factory=dict)
    timers: list[Callable[[], None]] = field(default_factory=list)
    connects: int = 0
    is_slow: bool = False
    late: list[tuple[Reached, Side]] = field(default_factory=list)
    over: int = 0
    limits: Limits = NO_LIMITS
    key: bytes = b""
    """Of every route; empty: the first part of its path."""
    refuse_with: int = 0

    def __post_init__(self) -> None:
        self.client = Side()
        self.proxy = HttpProxy(self)
        self.proxy.join(self.client)
        self.client.into = self.proxy

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        found(Route(self.key or head.target.split(b"/")[1]))

    def reply(self, head: RequestHead | None, route: Route, status: int, why: str) -> Reply:
        return plain_reply(head, status, why)

    def connect(self, route: Route, back: Reached) -> None:
        self.connects += 1
        if self.refuse_with:
            back.failed(self.refuse_with, "nobody is there")
            return
        server = Side()
        server.into = back
        assert isinstance(route.key, bytes)
        self.servers[route.key] = server
        if self.is_slow:
            self.late.append((back, server))
        else:
            back.attached(server)

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        self.timers.append(expired)
        return lambda: self.timers.remove(expired) if expired in self.timers else None

    def now(self) -> float:
        return 0.0

    def proxy_over(self) -> None:
        self.over += 1

    def ask(self, data: bytes) -> bytes:
        """Push a request; return what the server of that path got."""
        self.client.push(data)
        return self.servers[data.split(b"/")[1].split(b" ")[0]].read()


@pytest.fixture
def world() -> World:
    return World()


# --- one request after the other ----------------------------------------------------------------


def test_request_and_answer_go_through_as_they_were(world: World) -> None:
    assert world.ask(GET % b"a") == GET % b"a"
    world.servers[b"a"].push(OK + b"hi")
    assert world.client.read() == OK + b"hi"
    assert world.client.ended == ""


@pytest.mark.parametrize("body", [b"hi", b"2\r\nhi\r\n2\r\nho\r\n0\r\n\r\n"])
def test_answer_that_comes_at_once_goes_at_once(world: World, body: bytes) -> None:
    length = b"Content-Length: 2" if body == b"hi" else b"Transfer-Encoding: chunked"
    world.ask(GET % b"a")
    world.servers[b"a"].push(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (length, body))
    assert world.client.read().endswith(body)
    assert world.client.offers == 1


def test_connection_to_a_server_is_used_again(world: World) -> None:
    for _ in range(3):
        world.ask(GET % b"a")
        world.servers[b"a"].push(OK + b"hi")
    assert (world.connects, world.proxy.request_count) == (1, 3)


def test_each_request_goes_where_its_route_says(world: World) -> None:
    for path in (b"a", b"b", b"a", b"b"):
        assert world.ask(GET % path) == GET % path
        world.servers[path].push(OK + path + b"!")
        assert world.client.read() == OK + path + b"!"
    assert world.connects == 2


@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_bytes_may_come_in_any_pieces(world: World, cut: int) -> None:
    body = b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"
    request = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    for at in range(0, len(request), cut):
        world.client.push(request[at : at + cut])
    assert world.servers[b"a"].read() == request
    for at in range(0, len(answer), cut):
        world.servers[b"a"].push(answer[at : at + cut])
    assert world.client.read() == answer
    assert world.proxy.is_idle


def test_requests_at_once_are_answered_in_order(world: World) -> None:
    world.client.push(b"".join(GET % path for path in (b"a", b"b", b"a")))
    assert list(world.servers) == [b"a"]
    world.servers[b"a"].push(OK + b"1.")
    world.servers[b"b"].push(OK + b"2.")
    world.servers[b"a"].push(OK + b"3.")
    assert world.client.read() == OK + b"1." + OK + b"2." + OK + b"3."


def test_interim_answers_go_through(world: World) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    world.ask(GET % b"a")
    world.servers[b"a"].push(b"HTTP/1.1 100 Continue\r\n\r\n" + early + OK + b"hi")
    assert world.client.read() == b"HTTP/1.1 100 Continue\r\n\r\n" + early + OK + b"hi"


def test_answer_to_head_has_no_body(world: World) -> None:
    world.ask(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
    world.servers[b"a"].push(OK)
    assert world.client.read() == OK
    assert world.proxy.is_idle


# --- bodies -------------------------------------------------------------------------------------

POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


def test_body_waits_for_a_server_that_is_connected_to(world: World) -> None:
    world.is_slow = True
    world.client.push(POST + b"0123456789")
    assert world.client.waiting == 10
    back, server = world.late.pop()
    back.attached(server)
    assert server.read() == POST + b"0123456789"
    assert world.client.waiting == 0


def test_server_that_takes_no_more_stops_the_client(world: World) -> None:
    world.ask(POST)
    server = world.servers[b"a"]
    server.room = 3
    world.client.push(b"01234")
    world.client.push(b"56789")
    assert (server.read(), world.client.waiting) == (b"012", 5)
    server.room = 100
    world.proxy._backs[b"a"].resume()
    assert (server.read(), world.client.waiting) == (b"3456789", 0)


def test_client_that_takes_no_more_stops_the_server(world: World) -> None:
    world.ask(GET % b"a")
    server = world.servers[b"a"]
    world.client.room = len(OK) + 1
    server.push(OK)
    server.push(b"hi")
    assert world.client.read() == OK + b"h"
    world.client.room = 100
    world.proxy.resume()
    assert world.client.read() == b"i"
    assert world.proxy.is_idle


def test_answer_may_begin_and_end_before_its_request_has(world: World) -> None:
    world.ask(POST + b"01234")
    world.servers[b"a"].push(OK + b"hi")
    assert world.client.read() == OK + b"hi"
    assert not world.proxy.is_idle
    world.client.push(b"56789" + GET % b"b")
    assert world.servers[b"a"].read() == b"56789"
    assert world.servers[b"b"].read() == GET % b"b"


def test_body_until_the_end_of_the_connection(world: World) -> None:
    world.ask(GET % b"a")
    server = world.servers[b"a"]
    server.push(b"HTTP/1.1 200 OK\r\n\r\nall")
    world.proxy._backs[b"a"].finish()
    assert world.client.read() == b"HTTP/1.1 200 OK\r\n\r\nall"
    assert world.client.ended == "finished"


# --- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "server"])
def test_connection_closes_where_one_side_says_so(world: World, who: str) -> None:
    close = b"Connection: close\r\n\r\n"
    request, answer = GET % b"a", OK
    if who == "client":
        request = request[:-2] + close
    else:
        answer = answer[:-2] + close
    world.ask(request)
    world.servers[b"a"].push(answer + b"hi")
    assert world.client.read() == answer + b"hi"
    assert (world.client.ended, world.servers[b"a"].ended) == ("finished", "finished")
    world.proxy.finish()
    assert world.over == 1


def test_half_closed_client_gets_its_answer(world: World) -> None:
    world.ask(GET % b"a")
    world.proxy.finish()
    assert world.servers[b"a"].ended == "finished"
    world.servers[b"a"].push(OK + b"hi")
    assert world.client.read() == OK + b"hi"
    assert (world.client.ended, world.over) == ("finished", 1)


def test_client_that_leaves_between_requests_ends_everything(world: World) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(OK + b"hi")
    world.proxy.finish()
    assert (world.servers[b"a"].ended, world.client.ended, world.over) == (
        "finished",
        "finished",
        1,
    )


def test_client_that_leaves_in_the_middle_breaks_the_request(world: World) -> None:
    world.ask(POST + b"01")
    world.proxy.finish()
    assert (world.servers[b"a"].ended, world.client.ended) == ("reset", "reset")


def test_idle_server_that_closes_ends_the_client(world: World) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(OK + b"hi")
    world.proxy._backs[b"a"].finish()
    assert world.client.ended == "finished"


def test_idle_server_that_was_not_the_last_ends_nothing(world: World) -> None:
    for path in (b"a", b"b"):
        world.ask(GET % path)
        world.servers[path].push(OK + b"hi")
    world.proxy._backs[b"a"].finish()
    assert world.client.ended == ""
    assert world.ask(GET % b"a") == GET % b"a"
    assert world.connects == 3


def test_request_that_met_the_end_of_an_old_connection_is_sent_again(world: World) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(OK + b"hi")
    old = world.proxy._backs[b"a"]
    world.ask(GET % b"a")
    old.finish()
    assert world.servers[b"a"].read() == GET % b"a"
    world.servers[b"a"].push(OK + b"hi")
    assert world.client.read() == (OK + b"hi") * 2


def test_request_with_a_body_is_never_sent_again(world: World) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(OK + b"hi")
    world.client.read()
    world.ask(POST + b"0123456789")
    world.proxy._backs[b"a"].finish()
    assert world.client.read().startswith(b"HTTP/1.1 502 ")
    assert world.connects == 1


@pytest.mark.parametrize("answer", [OK + b"h", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_answer_that_is_cut_never_looks_whole(world: World, answer: bytes) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(answer)
    world.proxy._backs[b"a"].finish()
    if answer.startswith(OK):
        assert world.client.ended == "reset"
    else:
        assert world.client.read().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_server_that_cannot_be_connected_to(world: World, status: int) -> None:
    world.refuse_with = status
    world.client.push(GET[:-2] % b"a" + b"Accept: application/json\r\n\r\n")
    answer = world.client.read()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.endswith(b'{"status": %d, "error": "nobody is there"}\n' % status)
    assert world.client.ended == "finished"


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\n\n", 400),
        (POST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 70_000, 431),
    ],
)
def test_request_that_breaks_a_rule_reaches_no_server(
    world: World, request_bytes: bytes, status: int
) -> None:
    world.client.push(request_bytes)
    assert world.client.read().startswith(b"HTTP/1.1 %d " % status)
    assert (world.client.ended, world.connects) == ("finished", 0)


def test_body_that_breaks_a_rule_breaks_the_request(world: World) -> None:
    world.ask(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    world.client.push(b"x\r\n")
    assert world.client.read().startswith(b"HTTP/1.1 400 ")
    assert world.servers[b"a"].ended == "reset"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_answer_that_breaks_a_rule_is_a_bad_gateway(world: World, answer: bytes) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(answer)
    assert world.client.read().startswith(b"HTTP/1.1 502 ")


def test_answer_that_nobody_asked_for_is_not_sent_on(world: World) -> None:
    world.ask(GET % b"a")
    world.servers[b"a"].push(OK + b"hi" + OK + b"no")
    assert world.client.read() == OK + b"hi"
    assert world.client.ended == "finished"


def test_head_that_takes_too_long(world: World) -> None:
    world.client.push(b"GET / HT")
    world.timers.pop()()
    assert world.client.read().startswith(b"HTTP/1.1 408 ")


def test_client_that_stays_after_the_end_is_sent_away(world: World) -> None:
    world.client.push(b"nonsense\r\n\r\n")
    world.client.push(b"more" * 1000)
    assert (world.client.waiting, world.client.ended) == (0, "finished")
    world.timers.pop()()
    assert (world.client.ended, world.client.is_stopped, world.over) == ("finished", True, 1)


# --- other protocols ----------------------------------------------------------------------------

UPGRADE = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def upgraded(world: World) -> Side:
    world.ask(UPGRADE)
    world.servers[b"a"].push(SWITCHED + b"server")
    assert world.client.read() == SWITCHED + b"server"
    return world.servers[b"a"]


def test_upgrade_joins_the_connections(world: World) -> None:
    server = upgraded(world)
    world.client.push(b"\x81\x00")
    server.push(b"\r\n\r\nGET")
    assert (server.read(), world.client.read()) == (b"\x81\x00", b"\r\n\r\nGET")


@pytest.mark.parametrize("first", ["client", "server"])
def test_joined_connections_end_one_direction_at_a_time(world: World, first: str) -> None:
    server = upgraded(world)
    back = world.proxy._tunnel
    assert back is not None
    ends = [world.proxy.finish, back.finish]
    for end in ends if first == "client" else reversed(ends):
        assert world.over == 0
        end()
    assert (world.client.ended, server.ended, world.over) == ("finished", "finished", 1)


def test_joined_connection_that_breaks_breaks_the_other(world: World) -> None:
    upgraded(world)
    back = world.proxy._tunnel
    assert back is not None
    back.reset(1, "gone")
    assert world.client.ended == "reset"


def test_connect_joins_the_connections(world: World) -> None:
    proxy_request = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
    world.key = b"a"
    world.client.push(proxy_request)
    server = world.servers[b"a"]
    server.push(b"HTTP/1.1 200 OK\r\n\r\n")
    world.client.push(b"\x16\x03")
    assert server.read() == proxy_request + b"\x16\x03"
