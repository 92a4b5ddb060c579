"""Encodings of bodies: taken off within a bound, whatever the bytes are."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.capture.decode import MAX_MEMBERS, Decoded, decode, encode, encodings_of

LAYERS = st.lists(st.sampled_from(["gzip", "deflate", "x-gzip"]), max_size=3)


@given(st.binary(max_size=500), LAYERS)
def test_what_was_encoded_is_decoded(data: bytes, layers: list[str]) -> None:
    assert decode(encode(data, layers), layers, 1000) == Decoded(data, is_whole=True)


@given(st.binary(), LAYERS, st.integers(0, 100))
def test_garbage_raises_nothing_and_stays_within_the_bound(
    data: bytes, layers: list[str], max_bytes: int
) -> None:
    found = decode(data, layers, max_bytes)
    assert not layers or found is None or len(found.data) <= max_bytes


@pytest.mark.parametrize("layers", [["gzip"], ["gzip", "gzip"], ["deflate", "gzip", "gzip"]])
def test_bomb_is_cut_at_the_bound(layers: list[str]) -> None:
    bomb = encode(bytes(20_000_000), layers)
    found = decode(bomb, layers, 1000)
    assert found is not None
    assert len(found.data) <= 1000
    assert not found.is_whole


def test_body_that_fits_exactly_is_whole() -> None:
    assert decode(encode(bytes(100), ["gzip"]), ["gzip"], 100) == Decoded(bytes(100), True)
    assert decode(encode(bytes(101), ["gzip"]), ["gzip"], 100) == Decoded(bytes(100), False)


def test_deflate_without_its_frame_is_read_too() -> None:
    machine = zlib.compressobj(wbits=-15)
    assert decode(machine.compress(b"raw") + machine.flush(), ["deflate"], 9) == Decoded(
        b"raw", True
    )


def test_members_of_gzip_are_joined_up_to_a_bound() -> None:
    member = gzip.compress(b"a")
    assert decode(member * 3, ["gzip"], 100) == Decoded(b"aaa", True)
    assert decode(member * (MAX_MEMBERS + 1), ["gzip"], 100) == Decoded(b"a" * MAX_MEMBERS, False)


@pytest.mark.parametrize("layers", [["br"], ["gzip", "zstd"], ["gzip"] * 4])
def test_encoding_that_is_not_read_is_none(layers: list[str]) -> None:
    assert decode(b"", layers, 100) is None


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], ()),
        ([b"gzip"], ("gzip",)),
        ([b"identity"], ()),
        ([b" GZIP ,, br"], ("gzip", "br")),
        ([b"gzip", b"deflate"], ("gzip", "deflate")),
    ],
)
def test_encodings_are_those_of_all_fields(values: list[bytes], found: tuple[str, ...]) -> None:
    assert encodings_of(tuple((b"content-ENCODING", value) for value in values)) == found
