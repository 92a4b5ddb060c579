"""What runs at either end of a path: the targets behind the exit, and each subject.

Every subject has its entry in the namespace of the clients and its exit in that of the targets;
their one connection crosses the path.  A subject offers two doors: one to nginx, one to the
target of our own loads.  Loads that run at the same time share the second door, and so one
connection: the Go relays have a pair of processes for each door, and two connections.

Both namespaces are new, so that ports are fixed numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import programs
from benchmarks.certificates import make_certificate
from benchmarks.load import Address
from benchmarks.paths.cases import CEILING
from benchmarks.paths.network import EXIT_ADDRESS, Network
from benchmarks.peers import BODY, DECOY_BODY, HOST, NGINX_CONFIGURATION, require_program
from benchmarks.peers.mux import build_relay
from benchmarks.peers.openssh import KEEP_OPEN, configure, make_keys
from benchmarks.processes import BenchmarkError, Child, Fleet, run_tool

__all__ = ["STARTERS", "Doors", "Stage", "start_targets"]

WEB_PORT: Final = 8000
STREAM_PORT: Final = 8001
DECOY_PORT: Final = 8002
CLOSED_PORT: Final = 9
"""In the entry's namespace: where an intercepted connection must not end up."""

LINK_PORT: Final = 7000
"""Where the first exit listens; each subject has some ports of its own from here on."""

WAIT_SECONDS: Final = 20.0
SPARE_SECONDS: Final = 45.0
"""How much longer than planned a client may run: at the end it waits for what is under way."""

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the clients of one subject connect."""

    web: Address
    stream: Address


@dataclass(frozen=True, slots=True)
class Stage:
    """One path, and whoever was started at its ends."""

    network: Network
    fleet: Fleet
    has_web: bool = True
    """Whether nginx is among the targets."""

    async def start_at_exit(
        self, name: str, command: list[str], is_ready: Callable[[str], bool] | None = None
    ) -> Child:
        """Start a program beside the targets."""
        return await self.fleet.start(name, self.network.exit.inside(command), is_ready=is_ready)

    async def start_at_entry(
        self, name: str, command: list[str], is_ready: Callable[[str], bool] | None = None
    ) -> Child:
        """Start a program beside the clients."""
        return await self.fleet.start(name, self.network.entry.inside(command), is_ready=is_ready)

    async def ask(self, what: str, address: Address, *seconds: float) -> Any:
        """Run `client.py` beside the clients for some seconds and return what it says.

        Raises:
            BenchmarkError: it failed.

        Cancellation: atomic. The client is ended first.
        """
        command = [sys.executable, str(_HERE / "client.py"), what, str(address)]
        inside = self.network.entry.inside([*command, *map(str, seconds)])
        return json.loads(await run_tool(inside, timeout_seconds=sum(seconds) + SPARE_SECONDS))

    async def check(self, doors: Doors, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the doors lead to the targets.

        Raises:
            BenchmarkError: they do not within *seconds*.
        """
        await self.ask("wait", doors.stream, seconds)
        if not self.has_web:
            return
        body = await self.ask("web", doors.web, seconds)
        if body != BODY.decode():
            raise BenchmarkError(f"{doors.web} is not the target: it answered {body[:40]!r}")


