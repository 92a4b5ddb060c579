"""Fixtures for tests that start programs; the `conftest.py` files import them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator

import pytest
import trio

from tests.examples.started import Credentials, Programs

__all__ = ["credentials", "logging_restored", "programs"]


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
def logging_restored() -> Generator[None]:
    """Programs that run inside of the test set up logging for their process: undo it."""
    logger = logging.getLogger("tunnelkit")
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    yield
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before
