"""Our machine and that of `h2` talk, in any order and in pieces: each hears what the other says."""

from __future__ import annotations

from typing import Any

from h2.settings import SettingCodes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.tunnelkit.http.h2_talkers import Ours, Pairs, Talker, Theirs

FIELDS = st.sampled_from(
    [
        [],
        [(b"x-a", b"1"), (b"te", b"trailers")],
        [(b"x-b", b"2" * 90), (b"x-c", b"3" * 900)],
        [(b"x-c", b"4" * 900), (b"x-a", b"1"), (b"x-c", b"5" * 900)],
        [(b"x-long", b"6" * 3_000), (b"x-longer", b"7" * 30_000)],
    ]
)
SIZES = st.sampled_from([16_384, 16_384, 5_000, 100, 1, 0])
ENDS = st.sampled_from([False, False, False, True])
# Not longer frames: `h2` still refuses those that come together with the ACK.
CHANGES = st.sampled_from(
    [
        (SettingCodes.INITIAL_WINDOW_SIZE, 0),
        (SettingCodes.INITIAL_WINDOW_SIZE, 1_000),
        (SettingCodes.INITIAL_WINDOW_SIZE, 200_000),
        (SettingCodes.HEADER_TABLE_SIZE, 0),
        (SettingCodes.HEADER_TABLE_SIZE, 100),
        (SettingCodes.HEADER_TABLE_SIZE, 4_096),
        (SettingCodes.HEADER_TABLE_SIZE, 60_000),
    ]
)
REQUEST: Pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")]
REQUEST.append((b":authority", b"shop"))


class Conversation(RuleBasedStateMachine):
    """One connection; what was said on a stream has to be what is heard of it."""

    we_ask = True

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = Ours(is_client=self.we_ask), Theirs(is_client=not self.we_ask)
        self.client: Talker = self.ours if self.we_ask else self.theirs
        self.server: Talker = self.theirs if self.we_ask else self.ours
        self.on_the_way = {id(self.client): b"", id(self.server): b""}
        self.said: dict[tuple[int, int], list[tuple[str, Any]]] = {}
        self.cut: set[int] = set()

    # --- saying -------------------------------------------------------------------------------

    @precondition(lambda self: len(self.said) < 40)
    @rule(fields=FIELDS, ends=ENDS)
    def ask(self, fields: Pairs, ends: bool) -> None:
        stream_id = self.client.open(REQUEST + fields, ends=ends)
        self._say(self.client, stream_id, "head", REQUEST + fields, ends=ends)

    @rule(data=st.data(), fields=FIELDS, ends=ENDS)
    def answer(self, data: st.DataObject, fields: Pairs, ends: bool) -> None:
        asked = [one for one in self.server.heard if (id(self.server), one) not in self.said]
        stream_id = self._pick(data, asked)
        if stream_id:
            head = [(b":status", b"200"), *fields]
            self.server.head(stream_id, head, ends=ends)
            self._say(self.server, stream_id, "head", head, ends=ends)

    @rule(data=st.data(), is_client=st.booleans(), size=SIZES, ends=ENDS)
    def send(self, data: st.DataObject, is_client: bool, size: int, ends: bool) -> None:
        talker = self.client if is_client else self.server
        stream_id = self._pick(data, self._open(talker))
        room = talker.room(stream_id) if stream_id else 0
        if room:  # `h2` takes an end without bytes for too much where the window is below nothing
            sent = bytes([size % 251]) * min(size, room)
            talker.data(stream_id, sent, ends=ends)
            self._say(talker, stream_id, "data", sent, ends=ends)

    @rule(data=st.data(), is_client=st.booleans(), fields=FIELDS)
    def trail(self, data: st.DataObject, is_client: bool, fields: Pairs) -> None:
        talker = self.client if is_client else self.server
        stream_id = self._pick(data, self._open(talker))
        if stream_id:
            trailers = [(b"x-sum", b"1"), *fields]
            talker.head(stream_id, trailers, ends=True)
            self._say(talker, stream_id, "trailers", trailers, ends=True)

    @rule(data=st.data(), is_client=st.booleans())
    def reset(self, data: st.DataObject, is_client: bool) -> None:
        talker = self.client if is_client else self.server
        stream_id = self._pick(data, self._open(talker))
        if stream_id:
            talker.reset(stream_id)
            self.cut.add(stream_id)

    @rule(change=CHANGES)
    def change(self, change: tuple[int, int]) -> None:
        self.theirs.settings(*change)

    @rule()
    def ping(self) -> None:
        self.theirs.ping()

    @rule(is_client=st.booleans())
    def take(self, is_client: bool) -> None:
        (self.client if is_client else self.server).take()

    # --- the way ------------------------------------------------------------------------------

    @rule(is_client=st.booleans(), size=st.sampled_from([1 << 20, 20_000, 1_000, 11, 1]))
    def deliver(self, is_client: bool, size: int) -> None:
        talker, other = self._both(is_client)
        data = self.on_the_way[id(talker)] + talker.output()
        self.on_the_way[id(talker)] = data[size:]
        other.receive(data[:size])

    @rule(is_taken=st.booleans())
    def deliver_all(self, is_taken: bool) -> None:
        for is_client in (True, False, True, False):
            if is_taken:
                self.take(is_client)
            self.deliver(is_client, 1 << 30)

    def _both(self, is_client: bool) -> tuple[Talker, Talker]:
        both = (self.client, self.server)
        return both if is_client else both[::-1]

    def _say(self, talker: Talker, stream_id: int, kind: str, what: Any, *, ends: bool) -> None:
        said = self.said.setdefault((id(talker), stream_id), [])
        if kind == "data" and said[-1][0] == "data":
            what = said.pop()[1] + what
        if kind != "data" or what:
            said.append((kind, what))
        if ends:
            said.append(("end", None))

    def _open(self, talker: Talker) -> list[int]:
        """Return the streams on which a side has begun, and has more to say."""
        return [
            stream_id
            for (side, stream_id), said in self.said.items()
            if side == id(talker) and said[-1][0] != "end" and stream_id not in self.cut
        ]

    def _pick(self, data: st.DataObject, among: list[int]) -> int:
        kept = [one for one in among if one not in self.cut]
        return data.draw(st.sampled_from(kept)) if kept else 0

    @invariant()
    def nothing_is_heard_that_was_not_said(self) -> None:
        for is_client in (True, False):
            talker, other = self._both(is_client)
            for stream_id, heard in other.heard.items():
                if stream_id not in self.cut:
                    said = self.said[id(talker), stream_id]
                    assert _is_begun(heard, said), (heard, said)

    def teardown(self) -> None:
        for _ in range(3):
            self.deliver_all(is_taken=True)
        for (side, stream_id), said in self.said.items():
            if stream_id not in self.cut:
                other = self.server if side == id(self.client) else self.client
                assert other.heard[stream_id] == said


def _is_begun(heard: list[tuple[str, Any]], said: list[tuple[str, Any]]) -> bool:
    """Return whether *heard* is the beginning of *said*, whose last bytes may not all be there."""
    *whole, last = heard
    if whole != said[: len(whole)] or len(heard) > len(said):
        return False
    kind, what = said[len(whole)]
    return last == (kind, what) or (last[0] == kind == "data" and what.startswith(last[1]))


class Answering(Conversation):
    """The same with `h2` asking."""

    we_ask = False


TestAsking = Conversation.TestCase
TestAsking.settings = settings(max_examples=50, stateful_step_count=80, deadline=None)
TestAnswering = Answering.TestCase
TestAnswering.settings = settings(max_examples=50, stateful_step_count=80, deadline=None)
