"""What Hypothesis draws frames from."""

from __future__ import annotations

from hypothesis import strategies as st

from tunnelkit import limits
from tunnelkit.wire.frames import FIELDS, FrameType, Value, encode_fields, encode_frame

_NUMBERS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64}


def frame_types() -> st.SearchStrategy[FrameType]:
    """Return a strategy for the types that have fields."""
    return st.sampled_from(sorted(FIELDS))


def _entries() -> st.SearchStrategy[Value]:
    entry = st.tuples(st.integers(0, 255), st.binary(max_size=20))
    return st.lists(entry, max_size=limits.MAX_METADATA_ENTRIES).map(tuple)


def field_value(kind: str) -> st.SearchStrategy[Value]:
    """Return a strategy for the values of one kind of field (spec §5)."""
    if kind in _NUMBERS:
        return st.integers(0, (1 << _NUMBERS[kind]) - 1)
    if kind == "text":
        return st.text(max_size=40)
    if kind in ("bytes", "rest"):
        return st.binary(max_size=40)
    if kind == "entries":
        return _entries()
    size = int(kind[1:])
    return st.binary(min_size=size, max_size=size)


def field_values(frame_type: FrameType) -> st.SearchStrategy[dict[str, Value]]:
    """Return a strategy for all fields of a frame."""
    return st.fixed_dictionaries({name: field_value(kind) for name, kind in FIELDS[frame_type]})


def payloads(frame_type: FrameType) -> st.SearchStrategy[bytes]:
    """Return a strategy for payloads that suit the type."""
    if frame_type is FrameType.DATA:
        return st.binary(max_size=100)
    return field_values(frame_type).map(lambda values: encode_fields(frame_type, **values))


def frames() -> st.SearchStrategy[bytes]:
    """Return a strategy for whole, valid frames of any type."""

    def of_type(frame_type: FrameType) -> st.SearchStrategy[bytes]:
        return st.builds(
            encode_frame,
            st.just(int(frame_type)),
            payloads(frame_type),
            session=st.integers(0, (1 << 32) - 1),
            stream=st.integers(0, (1 << 32) - 1),
            sequence=st.integers(0, (1 << 64) - 1),
            flags=st.integers(0, 255),
        )

    return st.sampled_from(sorted(FrameType)).flatmap(of_type)
