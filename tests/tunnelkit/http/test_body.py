"""Where a message of HTTP/1.x ends, and what of its body is sent on."""

from __future__ import annotations

from typing import Any

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnelkit.http.mutations import mutated
from tunnelkit.http.body import (
    MAX_CHUNK_LINE_BYTES,
    BodyReader,
    Frame,
    Framing,
    framing_of_request,
    framing_of_response,
    keeps_connection,
)
from tunnelkit.http.errors import HttpRefused, Rule
from tunnelkit.http.head import (
    MAX_HEAD_BYTES,
    Fields,
    RequestHead,
    ResponseHead,
    read_request,
)

CHUNKS = Framing(Frame.CHUNKS)
TE = (b"Transfer-Encoding", b"chunked")


def request(*fields: tuple[bytes, bytes], version: bytes = b"1.1") -> RequestHead:
    return RequestHead(b"POST", b"/", version, fields)


def response(status: int, *fields: tuple[bytes, bytes]) -> ResponseHead:
    return ResponseHead(status, b"", b"1.1", fields)


def length(value: bytes) -> tuple[bytes, bytes]:
    return b"Content-Length", value


# --- framing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ((), Framing(Frame.NOTHING)),
        ((length(b"5"),), Framing(Frame.LENGTH, 5)),
        ((length(b"0"),), Framing(Frame.NOTHING)),
        ((TE,), CHUNKS),
        (((b"transfer-ENCODING", b"Chunked"),), CHUNKS),
    ],
)
def test_framing_of_a_request(fields: Fields, framing: Framing) -> None:
    assert framing_of_request(request(*fields)) == framing


@pytest.mark.parametrize(
    ("fields", "status", "rule"),
    [
        ((length(b"5"), TE), 400, Rule.BOTH),
        ((TE, length(b"0")), 400, Rule.BOTH),
        ((length(b"5"), length(b"5")), 400, Rule.LENGTH),
        ((length(b"5"), length(b"6")), 400, Rule.LENGTH),
        ((length(b"5, 5"),), 400, Rule.LENGTH),
        ((length(b"+5"),), 400, Rule.LENGTH),
        ((length(b"-5"),), 400, Rule.LENGTH),
        ((length(b"0x5"),), 400, Rule.LENGTH),
        ((length(b"5 "),), 400, Rule.LENGTH),
        ((length(b"5_0"),), 400, Rule.LENGTH),
        ((length(b""),), 400, Rule.LENGTH),
        ((length(b"1" * 19),), 400, Rule.LENGTH),
        ((TE, TE), 501, Rule.ENCODING),
        (((b"Transfer-Encoding", b"chunked, chunked"),), 501, Rule.ENCODING),
        (((b"Transfer-Encoding", b"gzip, chunked"),), 501, Rule.ENCODING),
        (((b"Transfer-Encoding", b"chunked, identity"),), 501, Rule.ENCODING),
        (((b"Transfer-Encoding", b"\x0bchunked"),), 501, Rule.ENCODING),
        (((b"Transfer-Encoding", b"xchunked"),), 501, Rule.ENCODING),
        (((b"Transfer-Encoding", b""),), 501, Rule.ENCODING),
    ],
)
def test_request_that_could_end_in_two_places(fields: Fields, status: int, rule: Rule) -> None:
    with pytest.raises(HttpRefused) as error:
        framing_of_request(request(*fields))
    assert (error.value.status, error.value.rule) == (status, rule)


def test_chunks_are_nothing_of_http_1_0() -> None:
    with pytest.raises(HttpRefused):
        framing_of_request(request(TE, version=b"1.0"))


