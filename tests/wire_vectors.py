"""The valid frames of docs/wire-vectors.json.

The bytes are put together here from the tables of the specification alone, not by the code that the
vectors test.  The shape of the file is described in docs/wire-protocol.md, Appendix A.
"""

from __future__ import annotations

from typing import TypeAlias

from tests import wire_spec

MAGIC = b"\xf4tnk"
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}

Value: TypeAlias = int | bytes | str | list[tuple[int, bytes]]
Json: TypeAlias = "int | str | list[Json] | dict[str, Json]"

FRAMES = {frame.name: frame for frame in wire_spec.frames()}
FIRST = bytes(range(16))
SECOND = bytes(range(16, 48))
SIGNATURE = bytes(range(64, 128))

EXAMPLES: dict[str, dict[str, Value]] = {
    "hello": {
        "magic": MAGIC,
        "minimum_version": 1,
        "maximum_version": 1,
        "instance": FIRST,
        "nonce": SECOND,
        "features": 0,
        "agent": "tunnelkit/1.0",
    },
    "challenge": {
        "magic": MAGIC,
        "version": 1,
        "instance": bytes(reversed(FIRST)),
        "nonce": bytes(reversed(SECOND)),
        "features": 0x80000001,
        "subject": "sidecar/shop",
        "agent": "",
    },
    "proof": {"token": b"header.claims.signature", "signature": SIGNATURE},
    "hello-ok": {"broker": 1, "subject": "", "max_sessions": 4096, "max_payload": 262_144},
    "refuse": {
        "code": 2,
        "minimum_version": 1,
        "maximum_version": 3,
        "text": "no version in common",
    },
    "ping": {"nonce": 0x0123456789ABCDEF},
    "pong": {"nonce": (1 << 64) - 1},
    "go-away": {"code": 15, "reconnect_after_ms": 1500, "text": "restarting"},
    "attach": {
        "session_id": FIRST,
        "generation": 2,
        "received": 17,
        "role": 0,
        "peer": "devbox/élodie",
        "proof_kind": 2,
        "proof": SECOND,
    },
    "invite": {"session_id": FIRST, "peer": "sidecar/shop"},
    "attached": {
        "generation": 1,
        "received": 0,
        "cap": 4_194_304,
        "proof_kind": 1,
        "proof": SIGNATURE,
    },
    "detached": {"code": 22, "text": "the peer's link was lost"},
    "presence": {"subject": "devbox/ada", "instance": FIRST, "present": 1},
    "limit": {"cap": 262_144},
    "revocations": {"list": b"header.claims.signature"},
    "renew": {"token": b"a.b.c", "signature": SIGNATURE},
    "session-open": {"role": 1, "share": SECOND, "token": b"a.b.c", "signature": SIGNATURE},
    "open": {
        "target": "tcp://127.0.0.1:8080",
        "metadata": [(1, b"http"), (6, b"\x00\x00\x03\xe8"), (64, b"")],
    },
    "opened": {},
    "refused": {"code": 9, "text": "connection refused"},
    "end": {},
    "stop": {"code": 19},
    "reset": {"direction": 3, "code": 17, "text": "broken pipe"},
    "session-close": {"code": 0, "text": ""},
    "session-renew": {"token": b"a.b.c", "signature": SIGNATURE},
    "addresses": {"addresses": "tcp://10.0.0.7:7070 wss://[fd00::7]:443/tunnel"},
    "ack": {"received": 1 << 53},
    "window": {"credit": 131_072},
}
OF_THE_SESSION = ("session-open", "session-close", "session-renew", "addresses", "ack")
NUMBERED = {"attach": 3, "attached": 3, "detached": 2, "limit": 2}


def field_bytes(kind: str, value: Value) -> bytes:
    """Return a field as it stands on the wire (§5)."""
    if isinstance(value, int):
        return value.to_bytes(SIZES[kind], "big")
    if isinstance(value, list):
        return b"".join(bytes([key]) + len(v).to_bytes(2, "big") + v for key, v in value)
    raw = value.encode() if isinstance(value, str) else value
    is_bare = kind == "rest" or (kind.startswith("b") and kind != "bytes")
    return raw if is_bare else len(raw).to_bytes(2, "big") + raw


def header_bytes(header: dict[str, int]) -> bytes:
    """Return a header (§3); what is not named is 0."""
    sizes = {"type": 1, "flags": 1, "hop": 1, "reserved": 1}
    sizes |= {"session": 4, "stream": 4, "length": 4, "sequence": 8}
    return b"".join(header.get(name, 0).to_bytes(size, "big") for name, size in sizes.items())


