"""What no rule takes is untouched: a server sees and answers the same, sidecar or no sidecar."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.tunnelkit.pairs import RING, clock, make_identity
from tests.tunnelkit.untouched.corpus import CORPUS, Case
from tests.tunnelkit.untouched.servers import SERVERS
from tunnelkit.addresses import Address
from tunnelkit.sidecar import Local, PortSpec, Rule, Speaks, open_sidecar, read_conditions

HOST = "127.0.0.1"
PAUSE_SECONDS = 0.03
"""Between the pieces of a client, so that they do not arrive together."""

OTHERS = Rule("others", Local(), read_conditions(["header:x-nobody=has", "path~=/.*"]))


@asynccontextmanager
async def sidecar_before(port: int, speaks: Speaks) -> AsyncGenerator[int]:
    """Run a sidecar with a rule that takes nothing; gives the port before that of the server."""
    spec = PortSpec("web", Address("tcp", HOST, 0), Address("tcp", HOST, port), speaks)
    identity = make_identity("side")
    async with open_sidecar(identity, RING, ports=[spec], clock=clock) as sidecar:
        await sidecar.add_rule("web", OTHERS)
        yield sidecar.port_addresses()["web"].port


async def said_to(port: int, case: Case) -> tuple[bytes, str]:
    """Send what a case says; return all that came, and how the connection ended."""
    got, ended = b"", "ended"
    stream = await trio.open_tcp_stream(HOST, port)
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(_send, stream, case)
        try:
            with trio.fail_after(20):
                async for data in stream:
                    got += data
        except trio.BrokenResourceError:
            ended = "broke"
        nursery.cancel_scope.cancel()
    return got, ended


async def _send(stream: trio.SocketStream, case: Case) -> None:
    try:
        for number, piece in enumerate(case.pieces):
            if number:
                await trio.sleep(PAUSE_SECONDS)
            await stream.send_all(piece)
        if case.half_closes:
            await trio.sleep(PAUSE_SECONDS)
            await stream.send_eof()
    except trio.BrokenResourceError:
        pass  # the server has had enough, and says why


def without_dates(answer: bytes) -> bytes:
    """Take out what differs between two answers to the same request."""
    answer = re.sub(rb"(?mi)^(date|etag|last-modified): .*\r$", rb"\1: x\r", answer)
    # multipart/byteranges: Apache draws the boundary, nginx counts it up.
    return re.sub(rb"(boundary=|\r\n--)[0-9a-f]+", rb"\1x", answer)


@pytest.fixture(scope="module", params=list(SERVERS))
def server_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("speaks", [Speaks.HTTP, Speaks.AUTO], ids=lambda speaks: speaks.value)
async def test_answers_are_those_of_the_server_itself(
    server_name: str, speaks: Speaks, tmp_path: Path
) -> None:
    different = []
    async with SERVERS[server_name](tmp_path) as port, sidecar_before(port, speaks) as before:
        for case in CORPUS:
            if server_name in case.servers:
                straight, through = await said_to(port, case), await said_to(before, case)
                if _told(straight, case) != _told(through, case):
                    different.append((case.name, straight, through))
    assert different == []


def _told(found: tuple[bytes, str], case: Case) -> tuple[bytes, bool]:
    """Return what has to be the same: how an ending looks is up to the kernel where it breaks."""
    answer, ended = found
    return without_dates(answer), case.is_broken or ended == "ended"
