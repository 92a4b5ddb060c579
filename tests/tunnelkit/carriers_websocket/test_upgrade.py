"""The HTTP handshake of WebSockets over memory: both sides, and everybody who is not meant."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.carriers_websocket.ends import End, MemoryWebSockets, frame, settle
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Listener, Pipe, connect
from tunnelkit.carriers.http_answers import PLAIN_TO_TLS, TO_A_LINK
from tunnelkit.carriers.upgrade import MAX_HEAD_BYTES, TIMEOUT_SECONDS, WebSocketOptions
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, cancel_at_each_step, no_leaks

ADDRESS = Address("ws", "server", 80, "/tunnel")
BELOW = Address("memory", "server", 80)
REQUEST = (
    b"GET /tunnel HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat, tunnelkit.v1\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What RFC 6455 §1.3 computes from that key."""


class Stage:
    """A server that accepts WebSockets, and hosts that dial it, or that stand in for it."""

    def __init__(self, pump: Pump, options: WebSocketOptions | None = None) -> None:
        self.pump = pump
        self.network = MemoryNetwork()
        self.server = MemoryWebSockets(self.network.host("server"), options)
        self.client_host = self.network.host("client")
        self.accepted: list[Pipe] = []

    async def listen(self) -> Listener:
        return await self.server.listen(ADDRESS, self.pump, self.accepted.append)

    async def dial(self, options: WebSocketOptions | None = None, path: str = "/tunnel") -> Pipe:
        network = MemoryWebSockets(self.client_host, options)
        return await connect(network, replace(ADDRESS, path=path), self.pump)

    async def say(self, data: bytes) -> End:
        """Connect below the WebSocket, and say *data*."""
        end = End(await connect(self.client_host, BELOW, self.pump))
        end.send(data)
        await settle()
        return end

    async def stand_in(self, answer: bytes) -> list[End]:
        """Listen in place of the server, and answer everybody with *answer*."""
        ends: list[End] = []

        def accept(pipe: Pipe) -> None:
            ends.append(End(pipe))
            ends[-1].send(answer)

        await self.network.host("server").listen(BELOW, self.pump, accept)
        return ends


@pytest.fixture
async def stage(pump: Pump) -> AsyncGenerator[Stage]:
    with quiet_pump():
        yield Stage(pump)


# --- it works ------------------------------------------------------------------------------


async def test_both_sides_meet(autojump_clock: MockClock, stage: Stage) -> None:
    listener = await stage.listen()
    client = End(await stage.dial())
    server = End(stage.accepted[0])
    client.send(b"ping")
    server.send(b"pong")
    await settle()
    assert (server.data, client.data) == (b"ping", b"pong")
    assert str(listener.address) == "ws://server:80/tunnel"
    assert client.pipe.description == "ws://server:80/tunnel"