@pytest.mark.parametrize(
    ("status", "method", "fields", "framing"),
    [
        (200, b"GET", (), Framing(Frame.CLOSE)),
        (200, b"GET", (length(b"5"),), Framing(Frame.LENGTH, 5)),
        (200, b"GET", (TE,), CHUNKS),
        (200, b"HEAD", (length(b"5"),), Framing(Frame.NOTHING)),
        (200, b"HEAD", (TE,), Framing(Frame.NOTHING)),
        (204, b"GET", (), Framing(Frame.NOTHING)),
        (304, b"GET", (length(b"5"),), Framing(Frame.NOTHING)),
        (100, b"POST", (), Framing(Frame.NOTHING)),
        (103, b"GET", (), Framing(Frame.NOTHING)),
        (101, b"GET", (), Framing(Frame.TUNNEL)),
        (200, b"CONNECT", (), Framing(Frame.TUNNEL)),
        (407, b"CONNECT", (length(b"5"),), Framing(Frame.LENGTH, 5)),
    ],
)
def test_framing_of_a_response(
    status: int, method: bytes, fields: Fields, framing: Framing
) -> None:
    assert framing_of_response(response(status, *fields), method) == framing


@pytest.mark.parametrize("fields", [(length(b"5"), TE), (length(b"5"), length(b"6"))])
def test_response_that_could_end_in_two_places(fields: Fields) -> None:
    with pytest.raises(HttpRefused) as error:
        framing_of_response(response(200, *fields), b"HEAD")
    assert error.value.status == 502


@pytest.mark.parametrize(
    ("version", "value", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Upgrade, CLOSE", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.1", b"closed", True),
    ],
)
def test_whether_the_connection_goes_on(version: bytes, value: bytes, keeps: bool) -> None:
    assert keeps_connection(((b"Connection", value),), version) is keeps


# --- bodies -------------------------------------------------------------------------------------


def taken(reader: BodyReader, data: bytes, cut: int) -> tuple[bytes, bytes]:
    """Feed bytes in pieces; return what is sent on, and what is left over."""
    sent, rest = b"", b""
    for at in range(0, len(data), cut):
        part = data[at : at + cut]
        found, used = reader.take(part)
        sent += b"".join(found)
        rest += part[used:]
        assert reader.is_over or not rest
    return sent, rest


CUTS = pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])


@CUTS
def test_body_with_a_length(cut: int) -> None:
    reader = BodyReader(Framing(Frame.LENGTH, 5))
    assert taken(reader, b"hellonext", cut) == (b"hello", b"next")
    assert reader.is_over


@CUTS
def test_chunks_are_sent_on_as_they_came(cut: int) -> None:
    data = b'5\r\nhello\r\na;x=y;z="q;\\""\r\n0123456789\r\n0\r\nTrailer-A: b\r\n\r\n'
    reader = BodyReader(CHUNKS)
    assert taken(reader, data + b"next", cut) == (data, b"next")
    assert reader.is_over
    assert reader.trailers == ((b"Trailer-A", b"b"),)


@CUTS
def test_size_of_a_chunk_is_written_anew(cut: int) -> None:
    sent, _ = taken(BodyReader(CHUNKS), b"00A\r\n0123456789\r\n000\r\n\r\n", cut)
    assert sent == b"a\r\n0123456789\r\n0\r\n\r\n"


def test_body_until_the_end_of_the_connection() -> None:
    reader = BodyReader(Framing(Frame.CLOSE))
    assert reader.take(b"all") == ([b"all"], 3)
    assert not reader.is_over
    assert reader.ended()


@pytest.mark.parametrize("framing", [CHUNKS, Framing(Frame.LENGTH, 5)])
def test_connection_that_ends_before_the_body(framing: Framing) -> None:
    reader = BodyReader(framing)
    reader.take(b"3\r\n")
    assert not reader.ended()


