"""Replay: what is sent, what comes of it, and how it ends when a target misbehaves."""

from __future__ import annotations

import ssl
import sys
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.tunnelkit.capture.exchanges import recorded, request, response
from tests.tunnelkit.capture.hars import entry, har, pairs
from tests.tunnelkit.capture.targets import Asked, plain, serve
from tunnelkit.capture import Call, Outcome, Target, parse_target, read_har, replay, write_har
from tunnelkit.capture.decode import encode
from tunnelkit.capture.replay import fields_to_send
from tunnelkit.errors import ConfigurationError

TARGET = Target("127.0.0.1", 8080)


def call_of(*arguments: Any, **options: Any) -> Call:
    return read_har(har(entry(*arguments, **options)))[0]


async def outcome_of(call: Call, answer: bytes | None, **options: Any) -> Outcome:
    """Replay one request against a server that answers it so."""
    async with serve(lambda asked: answer) as server:
        (outcome,) = await replay([call], server.target, **options)
    return outcome


def told(outcome: Outcome) -> list[str]:
    return [str(one) for one in outcome.differences]


# --- targets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "authority"),
    [
        ("http://127.0.0.1:8080", Target("127.0.0.1", 8080), "127.0.0.1:8080"),
        ("http://shop/", Target("shop", 80), "shop"),
        ("https://shop", Target("shop", 443, True), "shop"),
        ("https://[::1]:444", Target("::1", 444, True), "[::1]:444"),
    ],
)
def test_target(text: str, target: Target, authority: str) -> None:
    assert parse_target(text) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    "text",
    ["", "shop:80", "ftp://shop", "http://", "http://shop/path", "http://a:b@c", "http://a:x"],
)
def test_text_that_is_no_target(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no target"):
        parse_target(text)


# --- what is sent ---------------------------------------------------------------------------


async def test_request_is_sent_as_it_was() -> None:
    headers = pairs(Host="shop", X_User="älice", Accept_Encoding="gzip, br, deflate;q=0.5, zstd")
    post = {"text": "a=1", "mimeType": "text/plain"}
    call = call_of("http://shop/a?b=c", "POST", request={"headers": headers, "postData": post})
    async with serve(lambda asked: plain()) as server:
        await replay([call], server.target)
    asked = server.asked[0]
    assert (asked.method, asked.target, asked.body) == ("POST", "/a?b=c", b"a=1")
    assert asked.fields == {
        "host": "shop",
        "x-user": "älice",
        "accept-encoding": "gzip, deflate;q=0.5",
        "content-length": "3",
        "connection": "close",
    }


def test_fields_of_one_connection_are_not_sent() -> None:
    headers = pairs(
        Connection="keep-alive", Keep_Alive="1", Transfer_Encoding="chunked", Content_Length="99"
    )
    call = call_of(request={"headers": headers})
    assert fields_to_send(call, TARGET) == ((b"Host", b"shop"), (b"Connection", b"close"))


def test_field_that_is_given_replaces_what_was_recorded() -> None:
    call = call_of(request={"headers": pairs(authorization="old", X_A="1")})
    added = ((b"Authorization", b"new"), (b"host", b"other"))
    assert fields_to_send(call, TARGET, added)[:3] == ((b"X-A", b"1"), *added)


def test_body_that_is_empty_says_so_where_one_is_expected() -> None:
    assert (b"Content-Length", b"0") in fields_to_send(call_of(method="POST"), TARGET)


async def test_nothing_is_sent_to_the_hosts_of_the_file() -> None:
    async with serve(lambda asked: plain()) as other, serve(lambda asked: plain()) as server:
        await replay([call_of(f"{other.url}/a")], server.target)
    assert (len(other.asked), len(server.asked)) == (0, 1)


async def test_requests_are_sent_in_their_order() -> None:
    calls = read_har(har(*(entry(f"http://shop/{n}") for n in range(5))))
    async with serve(lambda asked: plain()) as server:
        outcomes = await replay(calls, server.target)
    assert [asked.target for asked in server.asked] == ["/0", "/1", "/2", "/3", "/4"]
    assert [outcome.call.number for outcome in outcomes] == [1, 2, 3, 4, 5]


async def test_as_many_as_asked_for_are_on_their_way_at_once() -> None:
    calls = read_har(har(*(entry(f"http://shop/{n}") for n in range(6))))
    arrived, most = trio.Event(), 0

    def count(asked: Asked) -> None:
        nonlocal most
        most += 1
        if most == 3:
            arrived.set()

    async with serve(count) as server:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: replay(calls, server.target, concurrency=3))
                await arrived.wait()
                await trio.testing.wait_all_tasks_blocked(0.05)
                scope.cancel()
    assert most == 3


async def test_request_that_cannot_be_sent_is_skipped() -> None:
    async with serve(lambda asked: plain()) as server:
        (outcome,) = await replay([call_of("ws://shop/")], server.target)
    assert (outcome.skipped, outcome.is_same, server.asked) == ("ws is no http", True, [])


# --- what comes of it -----------------------------------------------------------------------


async def test_same_answer() -> None:
    outcome = await outcome_of(call_of(), plain())
    assert (told(outcome), outcome.error, outcome.is_same) == ([], "", True)


