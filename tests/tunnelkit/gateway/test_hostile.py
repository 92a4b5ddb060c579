"""Clients, directories and servers that mean harm to a gateway, or to others at it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.gateway.house import DOMAIN, SHOP, Book, open_house, public
from tunnelkit.addresses import Address
from tunnelkit.gateway import GatewaySettings, PreviewName, Site
from tunnelkit.http.back import Exchange
from tunnelkit.http.proxy import HttpProxy

GET = f"GET / HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode()


async def test_upstream_that_cannot_be_costs_its_own_requests(autojump_clock: MockClock) -> None:
    wrong = replace(public(), upstream=Address("nonsense", "web", 1))
    async with open_house(shop=public(), wrong=wrong) as house:
        assert (await house.get(host="80-wrong-x.p.example")).status == 502
        assert (await house.get()).status == 200


class Hanging(Book):
    """A directory that answers never."""

    async def preview(self, name: PreviewName) -> Site | None:
        self.asked += 1
        try:
            return await trio.sleep_forever()
        finally:
            self.asked -= 1


async def test_lookups_end_with_their_client(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        book = house.gateway.directory = Hanging()
        wires = [await house.dial() for _ in range(5)]
        for wire in wires:
            await wire.send_all(GET)
        await trio.sleep(1)
        assert book.asked == 5
        for wire in wires:
            wire.reset()
        await trio.sleep(1)
        assert book.asked == 0


class Failing(HttpProxy):
    """A bug."""

    def _ask(self, exchange: Exchange) -> None:
        raise RuntimeError("a bug")


async def test_bug_costs_one_client(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(shop=public()) as house:
        with monkeypatch.context() as patch:
            patch.setattr("tunnelkit.gateway.visitor.HttpProxy", Failing)
            with pytest.raises(trio.BrokenResourceError):
                await house.get()
        assert (await house.get()).status == 200
    assert "unexpected error" in caplog.text


async def test_client_of_http2_that_does_not_leave_is_left(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        wire = await house.dial()
        await wire.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        await trio.sleep(100)
        assert house.gateway.open_count == 0


async def test_body_without_a_length_has_its_limit_too(autojump_clock: MockClock) -> None:
    settings = GatewaySettings(domain=DOMAIN, max_body_bytes=1000)
    async with open_house(settings=settings, shop=public()) as house:
        wire = await house.dial()
        head = f"POST / HTTP/1.1\r\nHost: {SHOP}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.send_all(head.encode() + b"3e8\r\n" + bytes(1000) + b"\r\n")
        await trio.sleep(1)
        await wire.send_all(b"1\r\nx\r\n")
        assert (await wire.receive_some()).startswith(b"HTTP/1.1 413")


async def test_lookups_end_with_the_gateway(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        book = house.gateway.directory = Hanging()
        wire = await house.dial()
        await wire.send_all(GET)
        await trio.sleep(1)
        house.lab.end("gateway")
        with pytest.raises(trio.BrokenResourceError):
            await wire.receive_some()
        await trio.sleep(1)
        assert book.asked == 0
