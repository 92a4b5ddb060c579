"""WebSocket frames: the examples of RFC 6455 §5.7, every rule that is enforced, and any bytes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.wire.websocket import (
    MAX_EMPTY_FRAMES,
    MAX_FRAME_BYTES,
    PIECE_BYTES,
    CloseCode,
    FrameDecoder,
    Opcode,
    WebSocketError,
    apply_mask,
    encode_close,
    encode_control,
    encode_header,
    mask_into,
    plain_mask,
    rotate_mask,
)

KEY = bytes.fromhex("37fa213d")


@dataclass
class Decoded:
    """A decoder, and what came out of it."""

    is_server: bool = False
    max_frame_bytes: int = MAX_FRAME_BYTES
    payload: bytearray = field(default_factory=bytearray)
    controls: list[tuple[Opcode, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decoder = FrameDecoder(
            is_server=self.is_server,
            on_control=lambda opcode, payload: self.controls.append((opcode, payload)),
            max_frame_bytes=self.max_frame_bytes,
        )

    def feed(self, data: bytes) -> Decoded:
        view = memoryview(bytearray(data))
        self.payload += view[: self.decoder.decode(view)]
        return self

    def result(self) -> tuple[bytes, list[tuple[Opcode, bytes]], bool, int, str]:
        decoder = self.decoder
        closing = decoder.is_closed, decoder.close_code, decoder.close_reason
        return bytes(self.payload), self.controls, *closing


def from_server(data: bytes, limit: int = MAX_FRAME_BYTES) -> Decoded:
    return Decoded(max_frame_bytes=limit).feed(data)


def from_client(data: bytes) -> Decoded:
    return Decoded(is_server=True).feed(data)


def message(payload: bytes, mask: bytes = b"", **options: bool) -> bytes:
    body = apply_mask(payload, mask) if mask else payload
    return encode_header(Opcode.BINARY, len(payload), mask, **options) + body


# --- the examples of §5.7 ------------------------------------------------------------------


def test_ping_of_the_rfc() -> None:
    assert from_server(bytes.fromhex("890548656c6c6f")).controls == [(Opcode.PING, b"Hello")]
    assert encode_control(Opcode.PING, b"Hello") == bytes.fromhex("890548656c6c6f")


def test_masked_pong_of_the_rfc() -> None:
    frame = bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert from_client(frame).controls == [(Opcode.PONG, b"Hello")]
    assert encode_control(Opcode.PONG, b"Hello", KEY) == frame


@pytest.mark.parametrize(("size", "head"), [(256, "827e0100"), (65536, "827f0000000000010000")])
def test_binary_messages_of_the_rfc(size: int, head: str) -> None:
    assert encode_header(Opcode.BINARY, size) == bytes.fromhex(head)
    assert from_server(bytes.fromhex(head) + bytes(size)).payload == bytes(size)


@pytest.mark.parametrize("frame", ["810548656c6c6f", "010348656c"])
def test_text_of_the_rfc_is_refused(frame: str) -> None:
    with pytest.raises(WebSocketError, match="text") as info:
        from_server(bytes.fromhex(frame))
    assert info.value.close_code == CloseCode.UNSUPPORTED_DATA


# --- data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
@pytest.mark.parametrize("mask", [b"", KEY])
def test_messages_of_all_lengths(size: int, mask: bytes) -> None:
    payload = bytes(range(251)) * (size // 251 + 1)
    got = Decoded(is_server=bool(mask)).feed(message(payload[:size], mask))
    assert got.payload == payload[:size]
    assert got.decoder.is_between_messages


def test_several_frames_leave_no_gaps() -> None:
    data = message(b"one") + encode_control(Opcode.PING, b"x") + message(b"two") + message(b"3")
    assert from_server(data).result() == (b"onetwo3", [(Opcode.PING, b"x")], False, 1005, "")


def test_fragments_with_a_ping_between_them() -> None:
    got = Decoded().feed(message(b"one", fin=False) + encode_control(Opcode.PING, b"x"))
    assert not got.decoder.is_between_messages
    got.feed(encode_header(Opcode.CONTINUATION, 3, fin=False) + b"two")
    got.feed(encode_header(Opcode.CONTINUATION, 0))
    assert got.payload == b"onetwo"
    assert Decoded().feed(message(b"onetwo")).decoder.is_between_messages


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4), st.integers(0, 100))
def test_masks_agree_and_rotate(data: bytes, mask: bytes, cut: int) -> None:
    whole = apply_mask(data, mask)
    assert whole == plain_mask(data, mask)
    assert plain_mask(whole, mask) == data
    rest = plain_mask(data[cut:], rotate_mask(mask, len(data[:cut])))
    assert apply_mask(data[:cut], mask) + rest == whole


@given(
    st.lists(st.integers(0, 2 * PIECE_BYTES + 9), max_size=4),
    st.integers(0, 3 * PIECE_BYTES),
    st.integers(0, 4 * PIECE_BYTES),
)
def test_mask_into_masks_what_fits_of_the_rest(sizes: list[int], skip: int, room: int) -> None:
    buffers = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    expected = plain_mask(b"".join(buffers)[skip:][:room], KEY)
    target = bytearray(room)
    assert mask_into(memoryview(target), buffers, skip, KEY) == len(expected)
    assert target[: len(expected)] == expected
    assert not any(target[len(expected) :])


@pytest.mark.parametrize("cut", [20, 14 + PIECE_BYTES + 3, 3 * PIECE_BYTES])
def test_long_masked_payload_may_be_cut_anywhere(cut: int) -> None:
    payload = bytes(range(251)) * (4 * PIECE_BYTES // 251)
    data = encode_header(Opcode.BINARY, len(payload), KEY) + plain_mask(payload, KEY)
    decoded = Decoded(is_server=True).feed(data[:cut]).feed(data[cut:])
    assert bytes(decoded.payload) == payload


# --- what is refused -----------------------------------------------------------------------

REFUSED = {
    "c20161": "reserved bit",
    "a20161": "reserved bit",
    "920161": "reserved bit",
    "830161": "reserved opcode 0x3",
    "870161": "reserved opcode 0x7",
    "8b00": "reserved opcode 0xb",
    "8f00": "reserved opcode 0xf",
    "800161": "without a message",
    "0201618201": "inside an unfinished",
    "0900": "in pieces",
    "0800": "in pieces",
    "897e": "more than 125",
    "827e007d": "longer than it needs",
    "827f000000000000ffff": "longer than it needs",
    "827f8000000000000000": "highest bit",
    "8801ff": "half a code",
    "880203e7": "close code 999",
    "880203ec": "close code 1004",
    "880203ed": "close code 1005",
    "880203ee": "close code 1006",
    "880203f7": "close code 1015",
    "88020bb7": "close code 2999",
    "88021388": "close code 5000",
    "880303e8ff": "not UTF-8",
    "880503e8eda080": "not UTF-8",
    "828137fa213d61": "server is masked",
}


@pytest.mark.parametrize("frame", REFUSED)
def test_refused_from_a_server(frame: str) -> None:
    with pytest.raises(WebSocketError, match=REFUSED[frame]):
        from_server(bytes.fromhex(frame))


@pytest.mark.parametrize("frame", REFUSED)
def test_refused_byte_by_byte(frame: str) -> None:
    got = Decoded()
    with pytest.raises(WebSocketError, match=REFUSED[frame]):
        for byte in bytes.fromhex(frame):
            got.feed(bytes([byte]))


@pytest.mark.parametrize("frame", ["820161", "8900", "8800"])
def test_client_must_mask(frame: str) -> None:
    with pytest.raises(WebSocketError, match="client is not masked"):
        from_client(bytes.fromhex(frame))


def test_frame_over_the_limit() -> None:
    assert from_server(message(bytes(200)), 200).payload == bytes(200)
    with pytest.raises(WebSocketError, match="201 bytes is over the limit of 200") as info:
        from_server(message(bytes(201))[:4], 200)
    assert info.value.close_code == CloseCode.TOO_BIG


def test_endless_empty_frames() -> None:
    got = from_server(message(b"") * MAX_EMPTY_FRAMES)
    got.feed(message(b"x") + message(b"") * MAX_EMPTY_FRAMES)
    with pytest.raises(WebSocketError, match="too many empty frames"):
        got.feed(message(b""))


def test_little_is_held_however_long_a_frame_is() -> None:
    got = Decoded(is_server=True)
    got.feed(encode_header(Opcode.BINARY, 1 << 20, KEY) + bytes(5000))
    assert got.decoder.pending_bytes == 0
    got = from_client(encode_control(Opcode.PING, bytes(125), KEY)[:-1])
    assert got.decoder.pending_bytes == 130


# --- closing -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_close_with_a_code(code: int) -> None:
    got = from_server(b"\x88\x04" + code.to_bytes(2, "big") + "é".encode())
    assert got.result() == (b"", [], True, code, "é")


def test_close_without_a_code() -> None:
    assert from_client(encode_control(Opcode.CLOSE, b"", KEY)).decoder.close_code == 1005


def test_what_comes_after_a_close_is_dropped() -> None:
    got = from_server(message(b"a") + encode_close(CloseCode.NORMAL) + b"garbage").feed(b"more")
    assert got.result() == (b"a", [], True, 1000, "")


def test_long_reason_is_cut_between_characters() -> None:
    frame = encode_close(CloseCode.NORMAL, "é" * 100)
    assert len(frame) == 2 + 2 + 122
    assert from_server(frame).decoder.close_reason == "é" * 61


# --- any bytes -----------------------------------------------------------------------------

masks = st.binary(min_size=4, max_size=4)
controls = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


@st.composite
def conversations(draw: st.DrawFn, masked: bool = False) -> bytes:
    """Frames as a correct peer sends them: messages in pieces, pings between, perhaps a close."""
    frames = bytearray()

    def mask() -> bytes:
        return draw(masks) if masked else b""

    for _ in range(draw(st.integers(0, 3))):
        parts = draw(st.lists(st.binary(max_size=300), min_size=1, max_size=3))
        for number, part in enumerate(parts):
            key, opcode = mask(), Opcode.CONTINUATION if number else Opcode.BINARY
            frames += encode_header(opcode, len(part), key, fin=number == len(parts) - 1)
            frames += plain_mask(part, key) if key else part
            for kind, payload in draw(st.lists(controls, max_size=2)):
                frames += encode_control(kind, payload, mask())
    if draw(st.booleans()):
        frames += encode_close(CloseCode.NORMAL, draw(st.text(max_size=40)), mask())
    return bytes(frames)


@given(st.data(), st.booleans())
def test_split_anywhere(data: st.DataObject, masked: bool) -> None:
    frames = data.draw(conversations(masked))
    whole, pieces = Decoded(masked).feed(frames), Decoded(masked)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(frames)), max_size=8)))
    for start, stop in zip([0, *cuts], [*cuts, len(frames)], strict=True):
        pieces.feed(frames[start:stop])
    assert pieces.result() == whole.result()


@given(st.data(), st.booleans())
def test_byte_by_byte(data: st.DataObject, masked: bool) -> None:
    frames = data.draw(conversations(masked))
    pieces = Decoded(masked)
    for byte in frames:
        pieces.feed(bytes([byte]))
    assert pieces.result() == Decoded(masked).feed(frames).result()


@given(st.data(), st.booleans(), st.binary(max_size=40))
def test_garbage_raises_the_one_error(data: st.DataObject, masked: bool, tail: bytes) -> None:
    frames = data.draw(conversations(masked)) + tail
    with suppress(WebSocketError):
        Decoded(masked).feed(frames)