async def test_other_answer() -> None:
    outcome = await outcome_of(call_of(), plain(b"no", "X-A: 1", status="404 Not Found"))
    assert told(outcome) == [
        "status: was 200, is 404",
        "header x-a: was not there, is '1'",
        "body at byte 0: was 2 bytes, 'ok', is 2 bytes, 'no'",
    ]


async def test_chunks_and_encodings_are_taken_off() -> None:
    body = encode(b"ok", ["gzip"])
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert (await outcome_of(call_of(), data)).is_same


async def test_answer_whose_encoding_cannot_be_read_is_compared_without_its_body() -> None:
    outcome = await outcome_of(call_of(), plain(b"xx", "Content-Encoding: br"))
    assert outcome.is_same


async def test_interim_answers_are_passed_over() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert (await outcome_of(call_of(), hints + plain())).is_same


async def test_answer_to_head_has_no_body() -> None:
    outcome = await outcome_of(
        call_of(method="HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    )
    assert outcome.is_same


async def test_upgrade_is_asked_for_again() -> None:
    headers = pairs(Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Key="a")
    call = call_of(request={"headers": headers}, response={"status": 101})
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    async with serve(lambda asked: answer) as server:
        (outcome,) = await replay([call], server.target)
    assert outcome.is_same
    assert server.asked[0].fields["upgrade"] == "websocket"


async def test_stream_that_was_cut_is_read_as_far_as_it_was_recorded() -> None:
    call = call_of(content={"text": "data: 1\n\n", "_truncated": True})
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"data: 1\n\n" * 100_000
    assert (await outcome_of(call, endless)).is_same


async def test_body_of_a_request_is_sent_while_its_answer_is_read() -> None:
    async def echo(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            left = len(text)  # of the request, whose head counts too
            while left > 0:
                data = await stream.receive_some(65536)
                await stream.send_all(data)
                left -= len(data)

    text = "x" * 20_000_000
    post = {"text": text, "mimeType": "text/plain"}
    call = call_of(method="POST", request={"postData": post}, content={"text": None, "size": 1})
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        target = Target("127.0.0.1", listeners[0].socket.getsockname()[1])
        (outcome,) = await replay([call], target)
        nursery.cancel_scope.cancel()
    assert outcome.answer is not None
    assert len(outcome.answer.body or b"") >= len(text)


async def test_tls_is_spoken_and_checked() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some(65536)
            await stream.send_all(plain())
        except trio.BrokenResourceError:
            pass  # it was not trusted

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    inner = listeners[0].transport_listener
    assert isinstance(inner, trio.SocketListener)
    port = inner.socket.getsockname()[1]
    target = Target("localhost", port, is_tls=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        (trusted,) = await replay([call_of()], target, context=trusting)
        (doubted,) = await replay([call_of()], target)
        nursery.cancel_scope.cancel()
    assert trusted.is_same
    assert "CERTIFICATE_VERIFY_FAILED" in doubted.error


# --- targets that misbehave -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the answer is no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, "the answer is no HTTP"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3, "the answer is no HTTP"),
    ],
)
async def test_answer_that_is_none(answer: bytes, error: str) -> None:
    outcome = await outcome_of(call_of(), answer)
    assert outcome.error.startswith(error)
    assert not outcome.is_same


async def test_target_that_never_answers_is_given_up() -> None:
    outcome = await outcome_of(call_of(), None, timeout=0.05)
    assert outcome.error == "no whole answer within 0.05 s"


async def test_target_that_is_not_there() -> None:
    async with serve(lambda asked: plain()) as server:
        pass
    (outcome,) = await replay([call_of()], server.target)
    assert outcome.error.startswith("the target cannot be reached")


async def test_answer_that_is_too_large_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[fields_to_send.__module__], "MAX_ANSWER_BYTES", 1000)
    outcome = await outcome_of(call_of(), plain(b"x" * 1_000_000))
    assert outcome.answer is not None
    assert (len(outcome.answer.body or b""), outcome.answer.is_whole) == (1000, False)
    assert not outcome.is_same


async def test_request_that_h11_does_not_write_is_an_error() -> None:
    outcome = await outcome_of(call_of(request={"headers": pairs(Host="a", HOST="b")}), plain())
    assert outcome.error.startswith("it cannot be sent")


# --- the whole way --------------------------------------------------------------------------


async def test_what_was_captured_is_replayed_the_same() -> None:
    kind = (b"Content-Type", b"application/json")
    body = b'{"id": 1, "token": "s3cret"}'
    head = request(b"/cart?token=s3cret&a=1", (b"Cookie", b"id=s3cret"), kind, method=b"POST")
    answer = response(kind, (b"Set-Cookie", b"id=s3cret; Path=/"))
    data = b"".join(write_har([recorded(head, b'{"pin": 1}', answer, body)]))
    assert b"s3cret" not in data
    lines = "Content-Type: application/json", "Set-Cookie: id=other; Path=/"
    (call,) = read_har(data)
    outcome = await outcome_of(call, plain(b'{"token": "another", "id": 1}', *lines))
    assert (told(outcome), outcome.error) == ([], "")
    assert call.left_out == ("Cookie", "values in the body", "token in the query")
