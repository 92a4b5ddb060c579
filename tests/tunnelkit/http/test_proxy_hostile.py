"""A client and servers of HTTP/1.1 in any order: answers stay whole, in order, and with whom they
belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnelkit.http.mutations import REQUESTS, mutated
from tests.tunnelkit.http.test_h1_back_hostile import ANSWERS
from tests.tunnelkit.http.test_proxy import Side, World
from tunnelkit.http.answers import Reply
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import Limits, Reached, Route

LAST = 4_000
"""Bodies up to so long."""

TURNS = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(mutated(REQUESTS), mutated(ANSWERS), st.binary())),
    max_size=20,
)


@settings(max_examples=300)
@given(TURNS)
def test_garbage_of_either_side_never_raises(turns: list[tuple[int, bytes]]) -> None:
    world = World(key=b"a")
    for who, data in turns:
        if who == 0 or b"a" not in world.servers:
            world.client.push(data)
        else:
            world.servers[b"a"].push(data)
    world.proxy.reset(0, "over")
    assert world.over == 1
    assert all(side.ended for side in world.servers.values())


@dataclass
class _Late(World):
    """A world in which routes and connections come when a test says so."""

    routes: list[tuple[RequestHead, Callable[[Route], None]]] = field(default_factory=list)
    connecting: list[tuple[Side, Reached]] = field(default_factory=list)
    served: list[_Server] = field(default_factory=list)

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        self.routes.append((head, found))

    def connect(self, route: Route, back: Reached) -> None:
        side = Side()
        side.into = back
        self.connecting.append((side, back))

    def go(self, number: int) -> None:
        """Say where the first request that waits goes."""
        if self.routes:
            head, found = self.routes.pop(0)
            reply = Reply(401, b"no") if number % 9 == 0 else None
            found(Route(head.target.split(b"/")[1], reply=reply))

    def attach(self, number: int) -> None:
        """Let the first connection that is made come about, or fail."""
        if self.connecting:
            side, back = self.connecting.pop(0)
            if number % 9 == 0:
                back.failed(502, "nobody is there")
            else:
                self.served.append(_Server(side, back))
                back.attached(side)


@dataclass
class _Server:
    """A server by h11; each answer says which request it answers."""

    side: Side
    back: Reached
    machine: h11.Connection = field(default_factory=lambda: h11.Connection(h11.SERVER))
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    """What was asked as a whole, and with which body."""
    target: bytes = b""
    body: bytes = b""
    is_begun: bool = False

    @property
    def is_there(self) -> bool:
        """Whether it can still answer; an end of what is asked does not matter to that."""
        return self.side.ended in ("", "finished") and not self.side.is_stopped

    def read(self) -> None:
        """Hear what has come."""
        if self.side.got:
            self.machine.receive_data(self.side.read())
        while True:
            if self.machine.our_state is self.machine.their_state is h11.DONE:
                self.machine.start_next_cycle()
                self.target, self.is_begun = b"", False
            event = self.machine.next_event()
            if isinstance(event, h11.Request):
                self.target, self.body = event.target, b""
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.asked.append((self.target, self.body))
            else:
                return

    def do(self, step: str, number: int) -> None:
        """Say something, if that can be done now."""
        if step in ("finish", "break"):
            self.side.into, self.side.ended = None, "left"
            self.back.finish() if step == "finish" else self.back.reset(0, "broken")
        elif step == "begin" and self.target and not self.is_begun:
            self.is_begun = True
            size = number % LAST
            length = [("Content-Length", str(size + len(self.target)))] if number % 2 else []
            last = [("Connection", "close")] if number % 5 == 0 else []
            self._send(h11.Response(status_code=200, headers=[("x-from", "us"), *length, *last]))
            self._send(h11.Data(data=self.target + bytes(size)))
            if number % 3:
                self._send(h11.EndOfMessage())
        elif step == "done" and self.machine.our_state is h11.SEND_BODY:
            self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        data = self.machine.send(event) or b""
        if self.is_there:
            self.side.push(data)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("ask", "ask", "more", "more", "route", "route", "attach", "attach", "begin"),
                *("begin", "done", "tight", "slow", "finish", "break", "timer", "eof"),
            ]
        ),
        st.integers(0, 20_000),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_what_arrives_is_what_was_sent(steps: list[tuple[str, int]]) -> None:
    talk = _Talk()
    for step, number in steps:
        talk.do(step, number)
    talk.drain()
    talk.check()


class _Talk:
    """A client that sends one request behind the other, whatever has been answered."""

    def __init__(self) -> None:
        self.world = _Late(limits=Limits(60, 3600))
        self.asked: list[tuple[bytes, bytes, bytes]] = []
        self._unsent = b""
        self._got = b""
        self._is_ended = False

    def do(self, step: str, number: int) -> None:
        """Do one thing, if it can be done now."""
        servers = [one for one in self.world.served if one.is_there]
        if step == "ask" and not self._is_ended and len(self.asked) < 5:
            self._ask(number)
        elif step == "more":
            self._say(number)
        elif step == "route":
            self.world.go(number)
        elif step == "attach":
            self.world.attach(number)
        elif step == "slow":
            self.world.client.room = number
        elif step == "timer" and self.world.timers:
            self.world.timers.pop(number % len(self.world.timers))()
        elif step == "eof" and not self._unsent and not self._is_ended and not number % 4:
            self._is_ended = True
            if not self.world.client.waiting:
                self.world.proxy.finish()
        elif servers and step == "tight":
            servers[number % len(servers)].side.room = number
        elif servers:
            servers[number % len(servers)].do(step, number)
        self._read()

    def _ask(self, number: int) -> None:
        target = b"/%d/%d" % (number % 2, len(self.asked))
        method, body = (b"GET", b"") if number % 3 == 0 else (b"PUT", bytes(number % LAST))
        head = b"%s %s HTTP/1.1\r\nHost: a\r\n" % (method, target)
        if number % 3 == 1:
            head += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        elif number % 3 == 2:
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            head += b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
        else:
            head += b"\r\n"
        self.asked.append((method, target, body))
        self._unsent += head

    def _say(self, size: int) -> None:
        part, self._unsent = self._unsent[:size], self._unsent[size:]
        if not self.world.client.ended:
            self.world.client.push(part)

    def _read(self) -> None:
        self._got += self.world.client.read()
        for server in self.world.served:
            server.read()

    def drain(self) -> None:
        """Take all that waits, everywhere, and answer all."""
        for _ in range(30):
            self._say(1 << 30)
            self.world.client.room = 1 << 30
            self.world.proxy.resume()
            self.world.go(1)
            self.world.attach(1)
            for server in self.world.served:
                server.side.room = 1 << 30
                if server.is_there:
                    server.back.resume()
                    server.do("done", 1)
                    server.do("begin", 1)
            self._read()

    def check(self) -> None:
        """Compare what was said with what was heard."""
        bodies = {target: body for _, target, body in self.asked}
        for server in self.world.served:
            for target, body in server.asked:
                assert bodies[target] == body
        whole = self._answers()
        is_open = not self.world.client.ended
        assert not is_open or whole == len(self.asked)

    def _answers(self) -> int:
        """Return how many answers came as a whole, which are those to the first requests."""
        machine = h11.Connection(h11.CLIENT)
        if self._got:  # nothing would be the end
            machine.receive_data(self._got)
        for count, (method, target, _) in enumerate(self.asked):
            head = h11.Request(method=method, target=target, headers=[("Host", "a")])
            machine.send(head)
            machine.send(h11.EndOfMessage())
            body, is_ours = b"", False
            while not isinstance(event := machine.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    assert not body or self.world.client.ended != "finished"
                    return count
                if isinstance(event, h11.Response):
                    is_ours = (b"x-from", b"us") not in event.headers.raw_items()
                elif isinstance(event, h11.Data):
                    body += event.data
            assert is_ours or body.startswith(target)
            if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE:
                return count + 1
            machine.start_next_cycle()
        return len(self.asked)
