"""CONNECT over memory, in virtual time: the tunnel, and every proxy that gives none."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.carriers_proxy.ends import BROKER, OK, Stage
from tests.tunnelkit.carriers_websocket.ends import End, settle
from tests.tunnelkit.certificates import authority
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Pipe, ProxySettings, SocketNetwork, TlsSettings
from tunnelkit.carriers.proxy import TIMEOUT_SECONDS
from tunnelkit.carriers.tls import tls_server
from tunnelkit.pump import Pump
from tunnelkit.testing import cancel_at_each_step, no_leaks


@pytest.fixture
async def stage(pump: Pump) -> AsyncGenerator[Stage]:
    with quiet_pump():
        yield Stage(pump)


def serve_tls(name: str = "proxy", ca: str = "good") -> TlsSettings:
    return TlsSettings(**authority(ca).issue(name))


# --- it works -------------------------------------------------------------------------------


async def test_tunnel_carries_bytes_both_ways(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(OK)
    pipe = await stage.dial()
    near, far = End(pipe), stage.asked[0]
    near.send(b"ping")
    far.send(b"pong")
    await settle()
    assert far.data.endswith(b"\r\n\r\nping")
    assert near.data == b"pong"
    assert pipe.description == "tcp://broker.example:7000 through http://proxy:3128"


async def test_name_is_handed_over_and_never_looked_up(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.stand_in(OK)
    await stage.dial()  # the memory network knows no host of this name
    assert stage.asked[0].data.startswith(b"CONNECT broker.example:7000 HTTP/1.1\r\n")


async def test_login_is_sent(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(OK)
    await stage.dial("http://user:p%40ss@proxy:3128")
    expected = b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss")
    assert expected in stage.asked[0].data.split(b"\r\n")


@pytest.mark.parametrize("size", [1, 5, 16_384])
async def test_bytes_behind_the_answer_belong_to_the_tunnel(
    autojump_clock: MockClock, stage: Stage, size: int
) -> None:
    early = bytes(range(256)) * (size // 256) or b"early"[:size]
    await stage.stand_in(OK + early)
    near = End(await stage.dial(), reads=False)
    await settle()
    assert near.data == b""
    near.read()
    stage.asked[0].send(b"later")
    await settle()
    assert near.data == early + b"later"


async def test_end_behind_early_bytes(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(OK + b"last words")
    near = End(await stage.dial())
    stage.asked[0].pipe.send_eof()
    await settle()
    assert (near.data, near.ending) == (b"last words", "eof")


async def test_interim_answers_are_passed_over(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(b"HTTP/1.1 100 Continue\r\n\r\n" * 600 + OK + b"hello")
    near = End(await stage.dial())
    await settle()
    assert near.data == b"hello"


async def test_answer_in_single_bytes(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(b"")

    async def dribble() -> None:
        await trio.testing.wait_all_tasks_blocked()
        for byte in OK + b"first":
            stage.asked[0].send(bytes([byte]))
            await settle()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        near = End(await stage.dial())
    assert near.data == b"first"


async def test_proxy_that_is_reached_by_tls(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(OK, lambda pipe: tls_server(pipe, serve_tls(), require_alpn=False))
    near = End(await stage.dial("https://proxy:3128"))
    near.send(b"ping")
    await settle()
    assert stage.asked[0].data.endswith(b"\r\n\r\nping")


# --- it does not ----------------------------------------------------------------------------

REFUSALS = {
    b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n": "the proxy wants a login (HTTP 407",
    b"HTTP/1.0 403 Filtered\r\nContent-Length: 4\r\n\r\nhtml": "through to broker.example:7000",
    b"HTTP/1.1 502 \r\n\r\n": "does not reach broker.example:7000 (HTTP 502)",
    b"SSH-2.0-x\r\n": "the answer is not HTTP: is this the address of an HTTP proxy?",
    b"\x05\xff": "the answer is not HTTP",
    b"\x15\x03\x01\x00\x02\x02\x16": "the proxy speaks TLS: write https:// before its host",
    b"HTTP/1.1 abc\r\n\r\n": "the answer is not HTTP as it should be",
    b"HTTP/1.1 200 OK\r\nVia" + b"x" * 40_000: "an HTTP head of more than 16384 bytes",
}


@pytest.mark.parametrize("answer", REFUSALS, ids=range(len(REFUSALS)))
async def test_answer_that_is_no_tunnel(
    autojump_clock: MockClock, stage: Stage, answer: bytes
) -> None:
    await stage.stand_in(answer)
    with pytest.raises(ConnectFailed) as info:
        await stage.dial("http://user:secret@proxy:3128" if b" 403 " in answer else "proxy:3128")
    text = str(info.value)
    assert text.startswith(
        "cannot connect to tcp://broker.example:7000 through http://proxy:3128: "
    )
    assert REFUSALS[answer] in text
    assert "secret" not in text
    await settle()
    assert stage.asked[0].ending


async def test_proxy_that_hangs(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(b"")
    with pytest.raises(ConnectFailed, match="through http://proxy:3128: .* answered within 8 s"):
        await stage.dial()
    assert trio.current_time() >= TIMEOUT_SECONDS


async def test_proxy_that_dribbles_for_ever(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(b"HTTP/1.1 200 OK\r\n")

    async def dribble() -> None:
        while True:
            await trio.sleep(1)
            stage.asked[0].send(b"X: y\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        with pytest.raises(ConnectFailed, match="has not answered within 8 s"):
            await stage.dial()
        nursery.cancel_scope.cancel()


async def test_proxy_that_closes_early(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(b"HTTP/1.1 2")

    async def close() -> None:
        await trio.sleep(1)
        stage.asked[0].pipe.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(ConnectFailed, match="the proxy closed the connection without an ans"):
            await stage.dial()


async def test_nobody_listens_there(autojump_clock: MockClock, stage: Stage) -> None:
    with pytest.raises(ConnectFailed, match="http://proxy:3128: the proxy: connection refused"):
        await stage.dial()


async def test_unknown_name_of_a_proxy(autojump_clock: MockClock, stage: Stage) -> None:
    with pytest.raises(ConnectFailed, match="through http://nowhere:1: the proxy: .*nowhere"):
        await stage.dial("http://nowhere:1")


async def test_host_that_is_no_name(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.stand_in(OK)
    with pytest.raises(ConnectFailed, match="the host is no host name"):
        await stage.dial(address=Address("tcp", "a b\r\nX: y", 1))
    assert not stage.asked[0].data


async def test_proxy_with_a_certificate_of_somebody_else(
    autojump_clock: MockClock, stage: Stage
) -> None:
    settings = serve_tls(ca="other")
    await stage.stand_in(OK, lambda pipe: tls_server(pipe, settings, require_alpn=False))
    with pytest.raises(ConnectFailed, match="not trusted here: give that CA with --proxy-ca"):
        await stage.dial("https://proxy:3128")


async def test_proxy_without_tls(autojump_clock: MockClock, stage: Stage) -> None:
    def accept(pipe: Pipe) -> None:
        stage.asked.append(End(pipe))
        stage.asked[0].send(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    await stage.proxy.listen(Address("memory", "proxy", 3128), stage.pump, accept)
    with pytest.raises(ConnectFailed, match="the proxy does not speak TLS: write http://"):
        await stage.dial("https://proxy:3128")


async def test_wrong_variable_fails_the_connect(autojump_clock: MockClock, pump: Pump) -> None:
    settings = ProxySettings.of_environment({"ALL_PROXY": "socks5://p:1"})
    with pytest.raises(ConnectFailed, match="tcp://broker.example:7000: ALL_PROXY names a SOCKS"):
        await SocketNetwork(proxy=settings).for_links.resolve(BROKER)


# --- what is left ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [OK, OK + b"early", b"HTTP/1.1 403 No\r\n\r\n"])
async def test_cancelled_anywhere(
    autojump_clock: MockClock, stage: Stage, scheme: str, answer: bytes
) -> None:
    settings = serve_tls()

    def wrap(pipe: Pipe) -> Pipe:
        return pipe if scheme == "http" else tls_server(pipe, settings, require_alpn=False)

    async def use() -> None:
        listener = await stage.stand_in(answer, wrap)
        try:
            async with no_leaks():
                try:
                    (await stage.dial(f"{scheme}://proxy:3128")).close()
                except ConnectFailed:
                    pass
                await settle()
        finally:
            listener.close()
            for end in stage.asked:
                end.pipe.reset()
            stage.asked.clear()

    await cancel_at_each_step(use)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelled_while_the_proxy_says_nothing(
    autojump_clock: MockClock, stage: Stage, scheme: str
) -> None:
    listener = await stage.stand_in(b"")
    async with no_leaks():
        with trio.move_on_after(TIMEOUT_SECONDS / 2) as scope:
            await stage.dial(f"{scheme}://proxy:3128")
        assert scope.cancelled_caught
        await settle()
        assert stage.asked[0].ending == "eof"
        stage.asked[0].pipe.close()
    listener.close()


async def test_cancelled_while_a_websocket_is_asked_for(
    autojump_clock: MockClock, stage: Stage
) -> None:
    listener = await stage.stand_in(OK)
    async with no_leaks():
        with trio.move_on_after(1) as scope:
            await stage.dial(address=Address("ws", "broker.example", 80, "/tunnel"))
        assert scope.cancelled_caught
        await settle()
        assert b"\r\n\r\nGET /tunnel HTTP/1.1\r\nHost: broker.example:80\r\n" in stage.asked[0].data
        assert stage.asked[0].ending == "eof"
        stage.asked[0].pipe.close()
    listener.close()
