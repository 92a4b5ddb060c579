"""Servers of HTTP/1.1 behind a client of HTTP/2 that breaks off, lies about lengths, or is slow."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes

from tests.tunnelkit.http.h2_parties import fields
from tests.tunnelkit.http.test_h1_back import World1
from tunnelkit.http.h1_back import MAX_UNTAKEN_BYTES


@pytest.fixture
def world() -> World1:
    return World1()


def test_download_that_waits_can_be_given_up(world: World1) -> None:
    world.client.takes_data = False
    world.asked(fields("/a"))
    world.sides[0].push(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    for _ in range(2 * MAX_UNTAKEN_BYTES // 16_384):
        world.sides[0].push(bytes(16_384))
    world.client.read()
    world.client.machine.reset_stream(1, ErrorCodes.CANCEL)
    world.client.push()
    assert (world.sides[0].ended, world.over) == ("reset", 0)
