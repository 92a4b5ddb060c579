"""The frame reader: bytes in any pieces, hostile bytes, one buffer for many (spec §3)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.wire.fakes import Frame, keeper, read_frames
from tests.tunnelkit.wire.strategies import frames
from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError
from tunnelkit.wire.frames import HEADER_BYTES, FrameType, encode_frame
from tunnelkit.wire.reader import MOST_LENT, FrameReader, Scratch

SCRATCH = Scratch(64 * limits.KIB)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut *data* at these places, wherever they are."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


def read_pieces(pieces: list[bytes]) -> tuple[list[Frame], int]:
    """Return what a reader delivers, and what it keeps."""
    found: list[Frame] = []
    reader = FrameReader(SCRATCH)
    for piece in pieces:
        reader.feed(piece, keeper(found))
    return found, reader.pending_bytes


@given(st.lists(frames(), max_size=5), st.lists(st.integers(0, 5000), max_size=10))
def test_split_anywhere_gives_the_same_frames(whole: list[bytes], cuts: list[int]) -> None:
    data = b"".join(whole)
    assert read_pieces(pieces_of(data, cuts)) == (read_frames(data), 0)
    assert len(read_frames(data)) == len(whole)


@given(st.lists(frames(), max_size=3))
def test_single_bytes_give_the_same_frames(whole: list[bytes]) -> None:
    data = b"".join(whole)
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert read_pieces(pieces) == (read_frames(data), 0)


@given(st.lists(frames(), max_size=3), st.binary(max_size=200), st.lists(st.integers(0, 999)))
def test_garbage_after_valid_frames_raises_only_it(
    whole: list[bytes], garbage: bytes, cuts: list[int]
) -> None:
    found: list[Frame] = []
    reader = FrameReader(SCRATCH)
    try:
        for piece in pieces_of(b"".join(whole) + garbage, cuts):
            reader.feed(piece, keeper(found))
    except RemoteProtocolError:
        pass
    assert found[: len(whole)] == read_frames(b"".join(whole))
    assert reader.pending_bytes <= HEADER_BYTES + limits.MAX_HELLO_BYTES


@given(st.lists(st.tuples(frames(), st.booleans()), max_size=8), st.integers(1, 60))
def test_readers_share_a_buffer(turns: list[tuple[bytes, bool]], size: int) -> None:
    found: dict[bool, list[Frame]] = {False: [], True: []}
    readers = {False: FrameReader(SCRATCH), True: FrameReader(SCRATCH)}
    queues = {who: b"".join(data for data, which in turns if which is who) for who in readers}
    while any(queues.values()):
        for who, reader in readers.items():
            reader.feed(queues[who][:size], keeper(found[who]))
            queues[who] = queues[who][size:]
    for who in readers:
        assert found[who] == read_frames(b"".join(data for data, which in turns if which is who))


def large_frames(sizes: list[int]) -> bytes:
    """Return data frames with payloads of these sizes, each of its own byte."""
    return b"".join(
        encode_frame(FrameType.DATA, bytes([index]) * size, session=1, stream=1)
        for index, size in enumerate(sizes)
    )


LARGE = st.lists(st.integers(0, 30 * limits.KIB), min_size=1, max_size=6)


@given(st.lists(LARGE, min_size=2, max_size=6), st.integers(3000, 50_000))
def test_large_frames_in_pieces_of_many_readers(sizes: list[list[int]], piece: int) -> None:
    scratch = Scratch(64 * limits.KIB)
    queues = [large_frames(of_one) for of_one in sizes]
    expected = [read_frames(queue) for queue in queues]
    readers = [FrameReader(scratch) for _ in queues]
    found: list[list[Frame]] = [[] for _ in queues]
    for reader in readers:
        reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
    while any(queues):
        for index, reader in enumerate(readers):
            reader.feed(queues[index][:piece], keeper(found[index]))
            queues[index] = queues[index][piece:]
    assert found == expected


def half_a_frame(scratch: Scratch) -> FrameReader:
    """Return a reader that has got the greater part of a frame."""
    reader = FrameReader(scratch)
    reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
    reader.feed(large_frames([30_000])[:20_000], keeper([]))
    return reader


def test_only_a_few_readers_keep_a_buffer() -> None:
    scratch = Scratch(64 * limits.KIB)
    buffers = {id(scratch.buffer)}
    readers = []
    for _ in range(3 * MOST_LENT):
        readers.append(half_a_frame(scratch))
        buffers.add(id(scratch.buffer))
    assert len(buffers) == MOST_LENT + 1
    assert {reader.pending_bytes for reader in readers} == {20_000}


def test_buffers_are_used_again_when_readers_end() -> None:
    scratch = Scratch(64 * limits.KIB)
    buffers = set()
    for _ in range(3 * MOST_LENT):
        half_a_frame(scratch).close()
        buffers.add(id(scratch.buffer))
    assert len(buffers) <= 2


def test_reader_that_is_closed_by_a_frame_keeps_nothing() -> None:
    scratch = Scratch(64 * limits.KIB)
    reader = FrameReader(scratch)
    reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
    reader.feed(large_frames([10, 30_000])[:20_000], lambda *_: reader.close())
    assert reader.pending_bytes == 0
    assert half_a_frame(scratch).pending_bytes == 20_000


def test_length_is_refused_before_the_payload_arrives() -> None:
    header = encode_frame(FrameType.HELLO, bytes(limits.MAX_HELLO_BYTES + 1))[:HEADER_BYTES]
    with pytest.raises(RemoteProtocolError, match="limit of 8192"):
        FrameReader(SCRATCH).feed(header, keeper([]))


def test_limit_may_be_raised_by_the_frame_before() -> None:
    reader = FrameReader(Scratch(limits.SCRATCH_BYTES))
    found: list[int] = []

    def deliver(*fields: object) -> None:
        reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
        found.append(len(fields))

    big = encode_frame(FrameType.DATA, bytes(limits.MAX_PAYLOAD_BYTES))
    reader.feed(encode_frame(FrameType.HELLO) + big, deliver)
    assert len(found) == 2


def test_largest_frame_arrives_in_any_pieces() -> None:
    reader = FrameReader(Scratch(limits.SCRATCH_BYTES))
    reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
    frame = encode_frame(FrameType.DATA, bytes(limits.MAX_PAYLOAD_BYTES))
    found: list[Frame] = []
    for piece in pieces_of(frame * 3, [7 * 40_009, 11 * 40_009, 13 * 40_009]):
        reader.feed(piece, keeper(found))
    assert [len(each.payload) for each in found] == [limits.MAX_PAYLOAD_BYTES] * 3


def test_there_is_always_space_for_more() -> None:
    reader = FrameReader(Scratch(limits.SCRATCH_BYTES))
    reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
    frame = encode_frame(FrameType.DATA, bytes(limits.MAX_PAYLOAD_BYTES))
    reader.feed(frame[:-1], keeper([]))
    assert len(reader.space()) > 0


def test_idle_reader_keeps_nothing() -> None:
    found, pending = read_pieces([encode_frame(FrameType.PING, bytes(8))])
    assert (len(found), pending) == (1, 0)
