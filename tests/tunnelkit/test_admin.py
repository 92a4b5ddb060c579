"""The admin socket: JSON-RPC 2.0, bounds, the socket file, the client, the command."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tunnelkit.admin import AdminError, call_admin, serve_admin
from tunnelkit.admin import __main__ as command
from tunnelkit.admin.rpc import MAX_BATCH, Method, answer
from tunnelkit.admin.server import MAX_CONNECTIONS, MAX_LINE_BYTES
from tunnelkit.admin.tables import age_of, plain, show, size_of, tables_of
from tunnelkit.errors import ConfigurationError


async def add(left: int, right: int = 1) -> int:
    return left + right


async def refuse() -> None:
    raise ConfigurationError("there is no port 'x'")


async def fail() -> None:
    raise RuntimeError("a secret of the inside")


async def give_object() -> object:
    return object()


METHODS: dict[str, Method] = {
    "add": add,
    "refuse": refuse,
    "fail": fail,
    "object": give_object,
}


async def ask(line: str) -> Any:
    """Return what answers *line*, decoded."""
    reply = await answer(line.encode(), METHODS)
    return None if reply is None else json.loads(reply)


# --- JSON-RPC -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "result"),
    [('{"left": 2}', 3), ('{"left": 2, "right": 5}', 7), ("[2]", 3), ("[2, 5]", 7)],
)
async def test_call_takes_parameters_by_name_and_by_position(params: str, result: int) -> None:
    reply = await ask(f'{{"jsonrpc": "2.0", "method": "add", "params": {params}, "id": "a"}}')
    assert reply == {"jsonrpc": "2.0", "result": result, "id": "a"}


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        ("{", -32700, None),
        ("nonsense", -32700, None),
        ("[" * 100_000, -32700, None),
        ("\xff", -32700, None),
        ("1", -32600, None),
        ("[]", -32600, None),
        ("{}", -32600, None),
        ('{"jsonrpc": "1.0", "method": "add", "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "method": 1, "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "method": "add", "params": 1, "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "method": "add", "params": null, "id": 1}', -32600, 1),
        ('{"jsonrpc": "2.0", "method": "add", "id": true}', -32600, None),
        ('{"jsonrpc": "2.0", "method": "add", "id": {}}', -32600, None),
        ('{"jsonrpc": "2.0", "method": "none", "id": 1}', -32601, 1),
        ('{"jsonrpc": "2.0", "method": "add", "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "add", "params": [1, 2, 3], "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "add", "params": {"left": "2"}, "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "add", "params": {"middle": 2}, "id": 1}', -32602, 1),
        ('{"jsonrpc": "2.0", "method": "fail", "id": 1}', -32603, 1),
        ('{"jsonrpc": "2.0", "method": "object", "id": 1}', -32603, 1),
        ('{"jsonrpc": "2.0", "method": "refuse", "id": 1}', -32000, 1),
    ],
)
async def test_wrong_call_has_the_code_of_the_specification(
    line: str, code: int, request_id: object
) -> None:
    reply = await ask(line)
    assert reply["jsonrpc"] == "2.0"
    assert (reply["error"]["code"], reply["id"]) == (code, request_id)
    assert "result" not in reply


async def test_refusal_says_why_and_a_bug_does_not() -> None:
    refused = await ask('{"jsonrpc": "2.0", "method": "refuse", "id": 1}')
    failed = await ask('{"jsonrpc": "2.0", "method": "fail", "id": 1}')
    assert refused["error"]["message"] == "there is no port 'x'"
    assert "secret" not in failed["error"]["message"]


@pytest.mark.parametrize("method", ["add", "none", "fail"])
async def test_notification_is_never_answered(method: str) -> None:
    assert await ask(f'{{"jsonrpc": "2.0", "method": "{method}"}}') is None


async def test_batch_is_answered_by_a_batch_without_notifications() -> None:
    call = '{"jsonrpc": "2.0", "method": "add", "params": [1], "id": 1}'
    silent = '{"jsonrpc": "2.0", "method": "add", "params": [1]}'
    replies = await ask(f"[{call}, {silent}, 1]")
    assert [reply.get("result") for reply in replies] == [2, None]
    assert replies[1]["error"]["code"] == -32600


async def test_batch_of_notifications_is_not_answered() -> None:
    assert await ask('[{"jsonrpc": "2.0", "method": "add", "params": [1]}]') is None


async def test_batch_is_bounded() -> None:
    reply = await ask(json.dumps([1] * (MAX_BATCH + 1)))
    assert reply["error"]["code"] == -32600


# --- the server -----------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "admin.sock")


@asynccontextmanager
async def serving(path: str) -> AsyncGenerator[None]:
    """Serve METHODS on *path*."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_admin, path, METHODS)
        yield
        nursery.cancel_scope.cancel()


