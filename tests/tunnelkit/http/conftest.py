"""What the tests of the HTTP/2 machine begin with."""

from __future__ import annotations

import pytest

from tests.tunnelkit.http.h2_peer import ASK, Peer


@pytest.fixture
def peer() -> Peer:
    """A client beside a machine that answers."""
    return Peer()


@pytest.fixture
def server() -> Peer:
    """A server beside a machine that has asked on stream 1, and has more to say there."""
    made = Peer(is_client=False)
    assert made.machine.open_stream(ASK, ends=False) == 1
    made.said()
    return made
