"""``python -m tunnelkit.admin SOCKET COMMAND``: look at a program, and switch intercepts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio

from tunnelkit._version import __version__
from tunnelkit.auth import MAX_REVOCATIONS_BYTES
from tunnelkit.auth.files import read_file
from tunnelkit.command_line import CommandParser
from tunnelkit.errors import ConfigurationError, TunnelError

from .asked import request_in
from .capturing import record
from .client import call_admin
from .live import can_show_screen, print_events
from .tables import show

__all__ = ["main"]

EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
EXIT_BY_SIGNAL = 128

DEFAULT_INTERVAL_SECONDS = 1.0
MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS = 0.1, 3600.0

_PROGRAM = "python -m tunnelkit.admin"

_GUIDE = f"""\
SOCKET is the path that the program was started with: --admin SOCKET.

example: send the new connections of port "orders" to Alice's laptop, look, and send them back
  {_PROGRAM} run/sidecar.sock intercept orders devbox/alice
  {_PROGRAM} run/sidecar.sock ports
  {_PROGRAM} run/sidecar.sock restore orders

send only Alice's own requests to her laptop, where the port speaks http, and ask why
  {_PROGRAM} run/sidecar.sock rule orders alice devbox/alice --when header:x-user=alice
  {_PROGRAM} run/sidecar.sock explain orders /cart -H 'x-user: bob'

and see what happens while it happens
  {_PROGRAM} run/sidecar.sock status --watch

