"""What the admin socket of a sidecar says of rules and requests, and how the command shows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from trio.testing import MockClock

from tests.tunnelkit.sidecar.test_visitor import ADA, shop
from tunnelkit.admin.tables import plain, tables_of_command
from tunnelkit.errors import ConfigurationError
from tunnelkit.sidecar import Branch, Developer, Local, Speaks
from tunnelkit.sidecar.methods import read_target, sidecar_methods


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("local", Local()),
        ("devbox/ada", Developer("devbox/ada", "web")),
        ("devbox/ada:shop", Developer("devbox/ada", "shop")),
        ("tcp://blue:80", Branch("blue", 80)),
    ],
)
def test_targets(text: str, target: object) -> None:
    assert read_target(text, "web") == target


@pytest.mark.parametrize("text", ["", ":web", "unix:///run/x", "ws://blue:80"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_target(text, "web")


async def test_rules_by_command(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, client):
        call = sidecar_methods(stage.sidecar)
        made: Any = await call["rule.set"]("web", "eve", "dev:web", ["header:x-user=eve"])
        listed: Any = await call["rule.list"]("web")
        assert [rule["name"] for rule in listed] == ["ada", "eve"]
        assert (made["tier"], made["when"], made["overlaps"]) == (
            "whose",
            ["header:x-user=eve"],
            [],
        )
        assert await client.ask(x_user="eve") == "200 copy POST / 0"
        await call["rule.clear"]("web", "eve")
        assert await client.ask(x_user="eve") == "200 local POST / 0"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"content-length": "5", "transfer-encoding": "chunked"}, "400 .*both Content-Length"),
        ({"content-length": "+5"}, "400 .*Content-Length is not one number"),
        ({"transfer-encoding": "gzip"}, "501 .*something else than chunked"),
        ({"x-user": "ada\r\n\r\nGET /pay"}, "400 .*something else than CRLF"),
    ],
)
async def test_request_that_is_refused_is_explained(
    headers: dict[str, str], named: str, autojump_clock: MockClock
) -> None:
    async with shop(ADA) as (stage, _):
        explain = sidecar_methods(stage.sidecar)["explain"]
        found: Any = await explain("web", headers=headers)
        assert re.search(named, found["why"])
        assert found["target"] == "nobody"
        stage.sidecar.remove_rule("web", "ada")
        unread: Any = await explain("web", headers=headers)
    assert unread["target"] == "the workload"


@pytest.mark.parametrize("code", [0xDC80, 0xD800], ids=hex)
async def test_path_that_is_no_text_is_refused(code: int, autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, _):
        found: Any = await sidecar_methods(stage.sidecar)["explain"]("web", path=f"/{chr(code)}")
    assert "400" in found["why"]


async def test_rule_that_ends_by_itself(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, _):
        call = sidecar_methods(stage.sidecar)
        found: Any = await call["rule.set"]("web", "short", "local", ["path=/a"], seconds=60.0)
    assert found["seconds_left"] == 60


async def test_explanation_by_command(autojump_clock: MockClock) -> None:
    async with shop(ADA) as (stage, _):
        found = await sidecar_methods(stage.sidecar)["explain"](
            "web", path="/a", headers={"X-User": "bob"}
        )
    text = "\n".join(plain(*table) for table in tables_of_command("explain", found))
    assert "no rule takes it" in text
    assert "it has header:x-user=bob, and not header:x-user=ada" in text


async def test_requests_of_a_trace_by_command(autojump_clock: MockClock) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with shop(ADA, speaks=Speaks.AUTO) as (stage, client):
        await client.ask("/pay", x_user="ada", traceparent=f"00-{trace}-b7ad6b7169203331-01")
        await client.ask("/other")
        found = await sidecar_methods(stage.sidecar)["explain"]("web", trace=trace.upper())
    text = "\n".join(plain(*table) for table in tables_of_command("explain", found))
    assert "/pay" in text
    assert "/other" not in text
