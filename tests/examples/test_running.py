"""Programs as processes: ready line, signals, drain, faults of links, exit status."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.examples.started import (
    LAPTOP,
    SIDECAR,
    Credentials,
    Program,
    Programs,
    greet,
    wait_until,
)
from tunnelkit.admin import call_admin

Targets = Callable[[bytes], Awaitable[str]]


async def start_pair(programs: Programs, targets: Targets, *sidecar: object) -> Program:
    """Start broker, devbox and sidecar; return the sidecar once the two have met."""
    broker = await programs.broker()
    link = ("--link", broker.ready["links"][0])
    here, there = await targets(b"cluster"), await targets(b"laptop")
    await programs.devbox(*link, "--target", f"web={there}")
    made = await programs.sidecar(*link, "--port", f"web=127.0.0.1:0,{here}", *sidecar)
    await made.wait_log(f"session with {LAPTOP} is open")
    return made


def has_loaded(program: Program, module: str) -> bool:
    """Say whether a file of this name is mapped into the process."""
    return module in Path(f"/proc/{program.process.pid}/maps").read_text()


# --- ready and signals ----------------------------------------------------------------------


async def test_ready_line_says_who_where_and_which_ports(
    programs: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "admin.sock"
    broker = await programs.broker("--admin", path)
    ready = broker.ready
    assert (ready["event"], ready["program"]) == ("ready", "broker")
    assert ready["pid"] == broker.process.pid
    assert not ready["links"][0].endswith(":0")
    assert ready["admin"] == str(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_an_idle_program_at_once(
    programs: Programs, number: signal.Signals
) -> None:
    broker = await programs.broker()
    assert await broker.end(number) == 0
    assert "Traceback" not in broker.log
    assert f"received {number.name}" in broker.log


async def test_drain_waits_for_a_running_connection(programs: Programs) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    target = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    sidecar = await programs.sidecar("--port", f"web=127.0.0.1:0,{target}")
    host, _, port = sidecar.ready["listeners"]["web"].partition(":")
    client = await trio.open_tcp_stream(host, int(port))
    server = await listeners[0].accept()
    sidecar.send(signal.SIGTERM)
    await sidecar.wait_log("draining")
    await client.send_all(b"still there")
    assert await server.receive_some() == b"still there"
    for stream in (client, server, listeners[0]):
        await stream.aclose()
    assert await sidecar.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_at_once(programs: Programs, number: signal.Signals) -> None:
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        target = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        sidecar = await programs.sidecar("--port", f"web=127.0.0.1:0,{target}")
        host, _, port = sidecar.ready["listeners"]["web"].partition(":")
        async with await trio.open_tcp_stream(host, int(port)), await listener.accept():
            sidecar.send(number)
            await sidecar.wait_log("draining")
            assert await sidecar.end(number) == 4
    assert "Traceback" not in sidecar.log


async def test_connections_that_outlast_the_drain_are_cut(programs: Programs) -> None:
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        target = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        port = f"web=127.0.0.1:0,{target}"
        sidecar = await programs.sidecar("--port", port, "--drain-seconds", "0.1")
        host, _, number = sidecar.ready["listeners"]["web"].partition(":")
        async with await trio.open_tcp_stream(host, int(number)), await listener.accept():
            assert await sidecar.end() == 4
    assert "1 connections are cut" in sidecar.log


async def test_ctrl_c_while_modules_load_prints_nothing(
    programs: Programs, credentials: Credentials
) -> None:
    flags = ("--listen", "tcp://127.0.0.1:0", "--keys", credentials.ring)
    broker = await programs.spawn("broker", *flags)
    # This extension module is loaded long after the first lines, and long before the last.
    await wait_until(lambda: has_loaded(broker, "_rust"))
    assert await broker.end(signal.SIGINT) in (-signal.SIGINT, 0)
    assert "Traceback" not in broker.log


async def test_ctrl_c_while_no_broker_answers_ends_at_once(programs: Programs) -> None:
    devbox = await programs.devbox("--link", "tcp://127.0.0.1:1")
    await devbox.wait_log("cannot connect")
    assert await devbox.end(signal.SIGINT) == 0
    assert "Traceback" not in devbox.log


async def test_reader_of_the_ready_line_may_go(
    programs: Programs, credentials: Credentials
) -> None:
    flags = ("--listen", "tcp://127.0.0.1:0", "--keys", credentials.ring)
    path = credentials.folder / "run" / "admin.sock"
    broker = await programs.spawn("broker", *flags, "--admin", path)
    assert broker.process.stdout is not None  # `spawn` asks for a pipe
    await broker.process.stdout.aclose()
    await wait_until(path.exists)
    assert await broker.end() == 0
    assert "Traceback" not in broker.log


# --- faults ---------------------------------------------------------------------------------


async def test_port_in_use_is_an_error_with_a_next_step(
    programs: Programs, credentials: Credentials
) -> None:
    first = await programs.broker()
    address = first.ready["links"][0]
    second = await programs.spawn("broker", "--listen", address, "--keys", credentials.ring)
    assert await second.wait() == 2
    assert second.log == (
        f"error: cannot listen on {address}: it is in use; stop the other program or use port 0\n"
    )


async def test_unreachable_broker_is_logged_and_tried_again(programs: Programs) -> None:
    broker = await programs.broker()
    address = broker.ready["links"][0]
    await broker.end()
    devbox = await programs.devbox("--link", address)
    await devbox.wait_log(f"cannot connect to {address}: connection refused; trying again")
    await programs.broker(listen=address)
    await devbox.wait_log(f"link to a broker at {address} is up")
    assert await devbox.end() == 0


async def test_token_of_an_unknown_issuer_is_refused_with_the_reason(
    programs: Programs, tmp_path: Path
) -> None:
    foreign = Credentials(tmp_path / "foreign")
    broker = await programs.broker()
    flags = (*foreign.identity(LAPTOP), "--link", broker.ready["links"][0])
    devbox = await programs.start("devbox_proxy", *flags)
    await devbox.wait_log("unauthenticated")
    assert await devbox.end() == 0


async def test_idle_session_does_not_hold_up_the_broker(
    programs: Programs, targets: Targets
) -> None:
    await start_pair(programs, targets, "--intercept", f"web={LAPTOP}")
    assert await programs.started[0].end() == 0


async def test_draining_laptop_finishes_what_runs_and_refuses_the_rest(
    programs: Programs, targets: Targets
) -> None:
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        port = listener.socket.getsockname()[1]
        target = ("--target", f"web=127.0.0.1:{port}")
        devbox = await programs.devbox("--listen", "tcp://127.0.0.1:0", *target)
        flags = ("--link", devbox.ready["links"][0], "--intercept", f"web={LAPTOP}")
        door = f"web=127.0.0.1:0,{await targets(b'cluster')}"
        sidecar = await programs.sidecar(*flags, "--port", door)
        await sidecar.wait_log(f"session with {LAPTOP} is open")
        address = sidecar.ready["listeners"]["web"]
        host, _, number = address.partition(":")
        async with await trio.open_tcp_stream(host, int(number)), await listener.accept():
            devbox.send(signal.SIGTERM)
            await devbox.wait_log("draining")
            assert await greet(address) == b"cluster"
        assert await devbox.wait() == 0


async def test_second_process_of_a_subject_displaces_the_first(programs: Programs) -> None:
    broker = await programs.broker()
    link = ("--link", broker.ready["links"][0])
    first = await programs.devbox(*link)
    await first.wait_log("is up")
    second = await programs.devbox(*link)
    assert await first.wait() == 3
    assert "gives way" in first.log
    assert await second.end() == 0


async def test_stranger_who_speaks_http_does_no_harm(programs: Programs) -> None:
    broker = await programs.broker()
    host, _, port = broker.ready["links"][0].removeprefix("tcp://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        with trio.fail_after(10):
            while await stream.receive_some():
                pass
    assert await broker.end() == 0
    assert "Traceback" not in broker.log


# --- traffic --------------------------------------------------------------------------------


async def test_intercept_by_flag_sends_connections_to_the_laptop(
    programs: Programs, targets: Targets
) -> None:
    sidecar = await start_pair(programs, targets, "--intercept", f"web={LAPTOP}")
    assert await greet(sidecar.ready["listeners"]["web"]) == b"laptop"


async def test_intercept_works_over_a_direct_link(programs: Programs, targets: Targets) -> None:
    target = f"web={await targets(b'laptop')}"
    devbox = await programs.devbox("--listen", "tcp://127.0.0.1:0", "--target", target)
    port = f"web=127.0.0.1:0,{await targets(b'cluster')}"
    flags = ("--link", devbox.ready["links"][0], "--port", port, "--intercept", f"web={LAPTOP}")
    sidecar = await programs.sidecar(*flags)
    await sidecar.wait_log(f"session with {LAPTOP} is open")
    assert await greet(sidecar.ready["listeners"]["web"]) == b"laptop"


async def test_intercept_is_switched_by_the_admin_socket(
    programs: Programs, targets: Targets, tmp_path: Path
) -> None:
    path = str(tmp_path / "run" / "sidecar.sock")
    flags = ("--intercept", f"web={LAPTOP}", "--admin", path)
    sidecar = await start_pair(programs, targets, *flags)
    door = sidecar.ready["listeners"]["web"]
    await call_admin(path, "intercept.clear", {"port": "web"})
    assert await greet(door) == b"cluster"
    await call_admin(path, "intercept.set", {"port": "web", "peer": LAPTOP})
    assert await greet(door) == b"laptop"


async def test_refused_target_falls_back_and_says_why(
    programs: Programs, targets: Targets, tmp_path: Path
) -> None:
    path = str(tmp_path / "run" / "sidecar.sock")
    flags = ("--intercept", f"web={LAPTOP}:nothing", "--admin", path)
    sidecar = await start_pair(programs, targets, *flags)
    assert await greet(sidecar.ready["listeners"]["web"]) == b"cluster"
    status = await call_admin(path, "status")
    assert isinstance(status, dict)
    assert "serves no target 'nothing'" in status["ports"][0]["last_reason"]


async def test_unknown_peer_leaves_traffic_with_the_cluster(
    programs: Programs, targets: Targets
) -> None:
    broker = await programs.broker()
    port = f"web=127.0.0.1:0,{await targets(b'cluster')}"
    flags = ("--port", port, "--intercept", "web=devbox/nobody")
    sidecar = await programs.sidecar("--link", broker.ready["links"][0], *flags)
    assert await greet(sidecar.ready["listeners"]["web"]) == b"cluster"


async def test_fail_closed_resets_while_the_laptop_is_away(
    programs: Programs, targets: Targets
) -> None:
    port = f"web=127.0.0.1:0,{await targets(b'cluster')}"
    flags = ("--port", port, "--intercept", f"web={LAPTOP}", "--fail-closed")
    sidecar = await programs.sidecar("--link", "tcp://127.0.0.1:1", *flags)
    with pytest.raises((trio.BrokenResourceError, OSError)):
        await greet(sidecar.ready["listeners"]["web"])


async def test_broker_killed_and_restarted_is_found_again(
    programs: Programs, targets: Targets
) -> None:
    sidecar = await start_pair(programs, targets, "--intercept", f"web={LAPTOP}")
    broker = programs.started[0]
    await broker.end(signal.SIGKILL)
    await programs.broker(listen=broker.ready["links"][0])
    await sidecar.wait_log("is open again (resumed 1")
    assert await greet(sidecar.ready["listeners"]["web"]) == b"laptop"


async def test_frozen_laptop_costs_a_new_connection_a_second_at_most(
    programs: Programs, targets: Targets
) -> None:
    sidecar = await start_pair(programs, targets, "--intercept", f"web={LAPTOP}")
    devbox = programs.started[1]
    devbox.send(signal.SIGSTOP)
    assert await greet(sidecar.ready["listeners"]["web"]) == b"cluster"
    devbox.send(signal.SIGCONT)
    assert await devbox.end() == 0


# --- logs and admin -------------------------------------------------------------------------


async def test_json_logs_are_one_object_a_line(programs: Programs) -> None:
    broker = await programs.broker("--log-format", "json")
    link = ("--link", broker.ready["links"][0])
    devbox = await programs.devbox(*link, "--log-format", "json")
    await devbox.wait_log("is up")
    assert await devbox.end() == 0
    entries = [json.loads(line) for line in devbox.log.splitlines()]
    assert any(entry.get("event") == "link-up" for entry in entries)
    assert all(entry["level"] in ("info", "warning") for entry in entries)


async def test_drain_by_the_admin_socket_ends_the_program(
    programs: Programs, tmp_path: Path
) -> None:
    path = str(tmp_path / "run" / "broker.sock")
    broker = await programs.broker("--admin", path)
    answer = await call_admin(path, "drain")
    assert answer == {"draining": True, "drain_seconds": 30.0}
    assert await broker.wait() == 0
    assert not os.path.exists(path)  # noqa: ASYNC240 - one quick look


async def test_broker_tells_its_links_and_sessions(
    programs: Programs, targets: Targets, tmp_path: Path
) -> None:
    path = str(tmp_path / "run" / "broker.sock")
    broker = await programs.broker("--admin", path)
    link = ("--link", broker.ready["links"][0])
    await programs.devbox(*link)
    port = f"web=127.0.0.1:0,{await targets(b'cluster')}"
    sidecar = await programs.sidecar(*link, "--port", port, "--intercept", f"web={LAPTOP}")
    await sidecar.wait_log(f"session with {LAPTOP} is open")
    status = await call_admin(path, "status")
    assert isinstance(status, dict)
    assert {link["peer"] for link in status["links"]} == {SIDECAR, LAPTOP}
    assert status["broker"]["sessions_joined"] == 1


async def test_admin_path_in_a_folder_that_others_enter_is_refused(
    programs: Programs, credentials: Credentials, tmp_path: Path
) -> None:
    os.chmod(tmp_path, 0o755)
    flags = ("--listen", "tcp://127.0.0.1:0", "--keys", credentials.ring)
    broker = await programs.spawn("broker", *flags, "--admin", tmp_path / "admin.sock")
    assert await broker.wait() == 2
    assert "other users can enter" in broker.log
    assert broker.log.count("\n") == 1
