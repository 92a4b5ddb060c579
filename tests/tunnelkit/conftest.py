"""The pump of a test.  Virtual time is the test's own wish: it asks for `autojump_clock`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tunnelkit.pump import Pump, acquire_pump, release_pump


@pytest.fixture
async def pump() -> AsyncGenerator[Pump]:
    pump = acquire_pump()
    yield pump
    await release_pump(pump)
