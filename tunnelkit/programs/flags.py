"""Settings of a program: from flags, from the environment, from defaults, in this order.

Values are read by *converters*, functions of (text, what) where *what* names the flag or the
variable that the text came from, so that every error points at what the user wrote.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import attrs

from tunnelkit import limits
from tunnelkit._version import __version__
from tunnelkit.addresses import Address, parse_address, parse_host_port
from tunnelkit.auth import Identity, KeyRing
from tunnelkit.carriers import Network
from tunnelkit.command_line import CommandParser
from tunnelkit.direct import NetworkList
from tunnelkit.endpoint import EndpointOptions
from tunnelkit.errors import ConfigurationError

__all__ = [
    "Convert",
    "Flags",
    "add_endpoint_flags",
    "add_identity_flags",
    "address",
    "check_links",
    "endpoint_options",
    "existing_name",
    "host_port",
    "key_ring",
    "load_identity",
    "named",
    "network",
    "one_of",
    "seconds",
    "target",
    "text_of",
    "unique",
    "variable_of",
    "whole_number",
]

T = TypeVar("T")

Convert: TypeAlias = Callable[[str, str], object]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"", "0", "false", "no", "off"})


def text_of(text: str, what: str) -> str:
    """Take the text as it is, but not empty."""
    if not text:
        raise ConfigurationError(f"{what} is empty: give it a value")
    return text


def address(text: str, what: str) -> Address:
    """Read ``tcp://HOST:PORT``, the same with tls, ws or wss, or ``unix:///PATH``."""
    found = parse_address(text, what=what)
    if found.scheme == "memory":
        raise ConfigurationError(
            f"{what} {text!r}: write tcp://HOST:PORT, the same with tls, ws or wss, or unix:///PATH"
        )
    return found


def host_port(text: str, what: str) -> Address:
    """Read ``HOST:PORT``, or a full address."""
    found = address(text, what) if "://" in text else parse_host_port(text, what=what)
    if found.scheme in ("tls", "ws", "wss"):
        kind = "TLS is" if found.scheme == "tls" else "a WebSocket is"
        raise ConfigurationError(f"{what} {text!r}: {kind} for links; write HOST:PORT here")
    return found


def monitor_address(text: str, what: str) -> Address:
    """Read ``HOST:PORT`` of a listener that is spoken to by HTTP."""
    found = host_port(text, what)
    if found.scheme != "tcp":
        raise ConfigurationError(f"{what} {text!r}: only TCP is listened on; write HOST:PORT")
    return found


def network(text: str, what: str) -> str:
    """Read a network such as ``10.0.0.0/8``."""
    try:
        NetworkList([text])
    except ConfigurationError as error:
        raise ConfigurationError(f"{what} {error}") from None
    return text


def key_ring(text: str, what: str) -> KeyRing:
    """Read a key ring from the file that *text* names."""
    return KeyRing.load(text_of(text, what))


