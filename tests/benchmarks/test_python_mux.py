"""Peers in Python: each carries traffic, or says what it misses."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from benchmarks.load import Address
from benchmarks.peers import BODY, HOST, Route, python_mux
from benchmarks.peers.starters import STARTERS
from benchmarks.processes import BenchmarkError, open_fleet

NAMES = ("snitun", "asyncssh", "libp2p")
DATA = bytes(range(256)) * 12_000


def skip_without(name: str) -> None:
    try:
        if name == "libp2p":
            python_mux.require_libp2p(python_mux.LIBP2P_FOLDER)
        else:
            python_mux.require_package(name)
    except BenchmarkError as error:
        pytest.skip(str(error))


async def answer(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)


async def echo(stream: trio.SocketStream) -> None:
    async with stream:
        async for chunk in stream:
            await stream.send_all(chunk)


async def serve_targets(nursery: trio.Nursery) -> Route:
    """Serve what stands behind the two doors: the body of the benchmark, and an echo."""
    addresses: list[Address] = []
    for handler in (answer, echo):
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        addresses.append(Address(*listener.socket.getsockname()))
        nursery.start_soon(trio.serve_listeners, handler, [listener])
    return Route(*addresses)


async def echo_bytes(door: Address | None, data: bytes) -> bytes:
    """Send *data* through *door* to the echo; return as much as comes back."""
    assert door is not None
    answer = bytearray()
    async with await trio.open_tcp_stream(door.host, door.port) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            while len(answer) < len(data) and (chunk := await stream.receive_some()):
                answer += chunk
    return bytes(answer)


@pytest.mark.parametrize("name", NAMES)
async def test_peer_carries_requests_and_bytes(
    name: str, tmp_path: Path, nursery: trio.Nursery
) -> None:
    skip_without(name)
    targets = await serve_targets(nursery)
    async with open_fleet(tmp_path) as fleet:
        doors = await STARTERS[name](fleet, targets)  # waits for an answer at the web door
        assert await echo_bytes(doors.bulk, DATA) == DATA
        assert len(fleet.children) == 4


@pytest.mark.parametrize("name", NAMES)
async def test_peer_without_a_bulk_target_has_no_bulk_door(
    name: str, tmp_path: Path, nursery: trio.Nursery
) -> None:
    skip_without(name)
    targets = await serve_targets(nursery)
    async with open_fleet(tmp_path) as fleet:
        doors = await STARTERS[name](fleet, Route(targets.web, None))
        assert doors.bulk is None


def test_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(BenchmarkError, match=r"no_such_library is not .*\[peers\]"):
        python_mux.require_package("no_such_library")


def test_environment_that_was_not_finished_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    with pytest.raises(BenchmarkError, match="make .bench/libp2p/.installed"):
        python_mux.require_libp2p(tmp_path)
