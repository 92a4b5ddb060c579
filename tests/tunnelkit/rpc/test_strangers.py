"""Clients that others wrote, and that know nothing of ours, call and are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.tunnelkit.rpc.test_http import real_server
from tests.tunnelkit.rpc.test_transports import serve, serve_lines, serve_tcp
from tunnelkit.rpc.codes import RpcCode
from tunnelkit.rpc.websocket import accept_websocket

PEERS = Path(__file__).parent / "peers"
EXPECTED = {
    "by_name": {"zone": "CET", "seconds": 1.5},
    "by_place": {"zone": "EST", "seconds": 1.5},
    "list": 5,
    "batch": ["A", RpcCode.NOT_FOUND],
    "wrong": [RpcCode.INVALID_PARAMS, "clock.now: Expected `str`, got `int` - at `$[0]`"],
}


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder in which Node finds the clients; a skip where they cannot be had."""
    folder = tmp_path_factory.mktemp("node")
    packages = ["ws@8", "json-rpc-2.0@1", "jayson@5"]
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *packages]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=100)
    except (OSError, subprocess.TimeoutExpired):
        pytest.skip("not installed: JSON-RPC clients from npm")
    if done.returncode:
        pytest.skip("not installed: JSON-RPC clients from npm")
    return str(folder / "node_modules")


async def seen_by(*command: str, node_path: str = "") -> dict[str, Any]:
    """Run a client and return what it printed."""
    run = partial(trio.run_process, list(command), capture_stdout=True)
    done = await run(env={**os.environ, "NODE_PATH": node_path})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_aiorpcx_over_lines() -> None:
    async with trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, serve_lines)
        seen = await seen_by(sys.executable, str(PEERS / "lines.py"), str(port))
        nursery.cancel_scope.cancel()
    assert seen == {**EXPECTED, "two_way": 20}


async def test_npm_client_over_a_websocket(node_modules: str) -> None:
    async def handle(stream: trio.abc.Stream) -> None:
        await serve(await accept_websocket(stream))

    async with trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, handle)
        command = ("node", str(PEERS / "websocket.mjs"), str(port))
        seen = await seen_by(*command, node_path=node_modules)
        nursery.cancel_scope.cancel()
    assert seen == {**EXPECTED, "two_way": 20}


async def test_npm_client_over_http(node_modules: str) -> None:
    async with real_server() as url:
        port = url.split(":")[2].split("/")[0]
        command = ("node", str(PEERS / "http.mjs"), port)
        seen = await seen_by(*command, node_path=node_modules)
    assert seen == {**EXPECTED, "who": "ada"}
