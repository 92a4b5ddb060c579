"""How a WebSocket ends: who says what, how long it may take, and what counts as complete."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.carriers_websocket.ends import (
    KEY,
    End,
    Stranger,
    frame,
    make_pair,
    meet_stranger,
    settle,
)
from tunnelkit.carriers import PipeBroken
from tunnelkit.carriers.farewell import REFUSAL_SECONDS
from tunnelkit.carriers.websocket import CLOSE_SECONDS
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.testing import no_leaks
from tunnelkit.wire.websocket import CloseCode, Opcode, encode_close, encode_header

SIDES = pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])


def close_frame(code: int, *, masked: bool = False) -> bytes:
    """Return a close frame of a stranger."""
    return encode_close(CloseCode(code), "", KEY if masked else b"")


def closes_said(stranger: Stranger) -> int:
    """Return how many close frames a server, whose frames have no mask, sent to *stranger*."""
    return bytes(stranger.data).count(encode_close(CloseCode.NORMAL))


# --- our close -----------------------------------------------------------------------------


@SIDES
async def test_close_waits_for_the_answer(
    autojump_clock: MockClock, pump: Pump, is_server: bool
) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=is_server)
        End(pipe)
        pipe.close()
        await trio.sleep(CLOSE_SECONDS / 2)
        assert (stranger.ending, stranger.said()[2]) == ("", CloseCode.NORMAL)
        stranger.send(close_frame(1000, masked=is_server))
        await settle()
        assert stranger.ending == "eof"
        stranger.pipe.close()


async def test_peer_that_never_answers_costs_a_bounded_time(
    autojump_clock: MockClock, pump: Pump
) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=True)
        pipe.close()
        began = trio.current_time()
        while not stranger.ending:
            stranger.send(frame(bytes(1000), masked=True))
            await trio.sleep(0.5)
        assert trio.current_time() - began <= CLOSE_SECONDS + 0.5
        stranger.pipe.close()


async def test_peer_that_never_reads_costs_a_bounded_time(
    autojump_clock: MockClock, pump: Pump
) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=True, capacity=2, reads=False)
        pipe.close()
        await trio.sleep(CLOSE_SECONDS + 0.1)
        stranger.read()
        await settle()
        assert stranger.ending
        stranger.pipe.close()


async def test_answer_may_come_behind_a_flood(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True, capacity=1000)
    pipe.close()
    stranger.send(frame(bytes(100_000), masked=True) + close_frame(1000, masked=True))
    await settle()
    assert (bytes(stranger.left), stranger.ending) == (b"", "eof")


async def test_close_frame_goes_whole_however_narrow_the_way(
    autojump_clock: MockClock, pump: Pump
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True, capacity=1)
    pipe.close()
    await settle()
    assert stranger.said()[2] == CloseCode.NORMAL


async def test_two_that_close_at_once_do_not_wait(autojump_clock: MockClock, pump: Pump) -> None:
    async with no_leaks():
        for pipe in make_pair(pump):
            pipe.close()
        await settle()


async def test_close_of_a_broken_connection_does_not_wait(
    autojump_clock: MockClock, pump: Pump
) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=True)
        end = End(pipe)
        stranger.pipe.reset()
        await settle()
        assert end.ending == "connection reset by peer"
        pipe.close()
        await settle()


async def test_reset_ends_the_wait(autojump_clock: MockClock, pump: Pump) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=True)
        pipe.close()
        pipe.reset()
        await settle()
        assert stranger.ending
        stranger.pipe.close()


async def test_pump_that_stops_ends_the_wait(autojump_clock: MockClock) -> None:
    async with no_leaks():
        pump = acquire_pump()
        stranger, pipe = meet_stranger(pump, is_server=True)
        pipe.close()
        stranger.pipe.close()
        await release_pump(pump)


async def test_closed_pipe_takes_and_gives_nothing(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True)
    pipe.close()
    stranger.send(frame(b"x", masked=True))
    for call in (lambda: pipe.try_send(b"x"), lambda: pipe.try_receive(9), pipe.check):
        with pytest.raises(PipeBroken):
            call()


# --- the peer's close ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001])
async def test_close_that_says_so_is_a_clean_end(
    autojump_clock: MockClock, pump: Pump, code: int
) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=False)
        end = End(pipe)
        stranger.send(frame(b"all of it", masked=False) + close_frame(code))
        await settle()
        assert (end.data, end.ending) == (b"all of it", "eof")
        pipe.close()
        await settle()
        assert stranger.ending == "eof"
        stranger.pipe.close()


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1011])
async def test_close_for_another_reason_is_an_error(
    autojump_clock: MockClock, pump: Pump, code: int
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    end = End(pipe)
    stranger.send(close_frame(code))
    await settle()
    assert end.ending.startswith(f"the peer closed the WebSocket with code {code}: ")


async def test_close_without_a_code_may_be_cut_short(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    end = End(pipe)
    stranger.send(b"\x88\x00")
    await settle()
    assert "with code 1005: it gave none" in end.ending


async def test_close_inside_a_message_is_no_clean_end(
    autojump_clock: MockClock, pump: Pump
) -> None:
    stranger, pipe = meet_stranger(pump, is_server=False)
    end = End(pipe)
    begun = encode_header(Opcode.BINARY, 4, fin=False) + b"half"
    stranger.send(begun + close_frame(1000))
    await settle()
    assert (end.data, end.ending) == (
        b"half",
        "the peer closed the WebSocket in the middle of a message",
    )
    assert stranger.said()[2] == CloseCode.NORMAL


async def test_close_is_answered_once(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True)
    End(pipe)
    stranger.send(close_frame(1000, masked=True) * 3)
    await settle()
    pipe.send_eof()
    pipe.close()
    await settle()
    assert closes_said(stranger) == 1


async def test_own_close_is_said_once(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True)
    End(pipe)
    pipe.send_eof()
    stranger.send(close_frame(1000, masked=True))
    await settle()
    pipe.close()
    await settle()
    assert (closes_said(stranger), stranger.ending) == (1, "eof")


async def test_answer_that_waits_is_still_sent(autojump_clock: MockClock, pump: Pump) -> None:
    stranger, pipe = meet_stranger(pump, is_server=True, capacity=2, reads=False)
    left = stranger.pipe
    assert left.try_send(b"\x88\x82") == 2  # a close frame, two bytes at a time
    end = End(pipe)
    for piece in (KEY[:2], KEY[2:], bytes([KEY[0] ^ 0x03, KEY[1] ^ 0xE8])):
        await settle()
        left.try_send(piece)
    await settle()
    pipe.close()
    stranger.read()
    await settle()
    assert (end.ending, stranger.said()[2]) == ("eof", CloseCode.NORMAL)


# --- last words for who broke the rules ------------------------------------------------------


async def test_who_broke_a_rule_has_time_to_read_why(autojump_clock: MockClock, pump: Pump) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=True, capacity=50)
        end = End(pipe)
        stranger.send(b"GET / HTTP/1.1\r\n" + bytes(1000))
        await settle()
        assert end.ending.startswith("the peer broke the WebSocket protocol")
        pipe.close()
        await settle()
        assert (stranger.said()[2], stranger.ending) == (CloseCode.PROTOCOL_ERROR, "eof")
        stranger.pipe.close()


async def test_who_broke_a_rule_and_stays_is_sent_away(
    autojump_clock: MockClock, pump: Pump
) -> None:
    async with no_leaks():
        stranger, pipe = meet_stranger(pump, is_server=True)
        End(pipe)
        stranger.send(b"\xff" * 20)
        await settle()
        pipe.close()
        await trio.sleep(REFUSAL_SECONDS + 0.1)
        with pytest.raises(PipeBroken):
            stranger.pipe.try_send(b"x")
        stranger.pipe.reset()
