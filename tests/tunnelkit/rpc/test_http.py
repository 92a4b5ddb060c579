"""Calls over HTTP: a real server, our typed client, and clients that know nothing of ours."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import pytest
import trio
from anycorn import Config, serve
from trio.testing import MockClock

from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.rpc.test_context import TRACE, RealEcho
from tests.tunnelkit.rpc.test_flow import Adder, Numbers, RealAdder
from tests.tunnelkit.rpc.test_payload import DATA, Files, RealFiles, pieces
from tests.tunnelkit.rpc.test_peer import Clock, Moment, RealClock, call_of
from tunnelkit.rpc.codes import PeerGone, RpcCode, RpcError
from tunnelkit.rpc.context import current_caller
from tunnelkit.rpc.dispatch import Caller, Stateful
from tunnelkit.rpc.http_app import CALL_SECONDS, HttpApp
from tunnelkit.rpc.http_checks import Credentials
from tunnelkit.rpc.http_client import HttpClient, open_http_client
from tunnelkit.rpc.service import NotServed, Service
from tunnelkit.rpc.wholes import MAX_COLLECTED

URL = "http://api.example.com/api/rpc"


class Who(Service, name="who"):
    async def am_i(self) -> str:
        """Return the name of the caller."""
        raise NotServed

    async def change(self) -> None:
        """Change the state."""
        raise NotServed


class RealWho(Who, Stateful):
    async def am_i(self) -> str:
        await trio.lowlevel.checkpoint()
        return current_caller().subject

    async def change(self) -> None:
        self.change_state("changed")
        await trio.lowlevel.checkpoint()


async def authenticate(shown: Credentials) -> Caller | None:
    await trio.lowlevel.checkpoint()
    return None if shown.token == "wrong" else Caller("test", shown.token)


def app_of(*services: Service) -> HttpApp:
    return HttpApp(services or (RealClock(), RealFiles(), RealAdder(), RealWho()), authenticate)


def http_of(app: Any, token: str = "ada") -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), headers=headers)


@asynccontextmanager
async def calling(*services: Service) -> AsyncGenerator[HttpClient]:
    async with http_of(app_of(*services)) as http, open_http_client(URL, http=http) as client:
        yield client


@asynccontextmanager
async def real_server(*services: Service) -> AsyncGenerator[str]:
    """Serve on a socket; gives the URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = logging.getLogger("tests.anycorn")
    app: Any = app_of(*services)  # the server has types of its own for the messages of ASGI
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(serve, app, config))
        yield f"{binds[0]}/api/rpc"
        nursery.cancel_scope.cancel()


async def test_typed_call() -> None:
    async with calling() as client:
        assert await client.proxy(Clock).now("CET") == Moment("CET", 1.5)


async def test_method_knows_who_calls() -> None:
    async with calling() as client:
        assert await client.proxy(Who).am_i() == "ada"


async def test_error_of_a_method() -> None:
    async with calling() as client:
        with pytest.raises(RpcError) as error:
            await client.proxy(Clock).fail("refuse")
    assert (error.value.code, error.value.data["name"]) == (RpcCode.NOT_FOUND, "x")


async def test_streams_go_as_a_whole() -> None:
    async with calling() as client:
        files = client.proxy(Files)
        assert len([tick async for tick in client.proxy(Clock).ticks(7)]) == 7
        assert b"".join([piece async for piece in files.read(300_000)]) == DATA[:300_000]
        assert await files.write("x", pieces(DATA[:300_000])) == 300_000
        turned = [piece async for piece in files.turn(pieces(DATA[:300_000]))]
    assert b"".join(turned) == DATA[:300_000].swapcase()


async def test_stale_epoch_is_refused() -> None:
    who = RealWho()
    async with calling(who) as client:
        await client.proxy(Who).change()
        who.change_state("again")
        with pytest.raises(RpcError) as error:
            await client.proxy(Who).change()
        assert error.value.code == RpcCode.STALE_EPOCH
        await client.proxy(Who).change()  # it has learnt


async def test_server_that_knows_only_the_standard() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, is_whole = b"", False
        while not is_whole:
            event = await receive()
            body += event["body"]
            is_whole = not event["more_body"]
        call = json.loads(body)
        seen.append(call)
        answer = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": 6}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async with http_of(app) as http, open_http_client(URL, http=http) as client:
        with trio.fail_after(50):
            assert await client.proxy(Adder).add("x", Numbers(3)) == 6
            with pytest.raises(RpcError, match="TOO_LARGE"):
                await client.proxy(Adder).add("x", Numbers(MAX_COLLECTED + 1))
    params = {"name": "x", "numbers": [0, 1, 2]}
    assert seen == [{"jsonrpc": "2.0", "id": 1, "method": "adder.add", "params": params}]


@pytest.mark.parametrize("told", ["x", '{"epoch": "x"}', "[]"])
async def test_header_of_a_wrong_type_refuses_the_request(told: str) -> None:
    async with http_of(app_of()) as http:
        headers = {"tunnelkit-tk": told}
        answer = await http.post(URL, json=call_of("clock.now", {}), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, RpcCode.INVALID_REQUEST)


