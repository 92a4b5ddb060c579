"""Ports of links on real sockets, and everybody who comes to them by the wrong way."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from tests.tunnelkit.certificates import tls_settings
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.strangers import Owner, accepting, dialing
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Pipe, SocketNetwork, TlsSettings, connect
from tunnelkit.link import Link
from tunnelkit.pump import Pump

SCHEMES = ("tcp", "tls", "ws", "wss")


class _Log(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())


@dataclass
class Port:
    """A listener whose pipes become links, and what it said of those that did not."""

    address: Address
    owner: Owner = field(default_factory=Owner)
    logged: list[str] = field(default_factory=list)

    def said(self) -> str:
        """Return the errors of its links and what the handshakes logged."""
        return "\n".join([*map(str, self.owner.closed), *self.logged])


@asynccontextmanager
async def open_port(
    pump: Pump,
    scheme: str,
    settings: TlsSettings | None = None,
    *,
    handshake_seconds: float = 10.0,
) -> AsyncGenerator[Port]:
    """Listen on loopback by *scheme*."""
    path = "/tunnel" if scheme in ("ws", "wss") else ""
    port = Port(Address(scheme, "127.0.0.1", 0, path))
    links: list[Link] = []

    def accept(pipe: Pipe) -> None:
        links.append(Link(pipe, accepting(), port.owner, handshake_seconds=handshake_seconds))
        links[-1].start()

    log, logger = _Log(port.logged), logging.getLogger("tunnelkit.carriers")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(log)
    listener = await SocketNetwork(settings or tls_settings()).listen(port.address, pump, accept)
    port.address = listener.address
    try:
        yield port
    finally:
        listener.close()
        for link in links:
            link.close(ConnectFailed("the test is over"))
        logger.removeHandler(log)
        logger.setLevel(level)


async def dial(
    pump: Pump, port: Port, scheme: str, settings: TlsSettings | None = None
) -> tuple[Exception | None, bool]:
    """Dial *port* as *scheme* wants; return why there is no link, and whether connecting failed."""
    address = replace(port.address, scheme=scheme)
    try:
        pipe = await connect(SocketNetwork(settings or tls_settings()), address, pump)
    except ConnectFailed as failed:
        return failed, True
    owner = Owner()
    link = Link(pipe, dialing(), owner)
    link.start()
    await wait_until(lambda: owner.closed or owner.up)
    if owner.up:
        link.close(ConnectFailed("the test is over"))
        return None, False
    return owner.closed[0], False


async def curl(address: Address, scheme: str, *options: str) -> tuple[int, str]:
    """Ask *address* with curl; return its status, and what it printed."""
    url = f"{scheme}://{address.host_port}/"
    command = ["curl", "-sS", "-k", "-m", "10", "-w", " %{http_code}", *options, url]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()