async def test_call_over_the_socket(path: str) -> None:
    async with serving(path):
        assert await call_admin(path, "add", {"left": 40, "right": 2}) == 42


async def test_connection_serves_one_request_after_another(path: str) -> None:
    line = b'{"jsonrpc": "2.0", "method": "add", "params": [1], "id": 1}\n'
    async with serving(path), await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"\n" + line + line[:9])
        assert json.loads(await stream.receive_some())["result"] == 2
        await stream.send_all(line[9:])
        assert json.loads(await stream.receive_some())["result"] == 2


async def is_over(stream: trio.SocketStream) -> bool:
    """Say whether the server has closed *stream*, with or without a reset."""
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True


async def test_endless_line_ends_the_connection_with_an_error(path: str) -> None:
    async with serving(path), await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"x" * (MAX_LINE_BYTES + 1))
        reply = json.loads(await stream.receive_some())
        assert reply["error"]["code"] == -32600
        assert await is_over(stream)


async def test_connections_are_bounded(path: str) -> None:
    async with serving(path):
        streams = [await trio.open_unix_socket(path) for _ in range(MAX_CONNECTIONS)]
        for stream in streams:
            await stream.send_all(b"{}\n")
            await stream.receive_some()
        with pytest.raises(AdminError, match="more than 16 connections"):
            await call_admin(path, "add", {"left": 1})
        for stream in streams:
            await stream.aclose()


async def test_caller_that_leaves_is_no_fault(path: str) -> None:
    async with serving(path):
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b'{"jsonrpc": "2.0", "met')
        assert await call_admin(path, "add", {"left": 1}) == 2


async def test_quiet_connection_is_closed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnelkit.admin.server.QUIET_SECONDS", 0.01)
    async with serving(path), await trio.open_unix_socket(path) as stream:
        assert await stream.receive_some() == b""


# --- the socket file ------------------------------------------------------------------------


async def test_socket_and_its_new_folder_are_for_the_owner_alone(path: str) -> None:
    async with serving(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


async def test_socket_file_is_removed_at_the_end(path: str) -> None:
    async with serving(path):
        pass
    assert not os.path.lexists(path)  # noqa: ASYNC240 - a quick look


async def test_socket_of_a_killed_process_is_replaced(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with serving(path):
        assert await call_admin(path, "add", {"left": 1}) == 2


async def fault_of(run: Callable[[], Awaitable[object]]) -> str:
    """Return the text of the ConfigurationError that *run* raises, in a group or not."""
    with pytest.raises((ConfigurationError, ExceptionGroup)) as caught:
        await run()
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConfigurationError)
    return str(error)


async def test_socket_of_a_live_process_is_left_alone(path: str) -> None:
    async with serving(path):
        text = await fault_of(lambda: serve_admin(path, METHODS))
        assert "another process answers there" in text
        assert await call_admin(path, "add", {"left": 1}) == 2


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("data")
    text = await fault_of(lambda: serve_admin(str(file), METHODS))
    assert "in use" in text
    assert file.read_text() == "data"


async def test_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o711)
    text = await fault_of(lambda: serve_admin(str(tmp_path / "a.sock"), METHODS))
    assert "chmod 700" in text


@pytest.mark.parametrize("place", ["missing/deeper/a.sock", "file/a.sock"])
async def test_impossible_folder_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    text = await fault_of(lambda: serve_admin(str(tmp_path / place), METHODS))
    assert "folder" in text


async def test_path_too_long_for_the_kernel_is_refused(tmp_path: Path) -> None:
    text = await fault_of(lambda: serve_admin(str(tmp_path / ("x" * 110)), METHODS))
    assert "longer than 107 bytes" in text


# --- the client -----------------------------------------------------------------------------


async def test_client_says_that_nobody_made_the_socket(path: str) -> None:
    with pytest.raises(ConfigurationError, match="start the program with --admin"):
        await call_admin(path, "add")


async def test_client_says_that_the_program_has_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(ConfigurationError, match="has gone"):
        await call_admin(path, "add")


async def test_client_hands_on_what_the_program_answered(path: str) -> None:
    async with serving(path):
        with pytest.raises(AdminError, match="there is no port 'x'") as caught:
            await call_admin(path, "refuse")
    assert caught.value.code == -32000


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-x\n", b'{"result"', b"[]\n"])
async def test_client_does_not_trust_the_socket(tmp_path: Path, reply: bytes) -> None:
    path = str(tmp_path / "other.sock")

    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(reply)

    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(path)
    listening.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, [trio.SocketListener(listening)])
        with pytest.raises(AdminError, match="no JSON-RPC answer"):
            await call_admin(path, "add")
        nursery.cancel_scope.cancel()


async def test_client_does_not_wait_for_ever(tmp_path: Path) -> None:
    path = str(tmp_path / "mute.sock")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen()
        with pytest.raises(AdminError, match="is it stopped"):
            await call_admin(path, "add", timeout=0.01)


