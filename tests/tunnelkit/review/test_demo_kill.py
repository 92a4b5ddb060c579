"""The demo kills its broker only while that holds bytes which must be sent again."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from examples.demo_app.play import Play


class ScriptedPlay(Play):
    """Hears of the sidecar's received bytes from a list, one a question."""

    def __init__(self, sent: int, received: list[int]) -> None:
        self._sent = sent
        self._received = received

    async def status(self, name: str) -> dict[str, Any]:
        if name == "devbox":
            return {"sessions": [{"bytes_out": self._sent}]}
        return {"sessions": [{"bytes_in": self._received.pop(0)}]}


@pytest.mark.parametrize(
    ("received", "held"),
    [([90, 90], 10), ([70, 80, 90, 90], 10), ([80, 100, 100], 0)],
)
async def test_bytes_that_still_arrive_are_not_held(
    received: list[int], held: int, autojump_clock: MockClock
) -> None:
    assert await ScriptedPlay(100, received)._held_bytes() == held
