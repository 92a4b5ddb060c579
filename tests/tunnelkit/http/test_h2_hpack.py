"""Blocks of fields, packed and unpacked by us and by `hpack`: what is kept is never out of date."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnelkit.http.h2_frames import ErrorCodes, Violation
from tunnelkit.http.h2_hpack import MAX_KEPT, Packer, Unpacker

CALL = [(b":method", b"POST"), (b":path", b"/shop.Orders/List"), (b"user-agent", b"grpc-python")]
SECRET: Any = NeverIndexedHeaderTuple(b"authorization", b"secret")
PLAIN = (b"authorization", b"secret")

FIELD = st.tuples(
    st.sampled_from([b"a", b"bb", b"cookie", b":path", b"x-long"]),
    st.sampled_from([b"", b"1", b"2" * 130, b"3" * 1_000, b"4" * 5_000]),
)
NEVER = FIELD.map(lambda field: NeverIndexedHeaderTuple(*field))
STEPS = st.lists(
    st.sampled_from([0, 40, 100, 300, 4_096, 60_000]) | st.lists(FIELD | NEVER, max_size=4),
    max_size=20,
)


def marked(fields: Any) -> list[tuple[bytes, bytes, bool]]:
    """Return fields, each with whether it is never to be indexed."""
    return [
        (name, value, type(field) is NeverIndexedHeaderTuple)
        for field in fields
        for name, value in [field]
    ]


@settings(max_examples=300)
@given(STEPS)
def test_what_we_pack_is_what_the_peer_unpacks(steps: list[Any]) -> None:
    packer, decoder = Packer(), Decoder()
    for step in steps * 3:
        if isinstance(step, int):
            packer.resize(step)
            decoder.max_allowed_table_size = max(step, 0)
        else:
            assert marked(decoder.decode(packer.pack(step), raw=True)) == marked(step)


@settings(max_examples=300)
@given(STEPS)
def test_what_the_peer_packs_is_what_we_unpack(steps: list[Any]) -> None:
    encoder, unpacker = Encoder(), Unpacker(100_000)
    for step in steps * 3:
        if isinstance(step, int):
            if min(step, 4_096) != encoder.header_table_size:  # or it forgets to tell of it
                encoder.header_table_size = min(step, 4_096)
        else:
            assert unpacker.unpack(encoder.encode(step)) == step


def test_fields_sent_again_become_a_byte_each() -> None:
    packer = Packer()
    assert [len(packer.pack(CALL)) for _ in range(4)][2:] == [len(CALL)] * 2


def test_values_that_differ_leave_the_table_alone() -> None:
    packer, decoder = Packer(), Decoder()
    for number in range(50):
        fields = [*CALL, (b"x-trace", b"%d" % number)]
        decoder.decode(packer.pack(fields), raw=True)
    assert len(decoder.header_table.dynamic_entries) == 2  # the method is in the static table


def test_block_that_was_packed_is_used_again() -> None:
    packer = Packer()
    for _ in range(3):
        block = packer.pack(CALL)
    assert packer.pack(list(CALL)) is block


def test_secret_is_not_packed_as_the_same_field_without_its_mark() -> None:
    packer, decoder = Packer(), Decoder()
    for _ in range(4):
        decoder.decode(packer.pack([PLAIN]))
    assert marked(decoder.decode(packer.pack([SECRET]), raw=True)) == marked([SECRET])
    assert packer.pack([PLAIN]) != packer.pack([SECRET])


def test_secret_is_never_put_into_the_table() -> None:
    packer, decoder = Packer(), Decoder()
    for _ in range(4):
        decoder.decode(packer.pack([SECRET]))
    assert not decoder.header_table.dynamic_entries


def test_secret_is_unpacked_with_its_mark_each_time() -> None:
    encoder, unpacker = Encoder(), Unpacker(1_000)
    for _ in range(3):
        assert marked(unpacker.unpack(encoder.encode([SECRET]))) == marked([SECRET])


def test_smallest_table_is_said_before_the_last() -> None:
    packer = Packer()
    for size in (4_096, 0, 100):
        packer.resize(size)
    assert packer.pack([]) == b"\x20\x3f\x45"
    assert packer.pack([]) == b""


def test_larger_table_than_ours_is_not_used() -> None:
    packer = Packer()
    packer.resize(1_000_000)
    assert packer.pack([]) == b""


def test_same_bytes_mean_something_else_with_another_table() -> None:
    unpacker = Unpacker(1_000)
    newest = b"\xbe"
    for value in (b"1", b"2", b"2"):
        unpacker.unpack(b"\x40\1a\1" + value)
        assert unpacker.unpack(newest) == [(b"a", value)]


def test_list_that_was_handed_out_may_be_changed() -> None:
    unpacker = Unpacker(1_000)
    unpacker.unpack(b"\x88").clear()
    unpacker.unpack(b"\x88").clear()
    assert unpacker.unpack(b"\x88") == [(b":status", b"200")]


def test_what_is_kept_is_bounded() -> None:
    packer, unpacker = Packer(), Unpacker(1_000)
    for number in range(MAX_KEPT * 3):
        for _ in range(3):
            packer.pack([(b"x", b"%d" % number)] * 2)
            unpacker.unpack(b"\0\1x\1%c" % (number % 256))
    for kept in (packer._blocks, packer._fields, unpacker._blocks):
        assert len(kept) <= MAX_KEPT


WRONG = {
    "index 0": (b"\x80", ErrorCodes.COMPRESSION_ERROR),
    "index that is not there": (b"\xff\xff\x03", ErrorCodes.COMPRESSION_ERROR),
    "name that is not there": (b"\x7f\xff\x03\1a", ErrorCodes.COMPRESSION_ERROR),
    "cut": (b"\x40\5ab", ErrorCodes.COMPRESSION_ERROR),
    "number without an end": (b"\xff" * 20, ErrorCodes.COMPRESSION_ERROR),
    "table that is too large": (b"\x3f\xff\xff\x03", ErrorCodes.COMPRESSION_ERROR),
    "table size at the end": (b"\x88\x20", ErrorCodes.COMPRESSION_ERROR),
    "Huffman code that ends in zeros": (b"\0\x81\0\x81\0", ErrorCodes.COMPRESSION_ERROR),
    "much": (b"\x88" * 50, ErrorCodes.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize("name", WRONG)
def test_block_that_cannot_be_unpacked(name: str) -> None:
    block, code = WRONG[name]
    with pytest.raises(Violation) as caught:
        Unpacker(1_000).unpack(block)
    assert caught.value.code is code


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\x40\1a\1b", b"\xbe"]), max_size=9))
def test_garbage_is_a_violation(blocks: list[bytes]) -> None:
    unpacker = Unpacker(1_000)
    for block in blocks:
        try:
            unpacker.unpack(block)
        except Violation:
            return
