"""The wrong way to a port: each side says what the other is, and the next step is in the text."""

from __future__ import annotations

import pytest

from tests.tunnelkit.carriers_wrong.ports import SCHEMES, curl, dial, open_port
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.pump import Pump
from tunnelkit.testing import no_leaks

pytestmark = pytest.mark.deadline(20)

NO_TLS = "does not speak TLS, which this address needs"
DIAL_TLS = "the other side speaks TLS: dial tls://"
DIAL_WS = "does not speak TLS but plain HTTP: dial ws://"
DIAL_TCP = "the TLS handshake failed: the other side does not speak TLS: dial tcp://"
USE_WSS = "HTTP 400: the server speaks TLS: use wss:// in place of ws://"
NO_WEBSOCKET = (
    "HTTP 426: it is a tunnel without WebSocket: dial tcp://, or tls:// in place of wss://"
)
OTHER_TLS = "the other side speaks TLS but not tunnelkit/1"
WAYS = {
    # (dialled as, what the port is): what the dialler says, what the port says.
    ("tcp", "tls"): (DIAL_TLS, NO_TLS),
    ("tcp", "ws"): ("looks like HTTP; a tunnel link was expected: if it is", "dial it with ws://"),
    ("tcp", "wss"): (DIAL_TLS, NO_TLS),
    ("tls", "tcp"): (DIAL_TCP, "looks like TLS; a plain tunnel link was expected"),
    ("tls", "ws"): (DIAL_WS, "This port has no TLS: use ws:// in place of wss://"),
    ("tls", "wss"): (OTHER_TLS, "closed the connection during the handshake"),
    ("ws", "tcp"): (NO_WEBSOCKET, "looks like HTTP; a tunnel link was expected"),
    ("ws", "tls"): (USE_WSS, NO_TLS),
    ("ws", "wss"): (USE_WSS, NO_TLS),
    ("wss", "tcp"): (DIAL_TCP, "looks like TLS"),
    ("wss", "tls"): (NO_WEBSOCKET, OTHER_TLS),
    ("wss", "ws"): (DIAL_WS, "This port has no TLS"),
}


@pytest.mark.parametrize(("way", "is_a"), WAYS, ids=[f"{way}-to-{is_a}" for way, is_a in WAYS])
async def test_wrong_way(pump: Pump, way: str, is_a: str) -> None:
    with quiet_pump():
        async with no_leaks():
            async with open_port(pump, is_a) as port:
                error, is_connect = await dial(pump, port, way)
                here, there = WAYS[way, is_a]
                assert here in str(error)
                assert str(port.address.port) in str(error)
                assert is_connect or way == "tcp"
                await wait_until(lambda: there in port.said())


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_right_way(pump: Pump, scheme: str) -> None:
    async with open_port(pump, scheme) as port:
        assert await dial(pump, port, scheme) == (None, False)


# --- curl ------------------------------------------------------------------------------------

LINK = "426", "This is the port of a tunnel: it speaks a protocol of its own"
TLS = "400", "This port speaks TLS, and the request came without it"
WEBSOCKET = "426", "it speaks WebSocket, and has no pages to show"
ANSWERS = {
    ("http", "tcp"): LINK,
    ("http", "tls"): TLS,
    ("http", "ws"): WEBSOCKET,
    ("http", "wss"): TLS,
    ("https", "tls"): LINK,
    ("https", "wss"): WEBSOCKET,
}


@pytest.mark.needs_program("curl")
@pytest.mark.parametrize(("way", "is_a"), ANSWERS)
async def test_curl_is_told_what_this_port_is(pump: Pump, way: str, is_a: str) -> None:
    status, text = ANSWERS[way, is_a]
    async with no_leaks():
        async with open_port(pump, is_a) as port:
            code, said = await curl(port.address, way)
            assert (code, said.split()[-1]) == (0, status)
            assert text in said
            assert not port.owner.up


@pytest.mark.needs_program("curl")
async def test_long_request_is_told_too(pump: Pump) -> None:
    """What is still on its way when the port has answered must not turn into a reset."""
    body = ("-d", "x" * 100_000, "-H", "Expect:")
    for is_a in ("tcp", "ws"):
        async with open_port(pump, is_a) as port:
            _, said = await curl(port.address, "http", *body)
            assert "426" in said


@pytest.mark.needs_program("curl")
@pytest.mark.parametrize("is_a", ["tcp", "ws"])
async def test_https_at_a_plain_port_fails_at_once(pump: Pump, is_a: str) -> None:
    async with open_port(pump, is_a) as port:
        code, said = await curl(port.address, "https")
        assert code == 35, said  # curl: a problem in the SSL handshake
