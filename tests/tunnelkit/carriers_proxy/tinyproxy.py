"""The tinyproxy of Debian, started and killed by a test."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.tunnelkit.pairs import wait_until

LOGIN = "user:s3cret"


class Tinyproxy:
    """A proxy on one port of this machine, which stays the same when it is started again.

    Args:
        ports: what it connects to; none: everything.
        deny: hosts, as patterns, that it lets nobody through to.
    """

    def __init__(self, folder: Path, ports: Iterable[int] = (), deny: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._process: trio.Process | None = None
        self._config = folder / "tinyproxy.conf"
        lines = [
            *(f"Port {self.port}", "Listen 127.0.0.1", "Timeout 600", "LogLevel Critical"),
            f"BasicAuth {LOGIN.replace(':', ' ')}",
            *(f"ConnectPort {port}" for port in ports),
        ]
        if deny:
            (folder / "filter").write_text(f"{deny}\n")
            lines.append(f'Filter "{folder / "filter"}"')
        self._config.write_text("\n".join([*lines, ""]))

    @property
    def url(self) -> str:
        """How to get through it."""
        return f"http://{LOGIN}@127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = await trio.lowlevel.open_process(
            ["tinyproxy", "-d", "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await wait_until(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "tinyproxy has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def kill(self) -> None:
        """Kill it; what goes through it breaks."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running(
    folder: Path, ports: Iterable[int] = (), deny: str = ""
) -> AsyncGenerator[Tinyproxy]:
    """Run a proxy while the block runs."""
    proxy = Tinyproxy(folder, ports, deny)
    try:
        await proxy.start()
        yield proxy
    finally:
        with trio.CancelScope(shield=True):
            await proxy.kill()
