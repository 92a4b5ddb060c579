"""A devbox in virtual time: what it serves, what it refuses and how, and how it comes back."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.faults.wires import Service, Wire, answer, echo, serve
from tests.tunnelkit.pairs import RING, make_identity, receive_all, wait_until
from tests.tunnelkit.sidecar.stage import run_devbox
from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import SocketNetwork
from tunnelkit.devbox import Devbox, open_devbox
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused
from tunnelkit.session import Session
from tunnelkit.stream import StreamReset
from tunnelkit.testing import no_leaks


@dataclass
class Stage:
    """A devbox, and a peer with a session to it."""

    lab: Lab
    devbox: Devbox
    peer: Endpoint
    session: Session
    copy: Service


@asynccontextmanager
async def open_stage(
    handler: Any = answer, claims: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Stage]:
    """Set the stage; the peer's token says *claims*."""
    async with open_lab() as lab:
        await lab.broker()
        devbox = await run_devbox(lab, **options)
        copy = await serve(lab, "copy", 9080, handler)
        peer = await lab.endpoint("peer", **(claims or {}))
        yield Stage(lab, devbox, peer, await peer.open_session("dev"), copy)


async def ask(session: Session, target: str, data: bytes = b"hello") -> bytes:
    """Open a target, send *data* and the end, and return the answer."""
    async with await session.open_stream(target) as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return await receive_all(stream)


async def refusal(session: Session, target: str) -> OpenRefused:
    """Open a target that is refused; return the refusal."""
    with pytest.raises(OpenRefused) as caught:
        await session.open_stream(target)
    return caught.value


# --- the allow-list ------------------------------------------------------------------------


