"""Fixtures for tests that start programs; the `conftest.py` files import them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import trio

from tests.examples.started import Credentials, Programs

__all__ = ["credentials", "programs"]


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
