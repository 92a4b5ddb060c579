"""Let a program record, show how far it is, and let it stop: at its end, or at Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any, Final, cast

import trio

from .client import call_admin

__all__ = ["record"]

LOOK_SECONDS: Final = 0.5
STOP_SECONDS: Final = 60.0
"""How long the program may take to write the file, seconds."""


async def record(socket: str, params: Mapping[str, object]) -> object:
    """Record until the capture is over, or somebody presses Ctrl-C; return what it was.

    Raises:
        ConfigurationError: nobody listens on *socket*.
        AdminError: the program refused, or failed.
    Cancellation: the capture goes on until its time is over.
    """
    await call_admin(socket, "capture.start", params)
    seconds = float(cast(float, params["seconds"]))
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(wait_signal)
            await _look(socket, seconds)
            nursery.cancel_scope.cancel()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return await call_admin(socket, "capture.stop", timeout=STOP_SECONDS)


async def _look(socket: str, seconds: float) -> None:
    """Show how far it is until it is over."""
    begun = trio.current_time()
    while True:
        found = cast(dict[str, Any], await call_admin(socket, "capture.status"))
        _show(found, trio.current_time() - begun, seconds)
        if found.get("why_over") or not found["running"]:
            return
        await trio.sleep(LOOK_SECONDS)


def _show(found: Mapping[str, Any], passed: float, seconds: float) -> None:
    """Tell how far it is, where somebody looks."""
    if not sys.stderr.isatty():
        return
    what = "exchanges" if "exchanges" in found else "connections"
    words = f"{found.get(what, 0)} {what}, {found.get('bytes', 0):,} bytes"
    line = f"recording: {passed:3.0f} of {seconds:g} s, {words}; Ctrl-C ends it"
    print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
