"""Frames: header, types, and the field tables from which control payloads are coded (no I/O).

Every frame starts with the same 24 bytes (docs/wire-protocol.md §3)::

    type u8 | flags u8 | hop u8 | reserved u8 | session u32 | stream u32 | length u32 | sequence u64

The payloads of all frames but `data` are sequences of fields.  `FIELDS` is the table of them,
in the order in which they stand on the wire; `encode_fields` and `decode_fields` are the only
code that reads it.  `decode_fields` takes untrusted bytes and raises `RemoteProtocolError` and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final, TypeAlias

from tunnelkit import limits
from tunnelkit.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "ATTACH_FRAMES",
    "FIELDS",
    "FLAG_OPTIONAL",
    "HEADER",
    "HEADER_BYTES",
    "HOP_CLASS_MASK",
    "HOP_DROPPABLE",
    "HOP_FRAMES",
    "KNOWN_TYPES",
    "MAGIC",
    "OPTIONAL_FRAMES",
    "RESERVED_TYPES",
    "SEQUENCED_FRAMES",
    "SESSION_FIELD",
    "UNSEQUENCED_FRAMES",
    "VERSION",
    "FrameType",
    "Metadata",
    "ProofKind",
    "ResetDirection",
    "Role",
    "Value",
    "decode_fields",
    "encode_fields",
    "encode_frame",
    "encode_open",
]

MAGIC: Final = b"\xf4tnk"
"""First four bytes of a hello's payload; not valid UTF-8, and no other protocol's greeting."""

VERSION: Final = 1
"""The protocol version that this code speaks; it supports no other."""

HEADER: Final = Struct("!BBBxIIIQ")
"""type, flags, hop, session, stream, length, sequence."""

HEADER_BYTES: Final = HEADER.size

SESSION_FIELD: Final = Struct("!I")
"""The session number, at offset 4 of a header; what a broker rewrites in place."""

FLAG_OPTIONAL: Final = 0x01
"""A receiver that does not know the type skips the frame instead of failing."""

HOP_CLASS_MASK: Final = 0x07
HOP_DROPPABLE: Final = 0x80


class FrameType(IntEnum):
    """Frame types (docs/wire-protocol.md §4)."""

    HELLO = 0x01
    CHALLENGE = 0x02
    PROOF = 0x03
    HELLO_OK = 0x04
    REFUSE = 0x05
    PING = 0x06
    PONG = 0x07
    GO_AWAY = 0x08
    ATTACH = 0x09
    INVITE = 0x0A
    ATTACHED = 0x0B
    DETACHED = 0x0C
    PRESENCE = 0x0D
    LIMIT = 0x0E
    REVOCATIONS = 0x0F
    RENEW = 0x10
    SESSION_OPEN = 0x20
    OPEN = 0x21
    OPENED = 0x22
    REFUSED = 0x23
    DATA = 0x24
    END = 0x25
    STOP = 0x26
    RESET = 0x27
    SESSION_CLOSE = 0x28
    SESSION_RENEW = 0x29
    ADDRESSES = 0x2A
    ACK = 0x40
    WINDOW = 0x41


HOP_FRAMES: Final = frozenset(t for t in FrameType if t < 0x20)
SEQUENCED_FRAMES: Final = frozenset(t for t in FrameType if 0x20 <= t < 0x40)
UNSEQUENCED_FRAMES: Final = frozenset(t for t in FrameType if t >= 0x40)
ATTACH_FRAMES: Final = frozenset(
    {FrameType.ATTACH, FrameType.ATTACHED, FrameType.DETACHED, FrameType.LIMIT}
)
"""Hop frames whose header names a session."""

OPTIONAL_FRAMES: Final = frozenset(
    {FrameType.REVOCATIONS, FrameType.RENEW, FrameType.SESSION_RENEW, FrameType.ADDRESSES}
)
"""Frames that are sent with the flag *optional*: a peer that does not know them does without."""

KNOWN_TYPES: Final = frozenset(int(t) for t in FrameType)

RESERVED_TYPES: Final[Mapping[int, str]] = {
    0x48: "datagram",
    0x60: "sealed sequenced",
    0x61: "sealed unsequenced",
    0x62: "key update",
}
"""Numbers that later versions will use; today they are unknown types like any other."""


FRAME_TYPES: Final[Mapping[int, FrameType]] = {int(kind): kind for kind in FrameType}
"""By number; quicker than to call the class, for each frame that arrives."""


class Role(IntEnum):
    """Which side of a session an endpoint is."""

    INITIATOR = 0
    RESPONDER = 1


class ProofKind(IntEnum):
    """How an attach proves that it comes from the session's peer (docs/wire-protocol.md §7.4)."""

    NONE = 0
    SIGNATURE = 1
    MAC = 2


