"""The programs through a real proxy, and with tokens for WebSockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.examples.started import LAPTOP, Programs, greet
from tests.tunnelkit.carriers_proxy.tinyproxy import Tinyproxy, running
from tests.tunnelkit.certificates import authority

Targets = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncGenerator[Tinyproxy]:
    async with running(tmp_path) as proxy:
        yield proxy


@pytest.mark.needs_program("tinyproxy")
async def test_intercept_over_wss_through_a_proxy(
    programs: Programs, targets: Targets, proxy: Tinyproxy
) -> None:
    files = authority().issue("127.0.0.1")
    tls = ["--tls-cert", files["certificate"], "--tls-key", files["key"]]
    broker = await programs.broker(*tls, listen="wss://127.0.0.1:0/tunnel")
    link = ["--link", broker.ready["links"][0], "--tls-ca", authority().file, "--proxy", proxy.url]
    here, there = await targets(b"cluster"), await targets(b"laptop")
    devbox = await programs.devbox(*link, "--target", f"web={there}")
    port = ("--port", f"web=127.0.0.1:0,{here}", "--intercept", f"web={LAPTOP}")
    sidecar = await programs.sidecar(*link, *port)
    await sidecar.wait_log(f"session with {LAPTOP} is open")
    assert await greet(sidecar.ready["listeners"]["web"]) == b"laptop"
    await devbox.wait_log(f"through http://127.0.0.1:{proxy.port} is up")
    assert "s3cret" not in devbox.log + sidecar.log


async def test_token_of_a_listener(programs: Programs, tmp_path: Path) -> None:
    for name, text in (("listener", "old\nnew\n"), ("right", "new"), ("wrong", "other")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
    accept = ("--ws-accept-token", str(tmp_path / "listener"))
    broker = await programs.broker(*accept, listen="ws://127.0.0.1:0")
    link = ("--link", broker.ready["links"][0])
    devbox = await programs.devbox(*link, "--ws-token", str(tmp_path / "right"))
    await devbox.wait_log("is up")
    stranger = await programs.devbox(*link, "--ws-token", str(tmp_path / "wrong"))
    await stranger.wait_log("HTTP 401: the server wants another bearer token")
