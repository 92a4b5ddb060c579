"""A client of HTTP/2 and servers of HTTP/1.1 in any order: nothing raises, or is mixed up."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnelkit.http.h2_parties import fields
from tests.tunnelkit.http.mutations import mutated
from tests.tunnelkit.http.test_h1_back import World1
from tests.tunnelkit.http.test_h2_hostile import FRAMES
from tests.tunnelkit.http.test_proxy import OK, Side
from tunnelkit.http.routing import Reached

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = (
    OK + b"hi",
    b"HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n" + OK + b"hi" + OK,
    _CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n" + OK,
    b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
)
TURNS = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(FRAMES, mutated(ANSWERS), st.binary(max_size=20))),
    max_size=20,
)


@settings(max_examples=300)
@given(TURNS)
def test_garbage_of_either_side_never_raises(turns: list[tuple[int, bytes]]) -> None:
    world = World1()
    world.client.ask(fields("/a", "POST"), ends=False)
    world.client.ask(fields("/a"))
    for who, data in turns:
        if who == 0:
            world.client.side.push(data)
        elif who == 3:
            world.backs[len(data) % len(world.backs)].finish()
        else:
            world.sides[who - 1].push(data)
    world.proxy.reset(0, "over")
    assert world.over == 1
    assert all(side.ended for side in world.sides)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("ask", "ask", "data", "data", "end", "end", "trailers", "reset", "deaf", "tight"),
                *("begin", "begin", "early", "more", "more", "done", "done", "finish", "break"),
            ]
        ),
        st.integers(0, 40_000),
    ),
    max_size=80,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_what_arrives_is_what_was_sent(steps: list[tuple[str, int]]) -> None:
    """No stream says what was not said, or is cut and looks whole, or waits for nothing."""
    talk = _Talk()
    for step, number in steps:
        talk.do(step, number)
        talk.read()
    talk.drain()
    talk.check()
    assert talk.world.over == 0


@dataclass
class _Stream:
    """What the client has said on one stream, and heard."""

    sent: bytes = b""
    got: bytes = b""
    missing: int | None = None
    """What is left of the length that it has said."""
    has_ended: bool = False
    is_over: bool = False
    is_answered: bool = False
    is_ours: bool = False
    """Whether the proxy itself has answered."""


@dataclass
class _Said:
    """What one server has heard and said of one stream."""

    got: bytes = b""
    is_whole: bool = False
    sent: bytes = b""
    is_begun: bool = False
    is_done: bool = False


@dataclass
class _Server:
    """A server by h11."""

    side: Side
    back: Reached
    machine: h11.Connection = field(default_factory=lambda: h11.Connection(h11.SERVER))
    said: dict[int, _Said] = field(default_factory=dict)
    now: int = 0

    def read(self) -> None:
        """Hear what has come."""
        if self.side.got:
            self.machine.receive_data(self.side.read())
        while True:
            if self.machine.our_state is self.machine.their_state is h11.DONE:
                self.machine.start_next_cycle()
                self.now = 0
            event = self.machine.next_event()
            if isinstance(event, h11.Request):
                self.now = int(event.target[2:])
                self.said[self.now] = _Said()
            elif isinstance(event, h11.Data):
                self.said[self.now].got += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.said[self.now].is_whole = True
            else:
                return

    def do(self, step: str, number: int) -> None:
        """Say something, if that can be done now."""
        said = self.said.get(self.now)
        if step in ("finish", "break"):
            self.side.into = None
            self.back.finish() if step == "finish" else self.back.reset(0, "broken")
            self.side.ended = self.side.ended or "left"
        elif said is None:
            return
        elif step == "early" and not said.is_begun:
            self._send(h11.InformationalResponse(status_code=103, headers=[]))
        elif step == "begin" and not said.is_begun:
            said.is_begun = True
            said.sent = b"" if number % 2 else bytes([number % 256]) * number
            length = [] if number % 2 else [("Content-Length", str(number))]
            self._send(h11.Response(status_code=200, headers=[*length, ("x-from", "server")]))
            if not number % 2:
                self._send(h11.Data(data=said.sent))
                self._end(said)
        elif step == "more" and said.is_begun and not said.is_done and not said.sent:
            said.sent = bytes([number % 256]) * number
            self._send(h11.Data(data=said.sent))
        elif step == "done" and said.is_begun and not said.is_done:
            self._end(said)

    def _end(self, said: _Said) -> None:
        said.is_done = True
        self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        self.side.push(self.machine.send(event) or b"")


class _Talk:
    """A client, and as many servers as the proxy connects to."""

    def __init__(self) -> None:
        self.world = World1()
        self.world.client.takes_data = False
        self.streams: dict[int, _Stream] = {}
        self.servers: list[_Server] = []
        self._is_deaf = False
        self._unacknowledged: list[tuple[int, int]] = []

    def do(self, step: str, number: int) -> None:
        """Do one thing, if it can be done now."""
        streams = [key for key, one in self.streams.items() if not one.is_over]
        servers = [one for one in self.servers if not one.side.ended]
        if step == "ask" and len(streams) < 4:
            self._ask(number)
        elif step == "deaf":
            self._is_deaf = not self._is_deaf
        elif step == "tight" and servers:
            servers[number % len(servers)].side.room = number
        elif step in ("data", "end", "trailers", "reset"):
            open_ones = [
                key for key in streams if step == "reset" or not self.streams[key].has_ended
            ]
            if open_ones:
                self._say(open_ones[number % len(open_ones)], step, number)
        elif servers:
            servers[number % len(servers)].do(step, number)

    def _ask(self, number: int) -> None:
        machine, way = self.world.client.machine, number % 3
        stream_id = machine.get_next_available_stream_id()
        stream = self.streams[stream_id] = _Stream()
        head = fields(f"/s{stream_id}", "GET" if way == 0 else "PUT")
        if way == 2:
            stream.missing = number
            head.append(("content-length", str(number)))
        stream.has_ended = way == 0 or stream.missing == 0
        self.world.client.ask(head, ends=stream.has_ended)

    def _say(self, stream_id: int, step: str, number: int) -> None:
        machine, stream = self.world.client.machine, self.streams[stream_id]
        if step == "reset":
            machine.reset_stream(stream_id)
            stream.is_over = True
        else:
            most = number if stream.missing is None else min(number, stream.missing)
            room = min(machine.local_flow_control_window(stream_id), 16_384, most)
            stream.sent += bytes([number % 256]) * room
            if stream.missing is not None:
                stream.missing -= room
            may_end = step != "data" and not stream.missing
            machine.send_data(
                stream_id, bytes([number % 256]) * room, end_stream=may_end and step == "end"
            )
            if may_end and step == "trailers":
                machine.send_headers(stream_id, [("x-sum", "1")], end_stream=True)
            stream.has_ended = may_end
            stream.is_over = may_end and stream.is_answered
        self.world.client.push()

    def read(self) -> None:
        """Let everybody hear what has come."""
        for _ in range(3):
            for side, back in list(zip(self.world.sides, self.world.backs, strict=True)):
                if all(one.side is not side for one in self.servers):
                    self.servers.append(_Server(side, back))
            for server in self.servers:
                server.read()
            for event in self.world.client.read():
                self._hear(event)
            if not self._is_deaf:
                for size, stream_id in self._unacknowledged:
                    self.world.client.machine.acknowledge_received_data(size, stream_id)
                self._unacknowledged.clear()
                self.world.client.push()

    def _hear(self, event: object) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, DataReceived):
            size = event.flow_controlled_length or 0
            self._unacknowledged.append((size, event.stream_id or 0))
        if stream is None or stream.is_over:
            return
        if isinstance(event, ResponseReceived):
            stream.is_ours = "x-from" not in [str(name) for name, _ in event.headers or []]
        elif isinstance(event, DataReceived):
            stream.got += event.data or b""
        elif isinstance(event, StreamEnded):
            stream.is_answered = True
            stream.is_over = stream.has_ended
        elif isinstance(event, StreamReset):
            stream.is_over = True

    def drain(self) -> None:
        """Take all that waits, everywhere."""
        self._is_deaf = False
        for _ in range(20):
            for server in self.servers:
                server.side.room = 1 << 30
                if not server.side.ended:
                    server.back.resume()
            self.read()

    def check(self) -> None:
        """Compare what was said with what was heard."""
        for server in self.servers:
            for stream_id, said in server.said.items():
                stream = self.streams[stream_id]
                assert stream.sent.startswith(said.got)
                is_all = stream.has_ended or stream.missing == 0
                assert not said.is_whole or (is_all and stream.sent == said.got)
        for stream_id, stream in self.streams.items():
            known = [one.said[stream_id] for one in self.servers if stream_id in one.said]
            whole = [one for one in known if one.is_done and one.sent == stream.got]
            assert not stream.is_answered or stream.is_ours or whole
            is_asked = any(one.is_whole for one in known)
            assert stream.is_over or not stream.has_ended or is_asked or stream.is_answered
            if stream.has_ended and any(one.is_done for one in known):
                assert stream.is_over or stream.is_answered
