"""TCP and unix sockets as pipes, on both pumps."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.tunnelkit.pairs import wait_until
from tunnelkit.addresses import Address
from tunnelkit.carriers import (
    SYSTEM_NETWORK,
    ConnectFailed,
    Listener,
    Pipe,
    PipeBroken,
    SocketNetwork,
    WebSocketOptions,
    connect,
)
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Pump, acquire_pump, release_pump, use_pump
from tunnelkit.testing import cancel_at_each_step, no_leaks

LOOPBACK = Address("tcp", "127.0.0.1", 0)
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=["epoll", "tasks"])
async def pump(request: pytest.FixtureRequest) -> AsyncGenerator[Pump]:
    with use_pump(request.param):
        pump = acquire_pump()
        yield pump
        await release_pump(pump)


@dataclass
class Joined:
    """Both ends of a connection over a listener."""

    left: Pipe
    right: Pipe
    listener: Listener

    def close(self) -> None:
        self.left.close()
        self.right.close()
        self.listener.close()


async def join(pump: Pump, address: Address = LOOPBACK) -> Joined:
    accepted: list[Pipe] = []
    arrived = trio.Event()

    def accept(pipe: Pipe) -> None:
        accepted.append(pipe)
        arrived.set()

    listener = await SYSTEM_NETWORK.listen(address, pump, accept)
    left = await connect(SYSTEM_NETWORK, listener.address, pump)
    await arrived.wait()
    return Joined(left, accepted[0], listener)


@pytest.fixture(params=["tcp", "unix"])
async def joined(
    request: pytest.FixtureRequest, pump: Pump, tmp_path: Path
) -> AsyncGenerator[Joined]:
    unix = Address("unix", path=str(tmp_path / "test.sock"))
    joined = await join(pump, LOOPBACK if request.param == "tcp" else unix)
    yield joined
    joined.close()


async def ready(pipe: Pipe, *, write: bool = False) -> None:
    """Wait until *pipe* is readable, or writable."""
    event = trio.Event()

    def note(readable: bool, writable: bool) -> None:
        pipe.want(False, False)
        event.set()

    pipe.start(note)
    pipe.want(not write, write)
    await event.wait()


async def read(pipe: Pipe) -> bytes:
    await ready(pipe)
    data = pipe.try_receive(65_536)
    assert data is not None
    return bytes(data)


# --- pipes ---------------------------------------------------------------------------------


async def test_bytes_go_both_ways(joined: Joined) -> None:
    assert joined.left.try_send(b"hello") == 5
    assert await read(joined.right) == b"hello"
    assert joined.right.try_send_many([b"wor", memoryview(b"ld"), bytearray(b"!")]) == 6
    assert await read(joined.left) == b"world!"


async def test_nothing_there_is_no_end(joined: Joined) -> None:
    assert joined.left.try_receive(10) is None
    assert joined.left.try_receive_into(memoryview(bytearray(10))) == -1


async def test_half_close_leaves_the_other_direction(joined: Joined) -> None:
    joined.left.send_eof()
    assert await read(joined.right) == b""
    joined.right.try_send(b"still here")
    assert await read(joined.left) == b"still here"


async def test_full_pipe_takes_nothing(joined: Joined) -> None:
    while joined.left.try_send(bytes(1 << 20)):
        pass
    assert joined.left.try_send_many([b"x"]) == 0
    while joined.right.try_receive(1 << 20):
        pass
    await ready(joined.left, write=True)
    assert joined.left.try_send(b"x") == 1


async def test_many_buffers_at_once(joined: Joined) -> None:
    buffers = [bytes([number % 256]) for number in range(3000)]
    sent = joined.left.try_send_many(buffers)
    assert 0 < sent <= 1024
    assert await read(joined.right) == b"".join(buffers[:sent])


@pytest.mark.parametrize("count", [50_000, 0])
async def test_system_is_told_how_much_may_be_unsent(pump: Pump, count: int) -> None:
    joined = await join(pump)
    joined.left.limit_unsent(count)
    sock = joined.left._sock  # type: ignore[attr-defined]
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == count
    joined.close()


async def test_unix_sockets_take_the_hint_and_do_nothing(pump: Pump, tmp_path: Path) -> None:
    joined = await join(pump, Address("unix", path=str(tmp_path / "s")))
    joined.left.limit_unsent(1)
    assert joined.left.try_send(bytes(1000)) == 1000
    joined.close()


@pytest.mark.parametrize("size", [100, 100_000])
async def test_kept_views_do_not_change(joined: Joined, size: int) -> None:
    kept = []
    for byte in b"abcdef":
        joined.left.try_send(bytes([byte]) * size)
        await ready(joined.right)
        data = joined.right.try_receive(1 << 20)
        assert data is not None
        if isinstance(data, bytes) or (isinstance(data, memoryview) and data.readonly):
            kept.append((bytes(data), data))
    assert all(copy == data for copy, data in kept)


async def test_reset_is_seen_as_a_reset(pump: Pump) -> None:
    joined = await join(pump)
    joined.left.reset()
    await ready(joined.right)
    with pytest.raises(PipeBroken, match="connection reset by peer"):
        joined.right.try_receive(10)
    joined.close()


async def test_first_error_stays(pump: Pump) -> None:
    """After ECONNRESET the system reports an end of file, which would be a lie."""
    joined = await join(pump)
    joined.left.reset()
    await ready(joined.right)
    for _ in range(3):
        with pytest.raises(PipeBroken, match="reset"):
            joined.right.try_receive(10)
        with pytest.raises(PipeBroken, match="reset"):
            joined.right.try_receive_into(memoryview(bytearray(10)))
    joined.close()


async def test_error_of_a_send_is_remembered_too(joined: Joined) -> None:
    joined.right.close()
    await wait_all_tasks_blocked(0.01)
    with pytest.raises(PipeBroken):
        while True:
            joined.left.try_send(b"x" * 1000)
    with pytest.raises(PipeBroken):
        joined.left.try_receive(10)


async def test_close_twice_is_harmless(joined: Joined) -> None:
    joined.left.close()
    joined.left.reset()
    joined.left.close()


async def test_new_handler_replaces_the_old_one(joined: Joined) -> None:
    old: list[bool] = []
    joined.right.start(lambda readable, writable: old.append(readable))
    joined.right.want(True, False)
    joined.left.try_send(b"x")
    assert await read(joined.right) == b"x"
    assert not old


# --- connecting ----------------------------------------------------------------------------


async def test_refused_connect_names_address_and_cause(pump: Pump) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(ConnectFailed) as info:
            await connect(SYSTEM_NETWORK, Address("tcp", "127.0.0.1", port), pump)
    assert str(info.value) == f"cannot connect to tcp://127.0.0.1:{port}: connection refused"
    assert info.value.refused


async def test_missing_unix_socket(pump: Pump, tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="no such file") as info:
        await connect(SYSTEM_NETWORK, Address("unix", path=str(tmp_path / "none")), pump)
    assert info.value.refused


async def test_path_that_is_too_long(pump: Pump) -> None:
    async with no_leaks():
        with pytest.raises(ConnectFailed, match="too long"):
            await connect(SYSTEM_NETWORK, Address("unix", path="/tmp/" + "x" * 200), pump)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "name.invalid"])
async def test_name_that_cannot_be_looked_up(pump: Pump, host: str) -> None:
    async with no_leaks():
        with pytest.raises(ConnectFailed, match=f"cannot look up {host}"):
            await connect(SYSTEM_NETWORK, Address("tcp", host, 80), pump)


async def test_unreachable_network(pump: Pump) -> None:
    with pytest.raises(ConnectFailed, match="cannot connect to tcp://"):
        await connect(SYSTEM_NETWORK, Address("tcp", "255.255.255.255", 80), pump)


async def test_no_descriptors_left(pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr("tunnelkit.carriers.sockets.SocketType", fail)
    with pytest.raises(ConnectFailed, match="too many open files"):
        await connect(SYSTEM_NETWORK, Address("tcp", "127.0.0.1", 80), pump)


async def test_connect_that_nobody_answers(pump: Pump) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = Address("tcp", *full.getsockname())
        pipes: list[Pipe] = []
        with pytest.raises(ConnectFailed, match="no answer within 0.05 s"):
            while len(pipes) < 5:
                pipes.append(await connect(SYSTEM_NETWORK, address, pump, 0.05))
        for pipe in pipes:
            pipe.close()


async def test_other_schemes_are_refused(pump: Pump) -> None:
    with pytest.raises(ConfigurationError, match="wss:// and unix:// only"):
        await SYSTEM_NETWORK.resolve(Address("memory", "alice", 1))


async def test_name_is_looked_up(pump: Pump) -> None:
    resolved = await SYSTEM_NETWORK.resolve(Address("tcp", "localhost", 80))
    assert resolved == Address("tcp", "127.0.0.1", 80)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_connect_is_atomic(pump: Pump, kind: str, tmp_path: Path) -> None:
    unix = Address("unix", path=str(tmp_path / "test.sock"))
    listener = await SYSTEM_NETWORK.listen(
        LOOPBACK if kind == "tcp" else unix, pump, lambda pipe: pipe.close()
    )
    async with no_leaks():
        await cancel_at_each_step(
            lambda: connect(SYSTEM_NETWORK, listener.address, pump),
            check=lambda attempt: attempt.value.close() if attempt.value else None,
        )
    listener.close()


# --- listening -----------------------------------------------------------------------------


async def test_port_zero_gives_the_real_port(pump: Pump) -> None:
    listener = await SYSTEM_NETWORK.listen(LOOPBACK, pump, lambda pipe: None)
    assert listener.address.port > 0
    listener.close()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_address_in_use(pump: Pump, kind: str, tmp_path: Path) -> None:
    unix = Address("unix", path=str(tmp_path / "test.sock"))
    first = await SYSTEM_NETWORK.listen(
        LOOPBACK if kind == "tcp" else unix, pump, lambda pipe: None
    )
    with pytest.raises(ConfigurationError, match=f"cannot listen on {first.address}: it is in use"):
        await SYSTEM_NETWORK.listen(first.address, pump, lambda pipe: None)
    first.close()


async def test_socket_file_of_a_dead_program_is_replaced(pump: Pump, tmp_path: Path) -> None:
    path = str(tmp_path / "test.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    listener = await SYSTEM_NETWORK.listen(Address("unix", path=path), pump, lambda pipe: None)
    assert os.stat(path).st_mode & 0o777 == 0o600
    listener.close()
    with pytest.raises(FileNotFoundError):
        os.stat(path)


async def test_file_that_is_no_socket_is_kept(pump: Pump, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigurationError, match="cannot listen on unix:"):
        await SYSTEM_NETWORK.listen(Address("unix", path=str(path)), pump, lambda pipe: None)
    assert path.read_text() == "data"


@pytest.mark.parametrize("path", ["/nonexistent/folder/x", "/tmp/" + "x" * 200])
async def test_path_that_cannot_be_listened_on(pump: Pump, path: str) -> None:
    async with no_leaks():
        with pytest.raises(ConfigurationError, match="cannot listen on unix://"):
            await SYSTEM_NETWORK.listen(Address("unix", path=path), pump, lambda pipe: None)


async def test_name_that_cannot_be_listened_on(pump: Pump) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on tcp://a..b:80"):
        await SYSTEM_NETWORK.listen(Address("tcp", "a..b", 80), pump, lambda pipe: None)


async def test_listen_is_atomic(pump: Pump) -> None:
    async with no_leaks():
        await cancel_at_each_step(
            lambda: SYSTEM_NETWORK.listen(Address("tcp", "localhost", 0), pump, Pipe.close),
            check=lambda attempt: attempt.value.close() if attempt.value else None,
        )


async def test_listener_survives_what_its_user_raises(
    pump: Pump, caplog: pytest.LogCaptureFixture
) -> None:
    accepted: list[Pipe] = []

    def accept(pipe: Pipe) -> None:
        accepted.append(pipe)
        if len(accepted) == 1:
            raise ZeroDivisionError

    listener = await SYSTEM_NETWORK.listen(LOOPBACK, pump, accept)
    pipes = [await connect(SYSTEM_NETWORK, listener.address, pump) for _ in range(3)]
    await wait_all_tasks_blocked(0.01)
    assert len(accepted) == 3
    for pipe in [*pipes, *accepted]:
        pipe.close()
    listener.close()


async def test_listener_pauses_without_descriptors(
    pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[Pipe] = []
    listener = await SYSTEM_NETWORK.listen(LOOPBACK, pump, accepted.append)

    def fail(sock: socket.socket) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(socket.socket, "accept", fail)
    pipe = await connect(SYSTEM_NETWORK, listener.address, pump)
    await trio.sleep(0.02)
    before = pump.wakeups
    await trio.sleep(0.05)
    assert pump.wakeups - before <= 2
    monkeypatch.undo()
    await wait_until(lambda: accepted)
    for each in [pipe, *accepted]:
        each.close()
    listener.close()


@pytest.mark.parametrize("paused", [False, True])
async def test_closed_listener_leaves_nothing(
    pump: Pump, paused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with no_leaks():
        listener = await SYSTEM_NETWORK.listen(LOOPBACK, pump, Pipe.close)
        if paused:
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "accept", lambda sock: [][0])
            listener._pause()  # type: ignore[attr-defined] # out of descriptors
        listener.close()
        listener.close()


def test_network_holds_nothing() -> None:
    assert vars(SocketNetwork()) == {"tls": None, "websocket": WebSocketOptions(), "proxy": None}
