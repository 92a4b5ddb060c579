"""Frames passed on without decoding: whole, in order, with the new session number (spec §9.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.wire.fakes import Frame, keeper, read_frames
from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError
from tunnelkit.wire.frames import FrameType, encode_frame
from tunnelkit.wire.reader import FrameReader, Scratch

PING = encode_frame(FrameType.PING, bytes(8))


class Leg:
    """Takes the frames of one session, and counts in how many runs."""

    def __init__(self, out_number: int) -> None:
        self.out_number = out_number
        self.data = b""
        self.runs = 0

    def forward(self, frames: memoryview) -> None:
        self.data += bytes(frames)
        self.runs += 1


def data_frame(session: int, payload: bytes = b"x", kind: int = FrameType.DATA) -> bytes:
    return encode_frame(kind, payload, session=session, stream=1, sequence=1)


def switch(pieces: list[bytes], legs: dict[int, Leg]) -> list[Frame]:
    """Let a reader pass on what it can; return the frames that it delivered."""
    hop: list[Frame] = []
    reader = FrameReader(Scratch(64 * limits.KIB))
    for piece in pieces:
        space = reader.space()
        space[: len(piece)] = piece
        reader.received_runs(len(piece), keeper(hop), legs.get)
    return hop


def test_frames_get_the_number_of_the_other_leg() -> None:
    legs = {1: Leg(70), 2: Leg(80)}
    switch([data_frame(1, b"a") + data_frame(2, b"b") + data_frame(1, b"c")], legs)
    assert legs[1].data == data_frame(70, b"a") + data_frame(70, b"c")
    assert legs[2].data == data_frame(80, b"b")


def test_neighbouring_frames_are_one_run() -> None:
    legs = {1: Leg(70)}
    switch([data_frame(1) * 3], legs)
    assert legs[1].runs == 1


def test_unknown_types_are_passed_on() -> None:
    legs = {1: Leg(70)}
    switch([data_frame(1, kind=0x62) + data_frame(1, kind=0xFF)], legs)
    assert legs[1].data == data_frame(70, kind=0x62) + data_frame(70, kind=0xFF)


def test_frames_of_unknown_sessions_are_dropped() -> None:
    legs = {1: Leg(70)}
    switch([data_frame(9) + data_frame(1) + data_frame(9)], legs)
    assert legs[1].data == data_frame(70)


def test_hop_frame_may_change_who_takes_the_rest() -> None:
    legs, late = {1: Leg(70)}, Leg(71)
    first = legs[1]
    reader = FrameReader(Scratch(64 * limits.KIB))
    data = data_frame(1, b"old") + PING + data_frame(1, b"new")
    reader.space()[: len(data)] = data
    reader.received_runs(len(data), lambda *_: legs.update({1: late}), legs.get)
    assert first.data == data_frame(70, b"old")
    assert late.data == data_frame(71, b"new")


def test_frames_before_a_hop_frame_go_out_before_it_is_told() -> None:
    leg = Leg(70)
    seen: list[int] = []
    reader = FrameReader(Scratch(64 * limits.KIB))
    data = data_frame(1) + PING
    reader.space()[: len(data)] = data
    reader.received_runs(len(data), lambda *_: seen.append(leg.runs), {1: leg}.get)
    assert seen == [1]


def test_length_above_the_limit_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="limit"):
        switch([encode_frame(FrameType.DATA, bytes(limits.MAX_HELLO_BYTES + 1), session=1)], {})


@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=12),
    st.lists(st.integers(1, 60), min_size=1, max_size=20),
)
def test_split_anywhere_passes_on_the_same_frames(
    frames: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    data = b"".join(data_frame(who, load) if who else PING for who, load in frames)
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        pieces.append(data[at : at + sizes[len(pieces) % len(sizes)]])
        at += len(pieces[-1])
    legs = {1: Leg(10), 2: Leg(20)}  # nobody takes number 3
    hop = switch(pieces, legs)
    assert len(hop) == sum(who == 0 for who, _ in frames)
    for who, leg in legs.items():
        assert [each.payload for each in read_frames(leg.data)] == [
            load for number, load in frames if number == who
        ]
        assert {each.session for each in read_frames(leg.data)} <= {leg.out_number}
