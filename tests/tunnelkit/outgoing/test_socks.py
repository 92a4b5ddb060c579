"""The SOCKS handshake: bytes in, bytes out, split anywhere, and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.errors import ErrorCode
from tunnelkit.outgoing.socks import Login, Reply, SocksHandshake, reply_bytes, reply_for

HELLO = b"\x05\x01\x00"
ADA = Login(b"ada", b"lovelace")
TO_NAME = b"\x05\x01\x00\x03\x0bdb.internal\x15\x38"
TO_IPV4 = b"\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x50"
TO_IPV6 = b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50"


def run(*pieces: bytes, login: Login | None = None) -> tuple[SocksHandshake, bytes]:
    """Feed a handshake; return it, and all that it sent."""
    handshake, sent = SocksHandshake(login), b""
    for piece in pieces:
        handshake.receive(piece)
        sent += handshake.take_output()
    return handshake, sent


@pytest.mark.parametrize(
    ("request_bytes", "target"),
    [
        (TO_NAME, "db.internal:5432"),
        (TO_IPV4, "10.0.0.7:80"),
        (TO_IPV6, "[::1]:80"),
        (b"\x05\x01\x00\x03\x0810.0.0.7\x00\x50", "10.0.0.7:80"),
        (b"\x05\x01\x00\x03\x03::1\x00\x50", "[::1]:80"),
        (b"\x05\x01\x00\x03\x05[::1]\x00\x50", "[::1]:80"),
        (b"\x05\x01\x00\x03\x05DB.X.\x00\x50", "db.x:80"),
    ],
)
def test_where_a_client_wants_to_go(request_bytes: bytes, target: str) -> None:
    handshake, sent = run(HELLO, request_bytes)
    assert (handshake.target, handshake.failure, sent) == (target, "", b"\x05\x00")


def test_what_comes_early_is_kept() -> None:
    handshake, _ = run(HELLO + TO_NAME + b"GET / HTTP/1.1")
    assert handshake.received == b"GET / HTTP/1.1"


def test_login_is_asked_for_and_checked() -> None:
    asked = b"\x01\x03ada\x08lovelace"
    handshake, sent = run(b"\x05\x02\x00\x02", asked, TO_IPV4, login=ADA)
    assert sent == b"\x05\x02\x01\x00"
    assert handshake.target == "10.0.0.7:80"


@pytest.mark.parametrize(
    ("pieces", "login", "sent", "why"),
    [
        ([b"\x05\x01\x02"], None, b"\x05\xff", "asks for a login"),
        ([b"\x05\x00"], None, b"\x05\xff", "asks for a login"),
        ([HELLO], ADA, b"\x05\xff", "gives no login"),
        ([b"\x05\x01\x02", b"\x01\x03ada\x05byron"], ADA, b"\x05\x02\x01\x01", "is wrong"),
        ([b"\x05\x01\x02", b"\x01\x00\x00"], ADA, b"\x05\x02\x01\x01", "is wrong"),
        ([b"\x05\x01\x02", b"\x05\x01\x00"], ADA, b"\x05\x02", "is malformed"),
        ([b"\x04\x01\x00\x50\x0a\x00\x00\x07\x00"], None, b"\x00\x5b" + bytes(6), "SOCKS4"),
        ([b"\x16\x03\x01"], None, b"", "does not speak SOCKS5"),
        ([b"\x00"], None, b"", "does not speak SOCKS5"),
    ],
)
def test_client_that_cannot_be_served(
    pieces: list[bytes], login: Login | None, sent: bytes, why: str
) -> None:
    handshake, output = run(*pieces, login=login)
    assert (handshake.target, output) == (None, sent)
    assert why in handshake.failure


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [
        (b"\x05\x02\x00\x01\x0a\x00\x00\x07\x00\x50", Reply.COMMAND_NOT_SUPPORTED),  # BIND
        (b"\x05\x03\x00\x01\x0a\x00\x00\x07\x00\x50", Reply.COMMAND_NOT_SUPPORTED),  # UDP
        (b"\x05\x01\x00\x02\x0a\x00\x00\x07\x00\x50", Reply.ADDRESS_TYPE_NOT_SUPPORTED),
        (b"\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x00", Reply.GENERAL_FAILURE),  # port 0
        (b"\x05\x01\x00\x03\x00\x00\x50", Reply.GENERAL_FAILURE),  # an empty name
        (b"\x05\x01\x00\x03\x03a b\x00\x50", Reply.GENERAL_FAILURE),
        (b"\x05\x01\x00\x03\x03a@b\x00\x50", Reply.GENERAL_FAILURE),
        (b"\x05\x01\x00\x03\x02\xc3\xa9\x00\x50", Reply.GENERAL_FAILURE),
        (b"\x04\x01\x00\x01\x0a\x00\x00\x07\x00\x50", Reply.GENERAL_FAILURE),
    ],
)
def test_request_that_cannot_be_served(request_bytes: bytes, reply: Reply) -> None:
    handshake, sent = run(HELLO, request_bytes)
    assert handshake.target is None
    assert handshake.failure
    assert sent == b"\x05\x00" + reply_bytes(reply)


def test_http_is_told_what_this_is() -> None:
    handshake, sent = run(b"GET http://db/ HTTP/1.1\r\n\r\n")
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length: %d" % len(body) in head
    assert b"SOCKS5 proxy" in body
    assert "HTTP" in handshake.failure


@given(st.data(), st.sampled_from([TO_NAME, TO_IPV4, TO_IPV6]), st.sampled_from([None, ADA]))
def test_it_does_not_matter_how_bytes_are_split(
    data: st.DataObject, wanted: bytes, login: Login | None
) -> None:
    begin = HELLO if login is None else b"\x05\x02\x00\x02\x01\x03ada\x08lovelace"
    whole = begin + wanted + b"early"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1))))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    handshake, sent = run(*pieces, login=login)
    once, sent_once = run(whole, login=login)
    assert (handshake.target, handshake.received) == (once.target, once.received)
    assert sent == sent_once


@given(st.lists(st.binary(max_size=300), max_size=4), st.sampled_from([None, ADA]))
def test_garbage_never_raises_and_is_bounded(pieces: list[bytes], login: Login | None) -> None:
    handshake, _ = run(*[b"\x05\x02\x00\x02", *pieces], login=login)
    if handshake.target is None:
        assert len(handshake.received) <= 1 + 1 + 255 + 1 + 255


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        (ErrorCode.NONE, 0),
        (ErrorCode.FORBIDDEN, 2),
        (ErrorCode.UNKNOWN_TARGET, 2),
        (ErrorCode.TOKEN_REVOKED, 2),
        (ErrorCode.UNKNOWN_PEER, 3),
        (ErrorCode.TARGET_UNREACHABLE, 4),
        (ErrorCode.TARGET_REFUSED, 5),
        (ErrorCode.OPEN_TIMEOUT, 6),
        (ErrorCode.GOING_AWAY, 1),
        (200, 1),
    ],
)
def test_reply_for_each_reason(code: int, reply: int) -> None:
    assert reply_for(code) == reply


def test_login_does_not_show_itself() -> None:
    assert "lovelace" not in repr(ADA)
