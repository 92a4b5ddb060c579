"""Heads of HTTP/1.x: what is kept, what is refused, and by which rule."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings

from tests.tunnelkit.http.mutations import mutated
from tunnelkit.http.body import framing_of_request
from tunnelkit.http.errors import HttpRefused, Rule
from tunnelkit.http.head import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    RequestHead,
    read_request,
    read_response,
)

GET = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n"


def refused(data: bytes) -> tuple[int, Rule] | None:
    """Return how a request is refused; None: it is not."""
    try:
        read_request(data)
    except HttpRefused as error:
        return error.status, error.rule
    return None


def test_request_is_kept_as_it_came() -> None:
    data = GET + b"X-Odd_Case:  a  b\t\r\nx-odd_case:\r\nUPPER: \xe4\r\n\r\nbody"
    found = read_request(data)
    assert found is not None
    head, size = found
    assert (head.method, head.target, head.version) == (b"GET", b"/a?b=c", b"1.1")
    fields = ((b"Host", b"a"), (b"X-Odd_Case", b"a  b"), (b"x-odd_case", b""), (b"UPPER", b"\xe4"))
    assert head.fields == fields
    assert data[size:] == b"body"


def test_request_comes_back_as_it_was_written() -> None:
    data = GET + b"Accept: */*\r\n\r\n"
    found = read_request(data)
    assert found is not None
    assert found[0].write() == data


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS * HTTP/1.1",
        b"CONNECT a.example.com:443 HTTP/1.1",
        b"CONNECT [::1]:443 HTTP/1.1",
        b"GET HTTP://a/b?c HTTP/1.1",
        b"GET //a HTTP/1.1",
        b"MADE-UP /|{}^ HTTP/1.1",
    ],
)
def test_forms_of_a_target(line: bytes) -> None:
    assert read_request(line + b"\r\nHost: a\r\n\r\n") is not None


def test_response_is_kept_as_it_came() -> None:
    data = b"HTTP/1.1 200 All  good\r\nServer: x\r\n\r\nbody"
    found = read_response(data)
    assert found is not None
    head, size = found
    assert (head.status, head.reason, head.fields) == (200, b"All  good", ((b"Server", b"x"),))
    assert head.write() + b"body" == data
    assert data[size:] == b"body"


@pytest.mark.parametrize("line", [b"HTTP/1.1 204 ", b"HTTP/1.1 204", b"HTTP/1.0 204 No\xfc"])
def test_response_with_an_odd_reason(line: bytes) -> None:
    assert read_response(line + b"\r\n\r\n") is not None


@pytest.mark.parametrize(
    ("data", "status", "rule"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, Rule.LINE_END),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", 400, Rule.LINE_END),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, Rule.LINE_END),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400, Rule.LINE_END),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"GET /\r\n\r\n", 400, Rule.REQUEST_LINE),
        (b"\r\n" + GET + b"\r\n", 400, Rule.REQUEST_LINE),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"GET file:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"CONNECT http://a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rule.TARGET),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, Rule.VERSION),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, Rule.VERSION),
        (b"GET / HTTP/1.1\r\n\r\n", 400, Rule.HOST),
        (GET + b"Host: a\r\n\r\n", 400, Rule.HOST),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, Rule.HOST),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, Rule.HOST),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, Rule.HOST),
        (GET + b" folded\r\n\r\n", 400, Rule.FOLD),
        (GET + b"A: b\r\n\tc\r\n\r\n", 400, Rule.FOLD),
        (GET + b"A : b\r\n\r\n", 400, Rule.FIELD),
        (GET + b": b\r\n\r\n", 400, Rule.FIELD),
        (GET + b"A b\r\n\r\n", 400, Rule.FIELD),
        (GET + b"A\x00: b\r\n\r\n", 400, Rule.FIELD),
        (GET + b"Transfer-Encoding: chunked\t\r\n\r\n", 400, Rule.FIELD),
        (GET + b"content-length:\t5\r\n\r\n", 400, Rule.FIELD),
        (GET + b"A: \x00\r\n\r\n", 400, Rule.FIELD),
        (GET + b"A: \x7f\r\n\r\n", 400, Rule.FIELD),
        (GET + b"\xc4: b\r\n\r\n", 400, Rule.FIELD),
        (GET + b"A: b\r\n" * MAX_FIELDS + b"\r\n", 431, Rule.FIELD_COUNT),
        (GET + b"A: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, Rule.HEAD_SIZE),
        (GET + b"b" * MAX_HEAD_BYTES, 431, Rule.HEAD_SIZE),
        (b"GET /" + b"a" * MAX_TARGET_BYTES + b" HTTP/1.1\r\n\r\n", 414, Rule.TARGET_SIZE),
    ],
)
def test_head_that_is_refused(data: bytes, status: int, rule: Rule) -> None:
    assert refused(data) == (status, rule)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 20 No\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_response_that_is_refused(data: bytes) -> None:
    with pytest.raises(HttpRefused) as error:
        read_response(data)
    assert error.value.status == 502


def test_refusal_names_the_place_and_no_value() -> None:
    with pytest.raises(HttpRefused, match="field 3") as error:
        read_request(GET + b"A: b\r\nAuthorization: secret\x00\r\n\r\n")
    assert "secret" not in str(error.value)


def test_bare_line_end_is_refused_before_the_head_is_over() -> None:
    assert refused(b"GET / HTTP/1.1\n") == (400, Rule.LINE_END)


@pytest.mark.parametrize("cut", range(len(GET) + 1))
def test_more_bytes_are_needed(cut: int) -> None:
    assert read_request(GET[:cut]) is None


# --- beside another reader ----------------------------------------------------------------------


def read_by_h11(data: bytes) -> RequestHead | None:
    """Return what h11 makes of a request; None: it waits for more.

    Raises:
        h11.RemoteProtocolError: it refuses it.
    """
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    if event is h11.NEED_DATA:
        return None
    assert isinstance(event, h11.Request)
    fields = tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
    version = bytes(event.http_version)
    return RequestHead(bytes(event.method), bytes(event.target), version, fields)


@settings(max_examples=1000)
@given(mutated())
def test_what_is_read_is_what_h11_reads(data: bytes) -> None:
    try:
        found = read_request(data)
        if found is not None:
            framing_of_request(found[0])
    except HttpRefused:
        return
    if found is not None:
        assert read_by_h11(data) == found[0]
