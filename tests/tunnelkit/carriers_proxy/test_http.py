"""What is said to a proxy, and what its answers mean: plain functions, and hostile bytes."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.addresses import Address
from tunnelkit.carriers.exchange import MAX_HEAD_BYTES, HeadReader, HeadTooLarge
from tunnelkit.carriers.proxy_http import AnswerWrong, connect_request, explain, read_answer
from tunnelkit.carriers.proxy_settings import parse_proxy

TARGET = Address("tls", "broker.example", 443)
PROXY = parse_proxy("http://proxy:3128")
WITH_LOGIN = parse_proxy("http://user:secret@proxy:3128")


def first_line(address: Address) -> bytes:
    return connect_request(address).split(b"\r\n")[0]


def test_request_names_the_host_as_the_user_did() -> None:
    assert connect_request(TARGET).startswith(
        b"CONNECT broker.example:443 HTTP/1.1\r\nHost: broker.example:443\r\n"
    )
    assert first_line(Address("tcp", "::1", 7000)) == b"CONNECT [::1]:7000 HTTP/1.1"
    assert first_line(Address("tcp", "10.0.0.1", 1)) == b"CONNECT 10.0.0.1:1 HTTP/1.1"
    assert first_line(Address("tcp", "bücher.example", 1)).startswith(b"CONNECT xn--bcher-kva.")


def test_request_carries_the_login() -> None:
    head = connect_request(TARGET, "us er:sécret:x")
    expected = base64.b64encode("us er:sécret:x".encode())
    assert b"\r\nProxy-Authorization: Basic " + expected + b"\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert b"Authorization" not in connect_request(TARGET)


@given(st.text())
def test_no_host_adds_a_line_to_the_request(host: str) -> None:
    try:
        head = connect_request(Address("tcp", host, 443))
    except UnicodeError:
        return
    assert head.count(b"\r\n") == 4
    assert head.count(b"\n") == 4
    assert head.split(b"\r\n")[0].count(b" ") == 2


# --- answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 299 Fine\r\nVia: 1.1 a\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_tunnel_is_open(head: bytes) -> None:
    assert read_answer(head).is_open


@pytest.mark.parametrize(
    ("line", "more", "text"),
    [
        ("407 Auth", "Proxy-Authenticate: Basic realm=x", "wants a login (HTTP 407 Auth): give it"),
        ("407 Auth", "", "give it as http://USER:PASSWORD@proxy:3128"),
        ("407 Auth", "Proxy-Authenticate: Digest x, Basic y", "give it as http://USER:PASSWORD@"),
        ("407 Auth", "Proxy-Authenticate: Negotiate", "a login by Negotiate (HTTP 407 Auth), and"),
        ("403 Filtered", "", "through to broker.example:443 (HTTP 403 Filtered): let it allow"),
        ("302 Found", "Location: http://login/", "sends clients on to http://login/ (HTTP 302"),
        ("405 No", "", "no proxy for CONNECT (HTTP 405 No)"),
        ("502 Bad", "", "does not reach broker.example:443 (HTTP 502 Bad): is the tunnel running"),
        ("504 Late", "", "does not reach broker.example:443 (HTTP 504 Late)"),
        ("429 Slow", "", "wants fewer attempts (HTTP 429 Slow)"),
        ("599 \x1b[2J", "", "refuses (HTTP 599 ?[2J): look"),
        ("403 " + "x" * 5000, "", "xx): let it"),
    ],
)
def test_refusal_is_explained(line: str, more: str, text: str) -> None:
    answer = read_answer(
        f"HTTP/1.1 {line}\r\n{more}\r\n\r\n".replace("\r\n\r\n\r\n", "\r\n\r\n").encode()
    )
    shown = explain(answer, PROXY, TARGET)
    assert text in shown
    assert len(shown) < 400
    assert not answer.is_open


def test_wrong_login_is_told_without_it() -> None:
    shown = explain(read_answer(b"HTTP/1.1 407 No\r\n\r\n"), WITH_LOGIN, TARGET)
    assert "does not accept this login" in shown
    assert "secret" not in shown


@given(st.binary())
def test_garbage_is_an_answer_or_one_error(garbage: bytes) -> None:
    for head in (garbage + b"\r\n\r\n", b"HTTP/1.1 " + garbage + b"\r\n\r\n"):
        try:
            answer = read_answer(head)
        except AnswerWrong:
            continue
        assert explain(answer, PROXY, TARGET).isprintable()


# --- heads ----------------------------------------------------------------------------------


@given(st.binary(max_size=40), st.lists(st.integers(0, 120), max_size=5))
def test_head_is_found_wherever_it_is_cut(rest: bytes, cuts: list[int]) -> None:
    head = b"HTTP/1.1 200 OK\r\nVia: \r\r\n \n\r\r\nx: y\r\n\r\n"
    data, reader, found = head + rest, HeadReader(), None
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in pairwise(edges):
        reader.feed(data[start:end])
        taken = reader.take_head()
        if taken is not None and found is None:
            found = (taken[0], taken[1] + data[end:])
    assert found == (head, rest)


def test_head_without_an_end() -> None:
    reader = HeadReader()
    reader.feed(b"x" * MAX_HEAD_BYTES)
    assert reader.take_head() is None
    reader.feed(b"\r")
    with pytest.raises(HeadTooLarge):
        reader.take_head()
