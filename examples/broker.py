"""A broker: joins the links of sidecars and devboxes, and switches the frames of their sessions.

It keeps nothing that it could lose: kill it, start it again, and running transfers go on.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load: no traceback
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone need not be installed

from tunnelkit import limits
from tunnelkit.broker import open_broker
from tunnelkit.broker.methods import broker_methods
from tunnelkit.programs import Flags, Plan, Running, log_events, run_program
from tunnelkit.programs.carriers import add_carrier_flags, make_network, reload_of
from tunnelkit.programs.credentials import Credentials, add_revoked_flag
from tunnelkit.programs.flags import address, key_ring, seconds, whole_number

QUIET_SECONDS = 1.0
"""Idle sessions that have no other broker do not hold up the end for longer, seconds."""

_EXAMPLE = """\
python -m tunnelkit.auth keygen --out issuer.pem
python examples/broker.py --listen tcp://127.0.0.1:7000 --keys issuer.pem.pub.json
"""


def make_flags() -> Flags:
    """Return what can be set."""
    flags = Flags(
        "broker",
        "Join endpoints that cannot reach each other: each of them dials this broker, shows its "
        "token,\nand meets the peers that both tokens allow.",
        example=_EXAMPLE,
    )
    flags.add(
        "--listen",
        address,
        metavar="ADDRESS",
        required=True,
        repeat=True,
        help="where to accept links: tcp://HOST:PORT, the same with tls, ws or wss, or unix:///PATH",
    )
    flags.add(
        "--keys",
        key_ring,
        metavar="FILE",
        required=True,
        help="key ring: public keys of the issuers whose tokens are believed",
    )
    add_revoked_flag(flags)
    flags.add(
        "--budget-mib",
        whole_number(1, 1 << 20),
        metavar="MIB",
        default=limits.BROKER_BUDGET_BYTES // limits.MIB,
        help="most that all sessions together may have queued here",
    )
    flags.add(
        "--grace-seconds",
        seconds,
        metavar="SECONDS",
        default=limits.DEFAULT_GRACE_SECONDS,
        help="how long one side of a session waits here for the other one",
    )
    add_carrier_flags(flags, dials=False)
    flags.add_common(limits.DEFAULT_DRAIN_SECONDS)
    return flags


def make_plan(options: argparse.Namespace) -> Plan:
    """Return what the settings ask for."""
    credentials = Credentials(options)
    network = make_network(options)

    async def serve(running: Running) -> None:
        async with open_broker(
            credentials.trust,
            listen=options.listen,
            budget_bytes=options.budget_mib * limits.MIB,
            grace_seconds=options.grace_seconds,
            network=network,
        ) as broker:
            log_events(broker)
            credentials.keep(broker)
            async with running.admin(broker_methods(broker)):
                running.ready(links=[listener.address for listener in broker.listeners])
                await running.wait_stop()
                await broker.drain(running.drain_seconds, quiet=QUIET_SECONDS)

    summary = {"listen": options.listen, **credentials.summary}
    return Plan(serve, summary, credentials.reload_with(reload_of(network)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run_program(make_flags(), make_plan, arguments)


if __name__ == "__main__":
    sys.exit(main())
