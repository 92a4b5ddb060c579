"""A devbox proxy: serves intercepted connections from the laptop, and leads to the cluster."""

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
from tunnelkit.devbox import open_devbox
from tunnelkit.devbox.methods import devbox_methods
from tunnelkit.programs import Flags, Plan, Running, log_events, run_program
from tunnelkit.programs.carriers import add_carrier_flags, make_network, reload_of
from tunnelkit.programs.credentials import Credentials, add_revoked_flag
from tunnelkit.programs.flags import (
    add_endpoint_flags,
    add_identity_flags,
    check_links,
    endpoint_options,
)
from tunnelkit.programs.outgoing import add_outgoing_flags, outgoing_of

_EXAMPLE = """\
python examples/devbox_proxy.py --keys issuer.pem.pub.json --key laptop.pem --token laptop.token \\
    --link tcp://127.0.0.1:7000 --target orders=127.0.0.1:8080 \\
    --forward 127.0.0.1:5432=postgres@sidecar/web --socks 127.0.0.1:1080=sidecar/web
"""


def make_flags() -> Flags:
    """Return what can be set."""
    flags = Flags(
        "devbox_proxy",
        "Serve connections that a sidecar intercepts from targets on this machine, and listen for "
        "programs\nhere that want to reach what peers serve.  Only what is named here can be "
        "opened, and only by\npeers whose token allows it.",
        example=_EXAMPLE,
    )
    add_identity_flags(flags)
    add_revoked_flag(flags)
    add_outgoing_flags(flags)
    add_endpoint_flags(flags)
    add_carrier_flags(flags)
    flags.add_common(limits.DEFAULT_DRAIN_SECONDS)
    return flags


def make_plan(options: argparse.Namespace) -> Plan:
    """Return what the settings ask for."""
    credentials = Credentials(options)
    identity = credentials.identity
    network = make_network(options)
    outgoing = outgoing_of(options)
    check_links(options)

    async def serve(running: Running) -> None:
        async with open_devbox(
            identity,
            credentials.trust,
            **outgoing.arguments,
            **endpoint_options(options, network),
        ) as devbox:
            log_events(devbox.endpoint, running.displaced)
            credentials.keep(devbox.endpoint)

            def why_idle() -> str:
                return "" if devbox.endpoint.links else "there is no link to a broker"

            async with running.admin(devbox_methods(devbox), why_idle=why_idle):
                running.ready(
                    links=[door.address for door in devbox.endpoint.listeners],
                    listeners=devbox.outgoing.listeners,
                )
                await running.wait_stop()
                await devbox.outgoing.drain(running.drain_seconds)
                running.finished(devbox.outgoing.open_count)

    summary = {
        "subject": [identity.subject],
        **credentials.summary,
        "links to": options.link,
        "listen": options.listen,
        "direct": [*options.advertise, *options.direct],
        **outgoing.summary,
    }
    return Plan(serve, summary, credentials.reload_with(reload_of(network)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run_program(make_flags(), make_plan, arguments)


if __name__ == "__main__":
    sys.exit(main())
