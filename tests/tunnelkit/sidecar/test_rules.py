"""The decision for each new connection, as a table."""

from __future__ import annotations

import pytest

from tunnelkit.sidecar import Facts, Intercept, Way, decide

OPEN = Intercept("dev", "web", fail_open=True)
CLOSED = Intercept("dev", "web", fail_open=False)


@pytest.mark.parametrize(
    ("intercept", "is_open", "is_suspect", "way", "why"),
    [
        (None, False, False, Way.LOCAL, "no intercept"),
        (None, True, False, Way.LOCAL, "no intercept"),
        (None, True, True, Way.LOCAL, "no intercept"),
        (OPEN, True, False, Way.PEER, "intercepted by dev"),
        (OPEN, True, True, Way.LOCAL, "does not answer: fail open"),
        (OPEN, False, False, Way.LOCAL, "is not connected: fail open"),
        (OPEN, False, True, Way.LOCAL, "is not connected: fail open"),
        (CLOSED, True, False, Way.PEER, "intercepted by dev"),
        (CLOSED, True, True, Way.PEER, "does not answer: fail closed"),
        (CLOSED, False, False, Way.REFUSE, "is not connected: fail closed"),
        (CLOSED, False, True, Way.REFUSE, "is not connected: fail closed"),
    ],
)
def test_decide(
    intercept: Intercept | None, is_open: bool, is_suspect: bool, way: Way, why: str
) -> None:
    verdict = decide(Facts(intercept, is_open, is_suspect))
    assert verdict.way is way
    assert why in verdict.why


def test_an_intercept_fails_open_unless_told_otherwise() -> None:
    assert Intercept("dev", "web").fail_open
