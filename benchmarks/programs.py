"""Our programs, started as a user starts them: examples/*.py with keys and tokens from the CLI.

Routes, each with the default limits, acknowledgements and replay:

- `link`: sidecar_proxy, intercept on, linked directly to devbox_proxy;
- `broker`: the same two, each linked to broker;
- `pass`: sidecar_proxy with the intercept off, splicing to its local target;
- `splice`: the same, its ports told to look at nothing;
- `rules`: the same, with a rule that looks at the headers of every request, and takes none; the
  port of gRPC is told so;
- the name of a carrier: like `link`, over that carrier; `link` itself is over TCP;
- a crowd: the broker between two processes of `crowd.py`, each with many endpoints.

Behind an intercept the sidecar's local target is the decoy, so that a connection that failed
open can never be counted as an intercepted one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from benchmarks.cases import BASE_CARRIER, CARRIERS, PASS, RULES, SPLICE
from benchmarks.certificates import Certificate, make_certificate
from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, HOST, Route, route_of
from benchmarks.processes import BenchmarkError, Child, Fleet, run_tool

__all__ = [
    "BROKER",
    "DEVBOX",
    "PROGRAMS",
    "SIDECAR",
    "Credentials",
    "first_link",
    "listener_of",
    "make_credentials",
    "missing_programs",
    "start_crowd",
    "start_program",
    "start_route",
]

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = ("broker", "devbox_proxy", "sidecar_proxy")

BROKER = "broker"
"""What the names of brokers among the children begin with."""

SIDECAR = "sidecar"
DEVBOX = "developer"

_WITH_TLS = ("tls://", "wss://")


def missing_programs() -> list[str]:
    """Return those of our programs that this clone does not hold."""
    paths = [f"examples/{name}.py" for name in PROGRAMS]
    return [path for path in paths if not (ROOT / path).is_file()]


class Credentials:
    """Where the keys and tokens of one benchmark lie. Filled by `make_credentials`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._certificate: Certificate | None = None

    @property
    def certificate(self) -> Certificate:
        """The certificate of the side that listens, which the other side trusts as it is."""
        if self._certificate is None:
            self._certificate = make_certificate(self.folder, HOST)
        return self._certificate

    @property
    def ring(self) -> Path:
        """The public key that everybody trusts, as a key ring."""
        return self.folder / "issuer.key.pub.json"

    def key(self, subject: str) -> Path:
        """The private key of a subject; its public key lies beside it."""
        return self.folder / f"{subject}.key"

    def token(self, subject: str) -> Path:
        """The capability token of a subject."""
        return self.folder / f"{subject}.token"

    def flags(self, subject: str) -> list[str]:
        """The flags by which an endpoint finds all this."""
        paths = {"--keys": self.ring, "--key": self.key(subject), "--token": self.token(subject)}
        return [text for flag, path in paths.items() for text in (flag, str(path))]


async def make_credentials(folder: Path) -> Credentials:
    """Make an issuer, two holders and their tokens by the command line tool.

    Raises:
        BenchmarkError: the tool failed.

    Cancellation: atomic for each file.
    """
    made = Credentials(folder)
    async with trio.open_nursery() as nursery:
        for subject in ("issuer", SIDECAR, DEVBOX):
            nursery.start_soon(_auth, ["keygen", "--out", str(made.key(subject))])
    async with trio.open_nursery() as nursery:
        for subject in (SIDECAR, DEVBOX):
            holder = f"{made.key(subject)}.pub.json"
            flags = ["--signing-key", str(made.key("issuer")), "--subject", subject]
            flags += ["--holder-key", holder, "--lifetime", "12h", "--peer", "*", "--target", "*"]
            nursery.start_soon(_auth, ["mint", *flags, "--out", str(made.token(subject))])
    return made


async def _auth(arguments: Sequence[str]) -> None:
    await _run_module("tunnelkit.auth", arguments)


async def _run_module(module: str, arguments: Sequence[str]) -> None:
    path = f"PYTHONPATH={ROOT}"
    await run_tool(["env", path, sys.executable, "-m", module, *arguments], timeout_seconds=30)


async def start_route(
    fleet: Fleet, route: str, credentials: Credentials, target: Route, decoy: Route
) -> Route:
    """Start the programs of one route and wait until traffic takes it to `target`.

    Raises:
        BenchmarkError: a program did not start, or the traffic went elsewhere.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    broker = await _start_broker(fleet, route, credentials) if route == "broker" else None
    if route == RULES:
        return await _start_with_rules(fleet, credentials, target)
    link = await _start_devbox(fleet, route, credentials, target, broker)
    sidecar = await _start_sidecar(fleet, route, credentials, target, decoy, broker or link)
    made = _doors_of(sidecar)
    try:
        await wait_body(made.web, BODY)
    except BenchmarkError as error:
        raise BenchmarkError(f"{sidecar.name}: {error} ({sidecar.last_words()})") from error
    return made


async def _start_with_rules(fleet: Fleet, credentials: Credentials, target: Route) -> Route:
    """Start a sidecar that reads requests, and give it a rule as a user does."""
    admin = credentials.folder / "rules" / "admin.sock"
    flags = [*credentials.flags(SIDECAR), "--admin", str(admin)]
    for name, address in target.doors.items():
        speaks = ",grpc" if name == "calls" else ""
        flags += ["--port", f"{name}={HOST}:0,{address}{speaks}"]
    sidecar = await start_program(fleet, "sidecar_proxy", "sidecar-rules", flags)
    for name in target.doors:
        rule = ["rule", name, "developer", "local", "--when", "header:x-user=nobody"]
        await _run_module("tunnelkit.admin", [str(admin), *rule])
    made = _doors_of(sidecar)
    await wait_body(made.web, BODY)
    return made


async def start_crowd(fleet: Fleet, count: int, credentials: Credentials, target: Route) -> Route:
    """Start a broker and, on either side of it, one process with `count` endpoints.

    Raises:
        BenchmarkError: a program did not start, or the traffic went elsewhere.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    broker = await _start_broker(fleet, f"sessions-{count}", credentials)
    flags = ["--key", str(credentials.key("issuer")), "--dial", broker, "--sessions", str(count)]
    for name, address in target.doors.items():
        flags += ["--door", f"{name}={address}"]
    for side in ("exit", "entry"):
        command = [sys.executable, "-m", "benchmarks.crowd", side, *flags]
        child = await fleet.start(
            f"{side}-{count}", command, is_ready=_is_ready, environment={"PYTHONPATH": str(ROOT)}
        )
    made = _doors_of(child)
    await wait_body(made.web, BODY)
    return made


