"""Published cases of WebSocket conformance, as a table: what is sent, and how it has to end.

The numbers are those of the Autobahn test suite, whose program needs Python 2 and so cannot run
here; the frames are written down from RFC 6455, with binary messages in place of text.  Left out
are what a tunnel does not have: text (6, but for the refusal), compression (12, 13), and speed (9).
The cases after the empty number are not in that list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.tunnelkit.carriers_websocket.ends import KEY
from tunnelkit.wire.websocket import apply_mask

__all__ = ["CASES", "Case", "Frame", "encode"]

CONT, TEXT, BIN, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of somebody without rules."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    length: bytes | None = None
    """The length as it is written, where that is not as it should be."""
    wrong_mask: bool = False

    def encode(self, masked: bool) -> bytes:
        """Return its bytes, as a client or a server sends them."""
        masked ^= self.wrong_mask
        first = self.opcode | self.rsv << 4 | (0x80 if self.fin else 0)
        length = _length(len(self.payload)) if self.length is None else self.length
        head = bytes((first, length[0] | (0x80 if masked else 0))) + length[1:]
        return head + (KEY + apply_mask(self.payload, KEY) if masked else self.payload)


def _length(size: int) -> bytes:
    if size < 126:
        return bytes((size,))
    if size < 1 << 16:
        return b"\x7e" + size.to_bytes(2, "big")
    return b"\x7f" + size.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Case:
    """What a stranger sends, and what comes of it."""

    number: str
    frames: tuple[Frame, ...]
    data: bytes = b""
    """What is delivered."""
    pong: bytes | None = None
    """The last ping that is answered."""
    code: int | None = None
    """The close code that is answered; None: the connection goes on."""
    is_clean: bool = False
    """Whether the end is a clean one."""


def encode(case: Case, *, masked: bool) -> bytes:
    """Return what the stranger sends, as a client or a server."""
    return b"".join(frame.encode(masked) for frame in case.frames)


def _good(number: str, *frames: Frame, data: bytes = b"", pong: bytes | None = None) -> Case:
    return Case(number, frames, data, pong)


def _bad(number: str, *frames: Frame, code: int = 1002) -> Case:
    return Case(number, frames, code=code)


def _closed(number: str, *frames: Frame, data: bytes = b"", is_clean: bool = True) -> Case:
    return Case(number, frames, data, None, 1000, is_clean)


def _close(code: int, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, code.to_bytes(2, "big") + reason)


HELLO: Final = Frame(BIN, b"Hello, world!")
ONE, TWO = Frame(BIN, b"fragment1", fin=False), Frame(CONT, b"fragment2")
MIDDLE: Final = Frame(CONT, b"fragment2", fin=False)
NORMAL: Final = _close(1000)
ODD: Final = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"

_SIZES: Final = (0, 125, 126, 127, 128, 65_535, 65_536, 65_536)
_GOOD_CODES: Final = (1000, 1001)
_COMPLAINTS: Final = (1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
_NO_CODES: Final = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)

CASES: Final[tuple[Case, ...]] = (
    *(
        _good(f"1.2.{number}", Frame(BIN, b"\xfe" * size), data=b"\xfe" * size)
        for number, size in enumerate(_SIZES, 1)
    ),
    # --- 2: pings and pongs -------------------------------------------------------------------
    _good("2.1", Frame(PING), pong=b""),
    _good("2.2", Frame(PING, b"Hello, world!"), pong=b"Hello, world!"),
    _good("2.3", Frame(PING, ODD), pong=ODD),
    _good("2.4", Frame(PING, b"\xfe" * 125), pong=b"\xfe" * 125),
    _bad("2.5", Frame(PING, b"\xfe" * 126)),
    _good("2.7", Frame(PONG)),
    _good("2.8", Frame(PONG, b"unsolicited")),
    _good("2.9", Frame(PONG, b"unsolicited"), Frame(PING, b"asked"), pong=b"asked"),
    # RFC 6455 §5.5.3: of pings that come together the last may be answered alone.
    _good("2.10", *(Frame(PING, b"payload-%d" % n) for n in range(10)), pong=b"payload-9"),
    # --- 3: reserved bits ---------------------------------------------------------------------
    _bad("3.1", Frame(BIN, b"x", rsv=1)),
    _bad("3.2", Frame(BIN, b"x", rsv=2), Frame(PING)),
    _bad("3.3", Frame(BIN, b"x", rsv=3), Frame(PING)),
    _bad("3.4", Frame(BIN, b"x", rsv=4), Frame(PING)),
    _bad("3.5", Frame(BIN, ODD, rsv=5)),
    _bad("3.6", Frame(PING, b"x", rsv=6)),
    _bad("3.7", Frame(CLOSE, rsv=7)),
    # --- 4: opcodes ---------------------------------------------------------------------------
    *(_bad(f"4.1.{n}", Frame(2 + n, b"x" * (n % 2)), Frame(PING)) for n in range(1, 6)),
    *(_bad(f"4.2.{n}", Frame(10 + n, b"x" * (n % 2)), Frame(PING)) for n in range(1, 6)),
    # --- 5: fragments -------------------------------------------------------------------------
    _bad("5.1", Frame(PING, b"a", fin=False), Frame(CONT, b"b")),
    _bad("5.2", Frame(PONG, b"a", fin=False), Frame(CONT, b"b")),
    _good("5.3", ONE, TWO, data=b"fragment1fragment2"),
    _good("5.6", ONE, Frame(PING, b"p"), TWO, data=b"fragment1fragment2", pong=b"p"),
    _bad("5.9", Frame(CONT, b"nothing to continue"), HELLO),
    _bad("5.12", Frame(CONT, b"nothing to continue", fin=False), HELLO),
    _bad("5.15", Frame(CONT, b"x", fin=False), HELLO),
    _bad("5.16", Frame(CONT, fin=False), Frame(BIN, fin=False), Frame(CONT)),
    _bad("5.17", Frame(CONT), Frame(BIN, fin=False), Frame(CONT)),
    _bad("5.18", Frame(BIN, fin=False), Frame(BIN)),
    _good(
        "5.19",
        *(ONE, MIDDLE, Frame(PING, b"1"), MIDDLE, MIDDLE, Frame(PING, b"2"), TWO),
        data=b"fragment1" + b"fragment2" * 4,
        pong=b"2",
    ),
    # --- 6: text ------------------------------------------------------------------------------
    _bad("6.1.1", Frame(TEXT), code=1003),
    _bad("6.2.1", Frame(TEXT, "Hello-µ@ßöä".encode(), fin=False), code=1003),
    # --- 7: closing ---------------------------------------------------------------------------
    _closed("7.1.1", HELLO, NORMAL, data=b"Hello, world!"),
    _closed("7.1.2", NORMAL, Frame(CLOSE)),
    _closed("7.1.3", NORMAL, Frame(PING)),
    _closed("7.1.4", NORMAL, HELLO),
    _closed("7.1.5", ONE, NORMAL, TWO, data=b"fragment1", is_clean=False),
    _closed("7.1.6", Frame(BIN, bytes(1 << 18)), NORMAL, Frame(PING), data=bytes(1 << 18)),
    _closed("7.3.1", Frame(CLOSE), is_clean=False),  # without a code it may be cut short
    _bad("7.3.2", Frame(CLOSE, b"a")),
    _closed("7.3.3", NORMAL),
    _closed("7.3.4", _close(1000, b"Hello World!")),
    _closed("7.3.5", _close(1000, b"*" * 123)),
    _bad("7.3.6", _close(1000, b"*" * 124)),
    _bad("7.5.1", _close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80edited"), code=1007),
    *(_closed(f"7.7.{code}", _close(code)) for code in _GOOD_CODES),
    *(_closed(f"7.7.{code}", _close(code), is_clean=False) for code in _COMPLAINTS),
    *(_bad(f"7.9.{code}", _close(code)) for code in _NO_CODES),
    # --- not in that list ---------------------------------------------------------------------
    _bad("mask", Frame(BIN, b"x", wrong_mask=True)),
    _bad("mask of a ping", Frame(PING, wrong_mask=True)),
    _bad("mask of a close", Frame(CLOSE, wrong_mask=True)),
    _bad("16-bit length of 125", Frame(BIN, bytes(125), length=b"\x7e\x00\x7d")),
    _bad("16-bit length of 0", Frame(BIN, length=b"\x7e\x00\x00")),
    _bad("64-bit length of 65535", Frame(BIN, length=b"\x7f" + bytes(6) + b"\xff\xff")),
    _bad("64-bit length of 5", Frame(BIN, b"12345", length=b"\x7f" + bytes(7) + b"\x05")),
    _bad("highest bit", Frame(BIN, length=b"\x7f\x80" + bytes(7))),
    _bad("all bits", Frame(BIN, length=b"\x7f" + b"\xff" * 8)),
    _bad("too long", Frame(BIN, length=b"\x7f" + (1 << 40).to_bytes(8, "big")), code=1009),
    _bad("64-bit length of a ping", Frame(PING, length=b"\x7f" + bytes(8))),
    _bad("16-bit length of a close", Frame(CLOSE, length=b"\x7e\x00\x02")),
    _bad("text inside a message", ONE, Frame(TEXT, b"x")),
    _bad("close in pieces", Frame(CLOSE, b"\x03", fin=False), Frame(CONT, b"\xe8")),
    _bad("overlong UTF-8 in a reason", _close(1000, b"\xc0\xaf"), code=1007),
    _bad("half a character in a reason", _close(1000, b"\xe2\x82"), code=1007),
    _bad("reason that is beyond Unicode", _close(1000, b"\xf4\x90\x80\x80"), code=1007),
)