# --- the command ----------------------------------------------------------------------------

PORT = {
    "name": "web",
    "listen": "127.0.0.1:9080",
    "target": "127.0.0.1:8080",
    "open": 2,
    "counts": {"local": 3, "peer": 1},
    "intercept": {"peer": "devbox/alice", "target": "web", "fail_open": False},
    "last_reason": "intercepted by devbox/alice",
}
LINK = {
    "address": "tcp://127.0.0.1:7000",
    "peer": "",
    "is_broker": True,
    "state": "up",
    "health": "up",
    "round_trip_ms": 0.5,
    "bytes_in": 2048,
    "bytes_out": 1,
    "since": 1000.0,
}
SESSION = {
    "id": "0a1b2c3d",
    "peer": "devbox/alice",
    "state": "open",
    "is_suspect": True,
    "streams": 1,
    "unacknowledged_bytes": 0,
    "replayed_bytes": 5 << 20,
    "resumed_count": 1,
    "moved_count": 2,
    "link": "tcp://broker:7000",
    "last_reason": "",
}


def run_command(
    monkeypatch: pytest.MonkeyPatch, result: object, *arguments: str
) -> tuple[int, list[object]]:
    """Run the command against a program that answers *result*; return status and calls."""
    calls: list[object] = []

    async def fake(path: str, method: str, params: object) -> object:
        await trio.lowlevel.checkpoint()
        calls.append((path, method, params))
        return result

    monkeypatch.setattr(command, "call_admin", fake)
    return command.main(["a.sock", *arguments]), calls


@pytest.mark.parametrize(
    ("arguments", "method", "params"),
    [
        (["status"], "status", {}),
        (["ports"], "intercept.list", {}),
        (["version"], "version", {}),
        (["drain"], "drain", {}),
        (["restore", "web"], "intercept.clear", {"port": "web"}),
        (
            ["intercept", "web", "devbox/alice"],
            "intercept.set",
            {"port": "web", "peer": "devbox/alice", "target": "", "fail_open": True},
        ),
        (
            ["intercept", "web", "devbox/alice:api", "--fail-closed"],
            "intercept.set",
            {"port": "web", "peer": "devbox/alice", "target": "api", "fail_open": False},
        ),
    ],
)
def test_command_calls_its_method(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], method: str, params: object
) -> None:
    status, calls = run_command(monkeypatch, {}, *arguments, "--json")
    assert (status, calls) == (0, [("a.sock", method, params)])


def test_command_prints_json_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(monkeypatch, [PORT], "ports", "--json")
    assert json.loads(capsys.readouterr().out) == [PORT]


def test_command_prints_a_table_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(monkeypatch, [PORT], "ports")
    out = capsys.readouterr().out
    assert "devbox/alice:web (fail closed)" in out
    assert "local 3, peer 1" in out


@pytest.mark.parametrize("arguments", [[], ["status"], ["a.sock", "nonsense"]])
def test_command_line_without_sense_is_one_line_of_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_command_says_that_nobody_listens(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.main([str(tmp_path / "none"), "status"]) == 2
    assert "there is no admin socket" in capsys.readouterr().err


# --- tables ---------------------------------------------------------------------------------


def text_of(status: dict[str, Any]) -> str:
    """Return a status as plain text."""
    return "\n".join(plain(*table) for table in tables_of(status, now=1060.0))


def test_status_has_a_line_for_each_link_and_session() -> None:
    text = text_of({"program": "sidecar_proxy", "links": [LINK], "sessions": [SESSION]})
    assert "broker  tcp://127.0.0.1:7000  up, up  0.5 ms      2.0 KiB  1 B  1 min" in text
    assert (
        "devbox/alice  tcp://broker:7000  open (suspect)  1        0 B      5.0 MiB   1 / 2" in text
    )


@pytest.mark.parametrize(("allow", "is_shown"), [([], False), (["db:5432"], True)])
def test_exits_are_shown_where_something_can_be_opened(allow: list[str], is_shown: bool) -> None:
    exits = {"names": {}, "allow": allow, "open": 0, "served": 0, "refused": 0, "last_refusal": ""}
    assert ("exits" in text_of({"program": "devbox_proxy", "exits": exits})) is is_shown


def test_status_names_links_that_cannot_be_made() -> None:
    text = text_of({"links": [], "failing": {"tcp://a:1": "connection refused"}})
    assert "tcp://a:1  connection refused" in text


def test_status_of_a_broker_has_its_numbers() -> None:
    assert "sessions joined  2" in text_of({"broker": {"sessions_joined": 2}})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 30, "3.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_size_is_written_as_people_do(count: int, text: str) -> None:
    assert size_of(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_age_is_written_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age_of(seconds) == text


def test_text_of_a_peer_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    show("ports", [{**PORT, "last_reason": "evil\x1b[2J\r\n"}])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil\\x1b[2J\\r\\n" in out
