"""The hostile cases of docs/wire-vectors.json, sorted by what a receiver makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tests import wire_spec
from tests.wire_vectors import SIGNATURE, Json, frame_bytes, payload_bytes

Parts: TypeAlias = list[tuple[bytes, int]]
"""Bytes, each repeated so many times, one after the other."""

LINK, HELLO = 262_144, 8_192
BEFORE_THE_LINK_IS_UP = ("a hello above the limit", "an HTTP request", "a token above its limit")


def text(raw: bytes) -> bytes:
    """Return a field of text or bytes."""
    return len(raw).to_bytes(2, "big") + raw


def detached(field: bytes) -> bytes:
    """Return a frame whose last field is text."""
    return frame_bytes("detached", b"\0\x01" + field, session=1)


def opening(entries: bytes) -> bytes:
    """Return a frame whose last field is metadata."""
    return frame_bytes("open", b"\0\0" + entries, session=1, stream=1, sequence=2)


FRAMES: dict[str, dict[str, bytes | Parts]] = {
    "frame-too-long": {
        "a payload above the limit": frame_bytes("data", length=LINK + 1),
        "the largest length": frame_bytes("data", length=(1 << 32) - 1),
        "a hello above the limit": frame_bytes("hello", length=HELLO + 1),
        "an HTTP request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "all ones": b"\xff" * 24,
    },
    "control-too-long": {
        "a control frame above its limit": [
            (frame_bytes("ping", length=16_385), 1),
            (b"\0", 16_385),
        ],
    },
    "unknown-type": {
        "all zeros": bytes(24),
        "an unknown type": frame_bytes(0x3F),
        "an unknown hop type": frame_bytes(0x1F),
        "an unknown type with reserved flags": frame_bytes(0x3F, flags=0xFE),
        **{
            f"the reserved type {name}": frame_bytes(number)
            for number, name in wire_spec.reserved().items()
        },
    },
    "skipped": {
        "an unknown optional type": frame_bytes(0x3F, b"later", flags=1),
        "an optional datagram": frame_bytes(0x48, b"?", flags=1),
    },
    "incomplete": {
        "a length at the limit": frame_bytes("data", length=LINK),
        "a header without its last byte": frame_bytes("ping")[:-1],
    },
    "cut-off": {
        "a number cut off": frame_bytes("stop", b"\0"),
        "no payload where there are fields": frame_bytes("attach"),
        "fixed bytes cut off": frame_bytes("invite", bytes(15)),
        "a length of text cut off": detached(b"\0"),
        "a text longer than its frame": detached(b"\0\x02a"),
        "a text of the largest length": detached(b"\xff\xffa"),
        "an entry longer than its frame": opening(b"\x01\0\x02a"),
        "an entry's length cut off": opening(b"\x01\0"),
    },
    "field-too-long": {
        "a text above its limit": detached(text(b"a" * 1025)),
        "a token above its limit": frame_bytes("proof", text(b"a" * 4097) + SIGNATURE),
        "metadata above its limit": opening(b"\x01" + text(b"a" * 4094)),
    },
    "too-many-entries": {"too many entries": opening(b"\x01\0\0" * 33)},
    "not-utf-8": {
        "a text of invalid UTF-8": detached(text(b"\xc3(")),
        "a text of overlong UTF-8": detached(text(b"\xc0\x80")),
        "a text with a surrogate": detached(text(b"\xed\xa0\x80")),
    },
    "left-over": {
        "a byte too many": frame_bytes("ping", bytes(9)),
        "a payload where there is none": frame_bytes("end", b"\0"),
    },
}


def _parts(data: bytes | Parts) -> Json:
    parts: Parts = [(data, 1)] if isinstance(data, bytes) else data
    return [[piece.hex(), count] for piece, count in parts]


def hostile() -> list[Json]:
    """Return the entries of `hostile`."""
    return [
        {
            "name": name,
            "parts": _parts(data),
            "limit": HELLO if name in BEFORE_THE_LINK_IS_UP else LINK,
            "outcome": outcome,
        }
        for outcome, cases in FRAMES.items()
        for name, data in cases.items()
    ]


# --- what a session makes of frames ---------------------------------------------------------


def frame(name: str, payload: bytes = b"", *, stream: int = 1, sequence: int = 2) -> bytes:
    """Return a frame of the session."""
    return frame_bytes(name, payload, session=1, stream=stream, sequence=sequence)


def bulk(size: int) -> Parts:
    """Return a data frame of *size* zeros, the third frame of the session."""
    head = frame_bytes("data", length=size, session=1, stream=1, sequence=3)
    return [(head, 1), (b"\0", size)]


OPEN = payload_bytes("open")
OPENED = frame("open", OPEN)
UNKNOWN = {"session": 1, "sequence": 2}

SESSIONS: dict[str, dict[str, list[bytes | Parts]]] = {
    "protocol-error": {
        "a second session-open": [frame("session-open", payload_bytes("session-open"), stream=0)],
        "an open of the responder's parity": [frame("open", OPEN, stream=2)],
        "an open without a stream": [frame("open", OPEN, stream=0)],
        "an open of a stream that is open": [OPENED, frame("open", OPEN, sequence=3)],
        "data on a stream never opened": [frame("data", b"x")],
        "an end on a stream never opened": [frame("end")],
        "a stop on a stream never opened": [frame("stop", b"\0\0")],
        "data beyond the credit": [OPENED, bulk(65_537)],
        "a reset without a direction": [
            OPENED,
            frame("reset", payload_bytes("reset", direction=0), sequence=3),
        ],
        "an answer from the opener": [OPENED, frame("opened", sequence=3)],
        "a second end": [OPENED, frame("end", sequence=3), frame("end", sequence=4)],
        "data after the end": [OPENED, frame("end", sequence=3), frame("data", b"x", sequence=4)],
        "an ack of what was never sent": [
            frame("ack", payload_bytes("ack", received=999), stream=0, sequence=0)
        ],
        "an ack with a stream": [
            OPENED,
            frame("ack", payload_bytes("ack", received=0), sequence=0),
        ],
        "a window without a stream": [
            frame("window", payload_bytes("window"), stream=0, sequence=0)
        ],
        "a hop frame": [frame("ping", bytes(8), stream=0, sequence=0)],
        "an unknown frame": [frame_bytes(0x3F, b"?", **UNKNOWN)],
    },
    "attachment-lost": {
        "a frame too few": [OPENED, frame("end", sequence=4)],
        "the largest sequence number": [OPENED, frame("end", sequence=(1 << 64) - 1)],
    },
    "ignored": {
        "data within the credit": [OPENED, bulk(65_536)],
        "a window of an unknown stream": [
            frame("window", payload_bytes("window"), stream=99, sequence=0)
        ],
        "a repeated frame": [OPENED, OPENED],
        "sequence number 0": [OPENED, frame("end", sequence=0)],
        "an unknown optional frame": [frame_bytes(0x3F, b"?", flags=1, **UNKNOWN)],
    },
}


def _session_cases() -> Iterator[Json]:
    for outcome, cases in SESSIONS.items():
        for name, frames in cases.items():
            yield {"name": name, "frames": [_parts(each) for each in frames], "outcome": outcome}


def sessions() -> list[Json]:
    """Return the entries of `sessions`."""
    return list(_session_cases())
