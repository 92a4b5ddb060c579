"""What programs can be told of the carriers of their links: TLS, WebSockets, proxies.

The library goes through a proxy only where it is told so; programs look into the environment, as
their users expect, unless `--proxy` says otherwise.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from tunnelkit.auth.files import read_secret_file
from tunnelkit.carriers import (
    SYSTEM_NETWORK,
    ProxySettings,
    SocketNetwork,
    TlsSettings,
    WebSocketOptions,
)
from tunnelkit.errors import ConfigurationError

from .flags import Flags

__all__ = [
    "ProgramNetwork",
    "add_carrier_flags",
    "add_tls_flags",
    "make_network",
    "proxy_choice",
    "reload_of",
    "ws_header",
]

_log = logging.getLogger("tunnelkit.programs")

FROM_ENVIRONMENT: Final = "environment"
NO_PROXY: Final = "none"


def proxy_choice(text: str, what: str) -> str:
    """Read the address of a proxy, ``none``, or ``environment``."""
    if text not in (FROM_ENVIRONMENT, NO_PROXY):
        ProxySettings.of_url(text, what=what)
    return text


def ws_header(text: str, what: str) -> tuple[str, str]:
    """Read ``NAME: VALUE``, a header of the WebSocket handshake."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigurationError(f"{what} is not NAME: VALUE")  # it may hold a secret
    header = (name.strip(), value.strip())
    try:
        WebSocketOptions(headers=(header,))
    except ConfigurationError as error:
        raise ConfigurationError(f"{what}: {error}") from error
    return header


def add_carrier_flags(flags: Flags, *, dials: bool = True, listens: bool = True) -> None:
    """Add all that a program can be told of carriers.

    Args:
        dials: whether it dials links.
        listens: whether it accepts links.
    """
    add_tls_flags(flags)
    if dials:
        flags.add(
            "--proxy",
            proxy_choice,
            metavar="URL",
            default=FROM_ENVIRONMENT,
            help="HTTP proxy for the links that are dialled, http://HOST:PORT, with USER:PASSWORD@ "
            "before HOST if need be; none: go straight; environment: what HTTPS_PROXY and "
            "NO_PROXY say",
        )
        flags.add(
            "--proxy-ca",
            metavar="FILE",
            help="CAs that may vouch for a proxy with https://; without it, those of the system",
        )
        flags.add(
            "--ws-header",
            ws_header,
            metavar="NAME:VALUE",
            repeat=True,
            help="further header of the WebSocket handshake, such as a gateway may want",
        )
        flags.add(
            "--ws-token",
            metavar="FILE",
            help="bearer token for the gateway or listener at ws:// and wss://",
        )
    if listens:
        flags.add(
            "--ws-accept-token",
            metavar="FILE",
            help="let in at ws:// and wss:// only who sends one of these bearer tokens, one a line",
        )


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


class ProgramNetwork(SocketNetwork):
    """The network of a program: made by its flags, with files that can be read again.

    Args:
        options: what `add_carrier_flags` has added, or some of it.
        environment: where proxies are looked for, if the flags do not name one.

    Raises:
        ConfigurationError: a file cannot be used, or one is missing.
    """

    def __init__(self, options: argparse.Namespace, environment: Mapping[str, str]) -> None:
        self._options = options
        proxy = _proxy_settings(options, environment)
        super().__init__(_tls_settings(options), _websocket_options(options), proxy)

    @property
    def files(self) -> str:
        """What is read again by `reload`, for a person; "": nothing."""
        names = ["certificates"] if self.tls is not None and self.tls.can_listen else []
        if _given(self._options, "ws_token") or _given(self._options, "ws_accept_token"):
            names.append("WebSocket tokens")
        return " and ".join(names)

    def reload(self) -> None:
        """Read the files again, for the handshakes to come.

        Raises:
            ConfigurationError: one cannot be used; everything stays as it was.
        """
        websocket = _websocket_options(self._options)
        if self.tls is not None:
            self.tls.reload()
        self.websocket = websocket


def make_network(
    options: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> SocketNetwork:
    """Return where the carriers of a program come from.

    Raises:
        ConfigurationError: a file cannot be used, or one is missing, or the environment names a
            proxy that links cannot use.
    """
    listens = any(address.scheme in ("tls", "wss") for address in _given(options, "listen") or [])
    if listens and not (options.tls_cert and options.tls_key):
        raise ConfigurationError("--listen tls:// or wss:// needs --tls-cert and --tls-key")
    network = ProgramNetwork(options, environment)
    if network.proxy is not None:
        for address in _given(options, "link") or []:
            network.proxy.choose(address)
    is_plain = network.tls is None and network.proxy is None
    return SYSTEM_NETWORK if is_plain and network.websocket == WebSocketOptions() else network


def _given(options: argparse.Namespace, name: str) -> Any:
    """Return the value of a flag; None: this program does not have it."""
    return getattr(options, name, None)


def _tls_settings(options: argparse.Namespace) -> TlsSettings | None:
    given = [options.tls_cert, options.tls_key, options.tls_ca, options.tls_client_ca]
    if not any(given) and not options.tls_server_name:
        return None
    return TlsSettings(
        certificate=options.tls_cert,
        key=options.tls_key,
        ca=options.tls_ca,
        client_ca=options.tls_client_ca,
        server_name=options.tls_server_name,
    )


def _websocket_options(options: argparse.Namespace) -> WebSocketOptions:
    accepted, own = _given(options, "ws_accept_token"), _given(options, "ws_token")
    tokens = _read_tokens(own, "--ws-token") if own else []
    if len(tokens) > 1:
        raise ConfigurationError(f"--ws-token {own} has several lines: it is for one token")
    return WebSocketOptions(
        headers=tuple(_given(options, "ws_header") or ()),
        bearer_token=tokens[0] if tokens else None,
        accept_tokens=tuple(_read_tokens(accepted, "--ws-accept-token")) if accepted else (),
    )


def _read_tokens(file: str, what: str) -> list[str]:
    """Return the tokens in a file, one a line.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or there is none in it.
    """
    text = read_secret_file(file, what).decode("utf-8", "replace")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ConfigurationError(f"{what} {file} is empty: write a token into it")
    return found


def _proxy_settings(
    options: argparse.Namespace, environment: Mapping[str, str]
) -> ProxySettings | None:
    choice, ca = _given(options, "proxy"), _given(options, "proxy_ca")
    if choice is None or choice == NO_PROXY:
        return None
    tls = TlsSettings(ca=ca) if ca else None
    if choice == FROM_ENVIRONMENT:
        return ProxySettings.of_environment(environment, tls=tls)
    return ProxySettings.of_url(choice, tls=tls, what="--proxy")


def reload_of(network: SocketNetwork) -> Callable[[], None] | None:
    """Return what a program does on SIGHUP: read its files again; None: it has none."""
    if not isinstance(network, ProgramNetwork) or not network.files:
        return None

    def reload() -> None:
        try:
            network.reload()
        except ConfigurationError as error:
            _log.error("%s are not reloaded, the old ones stay in use: %s", network.files, error)
        else:
            _log.info("%s are reloaded; links that are up keep theirs", network.files)

    return reload
