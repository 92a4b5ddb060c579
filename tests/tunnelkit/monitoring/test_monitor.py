"""The listener that tells how a program is."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.monitoring import Monitor, serve_monitor
from tunnelkit.monitoring.server import MAX_CONNECTIONS

HOST = "127.0.0.1"


async def status() -> dict[str, Any]:
    return {"program": "broker", "links": []}


async def explain(port: str, **asked: Any) -> dict[str, Any]:
    if port != "orders":
        raise ConfigurationError(f"there is no port {port!r}")
    return {"port": port, **asked}


@asynccontextmanager
async def open_monitor(why: str = "", host: str = HOST) -> AsyncGenerator[int]:
    """Serve; gives the port."""
    monitor = Monitor(status, lambda: why, explain)
    async with trio.open_nursery() as nursery:
        found = await nursery.start(serve_monitor, Address("tcp", host, 0), monitor)
        yield found.port
        nursery.cancel_scope.cancel()


async def ask(port: int, target: str, method: str = "GET", host: str = HOST) -> tuple[int, str]:
    """Ask once; return the status and the body."""
    request = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    async with await trio.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(request.encode())
        answer = b"".join([data async for data in stream]).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_program_that_answers_is_well() -> None:
    async with open_monitor("it is starting") as port:
        assert await ask(port, "/healthz") == (200, "ok\n")


@pytest.mark.parametrize(
    ("why", "answer"), [("", (200, "ready\n")), ("draining", (503, "draining\n"))]
)
async def test_readiness_has_a_reason(why: str, answer: tuple[int, str]) -> None:
    async with open_monitor(why) as port:
        assert await ask(port, "/readyz") == answer


async def test_numbers() -> None:
    async with open_monitor() as port:
        code, text = await ask(port, "/metrics")
    assert code == 200
    assert 'tunnelkit_build_info{program="broker",version="' in text
    assert "process_cpu_seconds_total " in text


async def test_request_is_explained() -> None:
    target = "/explain?port=orders&path=/cart&header=X-User:%20ada&header=a:b"
    async with open_monitor() as port:
        code, text = await ask(port, target)
    assert code == 200
    headers = {"x-user": "ada", "a": "b"}
    assert json.loads(text) == {"port": "orders", "path": "/cart", "headers": headers}


@pytest.mark.parametrize(
    ("query", "said"),
    [("", "port is missing"), ("?port=web", "no port 'web'"), ("?port=orders&x=1", "no 'x'")],
)
async def test_question_that_is_wrong(query: str, said: str) -> None:
    async with open_monitor() as port:
        code, text = await ask(port, f"/explain{query}")
    assert code == 400
    assert said in text


@pytest.mark.parametrize("target", ["//[", "//]/x", "http://[/healthz"])
async def test_target_that_is_none_harms_nobody(target: str) -> None:
    async with open_monitor() as port:
        assert (await ask(port, target))[0] == 400
        assert (await ask(port, "/healthz"))[0] == 200


async def test_answer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError

    async with trio.open_nursery() as nursery:
        monitor = Monitor(fail, lambda: "")
        found = await nursery.start(serve_monitor, Address("tcp", HOST, 0), monitor)
        with pytest.raises(IndexError):
            await ask(found.port, "/metrics")
        assert (await ask(found.port, "/healthz"))[0] == 200
        nursery.cancel_scope.cancel()
    assert "unexpected error" in caplog.text


@pytest.mark.parametrize(
    "host", ["[", "a\\b", "evil.example.com", "evil.example.com:80", "", "10.0.0.1"]
)
async def test_nothing_is_explained_to_a_page_with_another_name(host: str) -> None:
    async with open_monitor() as port:
        assert (await ask(port, "/explain?port=orders", host=host))[0] == 403


async def test_nothing_is_explained_to_other_machines() -> None:
    async with open_monitor(host="0.0.0.0") as port:  # what is tested
        assert (await ask(port, "/explain?port=orders"))[0] == 403
        assert (await ask(port, "/readyz"))[0] == 200


@pytest.mark.parametrize(("method", "target"), [("POST", "/healthz"), ("GET", "/other")])
async def test_what_is_not_there(method: str, target: str) -> None:
    async with open_monitor() as port:
        assert (await ask(port, target, method))[0] in (404, 405)


async def test_head_has_no_body() -> None:
    async with open_monitor() as port:
        assert await ask(port, "/metrics", "HEAD") == (200, "")


async def test_connection_is_used_again() -> None:
    async with open_monitor() as port, await trio.open_tcp_stream(HOST, port) as stream:
        for _ in range(3):
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200" in await stream.receive_some()


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\n", b"\x16\x03\x01\0\0"])
async def test_caller_that_says_too_little_is_given_up(
    said: bytes, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # real sockets
    async with open_monitor() as port, await trio.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(said or b"\r\n")
        assert await stream.receive_some() == b""


async def test_connections_are_bounded() -> None:
    async with open_monitor() as port:
        streams = [await trio.open_tcp_stream(HOST, port) for _ in range(MAX_CONNECTIONS)]
        for stream in streams:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            await stream.receive_some()
        async with await trio.open_tcp_stream(HOST, port) as another:
            assert await another.receive_some() == b""
        for stream in streams:
            await stream.aclose()


async def test_address_in_use_is_told() -> None:
    async with open_monitor() as port:
        with pytest.raises(ExceptionGroup) as error:
            async with trio.open_nursery() as nursery:
                monitor = Monitor(status, lambda: "")
                await nursery.start(serve_monitor, Address("tcp", HOST, port), monitor)
    assert f"cannot listen on {HOST}:{port}" in str(error.value.exceptions[0])
