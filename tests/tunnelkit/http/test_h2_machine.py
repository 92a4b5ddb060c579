"""Our machine of HTTP/2, frame by frame: streams that are over, windows, and what floods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.tunnelkit.http.h2_peer import (
    ALL,
    ASK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    GOT,
    HEADERS,
    OK,
    OPEN,
    PADDED,
    PING,
    POST,
    PRIORITIZED,
    PRIORITY,
    RST,
    SETTINGS,
    TRAILER,
    WINDOW,
    Peer,
    headers,
    setting,
    word,
)
from tests.tunnelkit.http.h2_talkers import LIMITS
from tests.tunnelkit.http.test_h2_proxy import frame
from tunnelkit.errors import LocalProtocolError
from tunnelkit.http.h2_events import (
    ConnectionFailed,
    DataReceived,
    GoAway,
    RequestReceived,
    ResponseReceived,
    WindowUpdated,
)
from tunnelkit.http.h2_frames import PREFACE, ErrorCodes
from tunnelkit.http.h2_gate import MAX_CONTROL_FRAMES, MAX_RESETS
from tunnelkit.http.h2_machine import Machine
from tunnelkit.http.h2_sending import MAX_REMEMBERED

# --- streams that are over ----------------------------------------------------------------------


def test_frames_that_were_under_way_when_we_reset_are_passed_over(peer: Peer) -> None:
    peer.send(OPEN)
    peer.machine.reset_stream(1, ErrorCodes.CANCEL)
    peer.said()
    late = [frame(DATA, b"x", 1), headers(1, TRAILER, ALL), frame(RST, word(8), 1)]
    assert peer.send(*late, frame(WINDOW, word(9), 1)) == []
    assert peer.said() == []


def test_fields_that_nobody_wants_still_change_the_table(peer: Peer) -> None:
    peer.send(OPEN)
    peer.machine.reset_stream(1, ErrorCodes.CANCEL)
    peer.send(headers(1, b"\x40\1x\1y", ALL))
    assert peer.send(headers(3, GET + b"\xbe")) == [RequestReceived(3, [*GOT, (b"x", b"y")], False)]


def test_bytes_that_nobody_wants_open_the_window_of_all(peer: Peer) -> None:
    peer.send(OPEN)
    peer.machine.reset_stream(1, ErrorCodes.CANCEL)
    peer.said()
    for _ in range(10):
        assert peer.send(frame(DATA, bytes(16_000), 1)) == []
    assert {kind for kind, _, stream_id, _ in peer.said() if not stream_id} == {WINDOW}


def test_data_of_a_stream_that_the_peer_reset_is_an_error_of_it(peer: Peer) -> None:
    peer.send(OPEN, frame(RST, word(8), 1))
    assert peer.send(frame(DATA, b"x", 1)) == []
    assert peer.said() == [(RST, 0, 1, word(ErrorCodes.STREAM_CLOSED))]


@pytest.mark.parametrize("late", [frame(DATA, b"x", 1), headers(1, TRAILER, ALL)])
def test_more_of_a_stream_that_both_have_ended_ends_the_connection(peer: Peer, late: bytes) -> None:
    peer.send(headers(1, GET, ALL))
    peer.machine.send_headers(1, [(b":status", b"200")], ends=True)
    failed = peer.send(late)[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == ErrorCodes.STREAM_CLOSED


def test_late_windows_and_resets_of_a_stream_that_has_ended_are_nothing(peer: Peer) -> None:
    peer.send(headers(1, GET, ALL))
    peer.machine.send_headers(1, [(b":status", b"200")], ends=True)
    assert peer.send(frame(WINDOW, word(9), 1), frame(RST, word(0), 1)) == []


def test_what_is_remembered_is_bounded(peer: Peer) -> None:
    for number in range(MAX_REMEMBERED + 100):
        peer.send(headers(1 + 2 * number, GET, ALL))
        peer.machine.send_headers(1 + 2 * number, [(b":status", b"200")], ends=True)
    assert peer.machine.open_count == 0
    assert len(peer.machine._ended._known) == len(peer.machine._ended._order) == MAX_REMEMBERED


def test_sending_on_a_stream_that_is_no_more_is_nothing(peer: Peer) -> None:
    peer.send(OPEN, frame(RST, word(8), 1))
    peer.machine.send_headers(1, [(b":status", b"200")], ends=False)
    peer.machine.send_data(1, b"x", ends=True)
    peer.machine.reset_stream(1, 8)
    assert peer.said() == []
    assert peer.machine.room(1) == 0


# --- windows ------------------------------------------------------------------------------------


def test_window_may_be_below_nothing(peer: Peer) -> None:
    peer.send(OPEN)
    peer.machine.send_data(1, bytes(10_000), ends=False)
    peer.send(frame(SETTINGS, setting(4, 4_000)))
    peer.send(frame(WINDOW, word(6_000), 1))
    assert peer.machine.room(1) == 0
    peer.send(frame(WINDOW, word(7), 1))
    assert peer.machine.room(1) == 7


def test_setting_changes_new_streams_too(peer: Peer) -> None:
    peer.send(frame(SETTINGS, setting(4, 9)), OPEN)
    assert peer.machine.room(1) == 9


def test_window_of_all_counts(peer: Peer) -> None:
    peer.send(frame(SETTINGS, setting(4, 100_000)), OPEN)
    while room := peer.machine.room(1):
        peer.machine.send_data(1, bytes(room), ends=False)
    assert peer.send(frame(WINDOW, word(5))) == [WindowUpdated(0)]
    assert peer.machine.room(1) == 5


def test_window_that_opens_bit_by_bit_is_told_of_once(peer: Peer) -> None:
    assert peer.send(*[frame(WINDOW, word(1))] * 1_000) == [WindowUpdated(0)]
    assert peer.send(frame(WINDOW, word(1))) == [WindowUpdated(0)]


def test_frame_is_no_longer_than_the_peer_takes(peer: Peer) -> None:
    peer.send(OPEN)
    assert peer.machine.room(1) == 16_384
    peer.send(frame(SETTINGS, setting(5, 20_000)))
    assert peer.machine.room(1) == 20_000


def test_more_than_there_is_room_for_is_our_own_mistake(peer: Peer) -> None:
    peer.send(OPEN)
    with pytest.raises(LocalProtocolError):
        peer.machine.send_data(1, bytes(16_385), ends=False)


def test_server_opens_no_streams(peer: Peer) -> None:
    with pytest.raises(LocalProtocolError):
        peer.machine.open_stream(ASK, ends=True)


def test_padding_is_counted_and_left_out(peer: Peer) -> None:
    peer.send(OPEN)
    assert peer.send(frame(DATA, b"\3abcd\0\0\0", 1, PADDED)) == [
        DataReceived(1, b"abcd", 8, False)
    ]


def test_peer_is_told_once_half_a_window_was_used(peer: Peer) -> None:
    peer.send(OPEN, frame(DATA, bytes(16_000), 1) * 4)
    peer.machine.acknowledge(1, 34_999)
    assert peer.said() == []
    peer.machine.acknowledge(1, 1)
    assert peer.said() == [(WINDOW, 0, 1, word(35_000))]
    peer.machine.acknowledge(1, 15_000)
    assert peer.said() == [(WINDOW, 0, 0, word(50_000))]


def test_more_than_the_window_of_all_ends_the_connection(peer: Peer) -> None:
    peer.send(headers(1), headers(3), frame(DATA, bytes(16_000), 1) * 4)
    failed = peer.send(frame(DATA, bytes(16_000), 3) * 3)[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == ErrorCodes.FLOW_CONTROL_ERROR


# --- the connection -----------------------------------------------------------------------------


def test_beginning_says_what_is_taken() -> None:
    machine = Machine(is_client=True, limits=LIMITS)
    out = machine.take_output()
    assert out.startswith(PREFACE)
    for pair in (setting(2, 0), setting(3, 100), setting(4, 70_000), setting(6, 65_536)):
        assert pair in out
    assert out.endswith(frame(WINDOW, word(100_000 - 65_535)))


def test_settings_and_questions_are_answered(peer: Peer) -> None:
    peer.send(
        frame(SETTINGS, setting(99, 1)), frame(PING, b"whatever"), frame(PING, bytes(8), 0, 1)
    )
    assert peer.said() == [(SETTINGS, 1, 0, b""), (PING, 1, 0, b"whatever")]


def test_unknown_frames_and_priorities_are_passed_over(peer: Peer) -> None:
    dependent = headers(1, word(3) + b"\0" + GET, END_HEADERS | PRIORITIZED)
    events = peer.send(frame(200, b"x", 7), frame(PRIORITY, bytes(5), 9), dependent)
    assert events == [RequestReceived(1, GOT, False)]


def test_going_away_leaves_streams_going(server: Peer) -> None:
    events = server.send(frame(GOAWAY, word(1) + word(0) + b"bye"), headers(1, OK, ALL))
    assert events[0] == GoAway(1, 0)
    assert isinstance(events[1], ResponseReceived)


def test_long_fields_take_several_frames(peer: Peer) -> None:
    peer.send(OPEN)
    peer.machine.send_headers(1, [(b":status", b"200"), (b"x", b"y" * 40_000)], ends=True)
    kinds = [(kind, flags) for kind, flags, _, _ in peer.said()]
    assert kinds == [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]


def test_fields_come_in_several_frames(peer: Peer) -> None:
    pieces = [headers(1, GET[:1], END_STREAM), frame(CONTINUATION, b"", 1)]
    events = peer.send(*pieces, frame(CONTINUATION, GET[1:], 1, END_HEADERS))
    assert events == [RequestReceived(1, GOT, True)]


# --- floods -------------------------------------------------------------------------------------


def flooded(peer: Peer, *frames: bytes) -> bool:
    """Return whether frames are too many."""
    failed = [one for one in peer.send(*frames) if isinstance(one, ConnectionFailed)]
    return [one.code for one in failed] == [ErrorCodes.ENHANCE_YOUR_CALM]


def opened_and(peer: Peer, count: int, behind: Any) -> list[bytes]:
    """Return streams, each with something behind its head."""
    return [headers(1 + 2 * n, POST) + behind(1 + 2 * n) for n in range(count)]


MADE_RESETS = {
    "reset": lambda stream_id: frame(RST, word(8), stream_id),
    "window": lambda stream_id: frame(WINDOW, word(0), stream_id),
    "length": lambda stream_id: frame(DATA, b"123456", stream_id),
}


@pytest.mark.parametrize("name", MADE_RESETS)
def test_streams_opened_to_be_reset_are_a_flood(peer: Peer, name: str) -> None:
    assert not flooded(peer, *opened_and(peer, MAX_RESETS, MADE_RESETS[name]))
    assert flooded(peer, headers(999, POST), MADE_RESETS[name](999))


def test_streams_reset_for_what_their_fields_say_are_a_flood(peer: Peer) -> None:
    for number in range(MAX_RESETS + 1):
        peer.send(headers(1 + 2 * number))
        peer.machine.reset_stream(1 + 2 * number, ErrorCodes.PROTOCOL_ERROR)
    assert flooded(peer)


def test_server_may_reset_as_many_streams_as_it_is_asked_for() -> None:
    server = Peer(is_client=False)
    for _ in range(MAX_RESETS * 3):
        asked = server.machine.open_stream(ASK, ends=False)
        assert not flooded(server, headers(asked, OK, ALL), frame(RST, word(0), asked))


def test_resets_of_streams_that_have_ended_are_no_flood(peer: Peer) -> None:
    for number in range(MAX_RESETS * 3):
        peer.send(headers(1 + 2 * number, GET, ALL))
        peer.machine.send_headers(1 + 2 * number, [(b":status", b"200")], ends=True)
        assert not flooded(peer, frame(RST, word(0), 1 + 2 * number))


CONTROLS = {
    "ping": frame(PING, bytes(8)),
    "answer to no question": frame(PING, bytes(8), 0, 1),
    "settings": frame(SETTINGS),
    "priority": frame(PRIORITY, bytes(5), 9),
    "goaway": frame(GOAWAY, bytes(8)),
    "unknown": frame(99),
    "empty data": frame(DATA, b"", 1),
    "padding": frame(DATA, b"\1\0", 1, PADDED),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_frames_that_say_nothing_are_a_flood(peer: Peer, name: str) -> None:
    peer.send(OPEN)
    assert not flooded(peer, *[CONTROLS[name]] * (MAX_CONTROL_FRAMES - 1))
    assert flooded(peer, CONTROLS[name], CONTROLS[name])


def test_streams_opened_before_the_limit_is_known_are_refused_and_no_flood(peer: Peer) -> None:
    many = LIMITS.max_streams + MAX_RESETS * 2
    assert not flooded(peer, *[headers(1 + 2 * number) for number in range(many)])
    assert peer.machine.open_count == LIMITS.max_streams


def test_streams_that_are_refused_for_ever_are_a_flood(peer: Peer) -> None:
    many = LIMITS.max_streams + MAX_CONTROL_FRAMES + 1
    assert flooded(peer, *[headers(1 + 2 * number) for number in range(many)])


def test_empty_ends_are_no_flood(peer: Peer) -> None:
    for number in range(MAX_CONTROL_FRAMES * 2):
        peer.send(headers(1 + 2 * number), frame(DATA, b"", 1 + 2 * number, END_STREAM))
        peer.machine.send_headers(1 + 2 * number, [(b":status", b"200")], ends=True)
    assert not peer.machine.is_closed


def test_smaller_limits_are_heeded() -> None:
    limits = replace(LIMITS, max_streams=1)
    machine = Machine(is_client=False, limits=limits)
    machine.receive(PREFACE + frame(SETTINGS) + headers(1) + headers(3), 0.0)
    assert machine.take_output().endswith(frame(RST, word(ErrorCodes.REFUSED_STREAM), 3))
