"""Which proxy leads to an address: chosen from what a user or the environment says (no I/O).

The rules for the environment are those of curl, where it has any:

* `https_proxy` or `HTTPS_PROXY` is for `tcp://`, `tls://` and `wss://`, `http_proxy` for `ws://`,
  and `all_proxy` or `ALL_PROXY` for those that have no other.  `HTTP_PROXY` in capitals is never
  looked at: under CGI whoever sends a request can set it, by a header called Proxy.
* `no_proxy` or `NO_PROXY` lists what is dialled straight.  Loopback always is.

A proxy that is given by name, not by the environment, is for every link, loopback included.  Names
are compared as they are written: none is looked up here, as only the proxy may know them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError

from .tls_settings import TlsSettings

__all__ = ["NoProxy", "Proxy", "ProxySettings", "parse_proxy"]

_IP: TypeAlias = IPv4Address | IPv6Address

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+")
_SECURE: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_PLAIN: Final = ("http_proxy", "all_proxy", "ALL_PROXY")
_VARIABLES: Final = {"tcp": _SECURE, "tls": _SECURE, "wss": _SECURE, "ws": _PLAIN}
"""Where the proxy for each scheme is looked for, in this order."""

_FORM: Final = "http://HOST:PORT, https://HOST:PORT, or with USER:PASSWORD@ before HOST"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, and the login for it.

    Args:
        scheme: "http", or "https" for one that is reached by TLS.
        login: "USER:PASSWORD", not encoded in any way; "": none.
    """

    scheme: str
    host: str
    port: int
    login: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address.host_port}"

    @property
    def address(self) -> Address:
        """Where it is to be dialled."""
        return Address("tcp", self.host, self.port)


def parse_proxy(text: str, *, what: str = "proxy") -> Proxy:
    """Return the proxy that *text* names; without a scheme it is one of ``http://``.

    Args:
        text: for example ``http://user:secret@proxy.example:3128``.  What has a meaning in a URL
            is written with % in user and password: ``%40`` for ``@``.
        what: the setting that *text* comes from, for the error.

    Raises:
        ConfigurationError: it names none.  The error does not show *text*: it may have a password.
    """
    url = text.strip()
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is none, or a bracket without its twin
        host, port, parts = "", None, urlsplit("")
    if parts.scheme.startswith("socks"):
        raise ConfigurationError(
            f"{what} names a SOCKS proxy, and links go through HTTP proxies only: "
            f"give {_FORM}, or go without (--proxy none)"
        )
    if parts.scheme not in _DEFAULT_PORTS or not _is_plain(parts) or not _HOST.fullmatch(host):
        raise ConfigurationError(
            f"{what} is not the address of a proxy: write {_FORM}; "
            "in user and password, write / as %2F, @ as %40, # as %23 and : as %3A"
        )
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    return Proxy(parts.scheme, host, port, _login(parts, what))


def _is_plain(parts: SplitResult) -> bool:
    return parts.path in ("", "/") and not parts.query and not parts.fragment


def _login(parts: SplitResult, what: str) -> str:
    if parts.username is None:
        return ""
    user, password = unquote(parts.username), unquote(parts.password or "")
    if ":" in user or not f"{user}{password}".isprintable():
        raise ConfigurationError(
            f"{what}: the user name of a proxy has no colon, and neither name nor password has "
            "control characters"
        )
    return f"{user}:{password}"


class NoProxy:
    """What is dialled straight: a list such as that of the variable `NO_PROXY`.

    Args:
        text: rules with commas or spaces between them.  ``NAME`` and ``.NAME`` stand for a host and
            all below it, ``*.NAME`` only for what is below it, an address for itself,
            ``ADDRESS/BITS`` for a network, ``*`` for everything.  A rule with ``:PORT`` is for that
            port only.  What is no rule stands for nothing.
        loopback: whether addresses of this machine are dialled straight in any case.
    """

    def __init__(self, text: str = "", *, loopback: bool = True) -> None:
        self._rules = [_split_port(rule) for rule in text.replace(",", " ").split()]
        self._loopback = loopback

    def covers(self, host: str, port: int) -> bool:
        """Say whether *host* at *port* is dialled straight."""
        host = host.lower().rstrip(".")
        ip = _ip(host)
        if self._loopback and (ip.is_loopback if ip else _is_below("localhost", host)):
            return True
        return any(
            (only is None or only == port) and (rule == "*" or _matches(rule, host, ip))
            for rule, only in self._rules
        )


def _split_port(rule: str) -> tuple[str, int | None]:
    """Return a rule without its port, and the port; a bare IPv6 address has none."""
    rule = rule.lower()
    host, colon, port = rule.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in host or host.endswith("]")):
        return host.strip("[]").rstrip("."), int(port[:6])
    return rule.strip("[]").rstrip("."), None


def _ip(host: str) -> _IP | None:
    """Return the address that *host* is, an IPv4 one also where it is written as IPv6."""
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _matches(rule: str, host: str, ip: _IP | None) -> bool:
    if ip is not None:
        try:
            network = ip_network(rule, strict=False)
        except ValueError:
            return False
        same = isinstance(network, IPv6Network) == isinstance(ip, IPv6Address)
        return same and ip in network
    if rule.startswith("*."):
        return len(rule) > 2 and host.endswith(rule[1:])
    return _is_below(rule.lstrip("."), host)


def _is_below(name: str, host: str) -> bool:
    return bool(name) and (host == name or host.endswith(f".{name}"))


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Through which proxies links are dialled.  `of_url` and `of_environment` make them.

    Args:
        routes: for each scheme that goes through a proxy: the setting's name, and its text.
        straight: what is dialled without a proxy nevertheless.
        tls: whom to trust where the proxy itself is reached by TLS; None: the CAs of the system.
    """

    routes: Mapping[str, tuple[str, str]] = field(repr=False)
    straight: NoProxy = field(repr=False)
    tls: TlsSettings | None = None

    @classmethod
    def of_url(
        cls, url: str, *, tls: TlsSettings | None = None, what: str = "proxy"
    ) -> ProxySettings:
        """Send every link through one proxy, those to this machine included.

        Args:
            what: the setting that *url* comes from, for errors.

        Raises:
            ConfigurationError: *url* names no proxy.
        """
        parse_proxy(url, what=what)
        return cls(dict.fromkeys(_VARIABLES, (what, url)), NoProxy(loopback=False), tls)

    @classmethod
    def of_environment(
        cls, environment: Mapping[str, str], *, tls: TlsSettings | None = None
    ) -> ProxySettings | None:
        """Return what the variables ask for; None: nothing.

        A variable that names no proxy is found out by `choose`, when a link needs it.
        """
        routes = {}
        for scheme, names in _VARIABLES.items():
            found = [name for name in names if environment.get(name, "").strip()]
            if found:
                routes[scheme] = (found[0], environment[found[0]])
        listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        return cls(routes, NoProxy(listed), tls) if routes else None

    def choose(self, address: Address) -> Proxy | None:
        """Return the proxy for *address*; None: it is dialled straight.

        Raises:
            ConfigurationError: the setting for it names no proxy; the text names the setting.
        """
        route = self.routes.get(address.scheme)
        if route is None or self.straight.covers(address.name, address.port):
            return None
        what, text = route
        return parse_proxy(text, what=what)