async def start_targets(stage: Stage) -> None:
    """Start the target of our own loads, and nginx, on all addresses of the exit's namespace.

    Raises:
        BenchmarkError: one of them is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    target = [sys.executable, str(_HERE / "target.py"), str(STREAM_PORT)]
    await stage.start_at_exit("target", target, lambda line: line == "ready")
    if stage.has_web:
        await _start_nginx(stage)
    await stage.check(await _start_direct(stage))


async def _start_nginx(stage: Stage) -> None:
    folder = stage.fleet.folder
    configuration = folder / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            folder=folder,
            listeners=f"        listen {WEB_PORT} backlog=4096;",
            body=BODY.decode(),
            decoy=Address(HOST, DECOY_PORT),
            decoy_body=DECOY_BODY.decode(),
        )
    )
    command = [require_program("nginx"), "-c", str(configuration), "-p", str(folder)]
    await stage.start_at_exit("nginx", [*command, "-e", "stderr"])


async def _start_direct(stage: Stage) -> Doors:
    return Doors(Address(EXIT_ADDRESS, WEB_PORT), Address(EXIT_ADDRESS, STREAM_PORT))


async def _start_ours(stage: Stage, carrier: str) -> Doors:
    missing = programs.missing_programs()
    if missing:
        raise BenchmarkError(f"this clone does not hold {', '.join(missing)}")
    folder = stage.fleet.folder / f"ours-{carrier}"
    folder.mkdir()
    credentials = await programs.make_credentials(folder)
    listens, trusts = [], []
    if carrier == "wss":
        made = make_certificate(folder, EXIT_ADDRESS)
        listens = ["--tls-cert", str(made.path), "--tls-key", str(made.key_path)]
        trusts = ["--tls-ca", str(made.path)]
    flags = [*credentials.flags(programs.DEVBOX), "--listen", f"{carrier}://{EXIT_ADDRESS}:0"]
    for name, port in (("web", WEB_PORT), ("stream", STREAM_PORT)):
        flags += ["--target", f"{name}={HOST}:{port}"]
    devbox = await programs.start_program(
        stage.fleet,
        "devbox_proxy",
        f"devbox-{carrier}",
        [*flags, *listens],
        stage.network.exit.inside([]),
    )
    flags = [*credentials.flags(programs.SIDECAR), "--link", programs.first_link(devbox), *trusts]
    for name in ("web", "stream"):
        flags += ["--port", f"{name}={HOST}:0,{HOST}:{CLOSED_PORT}"]
        flags += ["--intercept", f"{name}={programs.DEVBOX}"]
    sidecar = await programs.start_program(
        stage.fleet, "sidecar_proxy", f"sidecar-{carrier}", flags, stage.network.entry.inside([])
    )
    return Doors(*(programs.listener_of(sidecar, name) for name in ("web", "stream")))


async def _start_mux(stage: Stage, library: str, first_port: int) -> Doors:
    program = str(await build_relay(library, stage.fleet.folder))
    doors = []
    for number, target in enumerate((WEB_PORT, STREAM_PORT)):
        link = Address(EXIT_ADDRESS, first_port + number)
        listener = Address(HOST, first_port + number)
        name = f"{library}-{target}"
        leave = [program, "exit", str(link), str(Address(HOST, target))]
        await stage.start_at_exit(f"{name}-exit", leave, lambda line: line == "ready")
        enter = [program, "entry", str(listener), str(link)]
        await stage.start_at_entry(f"{name}-entry", enter, lambda line: line == "ready")
        doors.append(listener)
    return Doors(*doors)


async def _start_openssh(stage: Stage, first_port: int) -> Doors:
    sshd, ssh = require_program("sshd"), require_program("ssh")
    folder = stage.fleet.folder / "openssh"
    link = Address(EXIT_ADDRESS, first_port)
    doors = Doors(Address(HOST, first_port), Address(HOST, first_port + 1))
    await make_keys(folder)
    configure(folder, link)
    server = [sshd, "-D", "-e", "-f", str(folder / "server.conf")]
    await stage.start_at_exit("sshd", server)
    await stage.ask("port", link, WAIT_SECONDS)
    forwards = []
    for door, port in ((doors.web, WEB_PORT), (doors.stream, STREAM_PORT)):
        forwards += ["-L", f"{door}:{Address(HOST, port)}"]
    client = [ssh, "-F", str(folder / "client.conf"), "-tt", *forwards, link.host, KEEP_OPEN]
    await stage.start_at_entry("ssh", client)
    return doors


STARTERS: Final[Mapping[str, Callable[[Stage], Awaitable[Doors]]]] = {
    "ours": partial(_start_ours, carrier="tcp"),
    "ours_wss": partial(_start_ours, carrier="wss"),
    "yamux": partial(_start_mux, library="yamux", first_port=LINK_PORT),
    "smux": partial(_start_mux, library="smux", first_port=LINK_PORT + 10),
    "openssh_l": partial(_start_openssh, first_port=LINK_PORT + 20),
    CEILING: _start_direct,
}
"""Each starts a subject at both ends of a path whose targets run, and returns its doors.

They raise BenchmarkError where something is not installed, or does not start."""
