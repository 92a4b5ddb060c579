"""Frames and fields against the specification, and hostile payloads (spec §3–§5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import wire_spec
from tests.tunnelkit.wire.strategies import field_values, frame_types
from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, code_name
from tunnelkit.wire.frames import (
    ATTACH_FRAMES,
    FIELDS,
    HEADER_BYTES,
    HOP_FRAMES,
    KNOWN_TYPES,
    RESERVED_TYPES,
    SEQUENCED_FRAMES,
    SESSION_FIELD,
    UNSEQUENCED_FRAMES,
    FrameType,
    Metadata,
    Value,
    decode_fields,
    encode_fields,
    encode_frame,
)


def spec_name(frame_type: FrameType) -> str:
    return frame_type.name.lower().replace("_", "-")


# --- against the specification --------------------------------------------------------------


def test_types_are_those_of_the_specification() -> None:
    wanted = {frame.name: frame.number for frame in wire_spec.frames()}
    assert {spec_name(each): int(each) for each in FrameType} == wanted


def test_fields_are_those_of_the_specification() -> None:
    wanted = {frame.name: frame.fields for frame in wire_spec.frames() if frame.name != "data"}
    assert {spec_name(each): fields for each, fields in FIELDS.items()} == wanted


def test_scopes_are_those_of_the_specification() -> None:
    for frame in wire_spec.frames():
        assert (frame.number in HOP_FRAMES) == (frame.scope == "hop")
        assert (frame.number in SEQUENCED_FRAMES) == frame.is_sequenced
        assert (frame.number in UNSEQUENCED_FRAMES) == (
            frame.scope == "end-to-end" and not frame.is_sequenced
        )


def test_reserved_numbers_are_those_of_the_specification() -> None:
    assert dict(RESERVED_TYPES) == wire_spec.reserved()
    assert not KNOWN_TYPES & set(RESERVED_TYPES)


def test_metadata_keys_are_those_of_the_specification() -> None:
    wanted = {number: name.replace(" ", "_") for number, name in wire_spec.metadata_keys().items()}
    assert {int(key): key.name.lower().removesuffix("_ms") for key in Metadata} == wanted


def test_codes_are_those_of_the_specification() -> None:
    assert {code_name(code): int(code) for code in ErrorCode} == wire_spec.codes()


def test_limits_are_those_of_the_specification() -> None:
    names = [name for name in vars(limits) if name.isupper() and name not in ("KIB", "MIB")]
    assert {name: float(getattr(limits, name)) for name in names} == wire_spec.limits()


# --- headers --------------------------------------------------------------------------------


def test_header_is_24_bytes_in_the_stated_order() -> None:
    frame = encode_frame(0x24, b"ab", session=1, stream=2, sequence=3, flags=1)
    assert frame.hex(" ", -4) == "24010000 00000001 00000002 00000002 00000000 00000003 6162"
    assert HEADER_BYTES == 24


def test_session_number_stands_at_offset_4() -> None:
    assert SESSION_FIELD.unpack_from(encode_frame(0x24, session=0xABCD), 4) == (0xABCD,)


def test_only_four_hop_frames_name_a_session() -> None:
    assert {spec_name(each) for each in ATTACH_FRAMES} == {
        "attach",
        "attached",
        "detached",
        "limit",
    }


# --- fields ---------------------------------------------------------------------------------


@given(st.data(), frame_types())
def test_fields_come_back_as_they_were(data: st.DataObject, frame_type: FrameType) -> None:
    values = data.draw(field_values(frame_type))
    assert decode_fields(frame_type, encode_fields(frame_type, **values)) == values


@given(frame_types(), st.binary(max_size=300))
def test_garbage_raises_only_the_documented_error(frame_type: FrameType, payload: bytes) -> None:
    try:
        values = decode_fields(frame_type, payload)
    except RemoteProtocolError:
        return
    assert encode_fields(frame_type, **values) == payload


@given(st.data(), frame_types(), st.binary(min_size=1, max_size=50))
def test_valid_fields_with_garbage_raise_only_it(
    data: st.DataObject, frame_type: FrameType, garbage: bytes
) -> None:
    payload = encode_fields(frame_type, **data.draw(field_values(frame_type)))
    at = data.draw(st.integers(0, len(payload)))
    for hostile in (payload[:at] + garbage, payload[:at] + garbage + payload[at:]):
        try:
            decode_fields(frame_type, hostile)
        except RemoteProtocolError:
            pass


@given(st.data(), frame_types())
def test_fields_cut_anywhere_are_an_error(data: st.DataObject, frame_type: FrameType) -> None:
    payload = encode_fields(frame_type, **data.draw(field_values(frame_type)))
    if payload and FIELDS[frame_type][-1][1] not in ("entries", "rest"):  # these may end early
        with pytest.raises(RemoteProtocolError):
            decode_fields(frame_type, payload[: data.draw(st.integers(0, len(payload) - 1))])


BAD_VALUES: list[tuple[FrameType, dict[str, Value]]] = [
    (FrameType.PING, {}),
    (FrameType.PING, {"nonce": 1, "extra": 1}),
    (FrameType.PING, {"nonce": -1}),
    (FrameType.PING, {"nonce": 1 << 64}),
    (FrameType.PING, {"nonce": "1"}),
    (FrameType.STOP, {"code": 1 << 16}),
    (FrameType.INVITE, {"session_id": bytes(15), "peer": ""}),
    (FrameType.INVITE, {"session_id": bytes(16), "peer": b""}),
    (FrameType.INVITE, {"session_id": bytes(16), "peer": "x" * 1025}),
    (FrameType.INVITE, {"session_id": bytes(16), "peer": "\ud800"}),
    (FrameType.PROOF, {"token": bytes(4097), "signature": bytes(64)}),
    (FrameType.OPEN, {"target": "", "metadata": "x"}),
    (FrameType.OPEN, {"target": "", "metadata": ((256, b""),)}),
    (FrameType.OPEN, {"target": "", "metadata": ((-1, b""),)}),
    (FrameType.OPEN, {"target": "", "metadata": ((1, bytes(4094)),)}),
    (FrameType.OPEN, {"target": "", "metadata": ((1, bytes(1 << 16)),)}),
    (FrameType.OPEN, {"target": "", "metadata": ((1, b""),) * 33}),
]


@pytest.mark.parametrize(("frame_type", "values"), BAD_VALUES)
def test_bad_values_are_a_misuse(frame_type: FrameType, values: dict[str, Value]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_fields(frame_type, **values)


def test_errors_hold_none_of_the_peers_bytes() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_fields(FrameType.DETACHED, b"\0\0\0\x07secret\xff")
    assert "secret" not in str(caught.value)
