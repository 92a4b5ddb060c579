"""One HTTP/2 client whose streams go to different servers, all of them machines of `h2`."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from hpack import NeverIndexedHeaderTuple

from tests.tunnelkit.http.h2_parties import World2, fields
from tunnelkit.http.h2_gate import MAX_CONTROL_FRAMES, MAX_RESETS
from tunnelkit.http.h2_side import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES
from tunnelkit.http.routing import Route


@pytest.fixture
def world() -> World2:
    return World2()


def test_request_and_answer_go_through_as_they_were(world: World2) -> None:
    head = [*fields("/a", x_two="2", x_one="1"), ("x-two", "3"), ("te", "trailers")]
    asked = world.client.ask(head)
    assert world.servers[b"a"].seen(RequestReceived).headers == head
    world.servers[b"a"].answer(1, b"hi", "203")
    assert world.client.seen(ResponseReceived).headers == [(":status", "203")]
    assert world.client.machine.open_outbound_streams == 0, asked


def test_streams_go_where_their_routes_say(world: World2) -> None:
    asked = [world.client.ask(fields(path)) for path in ("/a", "/b", "/a")]
    assert world.connects == 2
    for name, stream_id, answered in (
        (b"b", 1, asked[1]),
        (b"a", 3, asked[2]),
        (b"a", 1, asked[0]),
    ):
        world.servers[name].read()
        world.servers[name].answer(stream_id, name)
        assert world.client.read_body(answered) == (name, True)


def test_bytes_may_come_one_by_one(world: World2) -> None:
    world.client.machine.send_headers(1, fields("/a", "POST"))
    world.client.machine.send_data(1, b"hello", end_stream=True)
    for byte in world.client.machine.data_to_send():
        world.client.side.push(bytes([byte]))
    assert world.servers[b"a"].read_body(1) == (b"hello", True)


def test_both_directions_go_on_at_once(world: World2) -> None:
    client = world.client
    asked = client.ask(fields("/a", "POST"), ends=False)
    world.servers[b"a"].read()
    world.servers[b"a"].answer(1)
    for piece in (b"one", b"two"):
        client.machine.send_data(asked, piece)
        client.push()
        assert world.servers[b"a"].read_body(1) == (piece, False)
        world.servers[b"a"].machine.send_data(1, piece)
        world.servers[b"a"].push()
        assert client.read_body(asked) == (piece, False)


def test_trailers_go_both_ways(world: World2) -> None:
    asked = world.client.ask(fields("/a", "POST"), ends=False)
    world.client.machine.send_data(asked, b"x")
    world.client.machine.send_headers(asked, [("x-sum", "1")], end_stream=True)
    world.client.push()
    server = world.servers[b"a"]
    assert server.seen(TrailersReceived).headers == [("x-sum", "1")]
    server.machine.send_headers(1, [(":status", "200")])
    server.machine.send_headers(1, [("grpc-status", "0")], end_stream=True)
    server.push()
    assert world.client.seen(TrailersReceived).headers == [("grpc-status", "0")]


def test_trailers_without_a_field_are_an_end(world: World2) -> None:
    world.client.ask(fields("/a", "POST"), ends=False)
    world.client.side.push(frame(1, stream_id=1, flags=5))
    assert world.servers[b"a"].read_body(1) == (b"", True)


def test_interim_answers_go_through(world: World2) -> None:
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "103"), ("link", "</x>")])
    server.answer(1, b"hi")
    events = world.client.read()
    assert [type(event) for event in events[:2]] == [
        InformationalResponseReceived,
        ResponseReceived,
    ]


def test_fields_never_to_be_indexed_stay_so(world: World2) -> None:
    secret: Any = NeverIndexedHeaderTuple("authorization", "secret")
    world.client.ask([*fields("/a"), secret])
    found = world.servers[b"a"].seen(RequestReceived).headers[-1]
    assert isinstance(found, NeverIndexedHeaderTuple)


# --- flow control -------------------------------------------------------------------------------


def test_slow_server_stops_its_own_stream_only(world: World2) -> None:
    client, sizes = world.client, []
    for path in ("/slow", "/b"):
        asked = client.ask(fields(path, "POST"), ends=False)
        world.servers[path[1:].encode()].takes_data = path == "/b"
        sent = 0
        while (room := min(client.machine.local_flow_control_window(asked), 16_384)) > 0:
            if sent > STREAM_WINDOW_BYTES * 4:
                break
            client.machine.send_data(asked, bytes(room))
            sent += room
            client.push()
            for server in world.servers.values():
                server.read()
            client.read()
        sizes.append(sent)
    assert sizes[0] <= STREAM_WINDOW_BYTES + 65_535
    assert sizes[1] > STREAM_WINDOW_BYTES * 4


def test_large_answer_goes_on_as_windows_open(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "200")])
    left, got = 3_000_000, 0
    while left:
        room = min(server.machine.local_flow_control_window(1), 16_384, left)
        server.machine.send_data(1, bytes(room), end_stream=room == left)
        left -= room
        server.push()
        got += len(world.client.read_body(asked)[0])
        server.read()
    got += len(world.client.read_body(asked)[0])
    assert got == 3_000_000
    assert world.client.machine.open_outbound_streams == 0


def test_what_waits_for_a_client_is_bounded(world: World2) -> None:
    world.client.side.room = 0
    asked = world.client.ask(fields("/a"))
    server, sent = world.servers[b"a"], 0
    server.read()
    server.answer(asked)
    while (room := min(server.machine.local_flow_control_window(1), 16_384)) > 0:
        server.machine.send_data(1, bytes(room))
        sent += room
        server.push()
        server.read()
    assert sent <= STREAM_WINDOW_BYTES + 65_535 <= CONNECTION_WINDOW_BYTES


# --- endings ------------------------------------------------------------------------------------


def test_reset_of_the_client_goes_on(world: World2) -> None:
    asked = world.client.ask(fields("/a", "POST"), ends=False)
    world.servers[b"a"].read()
    world.client.machine.reset_stream(asked, ErrorCodes.CANCEL)
    world.client.push()
    assert world.servers[b"a"].seen(StreamReset).error_code == ErrorCodes.CANCEL


def test_reset_of_the_server_goes_on(world: World2) -> None:
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.reset_stream(1, ErrorCodes.INADEQUATE_SECURITY)
    server.push()
    assert world.client.seen(StreamReset).error_code == ErrorCodes.INADEQUATE_SECURITY


def test_whole_answer_comes_before_the_reset_behind_it(world: World2) -> None:
    world.client.takes_data = False
    asked = world.client.ask(fields("/a", "POST"), ends=False)
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "413")])
    for size in (16_384, 16_384, 16_384, 16_383):
        server.machine.send_data(1, bytes(size))
    server.push()
    world.client.read()  # its window is full, and stays so
    server.machine.send_data(1, b"the end", end_stream=True)
    server.machine.reset_stream(1, ErrorCodes.NO_ERROR)
    server.push()
    assert world.client.side.got == b""
    world.client.machine.acknowledge_received_data(65_535, asked)
    world.client.push()
    events = world.client.read()
    assert getattr(events[0], "data", None) == b"the end"
    assert isinstance(events[-1], StreamReset)


def test_server_that_goes_away_ends_what_it_has(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.side.push(b"\0\0\x08\7\0\0\0\0\0" + struct.pack("!II", 1, 0))
    again = world.client.ask(fields("/a"))
    assert world.connects == 2
    server.answer(1, b"old")
    assert world.client.read_body(asked) == (b"old", True)
    assert server.side.ended == "finished"
    world.servers[b"a"].read()
    world.servers[b"a"].answer(1, b"new")
    assert world.client.read_body(again) == (b"new", True)


def test_what_a_server_that_goes_away_has_not_seen_is_refused(world: World2) -> None:
    world.client.ask(fields("/a"))
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.side.push(b"\0\0\x08\7\0\0\0\0\0" + struct.pack("!II", 1, 0))
    found = world.client.seen(StreamReset)
    assert (found.stream_id, found.error_code) == (3, ErrorCodes.REFUSED_STREAM)


def test_client_that_goes_away_gets_its_answers(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    world.client.side.push(b"\0\0\x08\7\0\0\0\0\0" + struct.pack("!II", 0, 0))
    assert world.over == 0
    world.servers[b"a"].read()
    world.servers[b"a"].answer(1, b"hi")
    assert world.client.read_body(asked) == (b"hi", True)
    assert (world.over, world.client.side.ended) == (1, "finished")


def test_server_that_breaks_off_is_answered_for(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    assert server.side.into is not None
    server.side.into.reset(0, "it broke")
    assert b"it broke" in world.client.read_body(asked)[0]


def test_answer_that_breaks_off_does_not_look_whole(world: World2) -> None:
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.answer(1)
    assert server.side.into is not None
    server.side.into.finish()
    assert world.client.seen(StreamReset).error_code == ErrorCodes.INTERNAL_ERROR


def test_server_that_speaks_something_else_is_answered_for(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    world.servers[b"a"].side.push(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert b"breaks HTTP/2" in world.client.read_body(asked)[0]


def test_client_that_leaves_leaves_nothing_behind(world: World2) -> None:
    world.client.ask(fields("/a", "POST"), ends=False)
    server = world.servers[b"a"]
    server.read()
    world.proxy.reset(0, "gone")
    assert server.seen(StreamReset).error_code == ErrorCodes.CANCEL
    assert (world.over, world.client.side.ended, server.side.ended) == (1, "reset", "finished")


# --- servers that cannot be reached, or take their time -----------------------------------------


def test_requests_wait_for_the_connection(world: World2) -> None:
    world.is_slow = True
    world.client.ask(fields("/a"))
    asked = world.client.ask(fields("/a", "POST"), ends=False)
    world.client.machine.send_data(asked, b"body", end_stream=True)
    world.client.push()
    world.attach(*world.late.pop())
    assert world.connects == 1
    assert world.servers[b"a"].read_body(3) == (b"body", True)


def test_requests_wait_for_a_server_that_takes_few_at_once() -> None:
    world = World2(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    asked = [world.client.ask(fields("/a")) for _ in range(3)]
    server = world.servers[b"a"]
    for number, stream_id in enumerate(asked):
        found = [one for one in server.read() if isinstance(one, RequestReceived)]
        assert [one.stream_id for one in found] == [1 + 2 * number]
        server.answer(1 + 2 * number, b"hi")
        assert world.client.read_body(stream_id) == (b"hi", True)


def test_requests_that_wait_are_not_sent_for_a_client_that_left() -> None:
    world = World2(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    for _ in range(3):
        world.client.ask(fields("/a"))
    world.servers[b"a"].read()
    world.proxy.finish()
    assert not any(isinstance(one, RequestReceived) for one in world.servers[b"a"].read())


def test_server_that_is_away_is_answered_for(world: World2) -> None:
    world.refuse_with = 503
    world.client.ask(fields("/a"))
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "503")


def test_grpc_is_told_in_its_own_words(world: World2) -> None:
    world.refuse_with = 503
    world.client.ask(fields("/a/B", "POST", content_type="application/grpc+proto"), ends=False)
    headers = dict(world.client.seen(ResponseReceived).headers)
    assert (headers[":status"], headers["grpc-status"]) == ("200", "14")
    assert headers["grpc-message"] == "nobody is there"


def test_requests_of_a_server_that_did_not_take_them_go_to_another(world: World2) -> None:
    world.is_slow = True
    asked = world.client.ask(fields("/a"))
    back, _ = world.late.pop()
    world.is_slow = False
    world.proxy.reroute(back, Route(b"b"))
    world.servers[b"b"].read()
    world.servers[b"b"].answer(1, b"hi")
    assert world.client.read_body(asked) == (b"hi", True)


# --- what is refused ----------------------------------------------------------------------------


def frame(kind: int, payload: bytes = b"", stream_id: int = 0, flags: int = 0) -> bytes:
    """Return a frame."""
    size = len(payload).to_bytes(3, "big")
    return size + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def goaway_code(world: World2) -> int:
    """Return why a client was sent away."""
    found = world.client.seen(ConnectionTerminated)
    assert (world.over, world.client.side.ended) == (1, "finished")
    return int(found.error_code or 0)


FLOODS = {
    "ping": frame(6, bytes(8)),
    "settings": frame(4),
    "priority": frame(2, bytes(4) + b"\1", stream_id=7),
    "empty data": frame(0, stream_id=1),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_of_what_costs_nothing_is_sent_away(world: World2, name: str) -> None:
    world.client.ask(fields("/a", "POST"), ends=False)
    world.client.side.push(FLOODS[name] * (MAX_CONTROL_FRAMES + 10))
    assert goaway_code(world) == ErrorCodes.ENHANCE_YOUR_CALM


def test_rapid_reset_is_sent_away(world: World2) -> None:
    for _ in range(MAX_RESETS + 1):
        asked = world.client.ask(fields("/a"))
        world.client.machine.reset_stream(asked, ErrorCodes.CANCEL)
        world.client.push()
    assert goaway_code(world) == ErrorCodes.ENHANCE_YOUR_CALM


def test_resets_now_and_then_are_not(world: World2) -> None:
    for _ in range(MAX_RESETS * 3):
        asked = world.client.ask(fields("/a"))
        world.client.machine.reset_stream(asked, ErrorCodes.CANCEL)
        world.client.push()
        world.time += 0.1
    assert world.over == 0


def test_endless_fields_are_sent_away(world: World2) -> None:
    world.client.side.push(frame(1, b"\x82", stream_id=1) + frame(9, b"", stream_id=1) * 100)
    assert goaway_code(world) != 0


def test_fields_that_unpack_to_much_are_sent_away(world: World2) -> None:
    field = b"\x40\x01a" + b"\x7f\xe1\x1e" + b"x" * 4_000  # kept in the table,
    world.client.side.push(frame(1, field + b"\xbe" * 10_000, stream_id=1, flags=5))  # named often
    assert goaway_code(world) != 0


def test_frames_that_are_too_long_are_sent_away(world: World2) -> None:
    world.client.side.push(frame(0, bytes(20_000), stream_id=1)[:9])
    assert goaway_code(world) == ErrorCodes.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    "head",
    [
        fields("/a b"),
        fields("/a\r\nx: y"),
        fields("/\xe4"),
        fields("/a", "GE T"),
        [*fields("/a"), ("x", "a\r\nb: c")],
        [*fields("/a"), ("x\r\ny", "a")],
        [*fields("/a"), ("x", "a\0")],
    ],
)
def test_texts_that_would_be_something_else_in_http_1_are_refused(
    world: World2, head: list[tuple[str, str]]
) -> None:
    world.client.machine.config.validate_outbound_headers = False
    world.client.ask(head)
    assert world.connects == 0
    ended = [type(event) for event in world.client.read()]
    assert ended in ([StreamReset], [ConnectionTerminated])


def test_answer_that_breaks_a_rule_is_a_bad_gateway(world: World2) -> None:
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.config.validate_outbound_headers = False
    server.machine.config.normalize_outbound_headers = False
    server.machine.send_headers(1, [(":status", "200"), ("connection", "close")])
    server.push()
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "502")
    assert server.seen(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR


def test_trailers_that_break_a_rule_end_their_stream_alone(world: World2) -> None:
    asked = world.client.ask(fields("/a", "POST"), ends=False)
    world.servers[b"a"].read()
    world.client.machine.config.validate_outbound_headers = False
    world.client.machine.send_headers(asked, [("x", "a\r\nb: c")], end_stream=True)
    world.client.push()
    assert world.servers[b"a"].seen(StreamReset).error_code == ErrorCodes.CANCEL
    assert world.client.seen(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR
    assert world.over == 0


def test_too_many_fields_are_refused(world: World2) -> None:
    world.client.ask([*fields("/a"), *[("x", "y")] * 201])
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "431")


def test_target_that_is_too_long_is_refused(world: World2) -> None:
    world.client.ask(fields("/" + "a" * 20_000))
    assert world.client.seen(ResponseReceived).headers[0] == (":status", "414")


def test_answers_nobody_reads_are_bounded(world: World2) -> None:
    world.client.side.room = 0
    for _ in range(100_000):
        world.client.side.push(frame(6, bytes(8)))
        world.time += 0.1
        if world.client.side.waiting:
            break
    assert world.client.side.waiting
    assert world.proxy.side.outlet.waiting_bytes < 300_000
