"""The whole system on this machine: an intercept, a broker that dies, and nothing is lost.

A shop asks the service `prices`; both are separate processes, and a sidecar stands before `prices`.
A developer's laptop, here one more process, takes over `prices` with a changed copy.  The two have
links to two brokers.  A large download runs through the intercept while the broker that carries it
is killed; another one while its session is moved by command.  Then the laptop freezes, and at the
end everything is drained.  Each step is checked; the report says what was seen.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load: no traceback
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone need not be installed

import trio

from examples.demo_app.play import Play
from examples.demo_app.stage import DemoFailed, open_stage
from examples.demo_app.telling import Teller
from examples.demo_app.way import OWN, TINYPROXY, ProxiedWay, Way
from tunnelkit._version import __version__
from tunnelkit.errors import TunnelError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

SIZES_MIB = {Way.name: 1024, ProxiedWay.name: 256}
"""How large each download is unless told otherwise; TLS and a proxy in Python take their time."""

_EPILOG = """\
examples:
  python examples/demo.py --size-mib 256 --json report.json
  python examples/demo.py --over wss-proxy

exit status: 0 every step was seen to work, 1 a step failed (the report says which, and shows the
logs), 2 a wrong command line, 130 interrupted; no process and no file is left behind
"""


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 32 <= int(text[:9]) <= 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 32 to 65536")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the settings; ends the program if they are wrong."""
    parser = argparse.ArgumentParser(
        description="Show an intercept that survives the death of its broker.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tunnelkit {__version__}")
    parser.add_argument(
        "--over",
        choices=SIZES_MIB,
        default=Way.name,
        help="how links get to the brokers: tcp (the default), or in wss:// through an HTTP "
        "CONNECT proxy with a login, which is killed and started again as well",
    )
    parser.add_argument(
        "--proxy",
        choices=(OWN, TINYPROXY),
        help="for wss-proxy: a small one that comes with the demo (own, the default), or tinyproxy",
    )
    parser.add_argument(
        "--size-mib", type=_size, metavar="MIB", help=f"each download (default: {_sizes()})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    options = parser.parse_args(arguments)
    if options.proxy and options.over != ProxiedWay.name:
        parser.error(f"--proxy {options.proxy} goes with --over {ProxiedWay.name}")
    if options.proxy == TINYPROXY and not shutil.which(TINYPROXY):
        parser.error("tinyproxy is not installed: install it, or leave --proxy out")
    options.size_mib = options.size_mib or SIZES_MIB[options.over]
    return options


def _sizes() -> str:
    return ", ".join(f"{size} over {name}" for name, size in SIZES_MIB.items())


def way_of(options: argparse.Namespace) -> Way:
    """Return how links get to the brokers."""
    return Way() if options.over == Way.name else ProxiedWay(options.proxy or OWN)


def explain(error: BaseException) -> str:
    """Return the text of the first error in a group, with its type unless it explains itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, (DemoFailed, TunnelError)) else repr(error)


def _write(path: Path, report: dict[str, object]) -> str:
    """Write the report; return what went wrong, or nothing."""
    try:
        path.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        return f"the end: cannot write {path}: {(error.strerror or '').lower()}; give another FILE"
    return ""


async def perform(options: argparse.Namespace, teller: Teller) -> int:
    """Run all steps; return the exit status."""
    async with open_stage() as stage:
        play = Play(stage, teller, options.size_mib, way_of(options))
        step = "nothing"
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = play.steps()
        failure = ""
        try:
            for number, (step, run) in enumerate(steps, 1):
                teller.step(number, len(steps), step)
                with trio.fail_after(play.step_seconds):
                    await run()
        except* trio.TooSlowError:
            failure = f"{step}: it took too long"
        except* Exception as group:
            failure = f"{step}: {explain(group)}"
        if play.findings:
            teller.report(play.findings)
        if options.json is not None:
            report = {"ok": not failure, "failure": failure, "facts": play.facts}
            failure = _write(options.json, report) or failure
        if failure:
            print(f"\nFAILED at {failure}\n\nlast lines of the logs:\n{stage.tails()}", flush=True)
            return EXIT_FAILED
    print("\neverything was seen to work")
    return 0


async def run_until_interrupted(options: argparse.Namespace) -> int:
    """Run the demo; SIGINT and SIGTERM end it and all its processes."""
    status = EXIT_INTERRUPTED
    async with trio.open_nursery() as nursery:

        async def watch_signals(
            task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
        ) -> None:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                task_status.started()
                async for _ in received:
                    nursery.cancel_scope.cancel()

        await nursery.start(watch_signals)
        status = await perform(options, Teller())
        nursery.cancel_scope.cancel()
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    status = trio.run(run_until_interrupted, parse(arguments))
    if status == EXIT_INTERRUPTED:
        print("\ninterrupted: every process was ended", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