async def test_answer_is_that_of_the_rfc(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.listen()
    head, _, rest = (await stage.say(REQUEST)).data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 101")
    assert b"Sec-WebSocket-Accept: ".lower() + ACCEPT.lower() in lines
    assert b"sec-websocket-protocol: tunnelkit.v1" in lines
    assert not rest


async def test_compression_is_declined(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.listen()
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\nHost:"
    end = await stage.say(REQUEST.replace(b"Host:", offer))
    assert end.data.startswith(b"HTTP/1.1 101")
    assert b"deflate" not in end.data


async def test_bytes_behind_the_request_are_the_first_frames(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.listen()
    await stage.say(REQUEST + frame(b"early", masked=True))
    server = End(stage.accepted[0])
    await settle()
    assert server.data == b"early"


async def test_bytes_behind_the_answer_are_the_first_frames(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.listen()
    pending = await stage.dial()
    stage.accepted[0].try_send(b"first")
    client = End(pending)
    await settle()
    assert client.data == b"first"


async def test_request_in_single_bytes(autojump_clock: MockClock, pump: Pump) -> None:
    stage = Stage(pump)
    await stage.listen()
    end = await stage.say(b"")
    for byte in REQUEST:
        end.send(bytes([byte]))
        await settle()
    assert end.data.startswith(b"HTTP/1.1 101")


async def test_headers_and_token_are_sent(autojump_clock: MockClock, stage: Stage) -> None:
    asked = await stage.stand_in(b"")
    options = WebSocketOptions((("X-Gateway", "blue"),), bearer_token="open-sesame")
    with pytest.raises(ConnectFailed, match="within"):
        await stage.dial(options)
    lines = asked[0].data.split(b"\r\n")
    assert {b"X-Gateway: blue", b"Authorization: Bearer open-sesame"} <= set(lines)
    assert {b"Host: server:80", b"Sec-WebSocket-Protocol: tunnelkit.v1"} <= set(lines)
    assert lines[0] == b"GET /tunnel HTTP/1.1"


async def test_token_opens_the_door(autojump_clock: MockClock, pump: Pump) -> None:
    stage = Stage(pump, WebSocketOptions(accept_tokens=("open-sesame", "old")))
    await stage.listen()
    (await stage.dial(WebSocketOptions(bearer_token="open-sesame"))).close()
    (await stage.dial(WebSocketOptions(bearer_token="old"))).close()
    assert len(stage.accepted) == 2


def test_token_is_not_shown() -> None:
    options = WebSocketOptions((("Cookie", "hidden"),), "hidden", ("hidden",))
    assert "hidden" not in repr(options)


@pytest.mark.parametrize("bad", ["a\r\nb", "ü", "\x00"])
def test_header_that_http_does_not_allow(bad: str) -> None:
    for options in ({"bearer_token": bad}, {"headers": (("X-A", bad),)}, {"accept_tokens": (bad,)}):
        with pytest.raises(ConfigurationError, match="does not allow") as info:
            WebSocketOptions(**options)
        assert bad not in str(info.value)


@pytest.mark.parametrize("name", ["Host", "upgrade", "Sec-WebSocket-Protocol"])
def test_header_of_the_handshake_itself(name: str) -> None:
    with pytest.raises(ConfigurationError, match="set by the handshake itself"):
        WebSocketOptions(((name, "x"),))


def test_token_beside_an_authorization_header() -> None:
    with pytest.raises(ConfigurationError, match="leave out one"):
        WebSocketOptions((("Authorization", "Basic eA=="),), bearer_token="x")


def test_empty_token() -> None:
    for options in ({"bearer_token": ""}, {"accept_tokens": ("",)}):
        with pytest.raises(ConfigurationError, match="empty"):
            WebSocketOptions(**options)


# --- servers that are none -----------------------------------------------------------------

OK = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
ANSWERS = {
    b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n": "HTTP 401: the server wants another bearer",
    b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n": "HTTP 404: there is nothing at this path",
    b"HTTP/1.1 302 No\r\nLocation: https://a/\x1b[2J\r\n\r\n": "clients on to https://a/?[2J; give",
    b"HTTP/1.1 302 No\r\nLocation: https://a/\xff\r\n\r\n": "sends clients on to https://a/?; give",
    b"HTTP/1.1 308 No\r\n\r\n": "HTTP 308: the server sends clients on; give the address",
    b"HTTP/1.1 500 No\r\n\r\n": "HTTP 500: the server, or a proxy in front of it, failed",
    b"HTTP/1.1 200 OK\r\n\r\nhello": "HTTP 200: is this the address of a tunnel",
    b"HTTP/1.0 503 Away\r\n\r\n": "HTTP 503: the server is not ready",
    OK + b"Sec-WebSocket-Accept: wrong\r\n\r\n": "handshake is wrong: Bad accept token",
    b"HTTP/1.1 101 Yes\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n": "handshake is wrong",
    b"HTTP/1.1 200 \r\nA B: C\r\n\r\n": "handshake is wrong: Bad HTTP message",
    b"HTTP/1.1 101 Yes\r\nUpgrade: \xff\r\nConnection: \xff\r\n\r\n": "not ASCII",
    b"\x15\x03\x01\x00\x02\x02\x16": "speaks TLS: use wss://",
    PLAIN_TO_TLS: "HTTP 400: the server speaks TLS: use wss://",
    TO_A_LINK: "HTTP 426: it is a tunnel without WebSocket: dial tcp://",
    b"SSH-2.0-OpenSSH": "not HTTP: is it a tunnel without WebSocket, tcp://",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000: "more than 16384 bytes",
}


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
async def test_answer_that_is_no_websocket(
    autojump_clock: MockClock, stage: Stage, answer: bytes
) -> None:
    await stage.stand_in(answer)
    with pytest.raises(ConnectFailed) as info:
        await stage.dial()
    assert str(info.value).startswith("cannot connect to ws://server:80/tunnel: ")
    assert ANSWERS[answer] in str(info.value)


async def test_server_that_says_nothing(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(b"")
    with pytest.raises(ConnectFailed, match="no complete handshake within 5 s"):
        await stage.dial()
    assert trio.current_time() >= TIMEOUT_SECONDS


async def test_server_that_hangs_up(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.network.host("server").listen(BELOW, stage.pump, lambda pipe: pipe.close())
    with pytest.raises(ConnectFailed, match="closed the connection|broken pipe"):
        await stage.dial()


async def test_nobody_there(autojump_clock: MockClock, stage: Stage) -> None:
    stage.network.host("server")
    with pytest.raises(ConnectFailed, match="ws://server:80/tunnel: connection refused") as info:
        await stage.dial()
    assert info.value.refused


# --- clients that are none -----------------------------------------------------------------

REFUSED = {
    b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl\r\n\r\n": (426, "speaks WebSocket"),
    b"POST /tunnel HTTP/1.0\r\nContent-Length: 9\r\n\r\nbody": (426, "ws:// or wss://"),
    REQUEST.replace(b"/tunnel", b"/other"): (404, "no tunnel at this path"),
    REQUEST.replace(b"tunnelkit.v1", b"tunnelkit.v9"): (400, "subprotocol tunnelkit.v1"),
    REQUEST.replace(b"Version: 13", b"Version: 8"): (400, "Sec-WebSocket-Version"),
    REQUEST.replace(b"GET", b"PUT"): (400, "must be GET"),
    REQUEST.replace(b"Host:", b"Other:"): (400, "not HTTP/1.1 as it should be"),
    REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"): (400, "needs HTTP/1.1"),
    REQUEST.replace(b"HTTP/1.1\r\nHost: server", b"HTTP/1.0"): (400, "needs HTTP/1.1"),
    REQUEST.replace(b"chat", b"\xff"): (400, "not ASCII"),
    b"\x16\x03\x01\x02\x00\x01": (400, "no TLS"),
    b"\x01\x00\x00\x10": (400, "not tcp://"),
    b"GET /\r\n\r\n": (400, "not HTTP/1.1 as it should be"),
}


@pytest.mark.parametrize("request_", REFUSED, ids=range(len(REFUSED)))
async def test_request_that_gets_no_websocket(
    autojump_clock: MockClock, stage: Stage, request_: bytes
) -> None:
    await stage.listen()
    end = await stage.say(request_)
    status, text = REFUSED[request_]
    assert end.data.startswith(b"HTTP/1.1 %d " % status)
    assert text in end.data.decode()
    assert end.ending == "eof"
    assert not stage.accepted


async def test_who_gets_no_websocket_does_not_fill_the_log(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tunnelkit")
    await stage.listen()
    for wait in [0] * 49 + [1]:
        await trio.sleep(wait)
        await stage.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    first, last = (record.getMessage() for record in caplog.records)
    assert "no WebSocket for" in first
    assert last.endswith("(48 more since the last line)")


async def test_answer_of_426_names_the_protocol(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.listen()
    end = await stage.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nUpgrade: websocket\r\n" in end.data
    assert b"\r\nConnection: Upgrade, close\r\n" in end.data


@pytest.mark.parametrize("header", [b"", b"Bearer wrong", b"Basic open-sesame", b"Bearer \xff"])
async def test_wrong_token(autojump_clock: MockClock, pump: Pump, header: bytes) -> None:
    stage = Stage(pump, WebSocketOptions(accept_tokens=("open-sesame",)))
    await stage.listen()
    end = await stage.say(REQUEST.replace(b"Host:", b"Authorization: " + header + b"\r\nHost:"))
    assert end.data.startswith(b"HTTP/1.1 401 ")
    assert b"open-sesame" not in end.data


async def test_slow_request_has_a_deadline(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.listen()
    end = await stage.say(b"")
    for byte in REQUEST[:20]:
        end.send(bytes([byte]))
        await trio.sleep(TIMEOUT_SECONDS / 15)
    assert end.ending
    assert end.data.startswith(b"HTTP/1.1 408 ")
    assert not stage.accepted


async def test_client_that_says_nothing_is_sent_away(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with no_leaks():
        listener = await stage.listen()
        end = await stage.say(b"")
        await trio.sleep(TIMEOUT_SECONDS + 0.1)
        assert (end.data, end.ending) == (b"", "eof")
        listener.close()
        end.pipe.close()


async def test_endless_request_is_cut(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.listen()
    end = await stage.say(REQUEST[:-2] + b"X: " + b"x" * 2 * MAX_HEAD_BYTES)
    assert end.ending
    assert end.data.startswith(b"HTTP/1.1 431 ")
    assert not stage.accepted


async def test_refused_client_that_stays_is_sent_away(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with no_leaks():
        listener = await stage.listen()
        end = await stage.say(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        end.send(b"more and more")
        await trio.sleep(2)
        assert stage.network.host("server").pipes == []
        listener.close()
        end.pipe.close()


# --- what is left --------------------------------------------------------------------------


async def test_listener_closes_what_has_not_ended(autojump_clock: MockClock, stage: Stage) -> None:
    async with no_leaks():
        listener = await stage.listen()
        slow = await stage.say(REQUEST[:30])
        refused = await stage.say(b"\x16\x03\x01")
        listener.close()
        await settle()
        assert slow.ending
        slow.pipe.close()
        refused.pipe.close()


async def test_cancelled_anywhere(autojump_clock: MockClock, stage: Stage) -> None:
    async def use() -> None:
        ends: list[End] = []  # they answer a close frame
        accept = stage.server.listen(ADDRESS, stage.pump, lambda pipe: ends.append(End(pipe)))
        listener = await accept
        try:
            async with no_leaks():
                (await stage.dial()).close()
                await settle()
        finally:
            listener.close()
            for end in ends:
                end.pipe.close()

    await cancel_at_each_step(use)
