"""Our WebSockets against other implementations, both ways, several MiB each way at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio
import trio_websocket
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest
from websockets.sync.server import ServerConnection

from tests.tunnelkit.carriers_websocket.ends import KEY, End, frame, ping
from tests.tunnelkit.carriers_websocket.foreign import (
    DATA,
    converse,
    exchange,
    first,
    in_single_bytes,
    in_thread,
    leave,
    listening,
    pieces,
    websockets_client,
    websockets_server,
)
from tests.tunnelkit.carriers_websocket.test_upgrade import REQUEST
from tests.tunnelkit.pairs import wait_until
from tunnelkit.addresses import Address
from tunnelkit.carriers import SYSTEM_NETWORK, connect
from tunnelkit.carriers.upgrade import SUBPROTOCOL
from tunnelkit.pump import Pump
from tunnelkit.wire.websocket import CloseCode, encode_close

# --- websockets ----------------------------------------------------------------------------


async def test_we_serve_websockets(pump: Pump) -> None:
    async with listening(pump) as (address, accepted):

        def talk() -> bytes:
            with websockets_client(address) as peer:
                assert not peer.protocol.extensions
                return converse(peer, DATA)

        got: list[bytes] = []
        async with trio.open_nursery() as nursery:

            async def other() -> None:
                got.append(await in_thread(talk))

            nursery.start_soon(other)
            end = await exchange(await first(accepted))
            assert end.data == DATA
            await leave(end)
        assert got == [DATA]


async def test_we_dial_websockets(pump: Pump) -> None:
    got: list[bytes] = []
    with websockets_server(lambda peer: got.append(converse(peer, DATA))) as address:
        pipe = await connect(SYSTEM_NETWORK, address, pump)
        assert (await exchange(pipe)).data == DATA
        await wait_until(lambda: got)
        pipe.close()
    assert got == [DATA]


async def test_websockets_closes_in_mid_transfer(pump: Pump) -> None:
    def close(peer: ServerConnection) -> None:
        peer.recv()
        peer.close(1001, "that is enough")

    with websockets_server(close) as address:
        end = End(await connect(SYSTEM_NETWORK, address, pump))
        end.send(DATA)
        await wait_until(lambda: end.ending)
        end.pipe.close()


async def test_we_close_in_mid_transfer(pump: Pump) -> None:
    async with listening(pump) as (address, accepted):
        codes: list[int | None] = []

        def read() -> bytes:
            with websockets_client(address) as peer:
                data = b"".join(message for message in peer if isinstance(message, bytes))
            codes.append(peer.close_code)
            return data

        async def close() -> None:
            pipe = await first(accepted)
            assert pipe.try_send(b"begun") == 5
            pipe.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            assert await in_thread(read) == b"begun"
        assert codes == [CloseCode.NORMAL]


# --- trio-websocket ------------------------------------------------------------------------


async def talk_trio(peer: WebSocketConnection) -> bytes:
    got = bytearray()

    async def send() -> None:
        for number, piece in enumerate(pieces(DATA, 3)):
            await peer.send_message(piece)
            if number % 20 == 0:
                await peer.ping()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(got) < len(DATA):
            message = await peer.get_message()
            assert isinstance(message, bytes)
            got += message
    return bytes(got)


async def test_we_serve_trio_websocket(pump: Pump) -> None:
    async with listening(pump) as (address, accepted):
        async with trio_websocket.open_websocket_url(
            str(address), subprotocols=[SUBPROTOCOL], max_message_size=1 << 26
        ) as peer:
            async with trio.open_nursery() as nursery:
                got: list[bytes] = []

                async def other() -> None:
                    got.append(await talk_trio(peer))

                nursery.start_soon(other)
                end = await exchange(await first(accepted))
                assert end.data == DATA
            assert got == [DATA]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave, end)
                await peer.aclose()


async def test_we_dial_trio_websocket(pump: Pump) -> None:
    got: list[bytes] = []

    async def handle(request: WebSocketRequest) -> None:
        peer = await request.accept(subprotocol=SUBPROTOCOL)
        got.append(await talk_trio(peer))
        with pytest.raises(ConnectionClosed):
            await peer.get_message()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None)
        address = Address("ws", "127.0.0.1", server.port, "/x")
        pipe = await connect(SYSTEM_NETWORK, address, pump)
        assert (await exchange(pipe)).data == DATA
        await wait_until(lambda: got)
        pipe.close()
        nursery.cancel_scope.cancel()
    assert got == [DATA]


# --- curl, and single bytes ----------------------------------------------------------------


@pytest.mark.needs_program("curl")
async def test_curl_is_told_what_this_port_is(pump: Pump) -> None:
    async with listening(pump) as (address, accepted):
        url = f"http://{address.host_port}/"
        done = await trio.run_process(
            ["curl", "-sS", "-w", "%{http_code}", url], capture_stdout=True
        )
        assert b"it speaks WebSocket" in done.stdout
        assert done.stdout.endswith(b"426")
        assert not accepted


async def test_frames_in_single_bytes(pump: Pump) -> None:
    async with listening(pump) as (address, accepted):
        frames = frame(DATA[:500], masked=True) + ping(b"x", masked=True)
        said = REQUEST.replace(b"/tunnel", b"/x") + frames + encode_close(CloseCode.NORMAL, "", KEY)
        ends: list[End] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, in_single_bytes, address, said)
            ends.append(End(await first(accepted)))
            await wait_until(lambda: ends[0].ending)
            ends[0].pipe.close()
        assert (ends[0].data, ends[0].ending) == (DATA[:500], "eof")


# --- ws, from npm --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ws_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds `ws`."""
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "ws@8"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("not installed: ws, from npm")
    if done.returncode:
        pytest.skip("not installed: ws, from npm")
    return folder


ECHO = """
const WebSocket = require('ws');
function echo(peer) {
  peer.on('message', (data, isBinary) => {
    peer.ping('between');
    const half = data.length >> 1;
    peer.send(data.subarray(0, half), { binary: isBinary, fin: false });
    peer.send(data.subarray(half), { binary: isBinary, fin: true });
  });
  peer.on('close', (code) => { console.log('closed ' + code); process.exit(0); });
}
if (process.argv[2]) {
  echo(new WebSocket(process.argv[2], 'tunnelkit.v1'));
} else {
  const server = new WebSocket.Server({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
  server.on('connection', echo);
  server.on('listening', () => console.log(server.address().port));
}
"""


@pytest.mark.needs_program("node", "npm")
async def test_we_serve_ws(pump: Pump, ws_folder: Path) -> None:
    async with listening(pump) as (address, accepted), trio.open_nursery() as nursery:
        done: list[subprocess.CompletedProcess[bytes]] = []

        async def other() -> None:
            command = ["node", "-e", ECHO, "echo", str(address)]
            done.append(await trio.run_process(command, cwd=ws_folder, capture_stdout=True))

        nursery.start_soon(other)
        pipe = await first(accepted)
        assert (await exchange(pipe)).data == DATA
        pipe.close()
        await wait_until(lambda: done)
        assert done[0].stdout == b"closed 1000\n"


@pytest.mark.needs_program("node", "npm")
async def test_we_dial_ws(pump: Pump, ws_folder: Path) -> None:
    process = await trio.lowlevel.open_process(
        ["node", "-e", ECHO], cwd=ws_folder, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.receive_some())
        pipe = await connect(SYSTEM_NETWORK, Address("ws", "127.0.0.1", port), pump)
        assert (await exchange(pipe)).data == DATA
        pipe.close()
        assert await process.stdout.receive_some() == b"closed 1000\n"
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