def seconds(text: str, what: str) -> float:
    """Read a number of seconds, zero or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86_400:
        raise ConfigurationError(f"{what} {text!r} is not a number of seconds from 0 to 86400")
    return value


def whole_number(low: int, high: int) -> Convert:
    """Return a converter for whole numbers from *low* to *high*."""

    def convert(text: str, what: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text[:12]) <= high):
            raise ConfigurationError(f"{what} {text!r} is not a whole number from {low} to {high}")
        return int(text)

    return convert


def one_of(*choices: str) -> Convert:
    """Return a converter that takes one of *choices*."""

    def convert(text: str, what: str) -> str:
        if text not in choices:
            raise ConfigurationError(f"{what} {text!r} is none of: {', '.join(choices)}")
        return text

    return convert


def named(text: str, what: str, form: str) -> tuple[str, str]:
    """Split ``NAME=VALUE``; *form* shows in the error what was expected."""
    name, equals, value = text.partition("=")
    if not equals or not value or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} {text!r} is not {form}; a name has letters, digits, '.', '_' and '-'"
        )
    return name, value


def target(text: str, what: str) -> tuple[str, Address]:
    """Read ``NAME=HOST:PORT``."""
    name, value = named(text, what, "NAME=HOST:PORT")
    return name, host_port(value, what)


def unique(pairs: Iterable[tuple[str, T]], what: str) -> dict[str, T]:
    """Return *pairs* by name.

    Raises:
        ConfigurationError: a name is there twice.
    """
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise ConfigurationError(f"{what} {name} is given twice: choose another name")
        found[name] = value
    return found


def existing_name(name: str, names: Iterable[str], what: str) -> str:
    """Return *name* if it is one of *names*.

    Raises:
        ConfigurationError: it is not.
    """
    names = list(names)
    if name not in names:
        raise ConfigurationError(
            f"{what} names {name!r}, which does not exist; there is: {', '.join(names) or 'none'}"
        )
    return name


def variable_of(flag: str) -> str:
    """Return the environment variable that stands for *flag*."""
    return "TUNNELKIT_" + flag.lstrip("-").replace("-", "_").upper()


@attrs.frozen
class _Setting:
    """One flag and all that is known of it."""

    flag: str
    convert: Convert
    default: object
    is_required: bool
    is_repeated: bool
    is_switch: bool

    @property
    def name(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")


class Flags:
    """The settings of a program.

    Args:
        program: its name, without ``.py``.
        about: what it does, one paragraph.
        example: a whole command line or a few, that work as they stand.
        command: how it is started, where it is not ``PROGRAM.py``.
        general: the end of the help, where the program is not one that runs until it is stopped.
    """

    def __init__(
        self,
        program: str,
        about: str,
        *,
        example: str,
        exits: str = "",
        command: str = "",
        general: str = "",
    ) -> None:
        self.program = program
        self._operands: list[tuple[str, str]] = []
        self._settings: list[_Setting] = []
        self._parser = CommandParser(
            prog=command or f"{program}.py",
            description=about,
            epilog=f"example:\n{_indented(example)}\n\n{general or _GENERAL_HELP}{exits}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._parser.add_argument("--version", action="version", version=f"tunnelkit {__version__}")
        self.add_switch("--check", help="check the settings, print what would run, and end")

    def add(
        self,
        flag: str,
        convert: Convert = text_of,
        *,
        help: str,
        metavar: str,
        default: object = None,
        required: bool = False,
        repeat: bool = False,
    ) -> None:
        """Add a flag with a value; a repeated one gives a list."""
        fallback = [] if repeat and default is None else default
        self._settings.append(_Setting(flag, convert, fallback, required, repeat, False))
        notes = ["required"] if required else []
        notes += ["can be given several times"] if repeat else []
        notes += [f"default: {default}"] if default is not None else []
        text = f"{help} ({'; '.join(notes)})" if notes else help
        self._parser.add_argument(
            flag,
            action="append" if repeat else "store",
            metavar=metavar,
            help=text.replace("%", "%%"),
        )

    def add_switch(self, flag: str, *, help: str, short: str = "") -> None:
        """Add a flag without a value: on or off."""
        self._settings.append(_Setting(flag, text_of, False, False, False, True))
        names = [short, flag] if short else [flag]
        self._parser.add_argument(*names, action="store_const", const=True, help=help)

    def add_operand(self, name: str, *, help: str, metavar: str) -> None:
        """Add what has to stand in the command line without a flag; no variable stands for it."""
        self._operands.append((name, metavar))
        self._parser.add_argument(name, metavar=metavar, help=help.replace("%", "%%"))

    def add_common(self, drain_seconds: float) -> None:
        """Add what every program has: admin socket, drain time, logs."""
        self.add(
            "--admin",
            metavar="PATH",
            help="unix socket for `python -m tunnelkit.admin PATH status`",
        )
        self.add(
            "--monitor",
            monitor_address,
            metavar="HOST:PORT",
            help="answer /healthz, /readyz and /metrics (Prometheus) by HTTP here; on 127.0.0.1, "
            "/explain of a sidecar as well",
        )
        self.add(
            "--drain-seconds",
            seconds,
            metavar="SECONDS",
            default=drain_seconds,
            help="how long running connections may take after SIGTERM",
        )
        self.add(
            "--log-format",
            one_of("human", "json"),
            metavar="human|json",
            default="human",
            help="logs go to stderr, one line each",
        )
        self.add(
            "--log-level",
            one_of("debug", "info", "warning", "error"),
            metavar="LEVEL",
            default="info",
            help="debug, info, warning or error",
        )

    def parse(
        self, arguments: Sequence[str] | None, environment: Mapping[str, str]
    ) -> argparse.Namespace:
        """Return the settings.

        Raises:
            ConfigurationError: a value is wrong or missing.
            SystemExit: the help or the version was asked for, and printed.
        """
        given = self._parser.parse_args(arguments)
        values = argparse.Namespace()
        for name, metavar in self._operands:
            setattr(values, name, text_of(getattr(given, name), metavar))
        for setting in self._settings:
            setattr(
                values, setting.name, _value(setting, getattr(given, setting.name), environment)
            )
        return values


def _value(setting: _Setting, given: object, environment: Mapping[str, str]) -> object:
    what, variable = setting.flag, variable_of(setting.flag)
    if given is None and environment.get(variable, "").strip():
        text = environment[variable].strip()
        given, what = (text.split() if setting.is_repeated else text), variable
    if given is None:
        if setting.is_required:
            raise ConfigurationError(f"{setting.flag} is missing: give it, or set {variable}")
        return setting.default
    if setting.is_switch:
        return given if given is True else _switch(str(given), what)
    if isinstance(given, list):
        return [setting.convert(text, what) for text in given]
    return setting.convert(str(given), what)


def _switch(text: str, what: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ConfigurationError(f"{what} {text!r} is neither 1 nor 0")
    return text.lower() in _YES


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


_GENERAL_HELP = """\
environment:
  Every flag can also be set as TUNNELKIT_<FLAG>, such as TUNNELKIT_DRAIN_SECONDS=10; several values
  of one flag are separated by spaces.  Flags win.

