"""``python -m tunnelkit.capture COMMAND``: look at HAR files, compare them, send them again."""

from __future__ import annotations

import argparse
import json
import os
import re
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace as with_other
from functools import partial
from pathlib import Path
from typing import Final

import trio

from tunnelkit._version import __version__
from tunnelkit.command_line import CommandParser
from tunnelkit.errors import ConfigurationError
from tunnelkit.http.head import Fields

from .comparing import NOT_COMPARED
from .pairing import pair_up
from .reading import MAX_HAR_BYTES, Call, read_har
from .replay import DEADLINE_SECONDS, Outcome, parse_target, replay
from .tables import (
    HEADINGS,
    call_json,
    call_row,
    outcome_json,
    outcome_lines,
    pairing_json,
    pairing_lines,
    plain_table,
    summary,
)

__all__ = ["main"]

EXIT_DIFFERENT = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

MAX_CONCURRENCY: Final = 256
"""Most requests at once.  Stops: a typing error that opens thousands of connections."""

PROGRESS_SECONDS: Final = 1.0
"""How often it is told how far a replay is, seconds; one that is faster says nothing."""

_PROGRAM = "python -m tunnelkit.capture"

_GUIDE = f"""\
example: send what was captured to a program on this machine, with a password of its own
  {_PROGRAM} show orders.har
  {_PROGRAM} replay orders.har --target http://127.0.0.1:8080 --header 'Authorization: Bearer x'

only what begins with /api, or some of the numbers that `show` has
  {_PROGRAM} replay orders.har --target http://127.0.0.1:8080 --only /api
  {_PROGRAM} replay orders.har --target http://127.0.0.1:8080 --only 3 --only 7-9

exit status: 0 all is the same, 1 something is different or did not answer, 2 a wrong command line
or a file that cannot be read, 130 interrupted
"""


def _build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = CommandParser(
        prog=_PROGRAM,
        description="Look at captures of HTTP (HAR 1.2), compare them, and send them again.",
        epilog=_GUIDE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tunnelkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_replay(commands)
    show = commands.add_parser("show", help="the requests of a file, as a table")
    show.add_argument("file", metavar="FILE.har")
    show.set_defaults(run=_show)
    diff = commands.add_parser("diff", help="what is different between two files")
    diff.add_argument("left", metavar="A.har")
    diff.add_argument("right", metavar="B.har")
    _add_ignored(diff)
    diff.set_defaults(run=_diff)
    for command in (show, diff):
        command.add_argument("--json", action="store_true", help="one JSON value, for programs")
    return parser


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "replay",
        help="send the requests of a file, and compare the answers",
        description="Send the requests of a file to a target, in their order, and compare status, "
        "headers and bodies of the answers.  Nothing is sent to the hosts in the file.",
    )
    command.add_argument("file", metavar="FILE.har")
    command.add_argument(
        "--target", required=True, metavar="URL", help="http://HOST:PORT or https://HOST:PORT"
    )
    command.add_argument(
        "--only",
        action="append",
        default=[],
        type=_selector,
        metavar="WHAT",
        help="a number, FROM-TO, a method, or /how-the-target-begins; may be given again",
    )
    command.add_argument(
        "--header",
        action="append",
        default=[],
        type=_header,
        metavar="'NAME: VALUE'",
        help="send it with each request, in place of what the file has; may be given again",
    )
    _add_ignored(command)
    command.add_argument(
        "--concurrency", type=_concurrency, default=1, metavar="N", help="requests at once"
    )
    command.add_argument(
        "--timeout",
        type=_seconds,
        default=DEADLINE_SECONDS,
        metavar="SECONDS",
        help=f"for each request (default: {DEADLINE_SECONDS:g})",
    )
    command.add_argument("--ca", metavar="FILE", help="PEM: who may sign the target's certificate")
    command.add_argument("--json", action="store_true", help="one JSON value, for programs")
    command.set_defaults(run=_replay)


def _add_ignored(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ignore-header",
        action="append",
        default=[],
        metavar="NAME",
        help="do not compare it; may be given again",
    )


# --- values of flags ------------------------------------------------------------------------


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    is_name = re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()) is not None
    if not colon or not is_name or not re.fullmatch(r"[\t\x20-\x7e]*", value):
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    return name.strip().encode(), value.strip().encode()


