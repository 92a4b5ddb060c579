"""Errors of HTTP/2, by the sections of RFC 9113: which end a stream, and which the connection."""

from __future__ import annotations

import pytest

from tests.tunnelkit.http.h2_peer import (
    ALL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    GOT,
    HEAD,
    NOT_MODIFIED,
    OK,
    OPEN,
    PADDED,
    PING,
    POST,
    PRIORITIZED,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    TRAILER,
    WINDOW,
    Peer,
    headers,
    length,
    setting,
    word,
)
from tests.tunnelkit.http.h2_talkers import LIMITS
from tests.tunnelkit.http.test_h2_proxy import frame
from tunnelkit.http.h2_events import (
    ConnectionFailed,
    DataReceived,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from tunnelkit.http.h2_frames import PREFACE, ErrorCodes
from tunnelkit.http.h2_machine import MAX_CONTINUATIONS, Machine

# --- errors of the connection -------------------------------------------------------------------

BROKEN: dict[str, tuple[list[bytes], ErrorCodes]] = {
    "3.4 SETTINGS twice are fine, but not ACK with a payload": (
        [frame(SETTINGS, setting(4, 1), 0, 1)],
        ErrorCodes.FRAME_SIZE_ERROR,
    ),
    "4.2 long frame": ([OPEN, frame(DATA, bytes(16_385), 1)], ErrorCodes.FRAME_SIZE_ERROR),
    "4.3 fields that cannot be unpacked": ([headers(1, b"\x80")], ErrorCodes.COMPRESSION_ERROR),
    "5.1 DATA of an idle stream": ([frame(DATA, b"x", 1)], ErrorCodes.PROTOCOL_ERROR),
    "5.1 RST_STREAM of an idle stream": ([frame(RST, word(8), 1)], ErrorCodes.PROTOCOL_ERROR),
    "5.1 WINDOW_UPDATE of an idle stream": (
        [frame(WINDOW, word(8), 1)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "5.1 DATA of a stream that was passed over": (
        [headers(5), frame(DATA, b"x", 6)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "5.1.1 even stream": ([headers(2)], ErrorCodes.PROTOCOL_ERROR),
    "5.1.1 lower stream": ([headers(5), headers(3)], ErrorCodes.PROTOCOL_ERROR),
    "5.4.1 preface twice": ([PREFACE], ErrorCodes.FRAME_SIZE_ERROR),
    "6.1 DATA of no stream": ([frame(DATA, b"x")], ErrorCodes.PROTOCOL_ERROR),
    "6.1 DATA with too much padding": (
        [OPEN, frame(DATA, b"\5abcd", 1, PADDED)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.1 DATA without the length of its padding": (
        [OPEN, frame(DATA, b"", 1, PADDED)],
        ErrorCodes.FRAME_SIZE_ERROR,
    ),
    "6.2 HEADERS of no stream": ([headers(0)], ErrorCodes.PROTOCOL_ERROR),
    "6.2 HEADERS with too much padding": (
        [headers(1, b"\4" + GET, END_HEADERS | PADDED)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.2 HEADERS without their priority": (
        [headers(1, b"\0\0\0", END_HEADERS | PRIORITIZED)],
        ErrorCodes.FRAME_SIZE_ERROR,
    ),
    "6.2 HEADERS, and then not CONTINUATION": (
        [headers(1, GET, 0), frame(PING, bytes(8))],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.2 HEADERS, and then an unknown frame": (
        [headers(1, GET, 0), frame(77, b"")],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.2 HEADERS, and then CONTINUATION of another stream": (
        [headers(1, GET, 0), frame(CONTINUATION, b"", 3, END_HEADERS)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.3 PRIORITY of no stream": ([frame(PRIORITY, bytes(5))], ErrorCodes.PROTOCOL_ERROR),
    "6.3 PRIORITY of a wrong size, of no open stream": (
        [frame(PRIORITY, bytes(4), 1)],
        ErrorCodes.FRAME_SIZE_ERROR,
    ),
    "6.3 stream that depends on itself": (
        [frame(PRIORITY, word(1) + b"\0", 1)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.4 RST_STREAM of no stream": ([frame(RST, word(8))], ErrorCodes.PROTOCOL_ERROR),
    "6.4 RST_STREAM of a wrong size": ([OPEN, frame(RST, b"", 1)], ErrorCodes.FRAME_SIZE_ERROR),
    "6.5 SETTINGS of a stream": ([frame(SETTINGS, b"", 1)], ErrorCodes.PROTOCOL_ERROR),
    "6.5 SETTINGS of a wrong size": ([frame(SETTINGS, b"12345")], ErrorCodes.FRAME_SIZE_ERROR),
    "6.5.2 ENABLE_PUSH of 2": ([frame(SETTINGS, setting(2, 2))], ErrorCodes.PROTOCOL_ERROR),
    "6.5.2 window that is too large": (
        [frame(SETTINGS, setting(4, 1 << 31))],
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "6.5.2 short frames": ([frame(SETTINGS, setting(5, 16_383))], ErrorCodes.PROTOCOL_ERROR),
    "6.5.2 long frames": ([frame(SETTINGS, setting(5, 1 << 24))], ErrorCodes.PROTOCOL_ERROR),
    "6.6 PUSH_PROMISE": (
        [OPEN, frame(PUSH, word(2) + GET, 1, END_HEADERS)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.7 PING of a stream": ([frame(PING, bytes(8), 1)], ErrorCodes.PROTOCOL_ERROR),
    "6.7 PING of a wrong size": ([frame(PING, bytes(7))], ErrorCodes.FRAME_SIZE_ERROR),
    "6.8 GOAWAY of a stream": ([frame(GOAWAY, bytes(8), 1)], ErrorCodes.PROTOCOL_ERROR),
    "6.8 GOAWAY of a wrong size": ([frame(GOAWAY, bytes(7))], ErrorCodes.FRAME_SIZE_ERROR),
    "6.9 WINDOW_UPDATE of a wrong size": (
        [frame(WINDOW, bytes(3))],
        ErrorCodes.FRAME_SIZE_ERROR,
    ),
    "6.9 window that opens by nothing": ([frame(WINDOW, word(0))], ErrorCodes.PROTOCOL_ERROR),
    "6.9.1 window that opens too far": (
        [frame(WINDOW, word((1 << 31) - 1))],
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "6.9.2 setting that opens a window too far": (
        [OPEN, frame(WINDOW, word(1 << 30), 1), frame(SETTINGS, setting(4, (1 << 31) - 1))],
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "6.10 CONTINUATION of nothing": (
        [OPEN, frame(CONTINUATION, b"", 1, END_HEADERS)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.10 CONTINUATION without an end": (
        [headers(1, GET, 0), frame(CONTINUATION, b"", 1) * (MAX_CONTINUATIONS + 1)],
        ErrorCodes.ENHANCE_YOUR_CALM,
    ),
    "6.10 fields without an end": (
        [headers(1, bytes(16_000), 0), frame(CONTINUATION, bytes(16_000), 1) * 5],
        ErrorCodes.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_error_of_the_connection(peer: Peer, name: str) -> None:
    frames, code = BROKEN[name]
    failed = peer.send(*frames)[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == code
    kind, _, _, payload = peer.said()[-1]
    assert (kind, payload[4:]) == (GOAWAY, word(code))
    assert peer.send(headers(9)) == []


FIRST = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "preface with a slip": PREFACE[:-1] + b"x",
    "another frame": PREFACE + frame(PING, bytes(8)),
    "ACK": PREFACE + frame(SETTINGS, b"", 0, 1),
}


@pytest.mark.parametrize("name", FIRST)
def test_wrong_beginning(name: str) -> None:
    machine = Machine(is_client=False, limits=LIMITS)
    failed = machine.receive(FIRST[name], 0.0)[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == ErrorCodes.PROTOCOL_ERROR


OF_SERVERS = {
    "push is never on": frame(SETTINGS, setting(2, 1)),
    "stream of a server": headers(2, OK),
    "stream that nobody has opened": headers(3, OK),
    "promise": frame(PUSH, word(2) + GET, 1, END_HEADERS),
}


@pytest.mark.parametrize("name", OF_SERVERS)
def test_error_of_the_connection_by_a_server(server: Peer, name: str) -> None:
    failed = server.send(OF_SERVERS[name])[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == ErrorCodes.PROTOCOL_ERROR


def test_what_came_before_an_error_counts(peer: Peer) -> None:
    events = peer.send(headers(1, GET, ALL), frame(PING, b""))
    assert [type(event) for event in events] == [RequestReceived, ConnectionFailed]


def test_nothing_is_sent_behind_goaway(peer: Peer) -> None:
    peer.send(OPEN, frame(PING, b""))
    peer.said()
    peer.machine.send_headers(1, [(b":status", b"200")], ends=True)
    peer.machine.reset_stream(1, 8)
    peer.machine.acknowledge(1, 100_000)
    assert peer.said() == []


# --- errors of one stream -----------------------------------------------------------------------

CUT: dict[str, tuple[list[bytes], ErrorCodes]] = {
    "5.1 DATA behind the end": (
        [headers(1, GET, ALL), frame(DATA, b"x", 1)],
        ErrorCodes.STREAM_CLOSED,
    ),
    "5.1 HEADERS behind the end": (
        [headers(1, GET, ALL), headers(1, TRAILER, ALL)],
        ErrorCodes.STREAM_CLOSED,
    ),
    "6.3 PRIORITY of a wrong size": (
        [OPEN, frame(PRIORITY, bytes(4), 1)],
        ErrorCodes.FRAME_SIZE_ERROR,
    ),
    "6.9 window that opens by nothing": (
        [OPEN, frame(WINDOW, word(0), 1)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "6.9.1 window that opens too far": (
        [OPEN, frame(WINDOW, word((1 << 31) - 1), 1)],
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "6.9.1 more than the window of the stream": (
        [OPEN, frame(DATA, bytes(16_000), 1) * 5],
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "8.1 trailers without an end": ([OPEN, headers(1, TRAILER)], ErrorCodes.PROTOCOL_ERROR),
    "8.1.1 more than the length": (
        [headers(1, POST), frame(DATA, b"123456", 1)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "8.1.1 less than the length": (
        [headers(1, POST), frame(DATA, b"1234", 1, END_STREAM)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "8.1.1 less than the length, before trailers": (
        [headers(1, POST), frame(DATA, b"1234", 1), headers(1, TRAILER, ALL)],
        ErrorCodes.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_error_of_one_stream(peer: Peer, name: str) -> None:
    frames, code = CUT[name]
    assert peer.send(*frames)[-1] == StreamReset(1, code, by_peer=False)
    assert peer.said()[-1] == (RST, 0, 1, word(code))
    assert peer.send(headers(3, GET, ALL)) == [RequestReceived(3, GOT, True)]


MALFORMED = {
    "no number": length(b"1x"),
    "a sign": length(b"+1"),
    "nothing": length(b""),
    "two": length(b"1") + length(b"2"),
    "the same twice": length(b"1") * 2,
    "a list": length(b"1, 1"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_request_of_a_length_that_is_none_is_not_told_of(peer: Peer, name: str) -> None:
    assert peer.send(headers(1, GET + MALFORMED[name])) == []
    assert peer.said() == [(RST, 0, 1, word(ErrorCodes.PROTOCOL_ERROR))]


def test_request_that_ends_before_its_length_is_not_told_of(peer: Peer) -> None:
    assert peer.send(headers(1, POST, ALL)) == []
    assert peer.said() == [(RST, 0, 1, word(ErrorCodes.PROTOCOL_ERROR))]


def test_more_streams_than_allowed_are_refused(peer: Peer) -> None:
    for number in range(LIMITS.max_streams):
        peer.send(headers(1 + 2 * number))
    assert peer.send(headers(999)) == []
    assert peer.said() == [(RST, 0, 999, word(ErrorCodes.REFUSED_STREAM))]


# --- answers ------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[list[bytes], bool]] = {
    "8.1.1 200 with all of it": (
        [headers(1, OK + length(b"1")), frame(DATA, b"x", 1, END_STREAM)],
        True,
    ),
    "8.1.1 200 with less": (
        [headers(1, OK + length(b"2")), frame(DATA, b"x", 1, END_STREAM)],
        False,
    ),
    "8.1.1 200 with nothing": ([headers(1, OK + length(b"2"), ALL)], False),
    "304 with a length, and no body": ([headers(1, NOT_MODIFIED + length(b"2"), ALL)], True),
    "304 with a length, and an empty body": (
        [headers(1, NOT_MODIFIED + length(b"2")), frame(DATA, b"", 1, END_STREAM)],
        True,
    ),
    "304 with a body": ([headers(1, NOT_MODIFIED), frame(DATA, b"x", 1)], False),
    "204 with a body": ([headers(1, b"\x89"), frame(DATA, b"x", 1)], False),
    "8.1 DATA before a head": ([frame(DATA, b"x", 1)], False),
    "8.1 interim answer with an end": ([headers(1, b"\x08\x03103", ALL)], False),
    "8.1 trailers without an end": ([headers(1, OK), headers(1, TRAILER)], False),
    "trailers": ([headers(1, OK), headers(1, TRAILER, ALL)], True),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(server: Peer, name: str) -> None:
    frames, is_right = ANSWERS[name]
    last = server.send(*frames)[-1]
    wrong = StreamReset(1, ErrorCodes.PROTOCOL_ERROR, by_peer=False)
    assert (last != wrong) is is_right
    assert not isinstance(last, ConnectionFailed)


@pytest.mark.parametrize(("body", "is_right"), [(b"", True), (b"x", False)])
def test_answer_to_head_says_a_length_and_has_no_body(body: bytes, is_right: bool) -> None:
    server = Peer(is_client=False)
    server.machine.open_stream(HEAD, ends=True)
    last = server.send(headers(1, OK + length(b"9")), frame(DATA, body, 1, END_STREAM))[-1]
    assert isinstance(last, DataReceived) is is_right


def test_connect_has_no_length(server: Peer) -> None:
    asked = server.machine.open_stream(
        [(b":method", b"CONNECT"), (b":authority", b"a:1")], ends=False
    )
    events = server.send(headers(asked, OK + length(b"0")), frame(DATA, b"x", asked))
    assert events[-1] == DataReceived(asked, b"x", 1, False)


def test_interim_answers_come_first(server: Peer) -> None:
    events = server.send(headers(1, b"\x08\x03103"), headers(1, OK))
    kinds = [type(event) for event in events]
    assert kinds == [InformationalResponseReceived, ResponseReceived]


def test_trailers_come_last(server: Peer) -> None:
    events = server.send(headers(1, OK), frame(DATA, b"x", 1), headers(1, TRAILER, ALL))
    assert events[-2:] == [TrailersReceived(1, [(b"x", b"y")]), StreamEnded(1)]