class ResetDirection(IntEnum):
    """Which directions a reset ends, seen from its sender (a bit mask)."""

    SENDING = 1
    RECEIVING = 2
    BOTH = 3


class Metadata(IntEnum):
    """Keys of the metadata in an `open`; unknown keys are kept and ignored."""

    PROTOCOL = 1
    ENVIRONMENT = 2
    CLIENT_ADDRESS = 3
    TRACE_PARENT = 4
    TRACE_STATE = 5
    DEADLINE_MS = 6
    RPC_PAYLOAD = 7


Value: TypeAlias = int | bytes | str | tuple[tuple[int, bytes], ...]
"""What a field can hold: a number, bytes, text, or metadata entries."""

FIELDS: Final[Mapping[FrameType, tuple[tuple[str, str], ...]]] = {
    FrameType.HELLO: (
        ("magic", "b4"),
        ("minimum_version", "u16"),
        ("maximum_version", "u16"),
        ("instance", "b16"),
        ("nonce", "b32"),
        ("features", "u32"),
        ("agent", "text"),
    ),
    FrameType.CHALLENGE: (
        ("magic", "b4"),
        ("version", "u16"),
        ("instance", "b16"),
        ("nonce", "b32"),
        ("features", "u32"),
        ("subject", "text"),
        ("agent", "text"),
    ),
    FrameType.PROOF: (("token", "bytes"), ("signature", "b64")),
    FrameType.HELLO_OK: (
        ("broker", "u8"),
        ("subject", "text"),
        ("max_sessions", "u32"),
        ("max_payload", "u32"),
    ),
    FrameType.REFUSE: (
        ("code", "u16"),
        ("minimum_version", "u16"),
        ("maximum_version", "u16"),
        ("text", "text"),
    ),
    FrameType.PING: (("nonce", "u64"),),
    FrameType.PONG: (("nonce", "u64"),),
    FrameType.GO_AWAY: (("code", "u16"), ("reconnect_after_ms", "u32"), ("text", "text")),
    FrameType.ATTACH: (
        ("session_id", "b16"),
        ("generation", "u64"),
        ("received", "u64"),
        ("role", "u8"),
        ("peer", "text"),
        ("proof_kind", "u8"),
        ("proof", "bytes"),
    ),
    FrameType.INVITE: (("session_id", "b16"), ("peer", "text")),
    FrameType.ATTACHED: (
        ("generation", "u64"),
        ("received", "u64"),
        ("cap", "u32"),
        ("proof_kind", "u8"),
        ("proof", "bytes"),
    ),
    FrameType.DETACHED: (("code", "u16"), ("text", "text")),
    FrameType.PRESENCE: (("subject", "text"), ("instance", "b16"), ("present", "u8")),
    FrameType.LIMIT: (("cap", "u32"),),
    FrameType.REVOCATIONS: (("list", "rest"),),
    FrameType.RENEW: (("token", "bytes"), ("signature", "b64")),
    FrameType.SESSION_OPEN: (
        ("role", "u8"),
        ("share", "b32"),
        ("token", "bytes"),
        ("signature", "b64"),
    ),
    FrameType.OPEN: (("target", "text"), ("metadata", "entries")),
    FrameType.OPENED: (),
    FrameType.REFUSED: (("code", "u16"), ("text", "text")),
    FrameType.END: (),
    FrameType.STOP: (("code", "u16"),),
    FrameType.RESET: (("direction", "u8"), ("code", "u16"), ("text", "text")),
    FrameType.SESSION_CLOSE: (("code", "u16"), ("text", "text")),
    FrameType.SESSION_RENEW: (("token", "bytes"), ("signature", "b64")),
    FrameType.ADDRESSES: (("addresses", "text"),),
    FrameType.ACK: (("received", "u64"),),
    FrameType.WINDOW: (("credit", "u64"),),
}

