"""What every pipe does, TLS does too: the tests of sockets, on both pumps and over memory."""

from __future__ import annotations

import pytest

from tests.tunnelkit import test_carriers as sockets
from tests.tunnelkit.test_carriers import Joined, read, ready
from tunnelkit.carriers import PipeBroken

test_bytes_go_both_ways = sockets.test_bytes_go_both_ways
test_nothing_there_is_no_end = sockets.test_nothing_there_is_no_end
test_half_close_leaves_the_other_direction = sockets.test_half_close_leaves_the_other_direction
test_full_pipe_takes_nothing = sockets.test_full_pipe_takes_nothing
test_kept_views_do_not_change = sockets.test_kept_views_do_not_change
test_error_of_a_send_is_remembered_too = sockets.test_error_of_a_send_is_remembered_too
test_close_twice_is_harmless = sockets.test_close_twice_is_harmless
test_new_handler_replaces_the_old_one = sockets.test_new_handler_replaces_the_old_one


async def test_many_buffers_at_once(joined: Joined) -> None:
    buffers = [bytes([number % 256]) for number in range(3000)]
    assert joined.left.try_send_many(buffers) == 3000
    assert await read(joined.right) == b"".join(buffers)


async def test_reset_is_seen_as_a_reset(joined: Joined) -> None:
    joined.left.reset()
    await ready(joined.right)
    for _ in range(3):
        with pytest.raises(PipeBroken, match="connection reset by peer"):
            joined.right.try_receive(10)
        with pytest.raises(PipeBroken, match="connection reset by peer"):
            joined.right.try_receive_into(memoryview(bytearray(10)))
