"""What programs can be told of the carriers of their links: for now, TLS."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from tunnelkit.carriers import SYSTEM_NETWORK, SocketNetwork, TlsSettings
from tunnelkit.errors import ConfigurationError

from .flags import Flags

__all__ = ["add_tls_flags", "make_network", "reload_of"]

_log = logging.getLogger("tunnelkit.programs")


def add_tls_flags(flags: Flags) -> None:
    """Add what a program needs for links over ``tls://`` and ``wss://``."""
    flags.add(
        "--tls-cert",
        metavar="FILE",
        help="certificate of this program, for tls:// and wss:// (PEM)",
    )
    flags.add("--tls-key", metavar="FILE", help="private key of that certificate (PEM)")
    flags.add(
        "--tls-ca",
        metavar="FILE",
        help="CAs that may vouch for the servers that are dialled; without it, those of the system",
    )
    flags.add(
        "--tls-client-ca",
        metavar="FILE",
        help="ask those who dial for a certificate, from one of these CAs",
    )
    flags.add(
        "--tls-server-name",
        metavar="NAME",
        help="name that a server's certificate has to be for, if it is not the host of --link",
    )


def make_network(options: argparse.Namespace) -> SocketNetwork:
    """Return where the carriers of a program come from.

    Raises:
        ConfigurationError: a file cannot be used, or one is missing.
    """
    given = [options.tls_cert, options.tls_key, options.tls_ca, options.tls_client_ca]
    listens = any(address.scheme in ("tls", "wss") for address in options.listen)
    if listens and not (options.tls_cert and options.tls_key):
        raise ConfigurationError("--listen tls:// or wss:// needs --tls-cert and --tls-key")
    if not any(given) and not options.tls_server_name:
        return SYSTEM_NETWORK
    return SocketNetwork(
        TlsSettings(
            certificate=options.tls_cert,
            key=options.tls_key,
            ca=options.tls_ca,
            client_ca=options.tls_client_ca,
            server_name=options.tls_server_name,
        )
    )


def reload_of(network: SocketNetwork) -> Callable[[], None] | None:
    """Return what a program does on SIGHUP: read its certificate again; None: it has none."""
    tls = network.tls
    if tls is None or tls.certificate is None:
        return None

    def reload() -> None:
        try:
            tls.reload()
        except ConfigurationError as error:
            _log.error("certificates are not reloaded, the old ones stay in use: %s", error)
        else:
            _log.info("certificates are reloaded; links that are up keep theirs")

    return reload
