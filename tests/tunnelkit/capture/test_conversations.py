"""Captures of bytes: the file is what Wireshark reads, within bounds, and no call raises."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.capture.exchanges import Clock
from tests.tunnelkit.capture.tshark import complaints, fields_in, follow
from tunnelkit.capture import ByteBounds, ByteRecorder, Conversation
from tunnelkit.capture.conversations import MAX_OPEN
from tunnelkit.capture.packets import ACK_EVERY_BYTES, SEGMENT_BYTES, checksum

needs_tshark = pytest.mark.needs_program("tshark")

GET = b"GET /%s HTTP/1.1\r\nHost: shop\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
WRAP = 2**32


class Capture:
    """A capture in memory, on a clock that goes on by a millisecond with each look."""

    def __init__(self, bounds: ByteBounds | None = None, first_seq: int = 0) -> None:
        self.file = io.BytesIO()
        self.clock = Clock()
        self.recorder = ByteRecorder(
            self.file,
            self._wall,
            self.clock.read_steady,
            bounds=bounds or ByteBounds(),
            first_seq=first_seq,
        )

    def _wall(self) -> float:
        self.clock.wall += 0.001
        return self.clock.wall

    def begin(self, client: str = "127.0.0.1:50000", server: str = "10.0.0.7:8080") -> Conversation:
        found = self.recorder.begin(client, server)
        assert found is not None
        return found

    def saved(self, folder: Path) -> Path:
        path = folder / "capture.pcapng"
        path.write_bytes(self.file.getvalue())
        return path


def talk(conversation: Conversation, name: bytes, body: bytes) -> None:
    conversation.said(True, GET % name)
    conversation.said(False, memoryview(OK % len(body) + body))


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each block of a file, and check their lengths."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from("<II", data, place)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, place + size - 4) == (size,)
        yield kind, data[place + 8 : place + size - 4]
        place += size


# --- what tshark sees -----------------------------------------------------------------------


@needs_tshark
def test_requests_are_seen_and_nothing_is_wrong(tmp_path: Path) -> None:
    capture = Capture()
    conversation = capture.begin()
    talk(conversation, b"a", b"x" * 100_000)
    talk(conversation, b"b", b"")
    conversation.ended(False)
    capture.recorder.close()
    file = capture.saved(tmp_path)
    assert fields_in(file, "http.request", "http.request.uri", "ip.dst", "tcp.dstport") == [
        ("/a", "10.0.0.7", "8080"),
        ("/b", "10.0.0.7", "8080"),
    ]
    seen = fields_in(file, "http.response", "http.response.code", "http.content_length")
    assert seen == [("200", "100000"), ("200", "0")]
    assert complaints(file) == []


@needs_tshark
@pytest.mark.parametrize("place", [-1, -100, -1060])
def test_byte_that_is_changed_is_complained_of(tmp_path: Path, place: int) -> None:
    capture = Capture()
    talk(capture.begin(), b"a", b"x" * 1000)
    data = bytearray(capture.file.getvalue()[:-8])
    data[place] ^= 0x55
    file = capture.saved(tmp_path)
    file.write_bytes(bytes(data) + capture.file.getvalue()[-8:])
    assert complaints(file) != []


@needs_tshark
@pytest.mark.parametrize("before_wrap", [5, SEGMENT_BYTES, 500_000])
def test_sequence_numbers_wrap(tmp_path: Path, before_wrap: int) -> None:
    capture = Capture(first_seq=WRAP - before_wrap)
    talk(capture.begin(), b"a", b"x" * 1_000_000)
    file = capture.saved(tmp_path)
    assert [row[0] for row in fields_in(file, "http.response", "http.content_length")] == [
        "1000000"
    ]
    assert complaints(file) == []


@needs_tshark
def test_many_connections_at_once_stay_apart(tmp_path: Path) -> None:
    capture = Capture()
    conversations = [capture.begin(f"127.0.0.1:{50000 + i % 3}", "orders:8080") for i in range(9)]
    for number, conversation in enumerate(conversations):
        conversation.said(True, GET % str(number).encode())
    for conversation in conversations:
        conversation.said(False, OK % 0)
        conversation.ended(False)
    file = capture.saved(tmp_path)
    seen = fields_in(file, "http.request", "tcp.stream", "http.request.uri")
    assert seen == [(str(n), f"/{n}") for n in range(9)]
    assert complaints(file) == []


@needs_tshark
@pytest.mark.parametrize(
    ("client", "server", "seen"),
    [
        ("127.0.0.1:5", "10.0.0.7:80", ("127.0.0.1", "10.0.0.7", "", "")),
        ("[::1]:5", "[fd00::7]:80", ("", "", "::1", "fd00::7")),
        ("[::1]:5", "10.0.0.7:80", ("", "", "::1", "::ffff:10.0.0.7")),
        ("devbox/alice", "orders:80", ("198.18.0.1", "198.18.0.2", "", "")),
        ("fd00::7", "", ("", "", "fd00::7", "::ffff:198.18.0.1")),
    ],
)
def test_addresses(tmp_path: Path, client: str, server: str, seen: tuple[str, ...]) -> None:
    capture = Capture()
    talk(capture.begin(client, server), b"a", b"")
    file = capture.saved(tmp_path)
    names = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst")
    assert fields_in(file, "http.request", *names) == [seen]
    assert complaints(file) == []


@needs_tshark
def test_comment_names_the_connection_and_the_clock_is_exact(tmp_path: Path) -> None:
    capture = Capture()
    capture.begin("devbox/älice", "orders:80")
    file = capture.saved(tmp_path)
    first, *_ = fields_in(file, "tcp", "frame.comment", "frame.time_epoch")
    assert first[0] == "devbox/älice to orders:80"
    assert first[1].startswith("1700000000.25")


@needs_tshark
@pytest.mark.parametrize(("is_reset", "fins", "resets"), [(False, 2, 0), (True, 0, 1)])
def test_end_of_a_connection(tmp_path: Path, is_reset: bool, fins: int, resets: int) -> None:
    capture = Capture()
    conversation = capture.begin()
    talk(conversation, b"a", b"")
    conversation.ended(is_reset)
    conversation.ended(not is_reset)
    conversation.said(True, b"late")
    file = capture.saved(tmp_path)
    assert len(fields_in(file, "tcp.flags.fin == 1", "frame.number")) == fins
    assert len(fields_in(file, "tcp.flags.reset == 1", "frame.number")) == resets
    assert complaints(file) == []


@needs_tshark
def test_half_of_a_connection_can_end_first(tmp_path: Path) -> None:
    capture = Capture()
    conversation = capture.begin()
    conversation.said(True, b"question")
    conversation.finished(True)
    conversation.said(True, b"late")
    conversation.said(False, b"answer")
    conversation.ended(False)
    file = capture.saved(tmp_path)
    assert follow(file, 0).split() == [b"question".hex(), b"answer".hex()]
    assert complaints(file) == []


@needs_tshark
def test_clock_that_goes_back_does_not_go_back_in_the_file(tmp_path: Path) -> None:
    capture = Capture()
    conversation = capture.begin()
    capture.clock.wall -= 3600
    talk(conversation, b"a", b"")
    times = [float(row[0]) for row in fields_in(capture.saved(tmp_path), "tcp", "frame.time_epoch")]
    assert all(early <= late for early, late in pairwise(times))


# --- the file -------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40_000)), max_size=8))
def test_every_byte_is_in_the_file_once_and_in_order(said: list[tuple[bool, bytes]]) -> None:
    capture = Capture(first_seq=WRAP - 1000)
    conversation = capture.begin()
    for from_client, data in said:
        conversation.said(from_client, data)
    conversation.ended(False)
    packets = [body[20:] for kind, body in blocks(capture.file.getvalue()) if kind == 6]
    for from_client, port in ((True, 50000), (False, 8080)):
        ours = [p for p in packets if struct.unpack_from("!H", p, 20) == (port,)]
        found = b"".join(p[40 : struct.unpack_from("!H", p, 2)[0]] for p in ours if p[32] == 0x50)
        assert found == b"".join(data for side, data in said if side is from_client)


def test_other_side_acknowledges_long_before_its_window_is_full() -> None:
    capture = Capture()
    conversation = capture.begin()
    before = len(list(blocks(capture.file.getvalue())))
    conversation.said(True, bytes(ACK_EVERY_BYTES))
    segments = ACK_EVERY_BYTES // SEGMENT_BYTES
    assert len(list(blocks(capture.file.getvalue()))) == before + segments + 1


@given(st.binary(min_size=2, max_size=3000))
def test_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) % 0xFFFF == (0xFFFF - total) % 0xFFFF


@given(st.text(), st.text())
def test_any_names_make_a_file(client: str, server: str) -> None:
    capture = Capture()
    conversation = capture.begin(client, server)
    conversation.said(True, b"a")
    conversation.ended(True)
    assert list(blocks(capture.file.getvalue()))


# --- bounds ---------------------------------------------------------------------------------


def test_file_stays_within_its_bound() -> None:
    capture = Capture(ByteBounds(file_bytes=100_000))
    conversation = capture.begin()
    conversation.said(True, bytes(1_000_000))
    assert len(capture.file.getvalue()) < 100_000 + 200
    assert capture.recorder.why_over.startswith("the file has ")
    assert capture.recorder.begin("a", "b") is None


def test_recorder_is_over_after_its_time() -> None:
    capture = Capture(ByteBounds(seconds=10))
    conversation = capture.begin()
    capture.clock.steady += 10
    conversation.said(True, b"late")
    assert capture.recorder.why_over == "it ran for 10 s"
    assert b"late" not in capture.file.getvalue()


def test_why_it_ended_is_in_the_file() -> None:
    capture = Capture()
    capture.recorder.close("enough")
    capture.recorder.close("again")
    kinds = [kind for kind, _ in blocks(capture.file.getvalue())]
    assert kinds == [0x0A0D0D0A, 1, 5]
    assert b"the capture ended: enough" in capture.file.getvalue()


def test_conversation_that_has_ended_takes_no_memory() -> None:
    capture = Capture()
    for is_reset in (True, False):
        capture.begin().ended(is_reset)
    assert capture.recorder.open_count == 0


def test_no_more_conversations_are_recorded_than_there_are_ports() -> None:
    capture = Capture()
    found = [capture.recorder.begin("a", "b:1") for _ in range(MAX_OPEN + 1)]
    assert [n for n, conversation in enumerate(found) if conversation is None] == [MAX_OPEN]


class FullDisk:
    def __init__(self, after: int) -> None:
        self.left = after

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(28, "No space left on device")


def test_disk_that_is_full_ends_the_capture_and_nothing_else() -> None:
    clock = Clock()
    recorder = ByteRecorder(FullDisk(1000), clock.read_wall, clock.read_steady)
    conversation = recorder.begin("a", "b")
    assert conversation is not None
    conversation.said(True, bytes(5000))
    conversation.ended(False)
    assert "No space left on device" in recorder.why_over
