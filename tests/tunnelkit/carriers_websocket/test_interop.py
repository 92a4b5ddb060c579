"""Our WebSockets and other programs: bulk both ways with three of them, every end, single bytes."""

from __future__ import annotations

import hashlib

import trio

from tests.tunnelkit.carriers_websocket.conftest import BULK_BYTES
from tests.tunnelkit.carriers_websocket.ends import KEY, End, frame, ping
from tests.tunnelkit.carriers_websocket.foreign import Meeting, exchanged, first, listening
from tests.tunnelkit.carriers_websocket.test_upgrade import REQUEST
from tests.tunnelkit.pairs import wait_until
from tunnelkit.pump import Pump
from tunnelkit.testing import no_leaks
from tunnelkit.wire.websocket import CloseCode, encode_close

LEAVE_BYTES = 3_000_000
SOME = 2_000_000
FEW = 300_000
"""Little enough to be read in the time for a close, however busy the machine is."""
CLEAN = "eof"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_bulk_both_ways_at_once(meeting: Meeting) -> None:
    data = await trio.Path(meeting.file).read_bytes()
    async with meeting.hold("bulk") as (peer, pipe):
        end = End(pipe)
        end.send(data)
        await exchanged(end, BULK_BYTES)
        assert (end.ending, end.data == data) == ("", True)
        pipe.close()
        found = await peer.report()
    assert (found["received"], found["sha256"]) == (BULK_BYTES, sha256(data))
    assert (found["code"], found["extensions"]) == (1000, 0)
    assert found["pings"] > 10
    assert found["pongs"] or meeting.kind != "ws"  # the others do not count them


async def test_we_close_in_mid_transfer(meeting: Meeting) -> None:
    data = (await trio.Path(meeting.file).read_bytes())[:FEW]
    async with no_leaks():
        async with meeting.hold("flood") as (peer, pipe):
            end = End(pipe)
            end.send(data)
            await exchanged(end, FEW)
            pipe.close()
            found = await peer.report()
        assert (found["received"], found["sha256"]) == (FEW, sha256(data))
        assert found["code"] == 1000


async def test_we_close_inside_a_message(guest: Meeting) -> None:
    data = await trio.Path(guest.file).read_bytes()
    async with no_leaks():
        async with guest.hold("flood") as (peer, pipe):
            end = End(pipe, reads=False)
            end.send(data)
            await wait_until(lambda: len(end.left) < BULK_BYTES - SOME)
            sent = BULK_BYTES - len(end.left)
            is_cut = bool(pipe._left)  # type: ignore[attr-defined] # nothing else tells it
            pipe.close()
            found = await peer.report()
        assert (found["code"] == 1000) is not is_cut
        assert found["received"] <= sent


async def test_peer_closes_in_mid_transfer(meeting: Meeting) -> None:
    data = await trio.Path(meeting.file).read_bytes()
    async with no_leaks():
        async with meeting.hold("leave") as (peer, pipe):
            end = End(pipe)
            end.send(data)
            await wait_until(lambda: end.ending)
            assert end.data == data[:LEAVE_BYTES]
            assert end.left
            pipe.close()
            await peer.report()
    assert end.ending in (CLEAN, "the peer closed the WebSocket")


async def test_peer_closes_inside_a_message(guest: Meeting) -> None:
    data = await trio.Path(guest.file).read_bytes()
    async with no_leaks():
        async with guest.hold("inside") as (peer, pipe):
            end = End(pipe)
            end.send(data[:SOME])
            await wait_until(lambda: end.ending)
            pipe.close()
            await peer.report()
    assert end.data.startswith(data[:LEAVE_BYTES])
    is_half = end.ending == "the peer closed the WebSocket in the middle of a message"
    assert is_half or "with code 1011" in end.ending


async def test_peer_dies_in_mid_transfer(guest: Meeting) -> None:
    async with no_leaks():
        async with guest.hold("flood") as (peer, pipe):
            end = End(pipe)
            await wait_until(lambda: end.count > SOME)
            await peer.kill()
            await wait_until(lambda: end.ending)
    assert end.ending in (
        "the connection ended without a WebSocket close",
        "connection reset by peer",
    )


async def test_everything_in_single_bytes(pump: Pump) -> None:
    """Request, frames with lengths of each size, pings between them, and the close."""
    sizes = (0, 1, 125, 126, 127, 1000)
    frames = b"".join(frame(bytes(n), masked=True) + ping(b"p", masked=True) for n in sizes)
    said = REQUEST.replace(b"/tunnel", b"/x") + frames + encode_close(CloseCode.NORMAL, "", KEY)
    async with no_leaks(), listening(pump) as (address, accepted):
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
            for byte in said:
                await stream.send_all(bytes([byte]))
            end = End(await first(accepted))
            await wait_until(lambda: end.ending)
            end.pipe.close()
            answers = b"".join([chunk async for chunk in stream])
        assert (end.data, end.ending) == (bytes(sum(sizes)), CLEAN)
        assert answers.endswith(encode_close(CloseCode.NORMAL))
