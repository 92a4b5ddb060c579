"""Streams of HTTP/2 that end at awkward moments: each ends alone, and answers arrive whole."""

from __future__ import annotations

import struct

import pytest
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from tests.tunnelkit.http.h2_parties import Party, World2, fields
from tunnelkit.http.h2_gate import MAX_CONTROL_FRAMES, MAX_RESETS

PAGE = 16_000


@pytest.fixture
def world() -> World2:
    return World2()


def fill(sender: Party, stream_id: int, reader: Party) -> None:
    """Send until the windows leave room for few bytes; the reader's machine opens none."""
    while (room := min(sender.machine.local_flow_control_window(stream_id) - 10, PAGE)) > 0:
        sender.machine.send_data(stream_id, bytes(room))
        sender.push()
        sender.read()
        reader.read()


def answering(world: World2, count: int = 1) -> Party:
    """Let a client that reads nothing ask; return the server, whose answer fills the windows."""
    world.client.takes_data = False
    for _ in range(count):
        world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "200")])
    fill(server, 1, world.client)
    return server


@pytest.mark.parametrize("opened", ["both", "connection", "settings"])
def test_reset_right_behind_an_open_window_harms_no_other(world: World2, opened: str) -> None:
    server, machine = answering(world, 2), world.client.machine
    if opened == "settings":
        machine.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100_000})
    else:
        machine.increment_flow_control_window(1000)
    if opened == "both":
        machine.increment_flow_control_window(1000, 1)
    machine.reset_stream(1, ErrorCodes.CANCEL)
    machine.increment_flow_control_window(100_000)
    world.client.push()
    server.read()
    server.answer(3, b"hi")
    assert world.client.read_body(3) == (b"hi", True)


def test_server_that_takes_the_rest_and_resets_harms_no_other(world: World2) -> None:
    world.client.ask(fields("/a", "POST"), ends=False)
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.takes_data = False
    server.read()
    fill(world.client, 1, server)
    server.machine.increment_flow_control_window(5000)
    server.machine.increment_flow_control_window(5000, 1)
    server.machine.send_headers(1, [(":status", "200")], end_stream=True)
    server.machine.reset_stream(1, ErrorCodes.NO_ERROR)
    server.answer(3, b"hi")
    kinds = {
        event.stream_id for event in world.client.read() if isinstance(event, ResponseReceived)
    }
    assert kinds == {1, 3}


def test_own_answer_ends_its_stream_though_no_byte_fits() -> None:
    client = Party(is_client=True, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    world = World2(client=client, refuse_with=503)
    asked = world.client.ask(fields("/a"))
    assert world.client.read_body(asked) == (b"", True)
    assert client.machine.open_outbound_streams == 0


def test_client_that_goes_away_reads_slowly_to_the_end(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    world.client.side.push(b"\0\0\x08\7\0\0\0\0\0" + struct.pack("!II", 0, 0))
    world.client.read()
    world.client.side.room = 100
    server.answer(asked, bytes(5000))
    assert world.client.side.ended == ""
    world.client.side.room = 1 << 20
    world.proxy.resume()
    assert world.client.read_body(asked) == (bytes(5000), True)
    assert world.client.side.ended == "finished"


@pytest.mark.parametrize("ending", ["finish", "reset"])
def test_answer_that_has_come_whole_outlives_its_server(world: World2, ending: str) -> None:
    server = answering(world)
    server.machine.send_data(1, b"the end", end_stream=True)
    server.push()
    assert server.side.into is not None
    if ending == "finish":
        server.side.into.finish()
    else:
        server.side.into.reset(0, "it broke")
    world.client.takes_data = True
    world.client.machine.acknowledge_received_data(65_535, 1)
    world.client.push()
    body, ended = world.client.read_body(1)
    assert (body[-7:], ended) == (b"the end", True)


def test_endless_interim_answers_are_not_taken(world: World2) -> None:
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    world.client.side.room = 0
    for number in range(400):
        hint = [(":status", "103"), ("link", f"{number:04}" * 1000)]
        server.machine.send_headers(1, hint)
        server.push()
    assert world.proxy.side.outlet.waiting_bytes < 300_000 < server.side.waiting


def test_nothing_is_asked_for_a_client_that_is_gone(world: World2) -> None:
    world.is_slow = True
    world.client.ask(fields("/a"))
    goaway = b"\0\0\x08\7\0\0\0\0\0" + struct.pack("!II", 0, 0)
    world.client.machine.reset_stream(1, ErrorCodes.CANCEL)
    world.client.side.push(goaway + world.client.machine.data_to_send())
    assert (world.over, world.client.side.ended) == (1, "finished")
    world.attach(*world.late.pop())
    assert world.servers[b"a"].side.ended != ""


def test_resets_behind_whole_answers_are_no_flood(world: World2) -> None:
    """A server may answer before it has read all, and say that it wants no more (RFC 9113 §8.1)."""
    for _ in range(MAX_RESETS * 2):
        asked = world.client.ask(fields("/a", "POST"), ends=False)
        server = world.servers[b"a"]
        server.read()
        back_id = max(server.machine.streams)
        server.machine.send_headers(back_id, [(":status", "200")], end_stream=True)
        server.machine.reset_stream(back_id, ErrorCodes.NO_ERROR)
        server.push()
        assert any(isinstance(event, ResponseReceived) for event in world.client.read()), asked
    assert (world.over, world.connects) == (0, 1)


def test_ends_of_requests_without_bytes_are_no_flood(world: World2) -> None:
    for _ in range(MAX_CONTROL_FRAMES * 2):
        asked = world.client.ask(fields("/a", "POST"), ends=False)
        world.client.machine.end_stream(asked)
        world.client.push()
        server = world.servers[b"a"]
        server.read()
        server.answer(asked, b"")
        world.client.read()
    assert world.over == 0


@pytest.mark.parametrize(("said", "sent"), [("5", b"1234"), ("5", b"123456"), ("x", b"")])
def test_request_of_another_length_ends_its_stream_alone(
    world: World2, said: str, sent: bytes
) -> None:
    other = world.client.ask(fields("/a"))
    wrong = world.client.ask(fields("/a", "POST", content_length=said), ends=False)
    size = len(sent).to_bytes(3, "big")
    world.client.side.push(size + b"\0\1" + wrong.to_bytes(4, "big") + sent)
    found = world.client.seen(StreamReset)
    assert (found.stream_id, found.error_code) == (wrong, ErrorCodes.PROTOCOL_ERROR)
    world.servers[b"a"].read()
    world.servers[b"a"].answer(1, b"hi")
    assert world.client.read_body(other) == (b"hi", True)


def test_answer_of_another_length_ends_its_stream_alone(world: World2) -> None:
    wrong, right = world.client.ask(fields("/a")), world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "200"), ("content-length", "5")])
    server.machine.send_data(1, b"1234", end_stream=True)
    server.answer(3, b"hi")
    events = world.client.read()
    assert [event.stream_id for event in events if isinstance(event, StreamReset)] == [wrong]
    ends = [event.stream_id for event in events if isinstance(event, StreamEnded)]
    assert ends == [right]


def test_answer_that_ends_before_its_length_is_a_bad_gateway(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    head = [(":status", "200"), ("content-length", "5")]
    server.machine.send_headers(1, head, end_stream=True)
    server.push()
    assert b"breaks HTTP/2" in world.client.read_body(asked)[0]


def test_not_modified_with_a_length_and_an_empty_body_goes_through(world: World2) -> None:
    """By hand, for the client's machine of `h2` takes it for an error as well."""
    world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "304"), ("content-length", "5")])
    server.machine.send_data(1, b"", end_stream=True)
    server.push()
    assert world.client.side.got.endswith(b"\0\0\0\0\1\0\0\0\1")
    assert server.side.ended == ""


def test_what_came_before_an_error_of_the_server_counts(world: World2) -> None:
    asked = world.client.ask(fields("/a"))
    server = world.servers[b"a"]
    server.read()
    server.machine.send_headers(1, [(":status", "200")])
    server.machine.send_data(1, b"all", end_stream=True)
    server.side.push(server.machine.data_to_send() + b"\0\0\0\6\0\0\0\0\0")
    assert world.client.read_body(asked) == (b"all", True)
    assert server.side.ended == "finished"


def test_bytes_that_come_one_by_one_are_kept_together(world: World2) -> None:
    world.is_slow = True
    asked = world.client.ask(fields("/a", "POST"), ends=False)
    for number in range(5000):
        world.client.machine.send_data(asked, bytes([number % 256]))
    world.client.push()
    waiting = world.proxy._exchanges[asked].up._waiting
    assert len(waiting) < 10
    assert b"".join(data for data, _ in waiting) == bytes(number % 256 for number in range(5000))
