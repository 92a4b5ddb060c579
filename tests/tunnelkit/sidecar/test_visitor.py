"""Requests of one connection that go to different places, in virtual time, by real parties."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.http1 import HttpClient, fields_of, serve_http
from tests.tunnelkit.faults.lab import address
from tests.tunnelkit.faults.wires import Service, Wire, serve
from tests.tunnelkit.sidecar.stage import Handler, Stage, open_stage, run_devbox
from tests.tunnelkit.sidecar.test_conditions import facts
from tunnelkit.errors import ConfigurationError
from tunnelkit.sidecar import (
    Branch,
    Conflict,
    Developer,
    Local,
    PortSpec,
    Rule,
    Speaks,
    read_conditions,
)

DEV = Developer("dev", "web")


async def web(service: Service, wire: Wire) -> None:
    """Serve HTTP/1.1: each answer names the service and what was asked for."""

    def line(request: h11.Request, size: int) -> str:
        return f"{service.name} {request.method.decode()} {request.target.decode()} {size}"

    await serve_http(service, wire, line)


class Client(HttpClient):
    """One connection to a port."""

    async def ask(self, target: str = "/", body: bytes = b"", **headers: str) -> str:
        """Send a request and return the body of its answer, behind its status."""
        fields = [("Host", "shop"), ("Content-Length", str(len(body))), *fields_of(headers)]
        answer = await self.send("POST", target, fields, body)
        return f"{answer.status} {answer.body}"


def rule(name: str, *conditions: str, target: object = DEV, fail_open: bool = True) -> Rule:
    return Rule(name, target, read_conditions(conditions), fail_open=fail_open)  # type: ignore[arg-type] # a target


@asynccontextmanager
async def shop(
    *rules: Rule, handler: Handler = web, speaks: Speaks = Speaks.HTTP
) -> AsyncGenerator[tuple[Stage, Client]]:
    """A port that speaks HTTP, with these rules, and a client of it."""
    async with open_stage(handler, is_intercepted=False) as stage:
        stage.port.speaks = speaks
        for one in rules:
            await stage.sidecar.add_rule("web", one)
        if any(one.target == DEV for one in rules):
            await stage.wait_session()
        yield stage, Client(await stage.dial())


ADA = rule("ada", "header:x-user=ada")


async def test_requests_of_one_connection_go_different_ways(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, client):
        assert await client.ask("/a") == "200 local POST /a 0"
        assert await client.ask("/b", x_user="ada") == "200 copy POST /b 0"
        assert await client.ask("/c", b"x" * 100_000) == "200 local POST /c 100000"
        assert await client.ask("/d", b"y" * 100_000, x_user="ada") == "200 copy POST /d 100000"
        assert (stage.local.connections, stage.copy.connections) == (1, 1)


async def test_two_developers_share_a_connection(autojump_clock: MockClock) -> None:
    eve = rule("eve", "header:x-user=eve", target=Developer("eve", "web"))
    async with shop(ADA, eve) as (stage, client):
        await run_devbox(stage.lab, "eve", copy="eves")
        await serve(stage.lab, "eves", 9080, web, "eves")
        await trio.sleep(5)
        for user, name in (("ada", "copy"), ("eve", "eves"), ("bob", "local"), ("eve", "eves")):
            assert await client.ask(x_user=user) == f"200 {name} POST / 0"


async def test_branch_service_beside_the_workload(autojump_clock: MockClock) -> None:
    async with open_stage(web, is_intercepted=False) as stage:
        await serve(stage.lab, "blue", 80, web, "blue")
        stage.port.speaks = Speaks.HTTP
        await stage.sidecar.add_rule(
            "web", rule("blue", "tracestate:env=blue", target=Branch("blue", 80))
        )
        client = Client(await stage.dial())
        assert await client.ask(tracestate="a=1,env=blue") == "200 blue POST / 0"
        assert await client.ask() == "200 local POST / 0"


async def test_rules_change_while_a_connection_is_open(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, client):
        assert await client.ask(x_user="ada") == "200 copy POST / 0"
        stage.sidecar.remove_rule("web", "ada")
        with pytest.raises(ConfigurationError, match="no rule 'ada'"):
            stage.sidecar.remove_rule("web", "ada")
        assert await client.ask(x_user="ada") == "200 local POST / 0"  # a rule is kept alive


async def test_developer_who_is_away_fails_open(autojump_clock: MockClock) -> None:
    away = rule("away", "header:x-user=zoe", target=Developer("zoe", "web"))
    async with shop(away) as (stage, client):
        assert await client.ask(x_user="zoe") == "200 local POST / 0"
        assert "fail open" in stage.port.decisions[-1].why


async def test_developer_who_is_away_fails_closed(autojump_clock: MockClock) -> None:
    away = rule("away", "header:x-user=zoe", target=Developer("zoe", "web"), fail_open=False)
    async with shop(away) as (stage, client):
        answer = await client.ask(x_user="zoe")
        assert answer.startswith("503 503 Service Unavailable: zoe is not connected")
        assert stage.local.connections == 0


async def test_developer_who_falls_silent_has_seen_nothing(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, client):
        stage.silence()
        begun = trio.current_time()
        assert await client.ask(x_user="ada", body=b"pay") == "200 local POST / 3"
        assert trio.current_time() - begun < 5
        assert stage.port.counts["fell-back"] == 1
        assert stage.copy.connections == 0


async def test_developer_refuses_and_the_workload_answers(autojump_clock: MockClock) -> None:
    other = rule("other", "header:x-user=ada", target=Developer("dev", "other"))
    async with open_stage(web, is_intercepted=False) as stage:
        stage.port.speaks = Speaks.HTTP
        await stage.sidecar.add_rule("web", other)
        await stage.wait_session()
        client = Client(await stage.dial())
        assert await client.ask(x_user="ada") == "200 local POST / 0"


async def test_workload_that_is_away_is_a_bad_gateway(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, client):
        stage.local.listener.close()
        assert (await client.ask()).startswith("502 502 Bad Gateway: the workload cannot")


async def test_probe_is_answered_by_the_workload(autojump_clock: MockClock) -> None:
    everything = rule("everything", "path^=/")
    async with shop(everything) as (_, client):
        assert await client.ask(user_agent="kube-probe/1.30") == "200 local POST / 0"
        assert await client.ask(user_agent="curl") == "200 copy POST / 0"


async def test_with_no_rule_that_looks_at_requests_bytes_are_spliced(
    autojump_clock: MockClock,
) -> None:
    async with shop() as (stage, _):
        wire = await stage.dial()
        await wire.send_all(b"nonsense that a parser would refuse\n")
        await trio.sleep(1)
        assert stage.local.received == b"nonsense that a parser would refuse\n"
        assert stage.port.open_count >= 1


async def test_where_requests_went_is_remembered(autojump_clock: MockClock) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with shop(ADA) as (stage, client):
        await client.ask("/pay?card=1", x_user="ada", traceparent=trace)
        found = stage.port.decisions[-1]
    assert (found.method, found.path, found.rule) == ("POST", "/pay", "ada")
    assert found.trace == "0af7651916cd43dd8448eb211c80319c"
    assert (found.target, found.why) == ("dev as web", "rule 'ada' takes header:x-user=ada")


async def test_explanation_of_a_request(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, _):
        found = stage.sidecar.explain("web", facts("GET /\nx-user: bob"))
    assert (found.target, found.near[0].rule.name) == (Local(), "ada")


async def test_explanation_tells_of_a_developer_who_is_away(autojump_clock: MockClock) -> None:
    away = Developer("zoe", "web")
    zoe = rule("zoe", "header:x-user=zoe", target=away)
    eve = rule("eve", "header:x-user=eve", target=away, fail_open=False)
    async with shop(zoe, eve) as (stage, _):
        whys = [
            stage.sidecar.explain("web", facts(f"GET /\nx-user: {user}")).why
            for user in ("zoe", "eve")
        ]
    assert whys[0].endswith("zoe is not connected: it goes to the workload")
    assert whys[1].endswith("zoe is not connected: it is answered with 503")


async def test_rule_in_the_way_of_another_is_refused(autojump_clock: MockClock) -> None:
    late = rule("late", "header:x-user^=a", target=Local())
    async with shop(ADA) as (stage, _):
        with pytest.raises(Conflict, match="curl -H 'x-user: ada'"):
            await stage.sidecar.add_rule("web", late)
        found = await stage.sidecar.add_rule("web", late, is_forced=True)
    assert [overlap.other.name for overlap in found] == ["ada"]


async def test_port_that_is_not_looked_at_takes_no_such_rule(autojump_clock: MockClock) -> None:
    async with open_stage(is_intercepted=False) as stage:
        stage.port.speaks = Speaks.TCP
        with pytest.raises(ConfigurationError, match="let it be looked at"):
            await stage.sidecar.add_rule("web", ADA)


async def test_closing_the_sidecar_ends_visitors(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, client):
        await client.ask(x_user="ada")
        assert stage.port.open_count == 1
        stage.sidecar.close()
        with pytest.raises((trio.BrokenResourceError, trio.EndOfChannel)):
            await client.ask()
        assert stage.port.open_count == 0


def test_port_is_looked_at_where_rules_say_so() -> None:
    assert PortSpec("web", address("a", 1), address("b", 2)).speaks is Speaks.AUTO
