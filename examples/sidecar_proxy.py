"""A sidecar proxy: listens in front of a workload and sends its traffic to a laptop when asked."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load: no traceback
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone need not be installed

from tunnelkit import limits
from tunnelkit.errors import ConfigurationError
from tunnelkit.programs import Flags, Plan, Running, log_events, run_program
from tunnelkit.programs.carriers import add_carrier_flags, make_network, reload_of
from tunnelkit.programs.credentials import Credentials, add_revoked_flag
from tunnelkit.programs.flags import (
    add_endpoint_flags,
    add_identity_flags,
    check_links,
    endpoint_options,
    existing_name,
    host_port,
    named,
    text_of,
    unique,
)
from tunnelkit.programs.outgoing import add_outgoing_flags, outgoing_of
from tunnelkit.sidecar import Intercept, PortSpec, Speaks, open_sidecar
from tunnelkit.sidecar.methods import sidecar_methods

_EXAMPLE = """\
python examples/sidecar_proxy.py --keys issuer.pem.pub.json --key web.pem --token web.token \\
    --link tcp://127.0.0.1:7000 --port orders=127.0.0.1:9080,127.0.0.1:8080 --admin run/sidecar.sock
python -m tunnelkit.admin run/sidecar.sock intercept orders devbox/alice
python -m tunnelkit.admin run/sidecar.sock restore orders
"""


def port(text: str, what: str) -> tuple[str, PortSpec]:
    """Read ``NAME=LISTEN,TARGET[,SPEAKS]``."""
    name, value = named(text, what, "NAME=LISTEN_HOST:PORT,TARGET_HOST:PORT")
    listen, comma, rest = value.partition(",")
    if not comma:
        raise ConfigurationError(
            f"{what} {text!r} needs two addresses, NAME=LISTEN_HOST:PORT,TARGET_HOST:PORT"
        )
    target, _, speaks = rest.partition(",")
    if speaks not in ("", *(one.value for one in Speaks)):
        known = " or ".join(one.value for one in Speaks)
        raise ConfigurationError(f"{what} {text!r}: what it speaks is {known}")
    addresses = host_port(listen, what), host_port(target, what)
    return name, PortSpec(name, *addresses, Speaks(speaks or "auto"))


def intercept(text: str, what: str) -> tuple[str, Intercept]:
    """Read ``NAME=SUBJECT[:TARGET]``."""
    name, value = named(text, what, "NAME=SUBJECT[:TARGET]")
    peer, _, target = value.partition(":")
    return name, Intercept(text_of(peer, what), target or name)


def make_flags() -> Flags:
    """Return what can be set."""
    flags = Flags(
        "sidecar_proxy",
        "Listen in front of local targets.  A port that is intercepted sends its new connections "
        "to the\nnamed developer's session, and to the local target while that cannot be reached.",
        example=_EXAMPLE,
    )
    add_identity_flags(flags)
    add_revoked_flag(flags)
    flags.add(
        "--port",
        port,
        metavar="NAME=LISTEN,TARGET[,SPEAKS]",
        repeat=True,
        help="listen on HOST:PORT in front of the local target HOST:PORT; SPEAKS says what "
        "rules may look at: auto (as the first bytes tell, the default), http, h2c, grpc, tls (the "
        "server name), or tcp: nothing",
    )
    flags.add(
        "--outbound",
        port,
        metavar="NAME=LISTEN,TARGET[,SPEAKS]",
        repeat=True,
        help="the same for calls of the workload itself: it connects to LISTEN, and is led to "
        "TARGET, a service that it calls",
    )
    flags.add(
        "--audit",
        text_of,
        metavar="KEY",
        help="count which trace and environment ids of the requests that come in are missing in "
        "those that leave by --outbound; KEY is the member of tracestate that names an environment",
    )
    flags.add(
        "--intercept",
        intercept,
        metavar="NAME=SUBJECT[:TARGET]",
        repeat=True,
        help="intercept this port from the start; TARGET is what the developer calls it",
    )
    flags.add_switch("--fail-closed", help="for --intercept: do not fall back to the local target")
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
    ports = unique(options.port, "--port")
    for name, spec in unique(options.outbound, "--outbound").items():
        if name in ports:
            raise ConfigurationError(f"--outbound {name}: a --port has this name already")
        ports[name] = replace(spec, is_outbound=True)
    wanted = unique(options.intercept, "--intercept")
    intercepts = {
        existing_name(name, ports, "--intercept"): Intercept(
            i.peer, i.target, not options.fail_closed
        )
        for name, i in wanted.items()
    }
    outgoing = outgoing_of(options)
    if not ports and not outgoing.needs_peers:
        raise ConfigurationError(
            "there is nothing to do: give --port (or set TUNNELKIT_PORT), --target or --allow"
        )
    if intercepts or outgoing.needs_peers:
        check_links(options)

    async def serve(running: Running) -> None:
        async with open_sidecar(
            identity,
            credentials.trust,
            ports=ports.values(),
            audit=options.audit,
            **outgoing.arguments,
            **endpoint_options(options, network),
        ) as sidecar:
            log_events(sidecar.endpoint, running.displaced)
            credentials.keep(sidecar.endpoint)
            for name, value in intercepts.items():
                sidecar.set_intercept(name, value)
            async with running.admin(sidecar_methods(sidecar)):
                running.ready(
                    links=[door.address for door in sidecar.endpoint.listeners],
                    listeners={**sidecar.port_addresses(), **sidecar.outgoing.listeners},
                )
                await running.wait_stop()
                await sidecar.drain(running.drain_seconds)
                running.finished(sidecar.open_count)

    summary = {
        "subject": [identity.subject],
        **credentials.summary,
        "links to": options.link,
        "listen": options.listen,
        "direct": [*options.advertise, *options.direct],
        "ports": [f"{spec.name}: {spec.listen} before {spec.target}" for spec in ports.values()],
        "intercepts": [f"{name} by {i.peer} as {i.target}" for name, i in intercepts.items()],
        **outgoing.summary,
    }
    return Plan(serve, summary, credentials.reload_with(reload_of(network)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run_program(make_flags(), make_plan, arguments)


if __name__ == "__main__":
    sys.exit(main())
