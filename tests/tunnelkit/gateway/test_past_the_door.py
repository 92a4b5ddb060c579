"""Ways in which a client would say more than it may say, or a server would."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.tunnelkit.gateway.house import SHOP, open_house, public
from tunnelkit.http.h2_fields import head_of


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
