"""What the guard presses on: a sidecar with an intercept and a devbox, in one process.

How it works
------------
Sidecar, devbox, client and target share one Trio run; between them are real sockets over loopback.
The library's part is the one that ships.  What would let a count depend on the speed of the
machine is taken away:

* the clock stands still, and is set forward by a millisecond after each round;
* the pump's slice of 2 ms, which ends a long batch, does not end.

Client and target are plain sockets, driven by one task that waits until all others are blocked.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Final
from unittest.mock import patch

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock, wait_all_tasks_blocked

from benchmarks.processes import BenchmarkError
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing, generate_key, mint
from tunnelkit.devbox import open_devbox
from tunnelkit.pump import use_pump
from tunnelkit.sidecar import Intercept, PortSpec, Sidecar, open_sidecar

__all__ = ["Pair", "Side", "Stage", "run_on_stage", "until"]

HOST: Final = "127.0.0.1"
ROUND_SECONDS: Final = 0.001
"""How far the clock is set forward after a round."""

WAIT_SECONDS: Final = 20.0
"""Real seconds after which a step of the load is given up."""

READ_BYTES: Final = 262144


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the library work until *condition* holds."""
    until = time.monotonic() + WAIT_SECONDS
    pause = 0.0
    while True:
        await wait_all_tasks_blocked(pause)
        if condition():
            return
        pause = 0.0005
        if time.monotonic() > until:
            raise BenchmarkError(f"{what} took more than {WAIT_SECONDS:g} s")


class Side:
    """One end of a connection of the load; plain, and never blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = 0

    def send(self, data: bytes) -> int:
        """Send what the system takes."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def receive(self) -> int:
        """Receive all that is there; return how many bytes there have been in all."""
        try:
            while data := self.sock.recv(READ_BYTES):
                self.received += len(data)
        except BlockingIOError:
            pass
        return self.received

    def is_over(self) -> bool:
        """Say whether the other side has sent its end of file."""
        try:
            return not self.sock.recv(1)
        except BlockingIOError:
            return False


Pair = tuple[Side, Side]
"""Both ends of a connection: the client's and the target's."""


class Stage:
    """Everything between client and target, and the sockets at both ends."""

    def __init__(self, door: Address, target: socket.socket, clock: MockClock) -> None:
        self._door = door
        self._target = target
        self._clock = clock
        self._stack = ExitStack()

    async def connect(self, number: int) -> list[Pair]:
        """Open so many connections; return both ends of each."""
        clients = [self._connect() for _ in range(number)]
        targets: list[Side] = []

        def accept() -> bool:
            try:
                while True:
                    targets.append(Side(self._stack.enter_context(self._target.accept()[0])))
            except BlockingIOError:
                return len(targets) == number

        await until(accept, "connecting")
        for index, client in enumerate(clients):
            client.send(bytes([index]))
        return await self._paired(clients, targets)

    async def _paired(self, clients: Sequence[Side], targets: Sequence[Side]) -> list[Pair]:
        """Connections may arrive in another order: the first byte tells whose is whose."""
        pairs: dict[int, Side] = {}

        def look() -> bool:
            for side in targets:
                try:
                    pairs[side.sock.recv(1)[0]] = side
                except BlockingIOError:
                    continue
            return len(pairs) == len(clients)

        await until(look, "greeting")
        return [(client, pairs[index]) for index, client in enumerate(clients)]

    def _connect(self) -> Side:
        sock = self._stack.enter_context(socket.socket())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((self._door.host, self._door.port))
        return Side(sock)

    def end_round(self) -> None:
        """Set the clock forward."""
        self._clock.jump(ROUND_SECONDS)

    def close(self) -> None:
        """Close what the load opened."""
        self._stack.close()


def _identity(issuer: Ed25519PrivateKey, subject: str) -> Identity:
    holder = generate_key()
    token = mint(
        issuer,
        subject=subject,
        holder=holder.public_key().public_bytes_raw(),
        lifetime_seconds=3600,
        peers=("*",),
        targets=("*",),
        now=time.time(),
    )
    return Identity(holder, token)


@contextmanager
def _endless_slice() -> Generator[None]:
    with (
        patch("tunnelkit.pump.core.SLICE_SECONDS", WAIT_SECONDS),
        patch("tunnelkit.pump.epoll.SLICE_SECONDS", WAIT_SECONDS),
    ):
        yield


@asynccontextmanager
async def open_stage(clock: MockClock) -> AsyncGenerator[Stage]:
    """Run a devbox and a sidecar that intercepts its port, until the block is left."""
    issuer = generate_key()
    ring = KeyRing([issuer.public_key()])
    with socket.create_server((HOST, 0), backlog=128) as target, use_pump("epoll"):
        target.setblocking(False)
        there = Address("tcp", HOST, target.getsockname()[1])
        async with (
            open_devbox(
                _identity(issuer, "dev"), ring, targets={"web": there}, listen=[f"tcp://{HOST}:0"]
            ) as devbox,
            open_sidecar(
                _identity(issuer, "side"),
                ring,
                ports=[PortSpec("web", Address("tcp", HOST, 0), there)],
                dial=devbox.endpoint.addresses,
            ) as sidecar,
        ):
            sidecar.set_intercept("web", Intercept("dev", "web", fail_open=False))
            await until(lambda: _is_open(sidecar), "opening the session")
            stage = Stage(sidecar.port_addresses()["web"], target, clock)
            try:
                yield stage
            finally:
                stage.close()


def _is_open(sidecar: Sidecar) -> bool:
    session = sidecar.session_with("dev")
    return session is not None and session.state == "open"


@asynccontextmanager
async def open_straight(clock: MockClock) -> AsyncGenerator[Stage]:
    """Set a stage with nothing between client and target."""
    with socket.create_server((HOST, 0), backlog=128) as target:
        target.setblocking(False)
        stage = Stage(Address("tcp", HOST, target.getsockname()[1]), target, clock)
        try:
            yield stage
        finally:
            stage.close()
            await trio.lowlevel.checkpoint()


def run_on_stage(play: Callable[[Stage], Awaitable[None]], *, straight: bool = False) -> None:
    """Set a stage in a Trio run of its own, and play on it.

    Args:
        straight: with nothing between client and target.

    Raises:
        BenchmarkError: a step took too long, or this system has no epoll.
    """
    if not hasattr(select, "epoll"):
        raise BenchmarkError("the guard counts what the epoll pump does: it needs Linux")
    clock = MockClock()

    async def run() -> None:
        async with (open_straight if straight else open_stage)(clock) as stage:
            await play(stage)

    try:
        with _endless_slice():
            trio.run(run, clock=clock)
    except* BenchmarkError as group:
        raise BenchmarkError("; ".join(map(str, _leaves(group)))) from None


def _leaves(group: BaseExceptionGroup[BenchmarkError]) -> Generator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
