"""Keys, tokens and programs for the tests of `examples`: real processes, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnelkit.auth import KeyRing, mint, save_private_key

ROOT = Path(__file__).resolve().parents[2]
SIDECAR, LAPTOP = "sidecar/web", "devbox/alice"
WAIT_SECONDS = 20.0


def environment() -> dict[str, str]:
    """Return what a program finds in its environment: nothing of ours but where the library is."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TUNNELKIT_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


@dataclass
class Credentials:
    """Files of one issuer: its ring, and identities as they are needed."""

    folder: Path
    issuer: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.ring.write_text(KeyRing([self.issuer.public_key()]).to_jwks())

    @property
    def ring(self) -> Path:
        return self.folder / "ring.json"

    def identity(
        self,
        subject: str,
        *,
        now: float | None = None,
        targets: Iterable[str] = ("*",),
        is_caller: bool = False,
    ) -> list[str]:
        """Return the flags of a new identity of *subject*, whose token holds for an hour."""
        key = Ed25519PrivateKey.generate()
        stem = f"{subject.replace('/', '-')}-{time.monotonic_ns()}"
        token = mint(
            self.issuer,
            subject=subject,
            holder=key.public_key().public_bytes_raw(),
            lifetime_seconds=3600,
            peers=["*"],
            targets=targets,
            is_caller=is_caller,
            now=time.time() if now is None else now,
        )
        key_file, token_file = self.folder / f"{stem}.pem", self.folder / f"{stem}.token"
        save_private_key(key_file, key)
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        return ["--keys", str(self.ring), "--key", str(key_file), "--token", str(token_file)]


class Program:
    """A program that runs; its stderr is read as it comes."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.ready: dict[str, Any] = {}
        self.log = ""
        self._logged = trio.Event()
        self._closed = False

    async def read_log(self) -> None:
        """Read stderr to its end."""
        assert self.process.stderr is not None  # `Programs.start` asks for a pipe
        while data := await self.process.stderr.receive_some(65536):
            self.log += data.decode()
            self._logged.set()
            self._logged = trio.Event()
        self._closed = True
        self._logged.set()

    async def wait_log(self, text: str) -> None:
        """Wait until *text* is in the log."""
        with trio.fail_after(WAIT_SECONDS):
            while text not in self.log:
                assert not self._closed, f"ended without {text!r}:\n{self.log}"
                await self._logged.wait()

    async def wait_ready(self) -> None:
        """Wait for the ready line."""
        assert self.process.stdout is not None  # `Programs.start` asks for a pipe
        line = b""
        with trio.fail_after(WAIT_SECONDS):
            while not line.endswith(b"\n"):
                data = await self.process.stdout.receive_some(65536)
                assert data, f"ended before it was ready:\n{self.log}"
                line += data
        self.ready = json.loads(line)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        with trio.fail_after(WAIT_SECONDS):
            code = await self.process.wait()
            while not self._closed:
                await self._logged.wait()
        return code

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait."""
        self.send(number)
        return await self.wait()


class Programs:
    """Starts programs; the fixture of this name kills what is left."""

    def __init__(self, nursery: trio.Nursery, credentials: Credentials) -> None:
        self.credentials = credentials
        self.started: list[Program] = []
        self._nursery = nursery

    async def spawn(self, name: str, *arguments: object) -> Program:
        """Start ``examples/NAME.py``; do not wait for anything."""
        process = await trio.lowlevel.open_process(
            [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        program = Program(process)
        self.started.append(program)
        self._nursery.start_soon(program.read_log)
        return program

    async def start(self, name: str, *arguments: object) -> Program:
        """Start ``examples/NAME.py`` and wait until it is ready."""
        program = await self.spawn(name, *arguments)
        await program.wait_ready()
        return program

    async def broker(self, *arguments: object, listen: str = "tcp://127.0.0.1:0") -> Program:
        ring = self.credentials.ring
        return await self.start("broker", "--listen", listen, "--keys", ring, *arguments)

    async def devbox(self, *arguments: object, subject: str = LAPTOP) -> Program:
        return await self.start("devbox_proxy", *self.credentials.identity(subject), *arguments)

    async def sidecar(self, *arguments: object) -> Program:
        return await self.start("sidecar_proxy", *self.credentials.identity(SIDECAR), *arguments)

    async def aclose(self) -> None:
        """Kill and reap everything."""
        for program in self.started:
            if program.process.returncode is None:
                program.process.kill()
        for program in self.started:
            await program.process.wait()
            for pipe in (program.process.stdout, program.process.stderr):
                assert pipe is not None  # `spawn` asks for both
                await pipe.aclose()


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds, looking again and again."""
    with trio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 # other processes change it, without an event
            await trio.sleep(0.002)


async def greet(address: str) -> bytes:
    """Connect to HOST:PORT and return all that comes until the end."""
    host, _, port = address.rpartition(":")
    received = b""
    with trio.fail_after(WAIT_SECONDS):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            while data := await stream.receive_some():
                received += data
    return received
