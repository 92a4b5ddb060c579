"""What the tests with other WebSocket programs share: bytes to send, Node's `ws`, and meetings."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tunnelkit.carriers_websocket.foreign import Meeting
from tunnelkit.pump import Pump

BULK_BYTES = 64 << 20


@pytest.fixture(scope="session")
def bulk_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 MiB that nobody can compress or guess."""
    file = tmp_path_factory.mktemp("bulk") / "data"
    file.write_bytes(os.urandom(BULK_BYTES))
    return file


@pytest.fixture(scope="session")
def ws_modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder in which Node finds `ws`; a skip where it cannot be had."""
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "ws@8"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        pytest.skip("not installed: ws, from npm")
    if done.returncode:
        pytest.skip("not installed: ws, from npm")
    return str(folder / "node_modules")


@pytest.fixture(params=["websockets", "trio-websocket", "ws"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which library the peer is made with."""
    kind: str = request.param
    if kind == "ws":
        request.getfixturevalue("ws_modules")
    return kind


@pytest.fixture
def guest(request: pytest.FixtureRequest, kind: str, bulk_file: Path, pump: Pump) -> Meeting:
    """A conversation with each peer, which dials."""
    modules = request.getfixturevalue("ws_modules") if kind == "ws" else ""
    return Meeting(kind, "client", bulk_file, modules, pump)


@pytest.fixture(params=["client", "server"])
def meeting(request: pytest.FixtureRequest, guest: Meeting) -> Meeting:
    """A conversation with each peer, as either side."""
    return replace(guest, role=request.param)
