"""HTTP/2 from parties that send whatever they like, in whatever order."""

from __future__ import annotations

from h2.events import DataReceived, Event, StreamEnded
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnelkit.http.h2_parties import Party, World2, fields
from tests.tunnelkit.http.test_h2_proxy import frame

FIELDS = st.sampled_from([b"\x82\x84\x86\x41\x04shop", b"\x88", b"\x40\x01a\x01b", b"\xbe", b""])
PAYLOADS = st.one_of(
    st.binary(max_size=12),
    FIELDS,
    st.sampled_from([bytes(8), b"\0\0\0\1", b"\0\4\0\0\0\0", b"\x7f\xff\xff\xff", bytes(16_384)]),
)
FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    PAYLOADS,
    stream_id=st.sampled_from([0, 1, 2, 3, 5, 7]),
    flags=st.sampled_from([0, 1, 4, 5, 8, 12, 13, 0x24, 0xFF]),
)
TURNS = st.lists(st.tuples(st.booleans(), st.one_of(FRAMES, st.binary(max_size=20))), max_size=20)


def a_world() -> tuple[World2, Party]:
    """Return a client with two requests under way, one of which has more to say."""
    world = World2()
    world.client.ask(fields("/a", "POST"), ends=False)
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    return world, server


@settings(max_examples=300)
@given(TURNS)
def test_garbage_of_either_side_never_raises(turns: list[tuple[bool, bytes]]) -> None:
    world, server = a_world()
    for is_client, data in turns:
        (world.client if is_client else server).side.push(data)
    world.proxy.reset(0, "over")
    assert world.over == 1
    assert server.side.ended != ""


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "data", "end", "reset", "answer", "back", "done", "refuse"]),
        st.integers(0, 30_000),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS)
def test_what_arrives_is_what_was_sent(steps: list[tuple[str, int]]) -> None:
    """Two well-behaved parties in any order: no stream says what was not said, or is cut whole."""
    world = World2()
    talk = _Talk(world)
    for step, number in steps:
        talk.do(step, number)
    talk.do("read", 0)
    assert talk.wrong == []
    assert world.over == 0


class _Talk:
    """A client and a server of one stream after the other."""

    def __init__(self, world: World2) -> None:
        self.world = world
        self.wrong: list[str] = []
        self._asked = 0
        self._sent: dict[str, bytes] = {}
        self._got: dict[str, bytes] = {}
        self._is_ended = {"up": True, "down": True}
        self._is_begun = False

    def do(self, step: str, number: int) -> None:
        """Do one thing, if it can be done now."""
        self._read()
        client, server = self.world.client, self.world.servers.get(b"a")
        if step == "ask" and all(self._is_ended.values()):
            self._asked = client.ask(fields("/a", "POST"), ends=False)
            self._is_begun = False
            self._is_ended = {"up": False, "down": False}
            self._sent, self._got = {"up": b"", "down": b""}, {"up": b"", "down": b""}
        elif step in ("data", "end") and not self._is_ended["up"]:
            self._send(client, "up", number, ends=step == "end")
        elif step == "reset" and not all(self._is_ended.values()):
            self._reset(client)
        elif server is not None and not self._is_ended["down"]:
            self._serve(server, step, number)

    def _serve(self, server: Party, step: str, number: int) -> None:
        if step == "answer" and not self._is_begun:
            server.answer(self._asked)
            self._is_begun = True
        elif step in ("back", "done") and self._is_begun:
            self._send(server, "down", number, ends=step == "done")
        elif step == "refuse":
            self._reset(server)

    def _reset(self, party: Party) -> None:
        party.machine.reset_stream(self._asked)
        party.push()
        self._read()
        self._is_ended = {"up": True, "down": True}

    def _send(self, party: Party, way: str, size: int, *, ends: bool) -> None:
        room = min(party.machine.local_flow_control_window(self._asked), 16_384, size)
        data = bytes([size % 256]) * room
        party.machine.send_data(self._asked, data, end_stream=ends)
        self._sent[way] += data
        self._is_ended[way] |= ends
        party.push()

    def _read(self) -> None:
        for _ in range(3):
            for party, way in ((self.world.client, "down"), (self.world.servers.get(b"a"), "up")):
                for event in party.read() if party is not None else []:
                    self._note(event, way)

    def _note(self, event: Event, way: str) -> None:
        if getattr(event, "stream_id", None) != self._asked:
            return
        if isinstance(event, DataReceived):
            self._got[way] += event.data or b""
        if isinstance(event, StreamEnded) and self._got[way] != self._sent[way]:
            self.wrong.append(f"{way}: {len(self._got[way])} of {len(self._sent[way])} bytes")
        if isinstance(event, StreamEnded) and not self._is_ended[way]:
            self.wrong.append(f"{way}: nobody has ended it")
