"""``python -m tunnelkit.connect``: stdin and stdout as one stream to a target of a peer."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address, Destination, parse_destination
from tunnelkit.auth import Identity
from tunnelkit.carriers import Network
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import NOT_ALLOWED, ConfigurationError, TunnelError
from tunnelkit.events import Event, LinkFailed
from tunnelkit.programs.carriers import add_carrier_flags, make_network
from tunnelkit.programs.flags import (
    Flags,
    add_identity_flags,
    address,
    load_identity,
    one_of,
    seconds,
    text_of,
)
from tunnelkit.programs.logs import configure_logging
from tunnelkit.programs.watch import log_events

from .call import STOP_SECONDS, Call, Ending, Exit
from .descriptors import take_over

__all__ = ["main", "make_flags"]

_log = logging.getLogger("tunnelkit.connect")

DEFAULT_TIMEOUT_SECONDS = 10.0
"""How long to wait for the peer, and then for its answer, unless told otherwise, seconds."""

COLLECT_AFTER_OBJECTS = 20_000
"""New objects after which the cycle collector looks at the young ones (Python's own: 700)."""

_EXAMPLE = """\
python -m tunnelkit.connect ssh@devbox/alice --keys issuer.pem.pub.json --key me.pem \\
    --token me.token --link tcp://127.0.0.1:7000

example for ~/.ssh/config, with the other settings in TUNNELKIT_* variables:
  Host alice
      ProxyCommand python -m tunnelkit.connect ssh@devbox/alice
  Host *.inside
      ProxyCommand python -m tunnelkit.connect --peer sidecar/prices %h:%p
"""

_GENERAL = """\
destination:
  TARGET is a name that the peer serves, or HOST:PORT where the peer allows addresses (an IPv6
  address in brackets).  PEER is the peer's subject.  The first "@" divides: a target has none, a
  subject may be devbox/alice@laptop.

callers:
  A second process with the same token takes the place of the first one.  To let several run at
  once, make the token with `python -m tunnelkit.auth mint --caller`.

environment:
  Every flag can also be set as TUNNELKIT_<FLAG>, such as TUNNELKIT_LINK=tcp://127.0.0.1:7000.
  Flags win.

output:
  On stdout come the stream's bytes and nothing else.  The end of stdin is passed on, and what the
  other side still sends is delivered; the program ends when both directions are over.  A lost link
  or a restarted broker is survived in silence; -v tells of it.

signals:
  SIGTERM, SIGINT: end now; the other side sees a reset.  SIGHUP, which ssh sends when it is done:
  what is under way has a second to arrive.

exit status:
  0   both directions came to a clean end, and the peer has received everything
  1   the stream was cut off: bytes are missing
  2   the settings are wrong, or a file cannot be used
  3   another process of the same subject took this one's place
  4   stopped by a signal, or nobody reads stdout any more
  69  the peer or its target cannot be reached now: later it may work
  70  an unexpected error: please report it
  77  refused: the target is not served, or a token does not allow it
"""


def make_flags() -> Flags:
    """Return what can be set."""
    flags = Flags(
        "connect",
        "Join stdin and stdout with one stream to a target of a peer, through a tunnel.\n"
        "Made for OpenSSH's ProxyCommand.",
        example=_EXAMPLE,
        command="python -m tunnelkit.connect",
        general=_GENERAL,
    )
    flags.add_operand(
        "destination", metavar="TARGET[@PEER]", help="what to open, and at which peer"
    )
    flags.add("--peer", text_of, metavar="PEER", help="the peer, where TARGET names none")
    add_identity_flags(flags)
    flags.add(
        "--link",
        address,
        metavar="ADDRESS",
        repeat=True,
        required=True,
        help="broker or peer to keep a link to, in order of preference",
    )
    flags.add(
        "--timeout",
        seconds,
        metavar="SECONDS",
        default=DEFAULT_TIMEOUT_SECONDS,
        help="how long to wait for the peer, and then for its answer",
    )
    flags.add(
        "--grace-seconds",
        seconds,
        metavar="SECONDS",
        default=limits.DEFAULT_GRACE_SECONDS,
        help="how long the stream waits for a lost peer",
    )
    add_carrier_flags(flags, listens=False)
    flags.add(
        "--log-level",
        one_of("debug", "info", "warning", "error"),
        metavar="LEVEL",
        default="error",
        help="debug, info, warning or error; logs go to stderr",
    )
    flags.add_switch("--verbose", short="-v", help="the same as --log-level info")
    return flags


# --- signals -----------------------------------------------------------------------------------


def _handled(*numbers: signal.Signals) -> list[signal.Signals]:
    """Leave out what whoever started the program wants to be ignored, as nohup does."""
    chosen = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    # What follows the receiver is short, and no reason to die of a signal that ssh always sends.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return chosen


async def _receive_signals(
    call: Call, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    numbers = _handled(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as received:
        task_status.started()
        async for number in received:
            _log.info("received %s", signal.Signals(number).name)
            if number == signal.SIGHUP:
                call.hang_up()
            else:
                call.stop(Ending(Exit.CUT_SHORT))


# --- the program -------------------------------------------------------------------------------


class _Refusals:
    """Ends a call that no broker or peer will ever carry, without waiting for the timeout."""

    def __init__(self, call: Call, links: Iterable[Address]) -> None:
        self._call = call
        self._open = {str(address) for address in links}

    def listen(self, event: Event) -> None:
        if isinstance(event, LinkFailed) and event.code in NOT_ALLOWED:
            self._open.discard(event.address)
            if not self._open and not self._call.is_open:
                self._call.stop(Ending(Exit.REFUSED, event.why))


async def _serve(
    options: argparse.Namespace, identity: Identity, network: Network, destination: Destination
) -> Exit:
    async with trio.open_nursery() as nursery:  # signals are received until the links are closed
        async with open_endpoint(
            identity,
            options.keys,
            dial=options.link,
            grace_seconds=options.grace_seconds,
            network=network,
        ) as endpoint:
            call = Call(endpoint, destination, timeout=options.timeout, tell=_say)
            _listen(call, endpoint, options.link)
            await nursery.start(_receive_signals, call)
            ending = await call.run(take_over(0), take_over(1))
            if ending.exit is not Exit.OK:
                # Whoever waits for this program need not wait for a peer that is not there.
                with trio.move_on_after(STOP_SECONDS):
                    for session in list(endpoint.sessions.values()):
                        await session.aclose()
        nursery.cancel_scope.cancel()
    return ending.exit


def _listen(call: Call, endpoint: Endpoint, links: Iterable[Address]) -> None:
    """Log what happens, and end the call where it makes no sense any more."""

    def displaced(why: str) -> None:
        text = f"another process runs as {endpoint.subject}: {why}"
        advice = "to run several at once, mint the token with --caller"
        call.stop(Ending(Exit.DISPLACED, f"{text}; {advice}"))

    log_events(endpoint, displaced)
    endpoint.events.add(_Refusals(call, links).listen)


def _say(ending: Ending) -> None:
    if ending.text:
        with suppress(OSError):  # nobody reads stderr either
            print(f"error: {ending.text}", file=sys.stderr, flush=True)


def _check_descriptors() -> None:
    for number, name in ((0, "stdin"), (1, "stdout")):
        try:
            os.fstat(number)
        except OSError:
            raise ConfigurationError(
                f"{name} is closed: give it something, if only /dev/null"
            ) from None


def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> Exit:
    identity = load_identity(options)
    if options.peer is None and "@" not in options.destination:
        text = f"{options.destination!r} names no peer: write TARGET@PEER, or give --peer"
        raise ConfigurationError(text)
    destination = parse_destination(options.destination, peer=options.peer, what="TARGET[@PEER]")
    network = make_network(options, environment)
    if options.check:
        links = ", ".join(map(str, options.link))
        print(f"connect: the settings are right; it would open {destination}")
        print(f"  subject    {identity.subject}\n  links to   {links}")
        return Exit.OK
    _check_descriptors()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 50)
    return trio.run(_serve, options, identity, network, destination)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _explain(error: BaseException) -> Ending:
    if isinstance(error, TunnelError):
        return Ending(Exit.CONFIGURATION, str(error))
    _log.debug("unexpected error", exc_info=error)
    text = (
        f"unexpected {type(error).__name__}: {error}: run again with --log-level debug to see where"
    )
    return Ending(Exit.UNEXPECTED, f"{text}, and report it")


def main(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> int:
    """Run the program; return its exit status."""
    variables = os.environ if environment is None else environment
    try:
        options = make_flags().parse(arguments, variables)
        configure_logging("human", "info" if options.verbose else options.log_level)
        return _run(options, variables)
    except KeyboardInterrupt:
        return Exit.CUT_SHORT
    except Exception as error:
        ending = _explain(_innermost(error))
    _say(ending)
    return ending.exit


if __name__ == "__main__":
    sys.exit(main())
