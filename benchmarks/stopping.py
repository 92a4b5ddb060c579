"""Ctrl-C and SIGTERM end a run in its own order: processes first, then the program."""

from __future__ import annotations

import signal

import trio

__all__ = ["watch_signals"]


async def watch_signals(
    scope: trio.CancelScope,
    stopped_by: list[int],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Cancel *scope* at the first signal that asks for an end, and note its number.

    Cancellation: atomic; the signals mean again what they meant before.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            stopped_by.append(number)
            scope.cancel()
