"""Memory pipes behave as sockets do, to the byte."""

from __future__ import annotations

import contextvars

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.testing.recorder import Recorder, Writer
from tunnelkit.carriers import PipeBroken
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair

DATA = bytes(range(256)) * 4096


async def test_bytes_arrive_in_both_directions(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    assert a.try_send(b"ping") == 4
    assert b.try_send_many([b"po", b"ng"]) == 4
    assert a.try_receive(9) == b"pong"
    assert b.try_receive(9) == b"ping"


async def test_nothing_to_read_is_none_or_minus_one(autojump_clock: MockClock, pump: Pump) -> None:
    a, _ = memory_pipe_pair(pump)
    assert a.try_receive(1) is None
    assert a.try_receive_into(memoryview(bytearray(1))) == -1


async def test_receive_into_fills_the_buffer(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    a.try_send(b"abc")
    buffer = bytearray(2)
    assert b.try_receive_into(memoryview(buffer)) == 2
    assert buffer == b"ab"


async def test_short_reads_share_the_pumps_buffer_and_large_ones_do_not(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump)
    a.try_send(bytes(60_000))
    kinds = [type(b.try_receive(20_000)) for _ in range(3)]
    assert kinds == [memoryview, bytes, bytes]


async def test_a_full_lane_takes_the_free_part_then_nothing(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, _ = memory_pipe_pair(pump, MemoryNetwork(capacity_bytes=10))
    assert [a.try_send(b"123456"), a.try_send(b"123456"), a.try_send(b"1")] == [6, 4, 0]


async def test_unsent_bytes_are_limited(autojump_clock: MockClock, pump: Pump) -> None:
    a, _ = memory_pipe_pair(pump, MemoryNetwork(bandwidth=1000))
    a.limit_unsent(100)
    assert a.try_send(bytes(300)) == 100
    await trio.sleep(0.06)
    assert a.try_send(bytes(300)) == 60


async def test_sender_wakes_when_half_of_the_unsent_has_left(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, _ = memory_pipe_pair(pump, MemoryNetwork(bandwidth=1000, latency=5.0))
    woken: list[float] = []
    a.limit_unsent(100)

    def ready(readable: bool, writable: bool) -> None:
        woken.append(trio.current_time())
        a.want(readable=True, writable=False)

    a.start(ready)
    began = trio.current_time()
    a.try_send(bytes(100))
    a.want(readable=True, writable=True)
    await trio.sleep(1)
    assert [time - began for time in woken] == pytest.approx([0.05])


async def test_unsent_bytes_wait_while_the_path_is_stalled(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(bandwidth=1000)
    a, _ = memory_pipe_pair(pump, network)
    a.limit_unsent(100)
    a.try_send(bytes(100))
    network.stall("left", "right")
    await trio.sleep(10)
    assert a.try_send(b"x") == 0
    network.unstall("left", "right")
    await trio.sleep(0.06)
    assert a.try_send(bytes(100)) == 60


async def test_many_buffers_are_cut_where_the_space_ends(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump, MemoryNetwork(capacity_bytes=5))
    assert a.try_send_many([b"abc", b"def", b"ghi"]) == 5
    assert b.try_receive(9) == b"abcde"


async def test_space_is_freed_by_what_is_read(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump, MemoryNetwork(capacity_bytes=10, latency=1))
    a.try_send(bytes(10))
    await trio.sleep(2)
    assert a.try_send(b"x") == 0  # it has arrived, but nobody has read it
    b.try_receive(3)
    assert a.try_send(bytes(10)) == 3


async def test_writer_goes_on_when_there_is_space(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    writer, reader = Writer(a, DATA), Recorder(b)
    await trio.sleep(1)
    assert not writer.left
    assert reader.data == DATA


async def test_latency_delays_and_bandwidth_spreads(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump, MemoryNetwork(latency=2, bandwidth=16_384))
    reader = Recorder(b)
    a.try_send(bytes(32_768))
    await trio.sleep(10)
    assert reader.trace == [(3, "16384"), (4, "16384")]


async def test_bandwidth_is_shared_by_connections_but_not_directions(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(bandwidth=100)
    (a, b), (c, d) = memory_pipe_pair(pump, network), memory_pipe_pair(pump, network)
    readers = Recorder(b), Recorder(d), Recorder(a)
    for pipe in (a, c, b):
        pipe.try_send(bytes(100))
    await trio.sleep(10)
    assert [reader.last for reader in readers] == [1, 2, 1]


async def test_a_path_that_gets_faster_keeps_the_order(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(latency=5)
    a, b = memory_pipe_pair(pump, network)
    reader = Recorder(b)
    a.try_send(b"first ")
    network.set_path("left", "right", latency=1)
    a.try_send(b"second")
    await trio.sleep(10)
    assert reader.data == b"first second"


# --- readiness -----------------------------------------------------------------------------


async def test_handler_is_called_only_while_there_is_something(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump)
    reader = Recorder(b)
    await trio.sleep(1)
    a.try_send(b"x")
    await trio.sleep(1)
    assert reader.calls == 1


async def test_handler_is_called_by_the_pump_not_by_the_sender(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump)
    reader = Recorder(b)
    a.try_send(b"x")
    assert reader.calls == 0


async def test_unread_bytes_are_reported_again(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    calls: list[object] = []

    def read_one(readable: bool, writable: bool) -> None:
        calls.append((readable, writable, bytes(b.try_receive(1) or b"")))

    b.start(read_one)
    b.want(True, False)
    a.try_send(b"xy")
    await trio.sleep(1)
    assert calls == [(True, False, b"x"), (True, False, b"y")]


async def test_nothing_wanted_stops_the_calls(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    reader = Recorder(b)
    a.try_send(b"x")
    b.want(False, False)
    await trio.sleep(1)
    assert reader.calls == 0


async def test_new_handler_sees_what_waits(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    old = Recorder(b)
    a.try_send(b"x")
    new = Recorder(b)
    await trio.sleep(1)
    assert (bytes(old.data), bytes(new.data)) == (b"", b"x")


async def test_error_of_a_handler_stops_nobody_else(
    autojump_clock: MockClock, pump: Pump, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = memory_pipe_pair(pump)
    reader = Recorder(a)

    def fail(readable: bool, writable: bool) -> None:
        b.close()
        raise ValueError("a bug")

    b.start(fail)
    b.want(True, False)
    a.try_send(b"x")
    await trio.sleep(1)
    assert reader.ending == "eof"
    assert "a bug" in caplog.text


async def test_handler_runs_in_the_context_that_it_was_given_in(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump)
    name, seen = contextvars.ContextVar("name", default="none"), list[str]()
    token = name.set("reader")

    def note(readable: bool, writable: bool) -> None:
        seen.append(name.get())
        b.want(False, False)

    b.start(note)
    b.want(True, False)
    name.reset(token)
    a.try_send(b"x")
    await trio.sleep(1)
    assert seen == ["reader"]


# --- endings -------------------------------------------------------------------------------


async def test_eof_comes_after_all_bytes_and_stays(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    a.try_send(b"x")
    a.send_eof()
    assert [bytes(b.try_receive(9) or b"") for _ in range(3)] == [b"x", b"", b""]


async def test_half_closed_pipe_still_receives(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    a.send_eof()
    b.try_send(b"x")
    assert a.try_receive(9) == b"x"


async def test_sending_after_eof_breaks(autojump_clock: MockClock, pump: Pump) -> None:
    a, _ = memory_pipe_pair(pump)
    a.send_eof()
    with pytest.raises(PipeBroken, match="broken pipe"):
        a.try_send(b"x")


async def test_close_delivers_what_was_sent_then_eof(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump, MemoryNetwork(latency=1))
    reader = Recorder(b)
    a.try_send(b"x")
    a.close()
    await trio.sleep(5)
    assert (bytes(reader.data), reader.ending) == (b"x", "eof")


async def test_writing_to_a_closed_peer_breaks_and_stays_broken(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump)
    a.close()
    for _ in range(2):
        with pytest.raises(PipeBroken, match="broken pipe"):
            b.try_send(b"x")
    with pytest.raises(PipeBroken, match="broken pipe"):
        b.try_receive(1)


async def test_waiting_writer_learns_that_its_peer_closed(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump, MemoryNetwork(latency=1))
    writer = Writer(a, DATA)
    await trio.sleep(5)
    b.close()
    await trio.sleep(5)
    assert writer.broken


async def test_reset_discards_what_is_in_flight(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump, MemoryNetwork(latency=1))
    reader = Recorder(b)
    a.try_send(b"x")
    a.reset()
    await trio.sleep(5)
    assert (bytes(reader.data), reader.ending) == (b"", "connection reset by peer")


async def test_reset_stays(autojump_clock: MockClock, pump: Pump) -> None:
    a, b = memory_pipe_pair(pump)
    a.reset()
    for _ in range(2):
        with pytest.raises(PipeBroken, match="reset"):
            b.try_receive(1)
    with pytest.raises(PipeBroken, match="reset"):
        b.try_send(b"x")


async def test_bytes_that_arrived_before_a_reset_can_be_read(
    autojump_clock: MockClock, pump: Pump
) -> None:
    a, b = memory_pipe_pair(pump)
    a.try_send(b"x")
    a.reset()
    assert b.try_receive(9) == b"x"


async def test_closed_pipe_cannot_be_used(autojump_clock: MockClock, pump: Pump) -> None:
    a, _ = memory_pipe_pair(pump)
    a.close()
    a.close()
    with pytest.raises(PipeBroken):
        a.try_send(b"x")
    with pytest.raises(PipeBroken):
        a.try_receive(1)


async def test_closing_both_ends_releases_the_timers(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork(latency=1)
    a, b = memory_pipe_pair(pump, network)
    a.try_send(b"x")
    b.try_send(b"x")
    assert pump.live_timers == 2
    a.close()
    b.close()
    assert pump.live_timers == 0
    assert not network.path("left", "right").users


async def test_pipes_count_their_bytes(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    a, b = memory_pipe_pair(pump, network)
    a.try_send(b"abc")
    b.try_receive(2)
    assert (a.sent_bytes, b.received_bytes) == (3, 2)
    assert network.carried_bytes("left", "right") == 3
    assert (network.host("left").sent_bytes, network.host("right").received_bytes) == (3, 3)
