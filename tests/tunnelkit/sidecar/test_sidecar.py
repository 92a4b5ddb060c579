"""A sidecar in virtual time: intercepts on and off, failing open and closed, endings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import PORT, Lab, address, open_lab, pattern
from tests.tunnelkit.faults.wires import Service, Wire, call, dial, echo, receive_all, serve
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.sidecar.stage import (
    intercept,
    open_stage,
    run_devbox,
    run_sidecar,
)
from tunnelkit.auth import KeyRing
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused
from tunnelkit.session import Session
from tunnelkit.sidecar import PortSpec
from tunnelkit.testing import no_leaks

KIB = 1024


# --- intercepts ----------------------------------------------------------------------------


async def test_without_an_intercept_the_local_target_answers(autojump_clock: MockClock) -> None:
    async with open_stage(is_intercepted=False) as stage:
        assert await stage.call() == b"local:hello"
        assert stage.copy.connections == 0


async def test_with_an_intercept_the_developer_answers(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        assert await stage.call() == b"copy:hello"
        assert stage.local.connections == 0


async def test_an_intercept_can_be_cleared(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.sidecar.clear_intercept("web")
        assert await stage.call() == b"local:hello"


async def test_running_connections_stay_where_they_are(autojump_clock: MockClock) -> None:
    async with open_stage(echo, is_intercepted=False) as stage:
        old = await stage.dial()
        await old.send_all(b"1")
        assert await old.receive_some() == b"local:1"
        await stage.intercept()
        new = await stage.dial()
        await new.send_all(b"2")
        assert await new.receive_some() == b"copy:2"
        stage.sidecar.clear_intercept("web")
        for wire, name in ((old, b"local"), (new, b"copy")):
            await wire.send_all(b"3")
            assert await wire.receive_some() == name + b":3"


async def test_each_port_has_an_intercept_of_its_own(autojump_clock: MockClock) -> None:
    ports = (("web", 80), ("api", 81))
    async with open_stage(sidecar={"ports": ports}) as stage:
        await serve(stage.lab, "pod", 8081, name="local api")
        assert await stage.call() == b"copy:hello"
        assert await call(stage.lab, address("side", 81)) == b"local api:hello"


async def test_two_developers_intercept_two_ports(autojump_clock: MockClock) -> None:
    ports = (("web", 80), ("api", 81))
    async with open_stage(sidecar={"ports": ports}) as stage:
        await run_devbox(stage.lab, "eve", copy="eves")
        await serve(stage.lab, "eves", 9080)
        stage.sidecar.set_intercept("api", intercept(peer="eve"))
        await trio.sleep(1)
        assert await stage.call() == b"copy:hello"
        assert await call(stage.lab, address("side", 81)) == b"eves:hello"


async def test_an_intercept_of_an_unknown_port_is_an_error(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        with pytest.raises(ConfigurationError, match="no port 'wbe'; the ports are: web"):
            stage.sidecar.set_intercept("wbe", intercept())
        with pytest.raises(ConfigurationError, match="no port 'wbe'"):
            stage.sidecar.clear_intercept("wbe")


async def test_an_intercept_waits_for_a_developer_who_comes_later(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(is_intercepted=False) as stage:
        stage.lab.end("dev")
        stage.sidecar.set_intercept("web", intercept())
        assert await stage.call() == b"local:hello"
        await trio.sleep(200)
        await run_devbox(stage.lab)
        await stage.wait_session()
        assert await stage.call() == b"copy:hello"


async def test_an_intercept_meets_a_developer_who_was_started_again(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.lab.kill("dev")
        await trio.sleep(5)
        assert await stage.call() == b"local:hello"
        stage.lab.network.host("dev").restart()
        await run_devbox(stage.lab)
        await stage.wait_session()
        assert await stage.call() == b"copy:hello"


async def test_a_developer_who_does_not_accept_us_is_not_asked_all_the_time(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(is_intercepted=False, devbox={"ring": KeyRing([])}) as stage:
        begun = 0
        begin = stage.sidecar.endpoint.begin_session

        def count(peer: str) -> object:
            nonlocal begun
            begun += 1
            assert begun < 100
            return begin(peer)

        stage.sidecar.endpoint.begin_session = count  # type: ignore[method-assign, assignment]
        stage.sidecar.set_intercept("web", intercept())
        await trio.sleep(60)
        assert begun < 40
        assert await stage.call() == b"local:hello"


# --- fail open -----------------------------------------------------------------------------


async def test_a_silent_developer_costs_a_connection_one_second(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.silence()
        begun = trio.current_time()
        assert await stage.call(b"POST once") == b"local:POST once"
        assert trio.current_time() - begun <= 1.2


async def test_a_silent_developer_costs_the_next_connections_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.silence()
        await stage.call()
        begun = trio.current_time()
        for _ in range(5):
            assert await stage.call(b"hello") == b"local:hello"
        assert trio.current_time() - begun < 0.1


async def test_a_developer_who_wakes_gets_the_next_connections(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.silence()
        await stage.call()
        stage.wake()
        await trio.sleep(1)
        assert await stage.call(b"hello") == b"copy:hello"


async def test_nothing_is_executed_twice_when_the_developer_wakes(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.silence()
        for number in range(5):
            await stage.call(b"POST %d" % number)
        stage.wake()
        await trio.sleep(10)
        assert stage.copy.received == b""
        assert stage.local.connections == 5


@pytest.mark.parametrize("size", [1, 64 * KIB, 700 * KIB])
async def test_all_bytes_reach_the_local_target(size: int, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.silence()
        data = pattern("request", size)
        assert await stage.call(data) == b"local:" + data


async def test_an_answer_that_comes_late_is_too_late(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.lab.network.set_path("dev", "broker", latency=0.55)
        assert await stage.call() == b"local:hello"
        await trio.sleep(5)
        assert stage.copy.connections == 1
        assert stage.copy.received == b""


async def test_an_answer_that_comes_just_in_time_counts(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.lab.network.set_path("dev", "broker", latency=0.45)
        assert await stage.call() == b"copy:hello"
        assert stage.local.connections == 0


async def test_nothing_is_sent_before_the_developer_has_connected(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(bandwidth=1e6) as stage:
        stage.lab.network.stall("dev", "copy")  # the devbox connects, and gets no answer
        carried = stage.lab.network.carried_bytes("side", "broker")
        data = bytes(300 * KIB)
        assert await stage.call(data) == b"local:" + data
        assert stage.lab.network.carried_bytes("side", "broker") - carried < 4 * KIB


async def test_a_suspect_link_sends_new_connections_to_the_local_target_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.lab.network.stall("side", "broker")
        await trio.sleep(7)  # one missed interval, and not yet two
        assert stage.sidecar.endpoint.links
        begun = trio.current_time()
        assert await stage.call() == b"local:hello"
        assert trio.current_time() - begun < 0.01


async def test_a_link_that_is_lost_lets_nobody_wait(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.silence()
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.call)
            await trio.sleep(0.3)
            stage.lab.kill("broker")
        assert trio.current_time() - begun < 0.4
        assert stage.local.connections == 1


async def test_a_developer_who_is_away_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.lab.kill("dev")
        await trio.sleep(1)
        begun = trio.current_time()
        assert await stage.call() == b"local:hello"
        assert trio.current_time() - begun < 0.01


async def refuse(lab: Lab, how: str) -> None:
    """Make the developer's side refuse, in one of the ways in which it can."""
    if how == "nobody listens":
        lab.network.host("copy").listeners[9080].close()
    elif how == "the host is down":
        lab.network.host("copy").crash()