async def test_a_listed_target_is_served(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        assert await ask(stage.session, "web") == b"copy:hello"
        assert stage.devbox.exit.served_count == 1


async def test_names_lead_to_other_ports(autojump_clock: MockClock) -> None:
    targets = {"8080": address("copy", 9080), "8081": address("copy", 9081)}
    async with open_stage(targets=targets) as stage:
        await serve(stage.lab, "copy", 9081, name="other")
        assert await ask(stage.session, "8080") == b"copy:hello"
        assert await ask(stage.session, "8081") == b"other:hello"


@pytest.mark.parametrize("target", ["other", "web2", "we", "", "memory://copy:9080"])
async def test_any_other_target_is_refused(target: str, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        refused = await refusal(stage.session, target or "WEB")
        assert refused.code == ErrorCode.UNKNOWN_TARGET
        assert "dev serves no target" in refused.text
        assert stage.copy.connections == 0


async def test_without_targets_everything_is_refused(autojump_clock: MockClock) -> None:
    async with open_stage(targets={}) as stage:
        assert (await refusal(stage.session, "web")).code == ErrorCode.UNKNOWN_TARGET


async def test_a_target_that_the_token_does_not_allow_is_forbidden(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(claims={"targets": ["api"]}) as stage:
        refused = await refusal(stage.session, "web")
        assert refused.code == ErrorCode.FORBIDDEN
        assert "the token of peer does not allow target 'web'" in refused.text
        assert stage.copy.connections == 0


async def test_refusals_are_counted(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        for _ in range(3):
            await refusal(stage.session, "other")
        assert stage.devbox.exit.refused_count == 3


# --- targets that do not answer ------------------------------------------------------------


async def test_a_target_where_nobody_listens_is_target_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.copy.listener.close()
        refused = await refusal(stage.session, "web")
        assert refused.code == ErrorCode.TARGET_REFUSED
        assert "memory://copy:9080" in refused.text


async def test_a_target_that_is_silent_is_unreachable(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.lab.network.stall("dev", "copy")
        begun = trio.current_time()
        refused = await refusal(stage.session, "web")
        assert refused.code == ErrorCode.TARGET_UNREACHABLE
        assert "no answer from memory://copy:9080 within 10 s" in refused.text
        waited = trio.current_time() - begun
        assert waited == pytest.approx(limits.CONNECT_TIMEOUT_SECONDS, abs=0.1)


async def test_opened_comes_only_after_the_connect(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.lab.network.set_path("dev", "copy", latency=2.0)
        begun = trio.current_time()
        await stage.session.open_stream("web")
        assert trio.current_time() - begun >= 4.0


async def test_one_slow_target_does_not_hold_up_another(autojump_clock: MockClock) -> None:
    targets = {"web": address("copy", 9080), "slow": address("far", 1)}
    async with open_lab() as lab:
        lab.network.host("far").vanish()
        await lab.broker()
        await run_devbox(lab, targets=targets)
        await serve(lab, "copy", 9080)
        session = await (await lab.endpoint("peer")).open_session("dev")
        lab.nursery.start_soon(refusal, session, "slow")
        await trio.sleep(0.1)
        begun = trio.current_time()
        assert await ask(session, "web") == b"copy:hello"
        assert trio.current_time() - begun < 1


@pytest.mark.parametrize("how", ["cancelled", "closed", "stopped"])
async def test_a_peer_that_leaves_while_connecting_leaves_nothing_behind(
    how: str, autojump_clock: MockClock
) -> None:
    async with open_stage() as stage:
        stage.lab.network.set_path("dev", "copy", latency=1.0)
        if how == "cancelled":
            with trio.move_on_after(0.5):
                await stage.session.open_stream("web")
        else:
            stream = await stage.session.open_stream("web", wait_opened=False)
            await trio.sleep(0.5)
            if how == "closed":
                await stream.aclose()
            else:
                stream._core.stop(ErrorCode.NOT_READING)
        await trio.sleep(30)
        assert (stage.copy.connections, stage.devbox.exit.open_count) == (0, 0)
        assert stage.devbox.exit.refused_count == 0
        (peer_session,) = stage.devbox.endpoint.sessions.values()
        assert not peer_session.core.streams
        assert peer_session.core.unaccepted == 0


async def test_a_session_that_ends_while_connecting_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.lab.network.set_path("dev", "copy", latency=1.0)
        await stage.session.open_stream("web", wait_opened=False)
        await trio.sleep(0.5)
        stage.session.end(ErrorCode.CANCELLED, "over")
        await trio.sleep(30)
        assert (stage.copy.connections, stage.devbox.exit.open_count) == (0, 0)


async def test_a_refusal_after_data_is_a_reset(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stream = await stage.session.open_stream("other", wait_opened=False)
        await stream.send_all(b"early")
        with pytest.raises(StreamReset) as caught:
            await stream.receive_some()
        assert caught.value.code == ErrorCode.UNKNOWN_TARGET


# --- names of the system -------------------------------------------------------------------


@asynccontextmanager
async def open_real(host: str, port: int) -> AsyncGenerator[Session]:
    """Serve a target by the name of its host, over real sockets."""
    dev, client = (make_identity(name, now=time.time()) for name in ("dev", "peer"))
    listen = Address("tcp", "127.0.0.1", 0)
    targets = {"web": Address("tcp", host, port)}
    async with open_devbox(dev, RING, targets=targets, listen=[listen]) as devbox:
        dial = [devbox.endpoint.listeners[0].address]
        async with open_endpoint(client, RING, dial=dial) as peer:
            yield await peer.open_session("dev")


async def test_a_target_is_found_by_name() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"found")

    async with open_real("localhost", port) as session, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, greet, listeners)
        assert await ask(session, "web", b"") == b"found"
        nursery.cancel_scope.cancel()


async def test_a_name_that_is_not_known_is_refused_with_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nobody(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", nobody)
    async with open_real("no-such-host.test", 80) as session:
        refused = await refusal(session, "web")
        assert refused.code in (ErrorCode.TARGET_REFUSED, ErrorCode.TARGET_UNREACHABLE)
        assert "no-such-host.test" in refused.text


async def test_a_peer_that_leaves_during_the_look_up_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = trio.Event()

    look_up = SocketNetwork.resolve_all

    async def slow(network: SocketNetwork, address: Address, *limits: Any) -> list[Address]:
        if address.host != "slow.test":
            return await look_up(network, address, *limits)
        try:
            await trio.sleep(math.inf)
        finally:
            ended.set()
        return []

    monkeypatch.setattr(SocketNetwork, "resolve_all", slow)
    async with open_real("slow.test", 80) as session:
        stream = await session.open_stream("web", wait_opened=False)
        await trio.sleep(0.05)
        stream.reset()
        await ended.wait()


# --- endings -------------------------------------------------------------------------------


async def test_a_stream_of_a_target_ends_with_the_devbox(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        stream = await stage.session.open_stream("web")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"copy:x"
        stage.lab.end("dev")
        with pytest.raises(StreamReset):
            await stream.receive_some()


@pytest.mark.parametrize("when", ["idle", "connecting", "running"])
async def test_leaving_leaves_nothing_behind(when: str, autojump_clock: MockClock) -> None:
    async with no_leaks(), open_stage(echo) as stage:
        if when == "connecting":
            stage.lab.network.stall("dev", "copy")
            await stage.session.open_stream("web", wait_opened=False)
            await trio.sleep(0.1)
        elif when == "running":
            await stage.session.open_stream("web")


async def test_a_drain_waits_for_what_runs_and_refuses_the_rest(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(echo) as stage:
        stream = await stage.session.open_stream("web")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.devbox.outgoing.drain)
            await trio.sleep(1)
            assert (await refusal(stage.session, "web")).code == ErrorCode.GOING_AWAY
            await stream.aclose()
        assert stage.devbox.exit.open_count == 0


async def test_a_drain_waits_for_a_connect_that_is_under_way(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        stage.lab.network.set_path("dev", "copy", latency=1.0)
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                stream = await stage.session.open_stream("web")
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"copy:x"
                await stream.aclose()

            nursery.start_soon(check)
            await trio.sleep(0.5)
            await stage.devbox.outgoing.drain()
            assert stage.copy.connections == 1


async def test_a_listener_that_is_in_use_is_a_clear_error(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await serve(lab, "dev", 7000)
        with pytest.raises(ConfigurationError, match="memory://dev:7000.*in use"):
            await run_devbox(lab, listen=[address("dev")])


# --- brokers -------------------------------------------------------------------------------


async def test_a_devbox_is_present_at_every_broker(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        for name in ("one", "two", "three"):
            await lab.broker(name)
        devbox = await run_devbox(lab, "dev", "one", "two", "three")
        await trio.sleep(1)
        assert len(devbox.endpoint.links) == 3
        for name in ("one", "two", "three"):
            peer = await lab.endpoint(f"at {name}".replace(" ", "-"), name)
            await peer.open_session("dev")


async def test_one_unreachable_broker_does_not_hold_up_the_others(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        lab.network.host("gone").vanish()
        await lab.broker("two")
        devbox = await run_devbox(lab, "dev", "gone", "two")
        await trio.sleep(1)
        assert len(devbox.endpoint.links) == 1


async def attempts(lab: Lab, seconds: float) -> list[float]:
    """Let a devbox dial a broker that is not there; return when it tried."""
    tried: list[float] = []
    host = lab.network.host("dev")
    connect = host.connect_nowait

    def note(*arguments: Any) -> Any:
        tried.append(trio.current_time())
        return connect(*arguments)

    host.connect_nowait = note  # type: ignore[method-assign, assignment]
    lab.network.host("broker")
    await run_devbox(lab)
    await trio.sleep(seconds)
    return tried


async def test_attempts_become_rarer(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        tried = await attempts(lab, 120)
        pauses = [b - a for a, b in pairwise(tried)]
        assert pauses[0] <= 0.05
        assert all(2.5 <= pause <= 5.0 for pause in pauses[10:])


async def test_attempts_are_not_in_step(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        tried = await attempts(lab, 120)
        pauses = {round(b - a, 3) for a, b in pairwise(tried[10:])}
        assert len(pauses) > 10


async def test_a_clock_that_jumps_is_an_immediate_attempt(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_lab() as lab:
        ahead = 0.0
        monkeypatch.setattr(time, "time", lambda: trio.current_time() + ahead)
        lab.wall = 1_800_000_000.0
        tried = await attempts(lab, 60)
        # Just after an attempt the next one is 2.5 s away at least.
        await wait_until(lambda: trio.current_time() - tried[-1] < 0.4)
        before = len(tried)
        ahead = 3600.0
        await trio.sleep(1.1)
        assert len(tried) == before + 1


async def test_a_refused_devbox_tries_again_seldom(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        opened = open_devbox(
            lab.identity("dev", lifetime_seconds=1),
            RING,
            targets={},
            dial=[address("broker")],
            network=lab.network.host("dev"),
        )
        lab.wall += 10
        devbox = await lab.run("dev", opened)
        await trio.sleep(1)
        error = devbox.endpoint.dial_errors[address("broker")]
        assert "the token of dev has expired" in error
        carried = lab.network.carried_bytes("dev", "broker")
        await trio.sleep(10)
        assert lab.network.carried_bytes("dev", "broker") == carried


async def test_a_devbox_returns_to_a_broker_that_was_away(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        devbox = await run_devbox(lab)
        await trio.sleep(1)
        lab.kill()
        await trio.sleep(600)
        assert not devbox.endpoint.links
        await lab.broker()
        await trio.sleep(5.5)
        assert devbox.endpoint.links


async def test_bytes_survive_the_laptop_being_asleep(autojump_clock: MockClock) -> None:
    async def stream_out(service: Service, wire: Wire) -> None:
        for number in range(200):
            await wire.send_all(b"%05d" % number)
            await trio.sleep(0.1)
        await wire.send_eof()

    async with open_stage(stream_out) as stage:
        stream = await stage.session.open_stream("web")
        lab = stage.lab

        async def sleep_sometimes() -> None:
            for seconds in (3, 30):
                await trio.sleep(4)
                lab.network.stall("dev", "broker")
                await trio.sleep(seconds)
                lab.network.unstall("dev", "broker")

        lab.nursery.start_soon(sleep_sometimes)
        assert await receive_all(stream) == b"".join(b"%05d" % n for n in range(200))