exit status: 0 done, 1 the program refused or did not answer, 2 a wrong command line or socket,
130 interrupted
"""


def _build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = CommandParser(
        prog=_PROGRAM,
        description="Look at a program of tunnelkit that runs on this machine, and steer it.",
        epilog=_GUIDE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tunnelkit {__version__}")
    parser.add_argument("socket", metavar="SOCKET", help="path of the program's admin socket")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_watch(_add(commands, "status", "status", "links, sessions, ports, counters"))
    _add(commands, "ports", "intercept.list", "ports of a sidecar, and who intercepts them")
    _add(commands, "sites", "site.list", "sites of a gateway, and who may see them")
    _add(commands, "version", "version", "which program runs, and its version")
    _add(commands, "drain", "drain", "finish what runs, and end, as SIGTERM does")
    _add_intercepts(commands)
    _add_rules(commands)
    _add_move(commands)
    _add_capture(commands)
    _add_trust(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    method: str,
    text: str,
    params_of: Callable[[argparse.Namespace], dict[str, object]] = lambda options: {},
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"Show {text}.")
    command.add_argument("--json", action="store_true", help="one JSON value, for programs")
    command.set_defaults(method=method, params_of=params_of)
    return command


def _add_trust(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _add(commands, "trust", "trust", "issuers that are believed, and the revocation list in force")
    push = _add(
        commands,
        "revocations",
        "set-revocations",
        "give the program a newer revocation list",
        lambda options: {"signed": _read_list(options.file)},
    )
    push.description = (
        "Give the program a newer revocation list; a broker passes it on to its endpoints.  "
        "What is revoked ends at once."
    )
    push.add_argument("file", metavar="FILE", help="made by `python -m tunnelkit.auth revoke`")


def _read_list(path: str) -> str:
    text = read_file(path, "revocation list").strip()
    if len(text) > MAX_REVOCATIONS_BYTES:
        raise ConfigurationError(
            f"{path} has {len(text)} bytes, more than a revocation list may have: "
            f"{MAX_REVOCATIONS_BYTES}"
        )
    return text.decode("ascii", "replace")


def _add_watch(status: argparse.ArgumentParser) -> None:
    status.add_argument(
        "--watch",
        action="store_true",
        help="show what happens until Ctrl-C: a live screen on a terminal, else a line for each "
        "event; with --json an object on each line",
    )
    status.add_argument(
        "--interval",
        type=_interval,
        metavar="SECONDS",
        help=f"renew the numbers on the screen this often (default: {DEFAULT_INTERVAL_SECONDS:g})",
    )


def _interval(text: str) -> float:
    is_number = text.isascii() and text.replace(".", "", 1).isdigit()
    if is_number and MIN_INTERVAL_SECONDS <= float(text) <= MAX_INTERVAL_SECONDS:
        return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of seconds from {MIN_INTERVAL_SECONDS:g} "
        f"to {MAX_INTERVAL_SECONDS:g}"
    )


def _add_intercepts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    on = _add(commands, "intercept", "intercept.set", "send new connections to a peer", _set_params)
    on.description = "Send the new connections of a port to a peer; running ones stay."
    on.add_argument("port", metavar="PORT", help="name of the port")
    on.add_argument(
        "peer", metavar="SUBJECT[:TARGET]", help="who gets them, and what the port is called there"
    )
    on.add_argument(
        "--fail-closed",
        action="store_true",
        help="do not fall back to the local target while the peer cannot be reached",
    )
    off = _add(
        commands,
        "restore",
        "intercept.clear",
        "send new connections to the local target again",
        lambda options: {"port": options.port},
    )
    off.description = "Send the new connections of a port to its local target; running ones stay."
    off.add_argument("port", metavar="PORT", help="name of the port")


def _add_rules(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rule = _add(
        commands, "rule", "rule.set", "send some requests of a port elsewhere", _rule_params
    )
    rule.description = (
        "Send the requests of a port that have all of these conditions elsewhere.  A condition is "
        "SUBJECT=VALUE, SUBJECT^=PREFIX or SUBJECT~=PATTERN; subjects are header:NAME, path, "
        "method, host, tracestate:KEY, baggage:KEY and grpc (SERVICE or SERVICE/METHOD)."
    )
    rule.add_argument("port", metavar="PORT", help="name of the port; it has to speak http")
    rule.add_argument("name", metavar="NAME", help="of the rule; one of that name is replaced")
    rule.add_argument(
        "target", metavar="TARGET", help="SUBJECT[:TARGET], tcp://HOST:PORT, or local"
    )
    rule.add_argument(
        "--when", action="append", default=[], metavar="CONDITION", help="may be given again"
    )
    rule.add_argument(
        "--for", dest="seconds", type=float, metavar="SECONDS", help="how long it holds"
    )
    rule.add_argument(
        "--fail-closed",
        action="store_true",
        help="answer 503 while the target cannot be reached, instead of asking the workload",
    )
    rule.add_argument(
        "--force", action="store_true", help="also where another rule could take the same request"
    )
    off = _add(
        commands,
        "unrule",
        "rule.clear",
        "take a rule out",
        lambda options: {"port": options.port, "name": options.name},
    )
    off.add_argument("port", metavar="PORT", help="name of the port")
    off.add_argument("name", metavar="NAME", help="of the rule")
    listed = _add(
        commands,
        "rules",
        "rule.list",
        "rules of a port, in the order in which they are asked",
        lambda options: {"port": options.port},
    )
    listed.add_argument("port", metavar="PORT", help="name of the port")
    _add_explain(commands)


def _add_capture(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    capture = _add(commands, "capture", "capture.start", "record requests, or bytes, to a file")
    capture.set_defaults(params_of=_capture_params)
    capture.description = (
        "Record what goes by at a port of a sidecar, at a gateway (PORT is gateway) or at the "
        "targets of a devbox (PORT is targets), until --seconds are over or Ctrl-C.  The program "
        "writes the file, HAR or with --bytes pcapng.  Credentials are left out of a HAR; bytes "
        "hold every one that goes by."
    )
    capture.add_argument("port", metavar="PORT", help="name of the port, gateway, or targets")
    capture.add_argument("file", metavar="FILE", help="of the program's machine; it must not exist")
    capture.add_argument("--bytes", action="store_true", help="bytes of new connections, as pcapng")
    capture.add_argument("--seconds", type=float, default=60.0, help="for how long (default: 60)")
    capture.add_argument("--path", default="", metavar="PREFIX", help="only these targets")
    capture.add_argument("-X", dest="verbs", action="append", metavar="METHOD", help="only these")
    capture.add_argument(
        *("-H", "--header"),
        dest="headers",
        action="append",
        default=[],
        type=_header,
        metavar="'NAME: TEXT'",
        help="only requests with such a field",
    )
    capture.add_argument(
        "--body-kib", type=int, default=1024, help="most of a body (default: 1024)"
    )
    capture.add_argument("--no-redact", action="store_true", help="keep credentials in the file")


def _capture_params(options: argparse.Namespace) -> dict[str, object]:
    return {
        "port": options.port,
        "file": os.path.abspath(options.file),
        "as_bytes": options.bytes,
        "seconds": options.seconds,
        "path_prefix": options.path,
        "methods": options.verbs,
        "headers": dict(options.headers),
        "body_kib": options.body_kib,
        "redact": not options.no_redact,
    }


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = _add(commands, "explain", "explain", "where a request goes, and why", _explain_params)
    explain.description = (
        "Show which rule takes a request, which ones nearly do and why not, or, with --trace, "
        "where the requests of a trace went."
    )
    explain.add_argument("port", metavar="PORT", help="name of the port")
    explain.add_argument("path", metavar="PATH", nargs="?", default="/", help="with the query")
    explain.add_argument("-X", dest="verb", default="GET", metavar="METHOD")
    explain.add_argument(
        "-H", dest="headers", action="append", default=[], metavar="'NAME: VALUE'", type=_header
    )
    explain.add_argument("--trace", default="", metavar="ID", help="the id in `traceparent`")
    explain.add_argument(
        "--request",
        metavar="FILE",
        help="the request as text, as `curl -v` shows it; - is stdin",
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    return name.strip(), value.strip()


def _explain_params(options: argparse.Namespace) -> dict[str, object]:
    if options.request is not None:
        return {"port": options.port, **request_in(_text_of(options.request))}
    return {
        "port": options.port,
        "method": options.verb,
        "path": options.path,
        "headers": dict(options.headers),
        "trace": options.trace,
    }


def _text_of(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    return read_file(path, "request").decode("utf-8", "surrogateescape")


def _rule_params(options: argparse.Namespace) -> dict[str, object]:
    return {
        "port": options.port,
        "name": options.name,
        "target": options.target,
        "when": options.when,
        "fail_open": not options.fail_closed,
        "seconds": options.seconds,
        "force": options.force,
    }


def _add_move(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    move = _add(
        commands,
        "move",
        "move",
        "go to another link with a peer's sessions",
        lambda options: {"peer": options.peer, "address": options.address},
    )
    move.description = (
        "Move the sessions with a peer to another link; open streams go on without a pause.  "
        "They stay there until that link is lost or suspect."
    )
    move.add_argument("peer", metavar="SUBJECT", help="the peer")
    move.add_argument("address", metavar="ADDRESS", help="of the link, as `status` shows it")


def _set_params(options: argparse.Namespace) -> dict[str, object]:
    peer, _, target = str(options.peer).partition(":")
    return {
        "port": options.port,
        "peer": peer,
        "target": target,
        "fail_open": not options.fail_closed,
    }


def _run(arguments: Sequence[str] | None) -> int:
    options = _build_parser().parse_args(arguments)
    if options.command == "status" and (options.watch or options.interval is not None):
        return _watch(options)
    params: Mapping[str, object] = options.params_of(options)
    if options.command == "capture":
        result: object = trio.run(record, options.socket, params)
    else:
        result = trio.run(call_admin, options.socket, options.method, params)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(options.command, result)
    sys.stdout.flush()
    return 0


def _watch(options: argparse.Namespace) -> int:
    """Show what happens until that is ended; return the exit status."""
    if not options.watch:
        raise ConfigurationError("--interval goes with --watch: give both, or none")
    if options.json or not can_show_screen():
        trio.run(partial(print_events, options.socket, as_json=options.json))
    from .screen import show_screen  # rich takes long to load, and need not be there

    interval: float = options.interval or DEFAULT_INTERVAL_SECONDS
    return EXIT_BY_SIGNAL + trio.run(partial(show_screen, options.socket, interval=interval))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    try:
        return _run(arguments)
    except TunnelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_FAULT
    except BrokenPipeError:
        # The reader has gone (`... | head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
