"""Fixtures of the tests of `examples`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

import pytest
import trio

from tests.examples.started import Credentials, Programs


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """One issuer, whom everybody believes."""
    return Credentials(tmp_path_factory.mktemp("credentials"))


@pytest.fixture
async def programs(credentials: Credentials) -> AsyncGenerator[Programs]:
    """Starts programs; kills them at the end."""
    async with trio.open_nursery() as nursery:
        made = Programs(nursery, credentials)
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await made.aclose()


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


@pytest.fixture
def logging_restored() -> Generator[None]:
    """Programs that run inside of the test set up logging for their process: undo it."""
    logger = logging.getLogger("tunnelkit")
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    yield
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before
