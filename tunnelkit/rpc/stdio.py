"""Messages as lines over stdin and stdout: of this process, or of one that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import trio

from tunnelkit.services import open_service_nursery

from .channels import MAX_MESSAGE_BYTES, LineChannel

__all__ = ["open_process_channel", "open_stdio_channel"]

EXIT_SECONDS: Final = 2.0
"""How long a process may take to end after its stdin was closed, and after a SIGTERM, seconds."""


@asynccontextmanager
async def open_stdio_channel(
    *, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncGenerator[LineChannel]:
    """Use stdin and stdout for messages until the block is left.

    What this process prints meanwhile goes to stderr, and its stdin is empty, so that nothing gets
    between the messages.

    Raises:
        OSError: stdin or stdout cannot be waited for: one is a plain file.
    """
    sys.stdout.flush()
    reading, writing = os.dup(0), os.dup(1)
    blocking = [(fd, os.get_blocking(fd)) for fd in (reading, writing)]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    try:
        # Streams close what they get, so they get copies.
        source = trio.lowlevel.FdStream(os.dup(reading))
        sink = trio.lowlevel.FdStream(os.dup(writing))
        async with source, sink:
            stream = trio.StapledStream(sink, source)
            yield LineChannel(stream, max_message_bytes=max_message_bytes)
    finally:
        sys.stdout.flush()
        for fd, was_blocking in blocking:
            os.set_blocking(fd, was_blocking)
        os.dup2(reading, 0)
        os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)


@asynccontextmanager
async def open_process_channel(
    command: Sequence[str | os.PathLike[str]],
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    **options: Any,
) -> AsyncGenerator[LineChannel]:
    """Start a process and use its stdin and stdout for messages until the block is left.

    Then its stdin is closed, and after `EXIT_SECONDS` it is asked, and after as long again made,
    to end.

    Args:
        options: more for `trio.run_process`, such as `cwd` and `env`.

    Raises:
        OSError: it cannot be started.
    """
    async with open_service_nursery() as nursery:
        run = partial(
            trio.run_process,
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
            deliver_cancel=_end,
            **options,
        )
        process: trio.Process = await nursery.start(run)
        assert process.stdin is not None  # as was asked for
        assert process.stdout is not None
        try:
            stream = trio.StapledStream(process.stdin, process.stdout)
            yield LineChannel(stream, max_message_bytes=max_message_bytes)
        finally:
            await trio.aclose_forcefully(process.stdin)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + EXIT_SECONDS):
                await process.wait()


async def _end(process: trio.Process) -> None:
    process.terminate()
    await trio.sleep(EXIT_SECONDS)
    process.kill()
