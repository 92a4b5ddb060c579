"""Nurseries for the sake of a body."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tunnelkit.services import open_service_nursery


async def test_tasks_end_with_the_body(autojump_clock: MockClock) -> None:
    async with open_service_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


async def test_error_of_the_body_comes_out_alone(autojump_clock: MockClock) -> None:
    error = ValueError("body")
    with pytest.raises(ValueError, match="body") as caught:
        async with open_service_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise error
    assert caught.value is error


async def test_errors_of_body_and_task_come_as_a_group(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_service_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.lowlevel.checkpoint()
            raise ValueError
    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}


async def test_cancellation_passes_through(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with open_service_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught
