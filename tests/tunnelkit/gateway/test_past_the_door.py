"""Ways in which a client would say more than it may say, or a server would."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.tunnelkit.gateway.house import SHOP, open_house, public
from tests.tunnelkit.gateway.test_rewriting import ARRIVAL, sent, values
from tests.tunnelkit.gateway.test_rewriting import SHOP as SITE
from tests.tunnelkit.gateway.test_sites import head
from tunnelkit.gateway.rewriting import answer_for
from tunnelkit.http.h2_fields import head_of
from tunnelkit.http.head import RequestHead, ResponseHead


@pytest.mark.parametrize(
    "name",
    [
        *("X_Forwarded_For", "x-forwarded_host", "X-Forwarded-User", "X-Forwarded-Client-Cert"),
        *("X-Original-Host", "x_real_ip"),
    ],
)
def test_fields_that_servers_may_take_for_ours_are_taken_out(name: str) -> None:
    request = RequestHead(b"GET", b"/", b"1.1", ((b"Host", b"a"), (name.encode(), b"env=evil")))
    assert "evil" not in str(sent(request, SITE).fields)


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        (["keep-alive"], ["keep-alive"]),
        (["close, X-Forwarded-For"], ["close"]),
        (["tracestate", "Upgrade"], ["Upgrade"]),
        (["Forwarded"], []),
    ],
)
def test_clients_do_not_say_which_fields_go_no_further(came: list[str], goes: list[str]) -> None:
    fields = ((b"Host", b"a"), *((b"Connection", value.encode()) for value in came))
    request = RequestHead(b"GET", b"/", b"1.1", fields)
    assert values(sent(request, SITE).fields, "connection") == goes


def test_no_upgrade_to_what_would_not_be_looked_at() -> None:
    request = head(upgrade="websocket, h2c", http2_settings="AAMAAABk")
    assert values(sent(request).fields, "upgrade") == ["websocket"]
    assert values(sent(head(upgrade="H2C")).fields, "upgrade") == []
    assert values(sent(request).fields, "http2-settings") == []


def test_sites_do_not_set_the_login() -> None:
    cookies = (b"login=evil; Domain=p.example", b" login =evil", b"mylogin=1")
    fields = tuple((b"Set-Cookie", value) for value in cookies)
    answer = ResponseHead(200, b"", b"1.1", fields)
    kept = answer_for(answer, SITE, "a", ARRIVAL.login_cookie).fields
    assert values(kept, "set-cookie") == ["mylogin=1"]


async def test_nobody_is_connected_to_elsewhere(autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        wire = await house.dial()
        await wire.send_all(f"CONNECT db:5432 HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
        assert (await wire.receive_some()).startswith(b"HTTP/1.1 405")
        assert house.web.connections == 0


@pytest.mark.parametrize("host", ["a b", "evil@a", 'a"', "a/b", "a?b", "a\\b", "a:b", "a:80:80"])
def test_authority_that_is_no_host_is_refused(host: str) -> None:
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
    assert head_of([*fields, (b":authority", b"a:80")]) is not None
    assert head_of([*fields, (b":authority", host.encode())]) is None
    assert head_of([*fields, (b"host", host.encode())]) is None


@pytest.mark.parametrize("host", ["a b", 'a"', "a\\b", "a:b", "x@a:80:80"])
async def test_url_with_what_is_no_host_is_refused(host: str, autojump_clock: MockClock) -> None:
    async with open_house(shop=public()) as house:
        wire = await house.dial()
        await wire.send_all(f"GET http://{host}/ HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
        assert (await wire.receive_some()).startswith(b"HTTP/1.1 400")
