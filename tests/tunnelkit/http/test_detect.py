"""What a connection speaks, from its first bytes: told as soon as it can be, and never wrong."""

from __future__ import annotations

import socket
import ssl
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunnelkit.http.client_hello import MAX_HELLO_BYTES
from tunnelkit.http.detect import HTTP2_PREFACE, METHODS, Detected, Kind, detect
from tunnelkit.http.proxy_header import NoProxy, ProxyHeader, read_proxy_header

V2 = b"\r\n\r\n\x00\r\nQUIT\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello_of(name: str | None, *protocols: str) -> bytes:
    """Return what OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = hello_of("Shop.Example.com", "h2", "http/1.1")

# --- who speaks what ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (GET, Kind.HTTP1),
        (b"POST /a", Kind.HTTP1),
        (b"OPTIONS * HTTP/1.1", Kind.HTTP1),
        (b"CONNECT example.com:443 HTTP/1.1", Kind.HTTP1),
        (b"CONNECT [::1]:443 HTTP/1.1", Kind.HTTP1),
        (b"GET http://example.com/ HTTP/1.1", Kind.HTTP1),
        (b"PROPFIND /dav", Kind.HTTP1),
        (b"GET /\xff\x00", Kind.HTTP1),
        (HTTP2_PREFACE, Kind.HTTP2),
        (HELLO, Kind.TLS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Kind.OTHER),
        (b"SET key value\r\n", Kind.OTHER),  # Redis
        (b"*3\r\n$3\r\nSET\r\n", Kind.OTHER),
        (b"EHLO client\r\n", Kind.OTHER),
        (b"NICK ada\r\n", Kind.OTHER),
        (b"USER ada\r\n", Kind.OTHER),
        (b"HELLO", Kind.OTHER),
        (b"get /", Kind.OTHER),
        (b"GET\t/", Kind.OTHER),
        (b"GET a/", Kind.OTHER),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Kind.OTHER),  # PostgreSQL asks for TLS
        (b"\x10\x1a\x00\x04MQTT", Kind.OTHER),
        (b"AMQP\x00\x00\x09\x01", Kind.OTHER),
        (b"\x15\x03\x01", Kind.OTHER),  # a TLS alert is no hello
        (b"\x80\x2e\x01", Kind.OTHER),  # the hello of SSL 2
        (b" GET / HTTP/1.1", Kind.OTHER),
        (b"\r\nGET / HTTP/1.1", Kind.OTHER),
    ],
)
def test_what_a_client_speaks(data: bytes, kind: Kind) -> None:
    found = detect(data)
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize(
    "data", [b"", b"G", b"GET", b"GET ", b"GET ht", b"P", b"PRI * HTTP/2.0\r\n"]
)
def test_more_bytes_are_needed(data: bytes) -> None:
    assert detect(data) is None


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_recognised_with_the_first_byte_of_its_target(method: bytes) -> None:
    if method != b"CONNECT":
        assert detect(method + b" ") is None
        assert detect(method + b" /") == Detected(Kind.HTTP1)


def test_who_a_tls_client_asks_for() -> None:
    found = detect(HELLO)
    assert found is not None
    assert found.hello is not None
    assert found.hello.server_name == "shop.example.com"
    assert found.hello.protocols == ("h2", "http/1.1")


def test_tls_client_that_asks_for_nobody() -> None:
    found = detect(hello_of(None))
    assert found is not None
    assert found.hello is not None
    assert (found.hello.server_name, found.hello.protocols) == ("", ())


@pytest.mark.parametrize("size", [1, 5, 60])
def test_hello_that_is_cut_into_records(size: int) -> None:
    message = HELLO[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    data = b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part for part in parts)
    found = detect(data)
    assert found is not None
    assert found.hello is not None
    assert found.hello.server_name == "shop.example.com"


# --- proxies ------------------------------------------------------------------------------------


def v2(body: bytes, *, command: int = 1, family: int = 0x11) -> bytes:
    return V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


FOUR = socket.inet_aton("10.0.0.7") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 5000, 80)
SIX = bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack("!HH", 5000, 80)


@pytest.mark.parametrize(
    ("header", "source", "destination"),
    [
        (b"PROXY TCP4 10.0.0.7 10.0.0.1 5000 80\r\n", "10.0.0.7:5000", "10.0.0.1:80"),
        (b"PROXY TCP6 ::1 ::2 5000 80\r\n", "[::1]:5000", "[::2]:80"),
        (b"PROXY UNKNOWN\r\n", "", ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", ""),
        (v2(FOUR), "10.0.0.7:5000", "10.0.0.1:80"),
        (v2(SIX, family=0x21), "[::1]:5000", "[::2]:80"),
        (v2(b"", command=0, family=0), "", ""),
        (v2(FOUR, command=0), "", ""),
    ],
)
def test_client_of_a_proxy(header: bytes, source: str, destination: str) -> None:
    found = detect(header + GET)
    assert found is not None
    assert found.kind is Kind.HTTP1
    assert found.proxy is not None
    assert (found.proxy.source, found.proxy.destination) == (source, destination)
    assert found.proxy.size == len(header)


def test_other_values_of_version_2() -> None:
    found = read_proxy_header(v2(FOUR + b"\x02\x00\x03abc" + b"\x04\x00\x00"))
    assert isinstance(found, ProxyHeader)
    assert found.more == {2: b"abc", 4: b""}


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 10.0.0.7 10.0.0.1 5000\r\n",
        b"PROXY TCP4 10.0.0.7 ::1 5000 80\r\n",
        b"PROXY TCP4 10.0.0.7 10.0.0.1 +500 80\r\n",
        b"PROXY TCP4 10.0.0.7 10.0.0.1 5000 65536\r\n",
        b"PROXY  TCP4 10.0.0.7 10.0.0.1 5000 80\r\n",
        b"PROXY " + b"x" * 200,
        v2(FOUR[:-1]),
        v2(FOUR + b"\x02\x00\x09abc"),
        v2(FOUR, command=5),
        V2 + b"\x21\x11\xff\xff",
    ],
)
def test_broken_proxy_header_is_none(data: bytes) -> None:
    assert read_proxy_header(data) == NoProxy()
    found = detect(data)
    assert found is not None
    assert found.kind is Kind.OTHER


# --- any bytes ----------------------------------------------------------------------------------

STARTS = st.sampled_from(
    [b"", GET[:9], HELLO, HELLO[:70], HTTP2_PREFACE, V2, b"PROXY TCP4 1", b"\x16\x03"]
)


@given(STARTS, st.binary(max_size=60))
@example(b"", HELLO)
@example(v2(FOUR), HELLO)
def test_answer_does_not_change_with_more_bytes(start: bytes, more: bytes) -> None:
    data = start + more
    answers = [detect(data[:n]) for n in range(len(data) + 1)]
    known = [answer for answer in answers if answer is not None]
    assert all(answer == known[0] for answer in known)
    assert answers == [None] * (len(answers) - len(known)) + known


@pytest.mark.parametrize("size", [1, 2**14])
def test_hello_that_never_ends_is_none(size: int) -> None:
    record = b"\x16\x03\x01" + struct.pack("!H", size)
    message = b"\x01\x00\x7f\xf8" + b"\xff" * MAX_HELLO_BYTES
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    data = b"".join(record + part for part in parts)[: MAX_HELLO_BYTES + 1]
    assert detect(data[: MAX_HELLO_BYTES - 1]) is None
    found = detect(data)
    assert found is not None
    assert found.kind is Kind.OTHER


def test_hello_that_says_that_it_is_too_long_is_none() -> None:
    found = detect(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff")
    assert found is not None
    assert found.kind is Kind.OTHER
