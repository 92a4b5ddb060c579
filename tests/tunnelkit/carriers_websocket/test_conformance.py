"""Each published case ends as RFC 6455 says, at a client and at a server, whole and in bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.tunnelkit.carriers_websocket.cases import CASES, Case, Frame, encode
from tests.tunnelkit.carriers_websocket.ends import End, Stranger, meet_stranger, settle
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.carriers import PipeBroken
from tunnelkit.pump import Pump
from tunnelkit.wire.websocket import FrameDecoder, Opcode, WebSocketError

CODES = {1002, 1003, 1007, 1008, 1009}
"""What RFC 6455 §7.4.1 has for a peer that breaks a rule."""


async def send(stranger: Stranger, data: bytes, chop: int) -> None:
    """Let *stranger* send *data* in pieces of *chop* bytes, each of which arrives by itself."""
    for start in range(0, len(data), chop):
        piece = data[start : start + chop]
        try:
            while sent := stranger.pipe.try_send(piece):
                piece = piece[sent:]
                await settle()
        except PipeBroken:
            return


def judge(case: Case, stranger: Stranger, end: End) -> None:
    """Compare what was delivered and answered with what had to be."""
    _, controls, code = stranger.said()
    assert code == case.code
    if case.code in (None, 1000):
        assert end.data == case.data
    assert (end.ending == "eof") is case.is_clean
    assert bool(end.ending) is (case.code is not None)
    if case.pong is not None:
        assert controls[-1] == (Opcode.PONG, case.pong)
    elif case.code in (None, 1000):
        assert not controls


@pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])
@pytest.mark.parametrize("chop", [1 << 20, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("case", CASES, ids=[case.number for case in CASES])
async def test_case(
    autojump_clock: MockClock, pump: Pump, case: Case, chop: int, is_server: bool
) -> None:
    with quiet_pump():
        stranger, pipe = meet_stranger(pump, is_server=is_server)
        end = End(pipe)
        data = encode(case, masked=is_server)
        # Single bytes of a long message would test patience only.
        await send(stranger, data, 997 if chop == 1 and len(data) > 2000 else chop)
        await settle()
        judge(case, stranger, end)
        pipe.reset()


# --- any frames ------------------------------------------------------------------------------

lengths = st.none() | st.binary(min_size=1, max_size=9).map(lambda b: bytes((b[0] & 0x7F,)) + b[1:])
any_frames = st.builds(
    Frame,
    opcode=st.sampled_from([0, 2, 2, 8, 9, 10]) | st.integers(0, 15),
    payload=st.binary(max_size=130),
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0] * 9 + [1, 2, 4]),
    length=st.one_of(st.none(), st.none(), st.none(), lengths),
    wrong_mask=st.sampled_from([False] * 19 + [True]),
)


def outcome(data: bytes, sizes: list[int], *, masked: bool) -> tuple[object, ...]:
    """Decode *data* in pieces of *sizes* in turn; return all that can be seen of it."""
    payload, controls = bytearray(), list[tuple[Opcode, bytes]]()
    decoder = FrameDecoder(is_server=masked, on_control=lambda *item: controls.append(item))
    start, turn = 0, 0
    error: WebSocketError | None = None
    while start < len(data) and error is None:
        view = memoryview(bytearray(data[start : start + sizes[turn % len(sizes)]]))
        start, turn = start + len(view), turn + 1
        try:
            payload += view[: decoder.decode(view)]
        except WebSocketError as broken:
            error = broken
    if error is not None:
        assert error.close_code in CODES
        return controls, decoder.is_closed, error.close_code, error.text
    return bytes(payload), controls, decoder.is_closed, decoder.close_code, decoder.close_reason


@given(st.lists(any_frames, max_size=8), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_any_cuts_give_the_same_end(frames: list[Frame], sizes: list[int], masked: bool) -> None:
    data = b"".join(frame.encode(masked) for frame in frames)
    whole = outcome(data, [len(data) or 1], masked=masked)
    assert outcome(data, sizes, masked=masked) == whole
    assert outcome(data, [1], masked=masked) == whole


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_any_bytes_give_the_same_end(data: bytes, sizes: list[int], masked: bool) -> None:
    whole = outcome(data, [len(data) or 1], masked=masked)
    assert outcome(data, sizes, masked=masked) == whole
