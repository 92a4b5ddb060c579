"""A gateway: one public port for previews of services, the control plane's API, and links."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load: no traceback
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone need not be installed

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.endpoint import open_endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.gateway import GatewaySettings, open_gateway
from tunnelkit.gateway.files import FileDirectory
from tunnelkit.gateway.methods import gateway_methods
from tunnelkit.gateway.settings import ENVIRONMENT_KEY, LOGIN_COOKIE
from tunnelkit.programs import Flags, Plan, Running, log_events, run_program
from tunnelkit.programs.carriers import add_carrier_flags, make_network, reload_of
from tunnelkit.programs.credentials import Credentials, add_revoked_flag
from tunnelkit.programs.flags import (
    add_endpoint_flags,
    add_identity_flags,
    endpoint_options,
    host_port,
    text_of,
    whole_number,
)

_log = logging.getLogger("tunnelkit.programs")

_EXAMPLE = """\
python examples/gateway.py --keys issuer.pem.pub.json --key gateway.pem --token gateway.token \\
    --link tcp://127.0.0.1:7000 --serve http://127.0.0.1:8000 --domain preview.localhost \\
    --directory sites.toml --admin run/gateway.sock
curl -H 'Authorization: Bearer …' http://8080-shop-k3j9x2.preview.localhost:8000/
"""


def door(text: str, what: str) -> tuple[Address, bool]:
    """Read ``http://HOST:PORT`` or ``https://HOST:PORT``; return whether it is TLS."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("http", "https") or "/" in rest:
        raise ConfigurationError(f"{what} {text!r}: write http://HOST:PORT or https://HOST:PORT")
    return host_port(rest, what), scheme == "https"


def login_url(text: str, what: str) -> str:
    """Read where people log in."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or not text.isascii():
        raise ConfigurationError(f"{what} {text!r}: write https://HOST/PATH")
    return text


def make_flags() -> Flags:
    """Return what can be set."""
    flags = Flags(
        "gateway",
        "Serve previews of services, the control plane's API and links on one port.  A preview is "
        "the host\n{port}-{service}-{hash} below --domain, or a path /NAME/; a file says what each "
        "leads to, and who may\nsee it.",
        example=_EXAMPLE,
    )
    add_identity_flags(flags)
    add_revoked_flag(flags)
    flags.add(
        "--serve",
        door,
        metavar="URL",
        required=True,
        repeat=True,
        help="where clients connect: http://HOST:PORT, or https://HOST:PORT with --tls-cert and "
        "--tls-key, which SIGHUP loads anew",
    )
    flags.add(
        "--directory",
        metavar="FILE",
        required=True,
        help="previews, paths and callers, in TOML; SIGHUP reads it again",
    )
    flags.add("--domain", text_of, metavar="NAME", default="", help="domain of the preview hosts")
    flags.add(
        "--api",
        host_port,
        metavar="HOST:PORT",
        help="the control plane: it gets what no preview and no path takes, login included",
    )
    flags.add(
        "--tunnel",
        host_port,
        metavar="HOST:PORT",
        help="a broker's ws:// listener: it gets the WebSockets at /tunnel",
    )
    flags.add("--login-url", login_url, metavar="URL", default="", help="where people log in")
    flags.add(
        "--login-cookie",
        text_of,
        metavar="NAME",
        default=LOGIN_COOKIE,
        help="cookie by which people are known; no service sees it",
    )
    flags.add(
        "--environment-key",
        text_of,
        metavar="NAME",
        default=ENVIRONMENT_KEY,
        help="member of tracestate that names an environment",
    )
    flags.add(
        "--max-body-mib",
        whole_number(1, 1 << 20),
        metavar="MIB",
        help="longest request body; without it, any",
    )
    add_endpoint_flags(flags)
    add_carrier_flags(flags)
    flags.add_common(limits.DEFAULT_DRAIN_SECONDS)
    return flags


def settings_of(options: argparse.Namespace) -> GatewaySettings:
    """Return what the flags say."""
    return GatewaySettings(
        domain=options.domain,
        api=options.api,
        tunnel=options.tunnel,
        login_url=options.login_url,
        login_cookie=options.login_cookie,
        environment_key=options.environment_key,
        max_body_bytes=options.max_body_mib * limits.MIB if options.max_body_mib else None,
    )


def make_plan(options: argparse.Namespace) -> Plan:
    """Return what the settings ask for."""
    credentials = Credentials(options)
    identity = credentials.identity
    network = make_network(options)
    settings = settings_of(options)
    directory = FileDirectory(options.directory)
    if any(is_tls for _, is_tls in options.serve) and not (network.tls and network.tls.can_listen):
        raise ConfigurationError("--serve https:// needs --tls-cert and --tls-key")

    async def serve(running: Running) -> None:
        async with (
            open_endpoint(
                identity, credentials.trust, **endpoint_options(options, network)
            ) as endpoint,
            open_gateway(endpoint, directory, settings) as gateway,
        ):
            for address, is_tls in options.serve:
                await gateway.add_door(address, network.tls if is_tls else None)
            log_events(endpoint, running.displaced)
            credentials.keep(endpoint)
            async with running.admin(gateway_methods(gateway, directory.sites)):
                running.ready(
                    links=[one.address for one in endpoint.listeners],
                    listeners={f"web{n}": one for n, one in enumerate(gateway.addresses)},
                )
                await running.wait_stop()
                await gateway.drain(running.drain_seconds)
                running.finished(gateway.open_count)

    def reload() -> None:
        try:
            directory.reload()
        except ConfigurationError as error:
            _log.error("the directory is not reloaded, the old one stays in use: %s", error)
        else:
            _log.info("the directory is reloaded")
        reload_network = reload_of(network)
        if reload_network is not None:
            reload_network()

    summary = {
        "subject": [identity.subject],
        **credentials.summary,
        "links to": options.link,
        "listen": options.listen,
        "served at": [
            f"{'https' if tls else 'http'}://{one.host_port}" for one, tls in options.serve
        ],
        "sites": [f"{name}: {site.upstream}" for name, site in directory.sites().items()],
    }
    return Plan(serve, summary, credentials.reload_with(reload))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run_program(make_flags(), make_plan, arguments)


if __name__ == "__main__":
    sys.exit(main())
