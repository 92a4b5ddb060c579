"""Run a program: settings, plan, signals, ready line, drain, exit status."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from functools import partial

import attrs
import trio

from tunnelkit.addresses import Address
from tunnelkit.admin import Method, serve_admin
from tunnelkit.errors import ConfigurationError, TunnelError
from tunnelkit.outgoing.specs import place_of

from .flags import Flags
from .logs import configure_logging

__all__ = ["Exit", "Plan", "Running", "run_program"]

_log = logging.getLogger("tunnelkit.programs")

COLLECT_AFTER_OBJECTS = 20_000
"""New objects after which the cycle collector looks at the young ones (Python's own: 700)."""


class Exit(IntEnum):
    """The exit status of a program."""

    OK = 0
    UNEXPECTED = 1
    CONFIGURATION = 2
    DISPLACED = 3
    CUT_SHORT = 4


@attrs.frozen
class Plan:
    """What a program is about to do."""

    serve: Callable[[Running], Awaitable[None]]
    summary: Mapping[str, Iterable[object]]
    """What ``--check`` prints: for each heading its lines."""
    reload: Callable[[], None] | None = None
    """Called on SIGHUP; None: SIGHUP ends the program, as it does by default."""


class Running:
    """A program that runs: what its `serve` talks to."""

    def __init__(self, program: str, options: argparse.Namespace, scope: trio.CancelScope) -> None:
        self.program = program
        self.drain_seconds: float = options.drain_seconds
        self.exit = Exit.OK
        self._admin: str | None = options.admin
        self._monitor: Address | None = getattr(options, "monitor", None)
        self._is_ready = False
        self._monitored_at: Address | None = None
        self._scope = scope
        self._stopping = trio.Event()
        self._why = ""

    # --- stopping ---------------------------------------------------------------------------

    async def wait_stop(self) -> None:
        """Wait until the program is asked to stop.

        Cancellation: atomic.
        """
        await self._stopping.wait()
        if self._why:
            _log.info("%s: draining for at most %g s", self._why, self.drain_seconds)

    def stop(self, why: str) -> None:
        """Ask the program to finish and end; asked twice, it ends now."""
        if self._stopping.is_set():
            _log.warning("%s: stopping now", why)
            self.exit = Exit.CUT_SHORT
            self._scope.cancel()
        else:
            self._why = why
            self._stopping.set()

    def displaced(self, why: str) -> None:
        """Another process took this one's place: finish, and say so by the exit status."""
        if self.exit is Exit.OK:
            _log.error("%s: this process gives way", why)
            self.exit = Exit.DISPLACED
            self.drain_seconds = 0.0
            self._stopping.set()

    def finished(self, open_count: int) -> None:
        """The drain is over with *open_count* connections that still run."""
        if open_count and self.exit is Exit.OK:
            _log.warning("%d connections are cut: the drain time is over", open_count)
            self.exit = Exit.CUT_SHORT

    # --- telling ----------------------------------------------------------------------------

    def ready(
        self, *, links: Iterable[Address] = (), listeners: Mapping[str, Address] | None = None
    ) -> None:
        """Print the ready line."""
        self._is_ready = True
        _calm_collector()
        message = {
            "event": "ready",
            "program": self.program,
            "pid": os.getpid(),
            "links": [str(address) for address in links],
            "listeners": {name: place_of(door) for name, door in (listeners or {}).items()},
            "admin": self._admin,
            "monitor": self._monitored_at.host_port if self._monitored_at is not None else None,
        }
        try:
            print(json.dumps(message), flush=True)
        except OSError:
            _silence_stdout()  # nobody waits for the line
        _warn_of_open_doors(links)

    @asynccontextmanager
    async def admin(
        self, methods: Mapping[str, Method], *, why_idle: Callable[[], str] = lambda: ""
    ) -> AsyncGenerator[None]:
        """Serve the admin socket, and be monitored, while the block runs, where it was asked for.

        Args:
            why_idle: returns what the program lacks to do its work; "": nothing.

        Raises:
            ConfigurationError: the path, or the address, cannot be used.
        """
        async with trio.open_nursery() as nursery:
            if self._admin is not None:
                every = {"drain": self._drain_by_admin, **methods}
                await nursery.start(serve_admin, self._admin, every)
            if self._monitor is not None:
                serve = partial(_serve_monitor, self._monitor, methods)
                self._monitored_at = await nursery.start(
                    serve, lambda: self._why_not_ready() or why_idle()
                )
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                await _end_capture(methods)

    def _why_not_ready(self) -> str:
        if self._stopping.is_set():
            return f"{self.program} is draining"
        return "" if self._is_ready else f"{self.program} is starting"

    async def _drain_by_admin(self) -> dict[str, object]:
        if not self._stopping.is_set():
            self.stop("asked to drain by the admin socket")
        return {"draining": True, "drain_seconds": self.drain_seconds}


async def _end_capture(methods: Mapping[str, Method]) -> None:
    """Let a capture that runs write its file."""
    if "capture.stop" in methods:
        with trio.CancelScope(shield=True), contextlib.suppress(ConfigurationError):
            await methods["capture.stop"]()


async def _serve_monitor(
    address: Address,
    methods: Mapping[str, Method],
    why_not_ready: Callable[[], str],
    task_status: trio.TaskStatus[Address],
) -> None:
    # Loaded where it is asked for: most programs run without it.
    from tunnelkit.monitoring import Monitor, serve_monitor

    monitor = Monitor(methods["status"], why_not_ready, methods.get("explain"))
    await serve_monitor(address, monitor, task_status=task_status)


def _calm_collector() -> None:
    """Let Python's cycle collector look at less, and less often.

    What the data plane makes for a frame or a connection dies by its reference count; the modules
    and tables made so far live as long as the program.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 50)


def _warn_of_open_doors(links: Iterable[Address]) -> None:
    for address in links:
        if not address.is_loopback and address.scheme not in ("tls", "wss"):
            _log.warning(
                "%s accepts links from other machines without TLS: whoever is on the way can read "
                "the traffic; listen on tls:// or wss:// instead, or on 127.0.0.1",
                address,
            )


# --- from the command line to the exit status --------------------------------------------------


def run_program(
    flags: Flags,
    make_plan: Callable[[argparse.Namespace], Plan],
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a program from its command line; return the exit status.

    Raises:
        SystemExit: only for ``--help`` and ``--version``.
    """
    try:
        options = flags.parse(arguments, os.environ if environment is None else environment)
        configure_logging(options.log_format, options.log_level)
        plan = make_plan(options)
        if options.check:
            _print_plan(flags.program, plan)
            return Exit.OK
        return trio.run(_serve, flags.program, options, plan)
    except KeyboardInterrupt:
        return Exit.CUT_SHORT
    except BrokenPipeError:
        _silence_stdout()
        return Exit.OK
    except Exception as error:
        return _explain(_innermost(error))


async def _serve(program: str, options: argparse.Namespace, plan: Plan) -> Exit:
    async with trio.open_nursery() as nursery:
        running = Running(program, options, nursery.cancel_scope)
        await nursery.start(_receive_signals, running)
        if plan.reload is not None:
            await nursery.start(_receive_hangups, running, plan.reload)
        await plan.serve(running)
        nursery.cancel_scope.cancel()
    return running.exit


async def _receive_signals(
    running: Running, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            running.stop(f"received {signal.Signals(number).name}")


async def _receive_hangups(
    running: Running,
    reload: Callable[[], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    had_terminal = _has_terminal()
    with trio.open_signal_receiver(signal.SIGHUP) as received:
        task_status.started()
        async for _ in received:
            if had_terminal and not _has_terminal():
                running.stop("the terminal was closed")
            else:
                reload()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _innermost(error: BaseException) -> BaseException:
    """Return the first error of a group, preferring one that explains itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [_innermost(one) for one in error.exceptions]
    return next((one for one in found if isinstance(one, TunnelError)), found[0])


def _explain(error: BaseException) -> Exit:
    """Print what went wrong, and return the exit status for it."""
    if isinstance(error, TunnelError):
        print(f"error: {error}", file=sys.stderr)
        return Exit.CONFIGURATION if isinstance(error, ConfigurationError) else Exit.UNEXPECTED
    _log.debug("unexpected error", exc_info=error)
    print(
        f"error: unexpected {type(error).__name__}: {error}: run again with "
        "--log-level debug to see where, and report it",
        file=sys.stderr,
    )
    return Exit.UNEXPECTED


def _print_plan(program: str, plan: Plan) -> None:
    print(f"{program}: the settings are right; it would run with")
    for heading, lines in plan.summary.items():
        for line in lines:
            print(f"  {heading:<10} {line}")
            heading = ""
    sys.stdout.flush()


def _silence_stdout() -> None:
    """Let Python flush into nothing at exit: the reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