def frame_bytes(kind: int | str, payload: bytes = b"", **header: int) -> bytes:
    """Return a whole frame."""
    number = FRAMES[kind].number if isinstance(kind, str) else kind
    return header_bytes({"type": number, "length": len(payload), **header}) + payload


def payload_bytes(name: str, **values: Value) -> bytes:
    """Return the payload of a frame of this type, by default that of the example."""
    chosen = {**EXAMPLES[name], **values}
    return b"".join(field_bytes(kind, chosen[field]) for field, kind in FRAMES[name].fields)


def usual_header(name: str) -> dict[str, int]:
    """Return the header members that suit a frame of this type (§3.5, §3.6)."""
    frame = FRAMES[name]
    if frame.scope == "hop":
        return {"session": NUMBERED.get(name, 0)}
    stream = 0 if name in OF_THE_SESSION else 5
    return {"session": 3, "stream": stream, "sequence": 42 if frame.is_sequenced else 0}


def _json_value(kind: str, value: Value) -> Json:
    if isinstance(value, int):
        return str(value) if kind == "u64" else value
    if isinstance(value, list):
        return [[key, item.hex()] for key, item in value]
    return value if isinstance(value, str) else value.hex()


def frame_vector(label: str, name: str, header: dict[str, int], **values: Value) -> Json:
    """Return an entry of `frames`."""
    chosen = {**EXAMPLES[name], **values}
    payload = payload_bytes(name, **values)
    fields: list[Json] = [
        {
            "name": field,
            "kind": kind,
            "hex": field_bytes(kind, chosen[field]).hex(),
            "value": _json_value(kind, chosen[field]),
        }
        for field, kind in FRAMES[name].fields
    ]
    return {**_frame(label, name, payload, header), "fields": fields}


def data_vector(label: str, payload: bytes, **header: int) -> Json:
    """Return an entry of `frames` for a data frame."""
    usual = {"session": 3, "stream": 5, "sequence": 43}
    return {**_frame(label, "data", payload, {**usual, **header}), "payload": payload.hex()}


def _frame(label: str, name: str, payload: bytes, header: dict[str, int]) -> dict[str, Json]:
    frame = frame_bytes(name, payload, **header)
    described: dict[str, Json] = {"name": name, "type": FRAMES[name].number}
    described |= {each: header.get(each, 0) for each in ("flags", "hop", "reserved")}
    described |= {"session": header.get("session", 0), "stream": header.get("stream", 0)}
    described |= {"length": len(payload), "sequence": str(header.get("sequence", 0))}
    return {"name": label, "hex": frame.hex(), "header": described}


def frames() -> list[Json]:
    """Return one frame of every type, then the edges of headers and fields."""
    most = {"session": (1 << 32) - 1, "stream": (1 << 32) - 1, "sequence": (1 << 64) - 1}
    text = "é" * 512
    full = [(key, b"") for key in range(31)] + [(255, bytes(4096 - 3 * 32))]
    return [
        *[frame_vector(name, name, usual_header(name)) for name in EXAMPLES],
        data_vector("data", b"GET / HTTP/1.1\r\n\r\n"),
        data_vector("data: no bytes", b""),
        data_vector("header: the largest numbers", b"x", **most),
        data_vector("header: class and droppable, set by a broker", b"x", hop=0x85),
        data_vector("header: reserved bits and byte are ignored", b"x", flags=0xFE, reserved=255),
        frame_vector("header: optional, of a known type", "ping", {"flags": 1}),
        frame_vector("fields: the longest text", "detached", {"session": 1}, text=text),
        frame_vector("fields: text with U+0000", "detached", {"session": 1}, text="a\0b"),
        frame_vector("fields: the longest token", "proof", {}, token=b"t" * 4096),
        frame_vector("fields: the longest list", "revocations", {}, list=b"r" * 16384),
        frame_vector("fields: no list", "revocations", {}, list=b""),
        frame_vector("fields: no metadata", "open", usual_header("open"), metadata=[]),
        frame_vector("fields: the most metadata", "open", usual_header("open"), metadata=full),
    ]


def sequences() -> list[Json]:
    """Return bytes that hold several frames, or parts of them."""
    ping, pong = frame_bytes("ping", bytes(8)), frame_bytes("pong", bytes(8))
    cases = {
        "nothing": ([], b""),
        "two frames": ([ping, pong], b""),
        "one frame and the beginning of a header": ([ping], pong[:23]),
        "one frame and a header without its payload": ([ping], pong[:24]),
        "one frame and all but the last byte": ([ping], pong[:-1]),
    }
    return [
        {
            "name": name,
            "hex": (b"".join(whole) + rest).hex(),
            "frames": [frame.hex() for frame in whole],
            "pending": len(rest),
        }
        for name, (whole, rest) in cases.items()
    ]