output:
  When everything is up, one line of JSON goes to stdout:
  {"event": "ready", "program": ..., "pid": ..., "links": [...], "listeners": {...}, "admin": ...}
  With port 0 the system chooses a port; the line says which one.

signals:
  SIGTERM, SIGINT: accept nothing new, finish what runs (--drain-seconds), end.  Once more: end now.
  SIGHUP: read the files of --keys, --key, --token, --revoked, --tls-* and --ws-* again.  Links and
  sessions that are up stay up, unless what they showed is not believed any more.

exit status:
  0  stopped as asked, everything that ran was finished
  1  an unexpected error: please report it
  2  the settings are wrong, a file cannot be used, or an address is taken
  3  another process of the same subject took this one's place
  4  stopped as asked, but connections were cut: the drain time was over, or a second signal came
"""


def add_identity_flags(flags: Flags) -> None:
    """Add what an endpoint needs to prove who it is, and to know whom to believe."""
    flags.add(
        "--keys",
        key_ring,
        metavar="FILE",
        required=True,
        help="key ring: public keys of the issuers whose tokens are believed",
    )
    flags.add("--key", metavar="FILE", required=True, help="this endpoint's private key")
    flags.add("--token", metavar="FILE", required=True, help="this endpoint's capability token")


def add_endpoint_flags(flags: Flags) -> None:
    """Add where an endpoint finds its peers."""
    flags.add(
        "--link",
        address,
        metavar="ADDRESS",
        repeat=True,
        help="broker or peer to keep a link to, in order of preference",
    )
    flags.add(
        "--listen",
        address,
        metavar="ADDRESS",
        repeat=True,
        help="where to accept direct links of peers",
    )
    flags.add(
        "--advertise",
        address,
        metavar="ADDRESS",
        repeat=True,
        help="where peers are told that they can dial this program directly, past the brokers; "
        "with a numeric host, as in tcp://10.0.0.7:7070",
    )
    flags.add(
        "--direct",
        network,
        metavar="NETWORK",
        repeat=True,
        help="dial the addresses that peers advertise if they lie in this network (10.0.0.0/8), "
        "and let sessions use such a link while it is up; none: only --link is dialled",
    )
    flags.add(
        "--grace-seconds",
        seconds,
        metavar="SECONDS",
        default=limits.DEFAULT_GRACE_SECONDS,
        help="how long running streams wait for a lost peer",
    )


def endpoint_options(options: argparse.Namespace, network: Network) -> EndpointOptions:
    """Return what the flags of `add_endpoint_flags` say, for `open_endpoint`."""
    return EndpointOptions(
        dial=options.link,
        listen=options.listen,
        advertise=options.advertise,
        direct=options.direct,
        grace_seconds=options.grace_seconds,
        network=network,
    )


def check_links(options: argparse.Namespace) -> None:
    """Raise ConfigurationError if an endpoint could never reach anybody."""
    if not options.link and not options.listen:
        raise ConfigurationError(
            "there is neither --link nor --listen, so no peer could be reached: "
            "give the broker's address with --link tcp://HOST:PORT"
        )


def load_identity(options: argparse.Namespace) -> Identity:
    """Return the identity that ``--key`` and ``--token`` name.

    Raises:
        ConfigurationError: a file cannot be used, they do not belong together, or the token has
            expired.
    """
    identity = Identity.load(options.key, options.token)
    late = time.time() - identity.claims.expires_at
    if late >= 0:
        raise ConfigurationError(
            f"token {options.token} of {identity.subject} expired {late:.0f} s ago: "
            "ask for a new one (`python -m tunnelkit.auth mint`)"
        )
    return identity