@pytest.mark.parametrize(
    ("how", "target", "code"),
    [
        ("nobody listens", "web", "target-refused"),
        ("the host is down", "web", "target-refused"),
        ("no such target", "other", "unknown-target"),
    ],
)
async def test_a_developer_who_refuses_falls_open_at_once(
    how: str, target: str, code: str, autojump_clock: MockClock
) -> None:
    async with open_stage(is_intercepted=False) as stage:
        await refuse(stage.lab, how)
        await stage.intercept(target=target)
        begun = trio.current_time()
        assert await stage.call() == b"local:hello"
        assert trio.current_time() - begun < 0.01
        assert code in stage.port.last_reason


async def test_a_target_that_the_token_does_not_allow_falls_open(
    autojump_clock: MockClock,
) -> None:
    claims = {"targets": ["other"]}
    async with open_stage(sidecar={"claims": claims}) as stage:
        assert await stage.call() == b"local:hello"
        assert "forbidden" in stage.port.last_reason


async def test_running_connections_outlive_a_silence(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        wire = await stage.dial()
        await wire.send_all(b"1")
        assert await wire.receive_some() == b"copy:1"
        stage.silence()
        await wire.send_all(b"2")
        await trio.sleep(30)
        stage.wake()
        assert await wire.receive_some() == b"copy:2"


async def test_running_connections_outlive_the_broker(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        wire = await stage.dial()
        await wire.send_all(b"1")
        assert await wire.receive_some() == b"copy:1"
        stage.lab.kill("broker")
        await wire.send_all(b"2")
        await trio.sleep(3)
        await stage.lab.broker()
        assert await wire.receive_some() == b"copy:2"


async def test_what_fell_open_is_counted(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.call()
        stage.silence()
        await stage.call()
        assert stage.port.counts["peer"] == 2
        assert stage.port.counts["fell-back"] == 1


# --- fail closed ---------------------------------------------------------------------------


async def test_fail_closed_resets_while_the_developer_is_away(autojump_clock: MockClock) -> None:
    async with open_stage(is_intercepted=False) as stage:
        stage.sidecar.set_intercept("web", intercept(peer="nobody", fail_open=False))
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert stage.local.connections == 0


async def test_fail_closed_resets_what_the_developer_refuses(autojump_clock: MockClock) -> None:
    async with open_stage(is_intercepted=False) as stage:
        await stage.intercept(target="other", fail_open=False)
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert stage.local.connections == 0


async def test_fail_closed_resets_where_no_stream_can_be_opened(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(is_intercepted=False) as stage:
        await stage.intercept(fail_open=False)
        expired = OpenRefused(ErrorCode.TOKEN_EXPIRED, "the token of dev has expired")
        monkeypatch.setattr(Session, "offer_stream", raising(expired))
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert stage.local.connections == 0
        assert stage.port.last_reason == "fail closed: the token of dev has expired"


def raising(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


async def test_fail_closed_waits_no_longer_than_the_grace_time(autojump_clock: MockClock) -> None:
    grace = {"grace_seconds": 20}
    async with open_stage(is_intercepted=False, sidecar=grace, devbox=grace) as stage:
        await stage.intercept(fail_open=False)
        stage.silence()
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert trio.current_time() - begun < 30


async def test_fail_closed_reaches_a_developer_who_comes_back_in_time(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(is_intercepted=False) as stage:
        await stage.intercept(fail_open=False)
        stage.lab.network.host("broker").crash()
        stage.lab.end("broker")
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                assert await stage.call() == b"copy:hello"

            nursery.start_soon(check)
            await trio.sleep(5)
            await stage.lab.broker()


# --- endings pass unchanged ----------------------------------------------------------------

MODES = ("pass", "peer", "fell-open")


async def reset_it(service: Service, wire: Wire) -> None:
    """Read a request, answer in part, and reset."""
    await service.receive(wire)
    await wire.send_all(b"part")
    await trio.sleep(0.1)
    wire.reset()


async def end_first(service: Service, wire: Wire) -> None:
    """End the own direction first, and read on."""
    await wire.send_all(b"all I have")
    await wire.send_eof()
    while await service.receive(wire):
        pass


@pytest.mark.parametrize("mode", MODES)
async def test_a_half_close_of_the_client_passes(mode: str, autojump_clock: MockClock) -> None:
    async with open_stage(is_intercepted=mode != "pass") as stage:
        if mode == "fell-open":
            stage.silence()
        data = pattern("half-close", 200 * KIB)
        name = b"copy" if mode == "peer" else b"local"
        assert await stage.call(data) == name + b":" + data


@pytest.mark.parametrize("mode", MODES)
async def test_a_half_close_of_the_target_passes(mode: str, autojump_clock: MockClock) -> None:
    async with open_stage(end_first, is_intercepted=mode != "pass") as stage:
        if mode == "fell-open":
            stage.silence()
        service = stage.copy if mode == "peer" else stage.local
        async with await stage.dial() as wire:
            assert await receive_all(wire) == b"all I have"
            await wire.send_all(b"still there")
            await wire.send_eof()
            await trio.sleep(1)
        assert (bytes(service.received), service.resets) == (b"still there", 0)


@pytest.mark.parametrize("mode", MODES)
async def test_a_reset_of_the_target_reaches_the_client(
    mode: str, autojump_clock: MockClock
) -> None:
    async with open_stage(reset_it, is_intercepted=mode != "pass") as stage:
        if mode == "fell-open":
            stage.silence()
        wire = await stage.dial()
        await wire.send_all(b"x")
        assert await wire.receive_some() == b"part"
        with pytest.raises(trio.BrokenResourceError):
            await wire.receive_some()


@pytest.mark.parametrize("mode", MODES)
async def test_a_reset_of_the_client_reaches_the_target(
    mode: str, autojump_clock: MockClock
) -> None:
    async with open_stage(echo, is_intercepted=mode != "pass") as stage:
        if mode == "fell-open":
            stage.silence()
        service = stage.copy if mode == "peer" else stage.local
        wire = await stage.dial()
        await wire.send_all(b"x")
        await wire.receive_some()
        wire.reset()
        await wait_until(lambda: service.resets)


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_leaves_at_once_leaves_nothing_open(
    mode: str, autojump_clock: MockClock
) -> None:
    async with open_stage(echo, is_intercepted=mode != "pass") as stage:
        if mode == "fell-open":
            stage.silence()
        (await stage.dial()).reset()
        await trio.sleep(5)
        stage.wake()
        await trio.sleep(5)
        assert stage.port.open_count == 0
        assert stage.devbox.exit.open_count == 0


# --- bad targets, bad settings -------------------------------------------------------------


async def test_a_target_that_is_down_resets_the_client(autojump_clock: MockClock) -> None:
    async with open_stage(is_intercepted=False) as stage:
        stage.lab.network.host("pod").crash()
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert "memory://pod:8080" in stage.port.last_reason
        assert stage.port.counts["target-failed"] == 1


async def test_a_target_that_does_not_answer_resets_the_client_in_the_end(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(is_intercepted=False) as stage:
        stage.lab.network.host("pod").vanish()
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert trio.current_time() - begun <= 11
        assert "memory://pod:8080" in stage.port.last_reason


async def test_a_port_that_is_in_use_is_a_clear_error(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await serve(lab, "side", 80)
        with pytest.raises(ConfigurationError, match="memory://side:80.*in use"):
            await run_sidecar(lab)


async def test_two_ports_of_one_name_are_a_clear_error(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        spec = PortSpec("web", address("side", 99), address("pod", 1))
        with pytest.raises(ConfigurationError, match="two ports are called 'web'"):
            await stage.sidecar.add_port(spec)


# --- life ----------------------------------------------------------------------------------


async def test_a_drain_waits_for_running_connections(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        wire = await stage.dial()
        await wire.send_all(b"1")
        await wire.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.sidecar.drain)
            await trio.sleep(5)
            assert nursery.child_tasks
            await wire.send_eof()
            assert await receive_all(wire) == b""


async def test_a_drain_waits_for_connections_that_are_being_made(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(is_intercepted=False) as stage:
        stage.lab.network.set_path("side", "pod", latency=1.0)
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                assert await stage.call() == b"local:hello"

            nursery.start_soon(check)
            await trio.sleep(0.5)
            await stage.sidecar.drain()
        assert stage.port.open_count == 0


async def test_a_draining_port_accepts_nobody(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.sidecar.drain()
        with pytest.raises(Exception, match="refused"):
            await stage.call()


@pytest.mark.parametrize("when", ["connecting", "held", "running"])
async def test_leaving_resets_what_is_open(when: str, autojump_clock: MockClock) -> None:
    async with open_stage(echo, is_intercepted=when != "connecting") as stage:
        if when == "connecting":
            stage.lab.network.stall("side", "pod")
        elif when == "held":
            stage.silence()
        wire = await stage.dial()
        await wire.send_all(b"1")
        await trio.sleep(0.1)
        stage.lab.end("side")
        with pytest.raises(trio.BrokenResourceError):
            while await wire.receive_some():
                pass


@pytest.mark.parametrize("when", ["idle", "connecting", "held", "running", "refused"])
async def test_leaving_leaves_nothing_behind(when: str, autojump_clock: MockClock) -> None:
    async with no_leaks(), open_stage(echo, is_intercepted=when != "connecting") as stage:
        if when == "connecting":
            stage.lab.network.stall("side", "pod")
        elif when == "held":
            stage.silence()
        elif when == "refused":
            stage.devbox.exit.targets.clear()
        if when != "idle":
            wire = await stage.dial()
            await wire.send_all(b"1")
            await trio.sleep(0.1)


async def test_the_client_is_named_to_the_developer(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seen: list[bytes] = []
        offered = stage.devbox.endpoint.on_stream

        def note(session: object, stream: object) -> None:
            seen.extend(value for _, value in stream.metadata)  # type: ignore[attr-defined]
            offered(session, stream)  # type: ignore[arg-type]

        stage.devbox.endpoint.on_stream = note
        await stage.call()
        assert b"client" in seen[0]


async def test_a_sidecar_meets_a_devbox_without_a_broker(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        devbox = await run_devbox(lab, listen=[address("dev")])
        assert devbox.endpoint.listeners[0].address == address("dev", PORT)
        await serve(lab, "copy", 9080)
        sidecar = await run_sidecar(lab, "side", "dev")
        sidecar.set_intercept("web", intercept())
        await trio.sleep(1)
        assert await call(lab, address("side", 80)) == b"copy:hello"


async def test_many_clients_at_once(autojump_clock: MockClock) -> None:
    async with open_stage(latency=0.001, bandwidth=1e7) as stage:

        async def check(number: int) -> None:
            data = pattern(str(number), number * 97)
            assert await stage.call(data) == b"copy:" + data

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(check, number)
        assert stage.copy.connections == 200


async def test_a_silent_connection_is_kept(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        wire = await dial(stage.lab, address("side", 80))
        await trio.sleep(3600)
        await wire.send_all(b"late")
        assert await wire.receive_some() == b"copy:late"