def _selector(text: str) -> Callable[[Call], bool]:
    if numbers := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text):
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        return lambda call: first <= call.number <= last
    if text.startswith("/"):
        return lambda call: call.path.startswith(text)
    if re.fullmatch(r"[A-Z]+", text):
        return lambda call: call.method == text
    raise argparse.ArgumentTypeError(f"{text!r} is no number, FROM-TO, METHOD or /path")


def _concurrency(text: str) -> int:
    if re.fullmatch(r"\d{1,4}", text) and 1 <= int(text) <= MAX_CONCURRENCY:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_CONCURRENCY}")


def _seconds(text: str) -> float:
    if re.fullmatch(r"\d{1,5}(\.\d{1,3})?", text) and float(text) > 0:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


def _read(path: str) -> list[Call]:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_HAR_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    return read_har(data, path)


def _ignored(options: argparse.Namespace) -> frozenset[str]:
    return NOT_COMPARED | {name.lower() for name in options.ignore_header}


# --- commands -------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> int:
    calls = _read(options.file)
    if options.json:
        print(json.dumps([call_json(call) for call in calls], indent=2))
    else:
        _print_table([call_row(call) for call in calls])
    return 0


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    try:
        from rich.console import Console
    except ImportError:
        console = None
    else:
        console = Console(highlight=False)
    if console is None or not console.is_terminal:
        print(plain_table([HEADINGS, *rows]))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEADINGS, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _diff(options: argparse.Namespace) -> int:
    pairings = pair_up(_read(options.left), _read(options.right), _ignored(options))
    different = [pairing for pairing in pairings if pairing.differences]
    if options.json:
        print(json.dumps([pairing_json(pairing) for pairing in pairings], indent=2))
    else:
        for pairing in different:
            print("\n".join(pairing_lines(pairing)))
        print(f"{len(pairings) - len(different)} the same, {len(different)} different")
    return EXIT_DIFFERENT if different else 0


def _replay(options: argparse.Namespace) -> int:
    target = parse_target(options.target)
    context = _context(options.ca)
    only: list[Callable[[Call], bool]] = options.only
    calls = [
        _given(call, tuple(options.header))
        for call in _read(options.file)
        if not only or any(is_wanted(call) for is_wanted in only)
    ]
    if all(call.why_not for call in calls):
        whys = sorted({call.why_not for call in calls})
        raise ConfigurationError(f"nothing to replay: {', '.join(whys) or 'no request is left'}")

    def told(outcome: Outcome) -> None:
        if not options.json:
            print("\n".join(outcome_lines(outcome)), flush=True)

    run = partial(
        replay,
        calls,
        target,
        added=tuple(options.header),
        ignored=_ignored(options),
        concurrency=options.concurrency,
        timeout=options.timeout,
        context=context,
    )
    outcomes = trio.run(_with_progress, run, len(calls), told)
    if options.json:
        print(json.dumps([outcome_json(outcome) for outcome in outcomes], indent=2))
    else:
        print(summary(outcomes))
    return 0 if all(outcome.is_same for outcome in outcomes) else EXIT_DIFFERENT


def _given(call: Call, added: Fields) -> Call:
    """Return a request of which nothing is left out that the command line gives."""
    names = {name.decode().lower() for name, _ in added}
    return with_other(call, left_out=tuple(n for n in call.left_out if n.lower() not in names))


def _context(path: str | None) -> ssl.SSLContext | None:
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"cannot use the certificates in {path}: {error}") from None


async def _with_progress(
    run: Callable[..., Awaitable[list[Outcome]]], count: int, told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Replay, and say on standard error how far it is."""
    done = 0

    def on_outcome(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        told(outcome)

    async def tell() -> None:
        while True:
            await trio.sleep(PROGRESS_SECONDS)
            print(f"replayed {done} of {count}", file=sys.stderr, flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        outcomes = await run(on_outcome=on_outcome)
        nursery.cancel_scope.cancel()
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    try:
        options = _build_parser().parse_args(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (BrokenPipeError, KeyboardInterrupt) as error:
        return _left(BaseExceptionGroup("", [error]))
    except BaseExceptionGroup as group:  # they come out of a nursery
        if group.split((BrokenPipeError, KeyboardInterrupt))[1] is not None:
            raise
        return _left(group)
    return status


def _left(group: BaseExceptionGroup[BaseException]) -> int:
    """Return the exit status of a command that nobody waits for any more."""
    if group.subgroup(KeyboardInterrupt) is not None:
        return EXIT_INTERRUPTED
    # The reader has gone (`... | head`); Python would complain again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