@CUTS
@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"g\r\n", Rule.CHUNK),
        (b"\r\n", Rule.CHUNK),
        (b" 5\r\nhello\r\n", Rule.CHUNK),
        (b"5 \r\nhello\r\n", Rule.CHUNK),
        (b"0x5\r\nhello\r\n", Rule.CHUNK),
        (b"+5\r\nhello\r\n", Rule.CHUNK),
        (b"5\nhello\r\n", Rule.CHUNK),
        (b"5\rhello\r\n", Rule.CHUNK),
        (b"5;\r\nhello\r\n", Rule.CHUNK),
        (b"5;a=\nb\r\nhello\r\n", Rule.CHUNK),
        (b"5;a b\r\nhello\r\n", Rule.CHUNK),
        (b"5\r\nhelloX\r\n", Rule.CHUNK),
        (b"5\r\nhello\n0\r\n\r\n", Rule.CHUNK),
        (b"5\r\nhello0\r\n\r\n", Rule.CHUNK),
        (b"1" * 16 + b"\r\n", Rule.CHUNK),
        (b"1;" + b"a" * MAX_CHUNK_LINE_BYTES + b"\r\n", Rule.CHUNK),
        (b"0\r\nA : b\r\n\r\n", Rule.FIELD),
        (b"0\r\nA: b\nC: d\r\n\r\n", Rule.LINE_END),
        (b"0\r\nContent-Length: 5\r\n\r\n", Rule.TRAILER),
        (b"0\r\nHOST: a\r\n\r\n", Rule.TRAILER),
        (b"0\r\nA: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n", Rule.HEAD_SIZE),
    ],
)
def test_chunks_that_are_refused(data: bytes, rule: Rule, cut: int) -> None:
    if len(data) > 1000 and cut < 1000:
        cut = 700
    with pytest.raises(HttpRefused) as error:
        taken(BodyReader(CHUNKS), data, cut)
    assert (error.value.status, error.value.rule) == (400, rule)


# --- beside other readers -----------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(b"5", b"0", b"3", b"a", b"\r\n", b"\n", b"\r", b"hello", b"hel", b"0\r\n\r\n", b";a=b"),
        *(b" ", b"x: y\r\n", b"5\r\nhello\r\n", b"3;a\r\nhel\r\n", b'3;a="b"\r\nhel\r\n', b"\x00"),
    ]
)
BODIES = st.lists(PIECES, max_size=8).map(b"".join)


def read_by_us(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the content of a request and what follows it; None: not all of it is there.

    Raises:
        HttpRefused: it is none.
    """
    found = read_request(data)
    if found is None:
        return None
    head, size = found
    reader = BodyReader(framing_of_request(head))
    sent, used = reader.take(data[size:])
    if not reader.is_over:
        return None
    content = b"".join(sent)
    if reader.framing.frame is Frame.CHUNKS:
        content = _without_frames(content)
    return content, data[size + used :]


def _without_frames(chunks: bytes) -> bytes:
    content = b""
    while True:
        line, _, rest = chunks.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            return content
        content += rest[:size]
        chunks = rest[size + 2 :]


def read_by_h11(data: bytes) -> tuple[bytes, bytes]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    content = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            content += event.data
        assert event is not h11.NEED_DATA
    return content, connection.trailing_data[0]


class _Read:
    """What httptools calls."""

    def __init__(self) -> None:
        self.content = b""
        self.is_over = False

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.is_over = True


def read_by_llhttp(data: bytes) -> bytes | None:
    """Return the content; None: it does not know the method, and looks no further."""
    read = _Read()
    parser: Any = httptools.HttpRequestParser(read)
    try:
        parser.feed_data(data)
    except httptools.HttpParserInvalidMethodError:
        return None
    assert read.is_over
    return read.content


@settings(max_examples=1000)
@given(mutated())
def test_what_ends_for_us_ends_in_the_same_place_for_others(data: bytes) -> None:
    try:
        found = read_by_us(data)
    except HttpRefused:
        return
    if found is not None:
        assert read_by_h11(data) == found
        content, rest = found
        assert read_by_llhttp(data[: len(data) - len(rest)]) in (content, None)


@given(BODIES)
def test_chunks_are_read_alike_however_they_are_cut(data: bytes) -> None:
    outcomes: set[tuple[object, ...]] = set()
    for cut in (1, 3, 1000):
        reader = BodyReader(CHUNKS)
        try:
            sent, waiting = taken(reader, data, cut)
            outcomes.add((sent, waiting, reader.is_over))
        except HttpRefused as error:
            outcomes.add((error.rule,))
    assert len(outcomes) == 1
