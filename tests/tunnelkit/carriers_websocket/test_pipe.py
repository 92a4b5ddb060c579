"""A WebSocket as a pipe, over memory: data, control frames, ends, and peers without rules."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.tunnelkit.carriers_websocket.ends import (
    KEY,
    End,
    frame,
    make_pair,
    meet_stranger,
    ping,
    settle,
)
from tunnelkit.carriers import PipeBroken
from tunnelkit.carriers.websocket import MAX_MESSAGE_BYTES
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork
from tunnelkit.wire.websocket import (
    CloseCode,
    Opcode,
    apply_mask,
    encode_close,
    encode_control,
    encode_header,
)

DATA = bytes(range(251)) * 12_000  # 3 MB
SIDES = pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])


# --- data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", [False, True])
@pytest.mark.parametrize("capacity", [1, 20, 1000, 1 << 20])
async def test_bytes_go_both_ways(
    autojump_clock: MockClock, pump: Pump, capacity: int, fragment: bool
) -> None:
    network = MemoryNetwork(capacity_bytes=capacity, fragment=fragment)
    data = DATA[: capacity * 50]
    client, server = (End(pipe) for pipe in make_pair(pump, network))
    client.send(data)
    server.send(data[::-1])
    await settle()
    assert (client.data, server.data) == (data[::-1], data)


@SIDES
async def test_one_call_is_one_message(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server)
    assert pipe.try_send_many([b"one", memoryview(b"two"), bytearray(b"three")]) == 11
    await settle()
    assert len(stranger.data) == 11 + (2 if is_server else 6)
    assert stranger.said() == (b"onetwothree", [], None)


@SIDES
async def test_what_was_taken_is_counted_in_payload(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server, capacity=20)
    taken = 20 - (2 if is_server else 6)
    assert pipe.try_send(DATA[:50]) == taken
    assert pipe.try_send(DATA[taken:50]) == 0
    await settle()
    assert pipe.try_send(DATA[taken:50]) == 20
    assert pipe.try_send(DATA[taken + 20 : 100]) == 0
    await settle()
    assert pipe.try_send(DATA[taken + 20 : 100]) == 30 - taken
    await settle()
    assert stranger.said() == (DATA[:50], [], None)


@SIDES
async def test_rest_of_a_message_may_come_in_pieces(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server, capacity=30)
    sent = pipe.try_send(DATA[:60])
    for _ in range(40):
        await settle()
        sent += pipe.try_send_many(
            [DATA[sent : min(sent + 1, 60)], DATA[sent + 1 : min(sent + 3, 60)]]
        )
    assert stranger.said()[0] == DATA[:60]


@SIDES
async def test_nothing_taken_begins_no_message(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server, capacity=10)
    stranger.pipe.want(False, False)
    size = 8 if is_server else 4
    assert pipe.try_send(bytes(size)) == size
    assert pipe.try_send(b"first plan") == 0
    stranger.read()
    await settle()
    assert pipe.try_send(b"ab") == 2
    await settle()
    assert stranger.said()[0] == bytes(size) + b"ab"


@SIDES
async def test_large_write_is_more_than_one_message(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server, capacity=4 << 20)
    assert pipe.try_send_many([DATA[:9], DATA[9:]]) == MAX_MESSAGE_BYTES
    assert pipe.try_send_many([]) == pipe.try_send(b"") == 0
    await settle()
    assert stranger.said()[0] == DATA[:MAX_MESSAGE_BYTES]


async def test_masks_differ(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    for _ in range(20):
        pipe.try_send(b"same")
    await settle()
    assert len({bytes(stranger.data[at + 2 : at + 6]) for at in range(0, 200, 10)}) > 15


async def test_early_bytes_come_first(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True)
    pipe._early = frame(b"early", masked=True)  # type: ignore[attr-defined]
    stranger.send(frame(b" late", masked=True))
    end = End(pipe)
    await settle()
    assert end.data == b"early late"


# --- control frames ------------------------------------------------------------------------


@SIDES
async def test_ping_is_answered(autojump_clock: MockClock, pump: Pump, is_server: bool) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server)
    end = End(pipe)
    stranger.send(ping(b"are you there", masked=is_server))
    await settle()
    assert stranger.said() == (b"", [(Opcode.PONG, b"are you there")], None)
    assert end.data == b""


@SIDES
async def test_ping_inside_a_fragmented_message(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server)
    end, mask = End(pipe), KEY if is_server else b""
    first = encode_header(Opcode.BINARY, 0, mask, fin=False)
    last = encode_header(Opcode.CONTINUATION, 1, mask) + (apply_mask(b"x", mask) if mask else b"x")
    stranger.send(first + ping(b"p", masked=is_server) + last)
    await settle()
    assert (end.data, stranger.said()[1]) == (b"x", [(Opcode.PONG, b"p")])


@SIDES
async def test_pong_waits_for_the_end_of_a_message(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server, capacity=40)
    end = End(pipe)
    end.send(DATA[:1000])
    stranger.send(ping(b"p", masked=is_server))
    await settle()
    assert stranger.said() == (DATA[:1000], [(Opcode.PONG, b"p")], None)


@SIDES
async def test_pongs_for_a_peer_that_does_not_read_are_bounded(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server, capacity=100, reads=False)
    End(pipe)
    for number in range(500):
        stranger.send(ping(b"%03d" % number * 30, masked=is_server))
        await settle()
    stranger.read()
    await settle()
    answers = [payload[:3] for _, payload in stranger.said()[1]]
    assert len(answers) < 5
    assert answers[-1] == b"499"


async def test_unasked_pong_is_ignored(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True)
    end = End(pipe)
    stranger.send(encode_control(Opcode.PONG, b"?", KEY) + frame(b"x", masked=True))
    await settle()
    assert (end.data, end.ending, stranger.data) == (b"x", "", b"")


# --- ends ----------------------------------------------------------------------------------


async def test_close_is_a_clean_end(autojump_clock: MockClock, pump: Pump) -> None:
    client, server = make_pair(pump)
    end = End(server)
    client.try_send(b"last words")
    client.close()
    await settle()
    assert (end.data, end.ending) == (b"last words", "eof")


@SIDES
async def test_close_frame_is_answered(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server)
    end = End(pipe)
    stranger.send(frame(b"x", masked=is_server))
    stranger.send(encode_close(CloseCode.NORMAL, "bye", KEY if is_server else b""))
    await settle()
    assert (end.data, end.ending) == (b"x", "eof")
    assert stranger.said() == (b"", [], CloseCode.NORMAL)


async def test_nothing_is_sent_after_the_peers_close(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    End(pipe)
    stranger.send(encode_close(CloseCode.GOING_AWAY))
    await settle()
    with pytest.raises(PipeBroken, match="the peer closed the WebSocket"):
        pipe.try_send(b"x")


async def test_end_of_sending_leaves_the_other_direction(
    autojump_clock: MockClock, pump: Pump
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    end = End(pipe)
    pipe.send_eof()
    stranger.send(frame(b"still here", masked=False))
    await settle()
    assert (end.data, stranger.said()[2]) == (b"still here", CloseCode.NORMAL)
    with pytest.raises(PipeBroken):
        pipe.try_send(b"x")


@pytest.mark.parametrize("before", [b"", b"\x82", b"\x82\x05abc", b"\x02\x01a"])
async def test_end_without_a_close_frame_is_not_clean(
    autojump_clock: MockClock, pump: Pump, before: bytes
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    end = End(pipe)
    stranger.pipe.try_send(before)
    stranger.pipe.close()
    await settle()
    assert end.ending == "the connection ended without a WebSocket close"


@pytest.mark.parametrize(
    ("code", "text"), [(CloseCode.UNSUPPORTED_DATA, "binary"), (CloseCode.POLICY, "policy")]
)
async def test_complaint_of_the_peer_is_named(
    autojump_clock: MockClock, pump: Pump, code: CloseCode, text: str
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    end = End(pipe)
    stranger.send(encode_close(code, "secret"))
    await settle()
    assert f"with code {code}: " in end.ending
    assert text in end.ending
    assert "secret" not in end.ending


async def test_reset_is_no_close(autojump_clock: MockClock, pump: Pump) -> None:
    client, server = make_pair(pump)
    end = End(server)
    client.reset()
    await settle()
    assert end.ending == "connection reset by peer"


async def test_close_in_the_middle_of_a_message_is_not_clean(
    autojump_clock: MockClock, pump: Pump
) -> None:
    client, server = make_pair(pump, MemoryNetwork(capacity_bytes=50))
    assert client.try_send(bytes(100)) < 100
    client.close()
    end = End(server)
    await settle()
    assert end.ending == "the connection ended without a WebSocket close"


async def test_close_twice_is_harmless(autojump_clock: MockClock, pump: Pump) -> None:
    client, _ = make_pair(pump)
    client.close()
    client.close()
    client.reset()


# --- peers without rules -------------------------------------------------------------------


@SIDES
async def test_broken_rule_is_told_and_named(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=is_server)
    end = End(pipe)
    stranger.send(frame(b"x", masked=not is_server))
    await settle()
    assert end.ending.startswith("the peer broke the WebSocket protocol: a frame from the")
    assert stranger.said()[2] == CloseCode.PROTOCOL_ERROR


async def test_error_stays(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True)
    End(pipe)
    stranger.send(b"GET / HTTP/1.1\r\n")
    await settle()
    for call in (pipe.check, lambda: pipe.try_receive(9), lambda: pipe.try_send(b"x")):
        with pytest.raises(PipeBroken, match="broke the WebSocket protocol"):
            call()