_NUMBERS: Final = {
    "u8": Struct("!B"),
    "u16": Struct("!H"),
    "u32": Struct("!I"),
    "u64": Struct("!Q"),
}
_FIXED: Final = {"b4": 4, "b16": 16, "b32": 32, "b64": 64}
_U16: Final = _NUMBERS["u16"]
_ENTRY: Final = Struct("!BH")


def encode_frame(
    frame_type: int,
    payload: bytes = b"",
    *,
    session: int = 0,
    stream: int = 0,
    sequence: int = 0,
    flags: int = 0,
) -> bytes:
    """Return one whole frame."""
    return HEADER.pack(frame_type, flags, 0, session, stream, len(payload), sequence) + payload


# --- encoding -----------------------------------------------------------------------------


def _encode_text(name: str, value: Value) -> bytes:
    if not isinstance(value, str):
        raise LocalProtocolError(f"field {name} takes text")
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"field {name} holds what UTF-8 cannot say") from None
    if len(raw) > limits.MAX_TEXT_BYTES:
        raise LocalProtocolError(f"field {name} is longer than {limits.MAX_TEXT_BYTES} bytes")
    return _U16.pack(len(raw)) + raw


def _encode_entries(name: str, value: Value) -> bytes:
    if not isinstance(value, tuple):
        raise LocalProtocolError(f"field {name} takes (key, bytes) entries")
    parts: list[bytes] = []
    size = 0
    for key, item in value:
        if not 0 <= key < 256:
            raise LocalProtocolError(f"field {name} takes keys that fit u8")
        size += _ENTRY.size + len(item)
        if size > limits.MAX_METADATA_BYTES or len(parts) >= 2 * limits.MAX_METADATA_ENTRIES:
            raise LocalProtocolError(
                f"metadata takes at most {limits.MAX_METADATA_ENTRIES} entries "
                f"and {limits.MAX_METADATA_BYTES} bytes"
            )
        parts += (_ENTRY.pack(key, len(item)), item)
    return b"".join(parts)


def _encode_bytes(name: str, value: Value) -> bytes:
    if not isinstance(value, bytes) or len(value) > limits.MAX_TOKEN_BYTES:
        raise LocalProtocolError(f"field {name} takes at most {limits.MAX_TOKEN_BYTES} bytes")
    return _U16.pack(len(value)) + value


def _encode_rest(name: str, value: Value) -> bytes:
    if not isinstance(value, bytes) or len(value) > limits.MAX_CONTROL_BYTES:
        raise LocalProtocolError(f"field {name} takes at most {limits.MAX_CONTROL_BYTES} bytes")
    return value


def _encode_value(name: str, kind: str, value: Value) -> bytes:
    number = _NUMBERS.get(kind)
    if number is not None:
        if not isinstance(value, int) or not 0 <= value < 1 << (8 * number.size):
            raise LocalProtocolError(f"field {name} takes a number that fits {kind}")
        return number.pack(value)
    size = _FIXED.get(kind)
    if size is not None:
        if not isinstance(value, bytes) or len(value) != size:
            raise LocalProtocolError(f"field {name} takes exactly {size} bytes")
        return value
    return _VARIABLE[kind][0](name, value)


def encode_fields(frame_type: FrameType, **values: Value) -> bytes:
    """Return the payload of a control frame.

    Args:
        frame_type: any type but DATA.
        values: one keyword for each field in `FIELDS`.

    Raises:
        LocalProtocolError: a field is missing, unknown, of the wrong type or too large.
    """
    fields = FIELDS[frame_type]
    if len(values) != len(fields) or any(name not in values for name, _ in fields):
        wanted = ", ".join(name for name, _ in fields) or "no fields"
        raise LocalProtocolError(f"{frame_type.name} takes {wanted}")
    return b"".join(_encode_value(name, kind, values[name]) for name, kind in fields)