async def _start_broker(fleet: Fleet, route: str, credentials: Credentials) -> str:
    flags = ["--listen", "tcp://127.0.0.1:0", "--keys", str(credentials.ring)]
    return first_link(await start_program(fleet, "broker", f"{BROKER}-{route}", flags))


async def _start_devbox(
    fleet: Fleet, route: str, credentials: Credentials, target: Route, broker: str | None
) -> str:
    flags = credentials.flags(DEVBOX)
    for name, address in target.doors.items():
        flags += ["--target", f"{name}={address}"]
    flags += ["--link", broker] if broker else _listen_flags(route, credentials)
    child = await start_program(fleet, "devbox_proxy", f"devbox-{route}", flags)
    link = broker or first_link(child)
    if route in CARRIERS and not link.startswith(f"{route}://"):
        raise BenchmarkError(f"{child.name} listens on {link}, which is not {route}")
    return link


def _listen_flags(route: str, credentials: Credentials) -> list[str]:
    """Return the flags by which the devbox listens for the carrier of a route."""
    carrier = route if route in CARRIERS else BASE_CARRIER
    where = str(credentials.folder / "link.sock") if carrier == "unix" else f"{HOST}:0"
    flags = ["--listen", f"{carrier}://{where}"]
    if flags[1].startswith(_WITH_TLS):
        made = credentials.certificate
        flags += ["--tls-cert", str(made.path), "--tls-key", str(made.key_path)]
    return flags


async def _start_sidecar(
    fleet: Fleet, route: str, credentials: Credentials, target: Route, decoy: Route, link: str
) -> Child:
    flags = [*credentials.flags(SIDECAR), "--link", link]
    if link.startswith(_WITH_TLS):
        flags += ["--tls-ca", str(credentials.certificate.path)]
    is_local = route in (PASS, SPLICE)
    local = (target if is_local else decoy).doors
    speaks = ",tcp" if route == SPLICE else ""
    for name in target.doors:
        flags += ["--port", f"{name}={HOST}:0,{local[name]}{speaks}"]
        if not is_local:
            flags += ["--intercept", f"{name}={DEVBOX}"]
    return await start_program(fleet, "sidecar_proxy", f"sidecar-{route}", flags)


async def start_program(
    fleet: Fleet, program: str, name: str, flags: Sequence[str], within: Sequence[str] = ()
) -> Child:
    """Start one of PROGRAMS and wait for its ready line.

    Args:
        within: what stands before the command, to run it in a namespace.

    Raises:
        BenchmarkError: it did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    command = [*within, sys.executable, str(ROOT / "examples" / f"{program}.py"), *flags]
    environment = {"PYTHONPATH": str(ROOT)}
    return await fleet.start(name, command, is_ready=_is_ready, environment=environment)


def _is_ready(line: str) -> bool:
    try:
        message = json.loads(line)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("event") == "ready"


def _ready_field(child: Child, name: str) -> object:
    message: dict[str, object] = json.loads(child.ready_line)
    return message.get(name)


def _doors_of(child: Child) -> Route:
    return route_of(_listeners_of(child))


def first_link(child: Child) -> str:
    """Return the first address at which a program accepts links.

    Raises:
        BenchmarkError: it told none.
    """
    links = _ready_field(child, "links")
    if not isinstance(links, list) or not links:
        raise BenchmarkError(f"{child.name}: no links in its ready line {child.ready_line!r}")
    return str(links[0])


def listener_of(child: Child, name: str) -> Address:
    """Return where a program listens for clients, by the name of its port.

    Raises:
        BenchmarkError: it did not tell.
    """
    listeners = _listeners_of(child)
    if name not in listeners:
        raise BenchmarkError(f"{child.name}: no listener {name!r} in its ready line")
    return listeners[name]


def _listeners_of(child: Child) -> dict[str, Address]:
    listeners = _ready_field(child, "listeners")
    if not isinstance(listeners, dict):
        raise BenchmarkError(f"{child.name}: no listeners in its ready line {child.ready_line!r}")
    return {name: _address(text) for name, text in listeners.items()}


def _address(text: object) -> Address:
    host, _, port = str(text).rpartition(":")
    return Address(host, int(port))
