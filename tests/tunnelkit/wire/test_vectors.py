"""The test vectors agree with their generator, this code, and a reader in JavaScript."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import wire_hostile, wire_spec, wire_vectors, write_wire_vectors
from tests.tunnelkit.wire.fakes import Frame, Side, established, keeper, read_frames
from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError
from tunnelkit.wire.frames import (
    FIELDS,
    FLAG_OPTIONAL,
    KNOWN_TYPES,
    FrameType,
    Role,
    decode_fields,
    encode_fields,
    encode_frame,
)
from tunnelkit.wire.reader import FrameReader, Scratch
from tunnelkit.wire.session import AttachmentLost

READER = wire_spec.ROOT / "tests" / "wire_vectors_reader.mjs"
VECTORS: dict[str, Any] = json.loads(write_wire_vectors.PATH.read_text())
TEXTS = {
    "frame-too-long": r"over the limit",
    "control-too-long": r"PING of 16385 bytes",
    "unknown-type": r"unknown frame type",
    "cut-off": r"cut off|longer than its frame",
    "field-too-long": r"longer than \d+ bytes",
    "not-utf-8": r"not UTF-8",
    "too-many-entries": r"over 32 entries",
    "left-over": r"bytes too many",
}


def by_name(part: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "vector", [pytest.param(each, id=each["name"]) for each in VECTORS[part]]
    )


def bytes_of(parts: list[tuple[str, int]]) -> bytes:
    return b"".join(bytes.fromhex(data) * count for data, count in parts)


def value_of(field: dict[str, Any]) -> Any:
    """Return a field's value as the code holds it."""
    value = field["value"]
    if field["kind"] == "entries":
        return tuple((key, bytes.fromhex(item)) for key, item in value)
    if field["kind"] == "u64":
        return int(value)
    is_bytes = field["kind"] == "rest" or field["kind"].startswith("b")
    return bytes.fromhex(value) if is_bytes else value


def take_one(side: Side, data: bytes, limit: int) -> list[Frame]:
    """Read *data* as a link does that hands all its frames to one session."""
    frames: list[Frame] = []
    reader = FrameReader(Scratch(limits.SCRATCH_BYTES))
    reader.max_payload_bytes = limit
    reader.feed(data, keeper(frames))
    for frame in frames:
        if frame.kind in KNOWN_TYPES and frame.type in FIELDS:
            # Whatever the scope, the session's decoder is the one that every frame meets.
            if len(frame.payload) > limits.MAX_CONTROL_BYTES:
                side.feed(data)
            decode_fields(frame.type, frame.payload)
        elif frame.kind not in KNOWN_TYPES and not frame.flags & FLAG_OPTIONAL:
            raise RemoteProtocolError(f"unknown frame type {frame.kind:#04x}")
    return frames


def test_generator_gives_the_same_file() -> None:
    assert write_wire_vectors.build() == write_wire_vectors.PATH.read_text()


def test_every_type_has_a_vector() -> None:
    assert {each["header"]["type"] for each in VECTORS["frames"]} == KNOWN_TYPES


@by_name("frames")
def test_frame_is_decoded(vector: dict[str, Any]) -> None:
    header = vector["header"]
    (frame,) = read_frames(bytes.fromhex(vector["hex"]))
    found = (frame.kind, frame.flags, frame.session, frame.stream, len(frame.payload))
    assert found == tuple(header[key] for key in ("type", "flags", "session", "stream", "length"))
    assert frame.sequence == int(header["sequence"])
    if frame.type is FrameType.DATA:
        assert frame.payload.hex() == vector["payload"]
    else:
        wanted = {field["name"]: value_of(field) for field in vector["fields"]}
        assert decode_fields(frame.type, frame.payload) == wanted


@by_name("frames")
def test_frame_is_encoded(vector: dict[str, Any]) -> None:
    header = vector["header"]
    kind = FrameType(header["type"])
    values = {field["name"]: value_of(field) for field in vector.get("fields", [])}
    payload = encode_fields(kind, **values) if kind in FIELDS else bytes.fromhex(vector["payload"])
    numbers = {key: header[key] for key in ("session", "stream", "flags")}
    frame = encode_frame(kind, payload, sequence=int(header["sequence"]), **numbers)
    wanted = bytearray.fromhex(vector["hex"])
    wanted[2:4] = b"\0\0"  # what only a broker writes
    assert frame == wanted


@by_name("sequences")
def test_sequence_is_cut_into_frames(vector: dict[str, Any]) -> None:
    frames: list[Frame] = []
    reader = FrameReader(Scratch(limits.SCRATCH_BYTES))
    reader.feed(bytes.fromhex(vector["hex"]), keeper(frames))
    assert [encode_frame(each.kind, each.payload).hex() for each in frames] == vector["frames"]
    assert reader.pending_bytes == vector["pending"]


@by_name("hostile")
def test_hostile_bytes_have_the_stated_outcome(vector: dict[str, Any]) -> None:
    side, data = established(Role.RESPONDER), bytes_of(vector["parts"])
    if vector["outcome"] == "incomplete":
        assert take_one(side, data, vector["limit"]) == []
    elif vector["outcome"] == "skipped":
        assert len(take_one(side, data, vector["limit"])) == 1
    else:
        with pytest.raises(RemoteProtocolError, match=TEXTS[vector["outcome"]]):
            take_one(side, data, vector["limit"])


@by_name("sessions")
def test_session_has_the_stated_outcome(vector: dict[str, Any]) -> None:
    side = established(Role.RESPONDER)
    outcome = "ignored"
    try:
        for parts in vector["frames"]:
            side.feed(bytes_of(parts))
    except RemoteProtocolError:
        outcome = "protocol-error"
    except AttachmentLost:
        outcome = "attachment-lost"
    assert outcome == vector["outcome"]


def test_vectors_cover_every_outcome() -> None:
    assert {each["outcome"] for each in VECTORS["hostile"]} == set(wire_hostile.FRAMES)
    assert set(wire_vectors.EXAMPLES) | {"data"} == set(wire_vectors.FRAMES)


def run_reader(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", READER, path], capture_output=True, text=True, timeout=60)


@pytest.mark.needs_program("node")
def test_independent_reader_agrees() -> None:
    done = run_reader(write_wire_vectors.PATH)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs_program("node")
def test_independent_reader_finds_a_difference(tmp_path: Path) -> None:
    changed = tmp_path / "changed.json"
    changed.write_text(write_wire_vectors.PATH.read_text().replace('"value": 22', '"value": 23'))
    done = run_reader(changed)
    assert done.returncode == 1
    assert "detached:" in done.stderr