def encode_open(target: str, metadata: tuple[tuple[int, bytes], ...]) -> bytes:
    """Return the payload of an `open`: `encode_fields` for the one that is made most often.

    Raises:
        LocalProtocolError: the target or the metadata is too large.
    """
    return _encode_text("target", target) + _encode_entries("metadata", metadata)


# --- decoding -----------------------------------------------------------------------------


def _decode_bytes(data: bytes, at: int, most: int, name: str) -> tuple[bytes, int]:
    start = at + 2
    if start > len(data):
        raise RemoteProtocolError(f"field {name} is cut off")
    end = start + _U16.unpack_from(data, at)[0]
    if end > len(data):
        raise RemoteProtocolError(f"field {name} is longer than its frame")
    if end - start > most:
        raise RemoteProtocolError(f"field {name} is longer than {most} bytes")
    return data[start:end], end


def _decode_token(name: str, data: bytes, at: int) -> tuple[Value, int]:
    return _decode_bytes(data, at, limits.MAX_TOKEN_BYTES, name)


def _decode_text(name: str, data: bytes, at: int) -> tuple[Value, int]:
    raw, end = _decode_bytes(data, at, limits.MAX_TEXT_BYTES, name)
    try:
        return raw.decode(), end
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"field {name} is not UTF-8") from None


def _decode_entries(name: str, data: bytes, at: int) -> tuple[Value, int]:
    if len(data) - at > limits.MAX_METADATA_BYTES:
        raise RemoteProtocolError(f"{name} is longer than {limits.MAX_METADATA_BYTES} bytes")
    entries: list[tuple[int, bytes]] = []
    while at < len(data):
        if len(entries) == limits.MAX_METADATA_ENTRIES:
            raise RemoteProtocolError(f"{name} has over {limits.MAX_METADATA_ENTRIES} entries")
        key = data[at]
        item, at = _decode_bytes(data, at + 1, limits.MAX_METADATA_BYTES, name)
        entries.append((key, item))
    return tuple(entries), at


def _decode_rest(name: str, data: bytes, at: int) -> tuple[Value, int]:
    if len(data) - at > limits.MAX_CONTROL_BYTES:
        raise RemoteProtocolError(f"field {name} is longer than {limits.MAX_CONTROL_BYTES} bytes")
    return data[at:], len(data)


_VARIABLE: Final[
    Mapping[
        str,
        tuple[
            Callable[[str, Value], bytes],
            Callable[[str, bytes, int], tuple[Value, int]],
        ],
    ]
] = {
    "text": (_encode_text, _decode_text),
    "bytes": (_encode_bytes, _decode_token),
    "entries": (_encode_entries, _decode_entries),
    "rest": (_encode_rest, _decode_rest),
}


def _decode_value(name: str, kind: str, data: bytes, at: int) -> tuple[Value, int]:
    number = _NUMBERS.get(kind)
    size = number.size if number is not None else _FIXED.get(kind)
    if size is None:
        return _VARIABLE[kind][1](name, data, at)
    if at + size > len(data):
        raise RemoteProtocolError(f"field {name} is cut off")
    if number is not None:
        return number.unpack_from(data, at)[0], at + size
    return data[at : at + size], at + size


def decode_fields(
    frame_type: FrameType, payload: bytes | bytearray | memoryview
) -> dict[str, Value]:
    """Return the fields of a control frame's payload, which may be hostile.

    Raises:
        RemoteProtocolError: a field is cut off, too large, not UTF-8, or bytes are left over.
    """
    data = bytes(payload)
    values: dict[str, Value] = {}
    at = 0
    for name, kind in FIELDS[frame_type]:
        values[name], at = _decode_value(name, kind, data, at)
    if at != len(data):
        raise RemoteProtocolError(f"{frame_type.name} has {len(data) - at} bytes too many")
    return values
