"""Fixtures of the tests of `examples`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.examples.fixtures import credentials, logging_restored, programs

__all__ = ["credentials", "logging_restored", "programs", "targets"]


@pytest.fixture
async def targets(nursery: trio.Nursery) -> Callable[[bytes], Awaitable[str]]:
    """Make a server that sends one word to whoever connects, and ends; returns HOST:PORT."""

    async def make(word: bytes) -> str:
        async def talk(stream: trio.SocketStream) -> None:
            await stream.send_all(word)

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        return f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"

    return make
