"""The programs over ws:// and wss://, by nothing but the address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.examples.started import LAPTOP, Programs, greet
from tests.tunnelkit.certificates import authority

Targets = Callable[[bytes], Awaitable[str]]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_intercept_over_websockets(programs: Programs, targets: Targets, scheme: str) -> None:
    files = authority().issue("127.0.0.1")
    tls = ["--tls-cert", files["certificate"], "--tls-key", files["key"]]
    listen = f"{scheme}://127.0.0.1:0/tunnel"
    broker = await programs.broker(*(tls if scheme == "wss" else []), listen=listen)
    link = ["--link", broker.ready["links"][0], "--tls-ca", authority().file]
    here, there = await targets(b"cluster"), await targets(b"laptop")
    await programs.devbox(*link, "--target", f"web={there}")
    port = ("--port", f"web=127.0.0.1:0,{here}", "--intercept", f"web={LAPTOP}")
    sidecar = await programs.sidecar(*link, *port)
    await sidecar.wait_log(f"session with {LAPTOP} is open")
    assert await greet(sidecar.ready["listeners"]["web"]) == b"laptop"
    assert link[1].endswith("/tunnel")


async def test_wrong_path_is_named(programs: Programs) -> None:
    broker = await programs.broker(listen="ws://127.0.0.1:0/tunnel")
    devbox = await programs.devbox("--link", broker.ready["links"][0] + "s")
    await devbox.wait_log("HTTP 404: there is nothing at this path")
