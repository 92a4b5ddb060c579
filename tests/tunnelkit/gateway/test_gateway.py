"""A gateway in virtual time: who gets where, and what is told where nobody answers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import address, pattern
from tests.tunnelkit.faults.wires import Service, Wire, serve
from tests.tunnelkit.gateway.house import DOMAIN, SHOP, Answer, open_house, public, tell
from tests.tunnelkit.sidecar.stage import run_devbox
from tunnelkit.addresses import Destination
from tunnelkit.gateway import Access, Caller, GatewaySettings, Interception, Site

HTML = "text/html,application/xhtml+xml"
ADAS = Site("shop", address("web", 8080), owner="ada", organisation="acme", environment="e7")


async def test_preview_is_served(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        answer = await house.get("/a?b")
    assert answer.status == 200
    assert answer.body.startswith("web GET /a?b\nhost: 80-shop-x.p.example\n")


async def test_connection_serves_several_sites(autojump_clock: MockClock) -> None:
    async with open_house(shop=public(), blog=public("blog", "other")) as house:
        await serve(house.lab, "other", 8080, tell, "other")
        client = await house.client()
        bodies = [
            (await client.get(host=f"80-{name}-x.p.example")).body for name in ("shop", "blog")
        ]
        assert [body.split()[0] for body in bodies] == ["web", "other"]
        assert (await client.get()).body.startswith("web")
        assert house.web.connections == 1


async def test_preview_of_what_a_peer_serves(autojump_clock: MockClock) -> None:
    site = replace(public(), upstream=Destination("web", "dev"))
    async with open_house(shop=site) as house:
        await run_devbox(house.lab)
        await serve(house.lab, "copy", 9080, tell, "copy")
        assert (await house.get()).body.startswith("copy GET /")


async def test_download_outlives_the_broker_that_carries_it(autojump_clock: MockClock) -> None:
    data = pattern("data", 2_000_000)

    async def pour(service: Service, wire: Wire) -> None:
        await service.receive(wire)
        await wire.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + data)

    site, brokers = replace(public(), upstream=Destination("web", "dev")), ("one", "two")
    async with open_house(brokers=brokers, bandwidth=1e6, shop=site) as house:
        await run_devbox(house.lab, "dev", *brokers)
        await serve(house.lab, "copy", 9080, pour, "copy")
        wire, got = await house.dial(), b""
        await wire.send_all(f"GET / HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
        while len(got) < 500_000:
            got += await wire.receive_some()
        session = house.gateway.keeper.session_with("dev")
        assert session is not None
        assert session.link is not None
        house.lab.kill("one" if "one" in session.link.pipe.description else "two")
        while len(got) < 2_000_000:
            got += await wire.receive_some()
        assert (got.endswith(data), session.resumed_count) == (True, 1)


async def test_peer_that_is_away_is_waited_for_and_told(autojump_clock: MockClock) -> None:
    site = replace(public(), upstream=Destination("web", "dev"))
    async with open_house(shop=site) as house:
        answer = await house.get()
    assert answer.status == 503
    assert "shop is not connected" in answer.body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"cookie": "login=ada"}, 200),
        ({"authorization": "Bearer ada"}, 200),
        ({"cookie": "login=eve"}, 403),
        ({"cookie": "login=nobody"}, 401),
        ({"cookie": "login=nobody", "authorization": "Bearer ada"}, 200),
    ],
)
async def test_only_the_owner_sees_it(
    headers: dict[str, str], status: int, autojump_clock: MockClock
) -> None:
    async with open_house(shop=ADAS) as house:
        house.book.callers = {name: Caller(name) for name in ("ada", "eve")}
        answer = await house.get(**headers)
        assert answer.status == status
        assert house.web.connections == (status == 200)


async def test_login_and_environment_of_what_arrives(autojump_clock: MockClock) -> None:
    async with open_house(shop=ADAS) as house:
        house.book.callers = {"secret": Caller("ada")}
        body = (await house.get(cookie="login=secret; a=1", tracestate="env=evil,b=2")).body
    assert "secret" not in body
    assert "cookie: a=1\n" in body
    assert "tracestate: env=e7,b=2\n" in body


async def test_token_of_the_service_itself_arrives(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        assert "authorization: Bearer mine" in (await house.get(authorization="Bearer mine")).body


async def test_browser_is_sent_to_log_in(autojump_clock: MockClock) -> None:
    settings = GatewaySettings(domain=DOMAIN, login_url="https://id.example/login?for=us")
    async with open_house(settings=settings, shop=ADAS) as house:
        answer = await house.get("/a?b=c", accept=HTML)
    assert answer.status == 302
    goes = "https://id.example/login?for=us&next=http%3A%2F%2F80-shop-x.p.example%2Fa%3Fb%3Dc"
    assert answer.headers["location"] == goes


async def test_program_is_told_to_log_in(autojump_clock: MockClock) -> None:
    async with open_house(shop=ADAS) as house:
        answer = await house.get(accept="application/json")
    assert (answer.status, json.loads(answer.body)["status"]) == (401, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("80-none-x.p.example", 404),
        ("nothing.p.example", 400),
        ("p.example", 404),
    ],
)
async def test_what_is_not_there(host: str, status: int, autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        for accept, begins in (
            (HTML, "<!doctype html>"),
            ("application/json", "{"),
            ("*/*", str(status)),
        ):
            answer = await house.get(host=host, accept=accept)
            assert answer.status == status
            assert answer.body.startswith(begins)
            assert answer.headers["cache-control"] == "no-store"


async def test_service_that_is_away_is_told_with_who_has_it(autojump_clock: MockClock) -> None:
    held = Interception("ada's <laptop>", "port 3000, since 12:30")
    async with open_house(shop=public(host="nowhere", intercept=held)) as house:
        house.lab.network.host("nowhere")
        answer = await house.get(accept=HTML)
    assert answer.status == 502
    assert "intercepted by ada&#x27;s &lt;laptop&gt; (port 3000, since 12:30)" in answer.body
    assert "8080" not in answer.body


async def test_service_that_does_not_answer_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        house.lab.network.stall("gate", "web")
        answer = await house.get()
    assert (answer.status, "takes too long" in answer.body) == (504, True)


async def test_head_that_is_too_long_is_told_in_words(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        wire = await house.dial()
        await wire.send_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + bytes(70_000).replace(b"\0", b"x")
        )
        answer = await wire.receive_some()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"deleting the cookies of this site often helps" in answer


async def test_who_may_not_in_is_not_told_who_has_it(autojump_clock: MockClock) -> None:
    site = replace(ADAS, intercept=Interception("ada's laptop"))
    async with open_house(shop=site) as house:
        house.book.callers = {"eve": Caller("eve")}
        answer = await house.get(cookie="login=eve", accept=HTML)
    assert answer.status == 403
    assert "laptop" not in answer.body


async def test_directory_that_fails_lets_nobody_in(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(shop=public()) as house:
        house.book.fails = True
        answer = await house.get()
    assert answer.status == 500
    assert "hunter2" not in answer.body
    assert "unexpected error of the directory" in caplog.text


async def test_directory_that_hangs_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        house.book.delay = 3600
        assert (await house.get()).status == 504


async def test_client_that_leaves_while_it_is_looked_up(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        house.book.delay = 1
        wire = await house.dial()
        await wire.send_all(f"GET / HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
        await trio.sleep(0.5)
        wire.reset()
        await trio.sleep(5)
        assert (house.gateway.open_count, house.web.connections) == (0, 0)


async def test_path_route(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.book.paths = {"shop": replace(public(), rewrites=True)}
        answer = await house.get("/shop/a?b", host="p.example")
        assert answer.body.startswith("web GET /a?b")
        assert "x-forwarded-prefix: /shop" in answer.body
        moved = await house.get("/shop?b", host="p.example")
        assert (moved.status, moved.headers["location"]) == (308, "/shop/?b")


async def test_api_gets_what_no_site_takes(autojump_clock: MockClock) -> None:
    settings = GatewaySettings(domain=DOMAIN, api=address("web", 8080), login_cookie="login")
    async with open_house(settings=settings) as house:
        for target in ("/", "/api/v1?x=1", "/shop"):
            body = (await house.get(target, host="p.example", cookie="login=secret")).body
            assert body.startswith(f"web GET {target}\n")
            assert "cookie: login=secret" in body  # it has to know who asks


async def test_upload_begins_before_the_answer_and_ends_behind_it(
    autojump_clock: MockClock,
) -> None:
    async def early(service: Service, wire: Wire) -> None:
        await service.receive(wire)
        await wire.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        while len(service.received) < 1_000_000:
            await service.receive(wire)

    async with open_house(handler=early, shop=public()) as house:
        wire = await house.dial()
        head = f"POST / HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: 1000000\r\n\r\n"
        await wire.send_all(head.encode() + bytes(10))
        assert (await wire.receive_some()).endswith(b"\r\n\r\nhi")
        await wire.send_all(bytes(999_990))
        await trio.sleep(1)
        assert house.web.received.endswith(bytes(1_000_000))


async def test_upgrade_goes_through(autojump_clock: MockClock) -> None:
    async def upgrade(service: Service, wire: Wire) -> None:
        asked = await service.receive(wire)
        assert b"\r\nUpgrade: websocket\r\n" in asked
        await wire.send_all(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n")
        while data := await service.receive(wire):
            await wire.send_all(data.upper())

    async with open_house(handler=upgrade, shop=public()) as house:
        wire = await house.dial()
        head = (
            f"GET / HTTP/1.1\r\nHost: {SHOP}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        )
        await wire.send_all(head.encode())
        assert (await wire.receive_some()).startswith(b"HTTP/1.1 101")
        await wire.send_all(b"hello")
        assert await wire.receive_some() == b"HELLO"


async def test_body_that_is_too_large_is_refused_at_once(autojump_clock: MockClock) -> None:
    settings = GatewaySettings(domain=DOMAIN, max_body_bytes=1000)
    async with open_house(settings=settings, shop=public()) as house:
        wire = await house.dial()
        head = f"POST / HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: 1001\r\n\r\n"
        await wire.send_all(head.encode())
        assert (await wire.receive_some()).startswith(b"HTTP/1.1 413")
        assert house.web.connections == 0


# --- clients that take their time ---------------------------------------------------------------


async def test_client_that_says_nothing_is_sent_away(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        wire = await house.dial()
        with pytest.raises(trio.BrokenResourceError):
            await wire.receive_some()
        assert house.gateway.open_count == 0


async def test_head_that_takes_too_long(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        wire = await house.dial()
        await wire.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert (await wire.receive_some()).startswith(b"HTTP/1.1 408")


async def test_idle_connection_is_closed(autojump_clock: MockClock) -> None:
    settings = GatewaySettings(domain=DOMAIN, idle_seconds=60)
    async with open_house(settings=settings, shop=public()) as house:
        client = await house.client()
        await client.get()
        await trio.sleep(50)
        await client.get()  # each request begins the time anew
        begun = trio.current_time()
        assert await client.wire.receive_some() == b""
        assert trio.current_time() - begun == pytest.approx(60, abs=1)


async def test_request_that_never_ends_is_ended(autojump_clock: MockClock) -> None:
    async def hang(service: Service, wire: Wire) -> None:
        while await service.receive(wire):
            pass

    settings = GatewaySettings(domain=DOMAIN, request_seconds=60)
    async with open_house(handler=hang, settings=settings, shop=public()) as house:
        answer = await house.get()
        assert (answer.status, "more than 60 s" in answer.body) == (504, True)
        await trio.sleep(5)
        assert house.gateway.open_count == 0


async def test_drain_lets_idle_clients_go_and_the_others_behind_their_answers(
    autojump_clock: MockClock,
) -> None:
    async with open_house(handler=slow, shop=public()) as house, trio.open_nursery() as nursery:
        idle, busy = await house.client(), await house.client()
        await idle.get()
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await busy.get())

        nursery.start_soon(ask)
        await trio.sleep(1)
        begun = trio.current_time()
        await house.gateway.drain(60)
        assert 4 <= trio.current_time() - begun < 10  # the time of the answer, and to say goodbye
        assert [answer.status for answer in answers] == [200]


async def slow(service: Service, wire: Wire) -> None:
    """Answer after five seconds."""
    while await service.receive(wire):
        await trio.sleep(5)
        await wire.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def test_what_runs_ends_with_the_gateway(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        client = await house.client()
        await client.get()
        house.lab.end("gateway")
        with pytest.raises(trio.BrokenResourceError):
            await client.wire.receive_some()


@pytest.mark.parametrize("access", [Access.OWNER, Access.ORGANISATION])
async def test_site_of_nobody_lets_nobody_in(access: Access, autojump_clock: MockClock) -> None:
    async with open_house(shop=Site("shop", address("web", 8080), access)) as house:
        house.book.callers = {"x": Caller("", frozenset({""}))}
        assert (await house.get(cookie="login=x")).status == 403
