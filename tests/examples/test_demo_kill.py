"""The demo kills its broker only while that holds bytes which must be sent again."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from examples.demo_app.faults import held_bytes


class ScriptedCrew:
    """Tells of the sidecar's received bytes from a list, one a question."""

    def __init__(self, sent: int, received: list[int]) -> None:
        self._sent = sent
        self._received = received

    async def total(self, name: str, what: str) -> int:
        assert (name, what) in {("devbox", "bytes_out"), ("sidecar", "bytes_in")}
        return self._sent if name == "devbox" else self._received.pop(0)


@pytest.mark.parametrize(
    ("received", "held"),
    [([90, 90], 10), ([70, 80, 90, 90], 10), ([80, 100, 100], 0)],
)
async def test_bytes_that_still_arrive_are_not_held(
    received: list[int], held: int, autojump_clock: MockClock
) -> None:
    assert await held_bytes(ScriptedCrew(100, received)) == held