async def test_deadline_ends_the_handler(autojump_clock: MockClock) -> None:
    clock = RealClock()
    async with calling(clock) as client:
        with trio.move_on_after(3):
            await client.proxy(Clock).wait(60)
    assert clock.lefts == [pytest.approx(3)]


async def test_call_does_not_take_for_ever(autojump_clock: MockClock) -> None:
    async with calling() as client:
        with pytest.raises(RpcError, match=f"took longer than {CALL_SECONDS:g} s"):
            await client.proxy(Clock).wait(10 * CALL_SECONDS)


async def test_wrong_token() -> None:
    async with http_of(app_of(), "wrong") as http:
        async with open_http_client(URL, http=http) as client:
            with pytest.raises(RpcError, match="log in") as error:
                await client.proxy(Clock).now()
    assert error.value.code == RpcCode.UNAUTHENTICATED


async def test_server_that_speaks_something_else() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>bad gateway</html>"})

    async with http_of(app) as http, open_http_client(URL, http=http) as client:
        with pytest.raises(RpcError, match="HTTP 502"):
            await client.proxy(Clock).now()


async def test_nobody_answers() -> None:
    async with open_http_client("http://127.0.0.1:9/api/rpc", token="x") as client:
        with pytest.raises(PeerGone, match="127.0.0.1:9"):
            await client.proxy(Clock).now()


async def test_batch_is_carried_out_at_the_same_time(autojump_clock: MockClock) -> None:
    calls = [call_of("clock.wait", [1], number) for number in range(50)]
    notice = {"jsonrpc": "2.0", "method": "clock.now"}
    async with http_of(app_of()) as http:
        with trio.fail_after(1.5):
            answer = await http.post(URL, json=[*calls, notice, 5])
    ids = [one["id"] for one in answer.json()]
    assert ids == [*range(50), None]


async def test_notification_has_no_answer() -> None:
    async with http_of(app_of()) as http:
        answer = await http.post(URL, json={"jsonrpc": "2.0", "method": "clock.now"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", RpcCode.PARSE_ERROR),
        (b"{", RpcCode.PARSE_ERROR),
        (b"[]", RpcCode.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"clock.never"}', RpcCode.METHOD_NOT_FOUND),
    ],
)
async def test_wrong_message_is_answered(body: bytes, code: int) -> None:
    async with http_of(app_of()) as http:
        answer = await http.post(URL, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, code)


async def test_body_without_a_length_is_bounded() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(64 * 1024)
            await trio.lowlevel.checkpoint()

    async with real_server() as url, httpx2.AsyncClient() as http:
        kind = {"content-type": "application/json", "authorization": "Bearer ada"}
        try:
            answer = await http.post(url, content=endless(), headers=kind)
        except httpx2.TransportError:
            return  # it stopped listening, and the answer was lost with the rest of the body
    assert answer.status_code == 413


async def test_body_that_never_ends_is_given_up(autojump_clock: MockClock) -> None:
    async def slow() -> AsyncIterator[bytes]:
        while True:
            await trio.sleep(1)
            yield b" "

    async with http_of(app_of()) as http:
        kind = {"content-type": "application/json"}
        answer = await http.post(URL, content=slow(), headers=kind)
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (
        408,
        "DEADLINE_EXCEEDED",
    )


async def test_typed_client_and_a_real_server() -> None:
    async with real_server() as url, open_http_client(url, token="ada") as client:
        assert await client.proxy(Who).am_i() == "ada"
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client.proxy(Clock).now, str(number))


async def test_caller_that_hangs_up_cancels_the_call() -> None:
    clock = RealClock()
    async with real_server(clock) as url:
        with trio.move_on_after(0.2):
            async with open_http_client(url, token="ada") as client:
                await client.proxy(Clock).wait(3600)
        await wait_until(lambda: clock.cancelled)


@pytest.mark.needs_program("curl")
async def test_curl_with_a_cookie() -> None:
    async with real_server() as url:
        done = await trio.run_process(
            [
                *("curl", "-sS", "--cookie", "tunnelkit_token=bob"),
                *("-H", "Content-Type: application/json"),
                *("-d", json.dumps(call_of("who.am_i", {})), url),
            ],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )
    assert json.loads(done.stdout)["result"] == "bob"


async def test_trace_of_the_request_is_that_of_its_calls() -> None:
    headers = {"traceparent": TRACE}
    async with http_of(app_of(RealEcho())) as http:
        answer = await http.post(URL, json=call_of("echo.trace", {}), headers=headers)
    assert answer.json()["result"] == TRACE


async def test_description_over_http() -> None:
    async with http_of(app_of()) as http:
        answer = await http.post(URL, json=call_of("rpc.describe", {}))
    assert "clock.now" in [method["name"] for method in answer.json()["result"]["methods"]]
