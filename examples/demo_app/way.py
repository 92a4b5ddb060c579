"""How links get from the endpoints to the brokers: straight over TCP, or in wss:// by a proxy.

Everything that the programs are told of it is here, as flags and variables; the steps of the demo
are the same for both.
"""

from __future__ import annotations

import secrets
import signal
import socket
from typing import Any

import trio

from examples.demo_app.certificates import make_certificates
from examples.demo_app.stage import DemoFailed, Stage

PROXY_SECONDS = 10.0
USER = "demo"

TINYPROXY = "tinyproxy"
OWN = "own"


class Way:
    """Straight over TCP."""

    name = "tcp"
    listen = "tcp://127.0.0.1:0"

    def __init__(self) -> None:
        self.broker_flags: list[object] = []
        self.endpoint_flags: list[object] = []
        self.endpoint_variables: dict[str, str] = {}

    @property
    def words(self) -> str:
        """What it is, for the report."""
        return "TCP, straight to the brokers"

    async def prepare(self, stage: Stage) -> None:
        """Start and make what there has to be before the brokers."""


class ProxiedWay(Way):
    """In WebSockets in TLS, through an HTTP CONNECT proxy that wants a login.

    Args:
        kind: `OWN`, the small proxy of the demo, or `TINYPROXY`.
    """

    name = "wss-proxy"
    listen = "wss://127.0.0.1:0/tunnel"

    def __init__(self, kind: str = OWN) -> None:
        super().__init__()
        self.kind = kind
        self.address = ""
        self._password = secrets.token_hex(8)

    @property
    def words(self) -> str:
        of = "the demo's own CONNECT proxy" if self.kind == OWN else "tinyproxy"
        return f"wss:// with certificates of this run, through {of} with a login"

    async def prepare(self, stage: Stage) -> None:
        files = await trio.to_thread.run_sync(make_certificates, stage.folder)
        self.broker_flags = ["--tls-cert", files.certificate, "--tls-key", files.key]
        self.endpoint_flags = ["--tls-ca", files.ca]
        await self.start_proxy(stage)
        # Not as a flag: every user of the machine can read command lines.
        url = f"http://{USER}:{self._password}@{self.address}"
        self.endpoint_variables = {"TUNNELKIT_PROXY": url}

    # --- the proxy --------------------------------------------------------------------------

    async def start_proxy(self, stage: Stage) -> None:
        """Start the proxy, at its old address if it had one."""
        if self.kind == TINYPROXY:
            await self._start_tinyproxy(stage)
            return
        port = self.address.rpartition(":")[2] or "0"
        login = f"{USER}:{self._password}"
        script = "demo_app/connect_proxy.py"
        proxy = await stage.start("proxy", script, "--port", port, DEMO_PROXY_LOGIN=login)
        self.address = proxy.ready["listeners"]["http"]

    async def _start_tinyproxy(self, stage: Stage) -> None:
        self.address = self.address or _free_address()
        config = stage.folder / "tinyproxy.conf"
        lines = [
            *(f"Port {self.address.rpartition(':')[2]}", "Listen 127.0.0.1"),
            *("Timeout 600", "LogLevel Connect", f"BasicAuth {USER} {self._password}"),
        ]
        config.write_text("\n".join([*lines, ""]))
        proxy = await stage.launch("proxy", [TINYPROXY, "-d", "-c", str(config)])
        with trio.move_on_after(PROXY_SECONDS):
            while not _answers(self.address):  # it does not say when it is ready
                if proxy.process.poll() is not None:
                    raise DemoFailed(f"tinyproxy ended before it was ready:\n{proxy.tail()}")
                await trio.sleep(0.02)
            return
        raise DemoFailed(f"tinyproxy did not listen within {PROXY_SECONDS:g} s")

    def tunnels(self, stage: Stage) -> int:
        """Return how many tunnels the proxy that runs now has made."""
        mark = "Established connection" if self.kind == TINYPROXY else "tunnel "
        return sum(mark in line for line in stage.children["proxy"].lines())

    async def stop_proxy(self, stage: Stage, seconds: float) -> tuple[int, dict[str, Any]]:
        """End the proxy; return its exit status, and the counts that it prints at the end.

        Raises:
            DemoFailed: it did not end in time.
        """
        proxy, counts = stage.children["proxy"], None
        if proxy.process.stdout is None:  # tinyproxy counts nothing
            return await stage.end("proxy", seconds), {}
        proxy.signal(signal.SIGTERM)
        with trio.move_on_after(seconds):
            counts = await proxy.next_line()
            return await proxy.wait(), counts or {}
        raise DemoFailed(f"the proxy did not end within {seconds:g} s after SIGTERM")


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _answers(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0
