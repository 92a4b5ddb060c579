"""Forwards and SOCKS5 in virtual time: sessions that come and go, refusals, deadlines, endings."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.lab import address
from tests.tunnelkit.faults.wires import Service, Wire, echo
from tests.tunnelkit.outgoing.stage import DB, Stage, open_stage
from tests.tunnelkit.sidecar.stage import run_sidecar
from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.outgoing import Login, Socks
from tunnelkit.outgoing.describe import door_status
from tunnelkit.outgoing.door import SESSION_WAIT_SECONDS
from tunnelkit.outgoing.specs import check_listen, parse_forward, parse_socks
from tunnelkit.testing import cancel_at_each_step, no_leaks

SOCKS = ("memory://dev:1=side",)
HELLO = b"\x05\x01\x00"
TO_DB = b"\x05\x01\x00\x03\x02db\x00\x50"


async def ask(stage: Stage, wanted: bytes = TO_DB, early: bytes = b"") -> tuple[bytes, Wire]:
    """Ask a SOCKS door for a connection; return its answer."""
    wire = await stage.dial()
    await wire.send_all(HELLO)
    assert await wire.receive_some() == b"\x05\x00"
    await wire.send_all(wanted + early)
    return await wire.receive_some(10), wire


async def reply_to(stage: Stage, wanted: bytes = TO_DB) -> int:
    """Return the reply code that a request gets."""
    answer, wire = await ask(stage, wanted)
    await wire.aclose()
    return answer[1]


# --- what is written -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:5432=pg@sidecar/prices", "127.0.0.1:5432 to pg@sidecar/prices"),
        ("[::1]:1=db.x:5432@a", "[::1]:1 to db.x:5432@a"),
        ("unix:///run/x.sock=pg@a", "unix:///run/x.sock to pg@a"),
        ("localhost:1=pg@user@example.com", "localhost:1 to pg@user@example.com"),
    ],
)
def test_forward_is_read(text: str, shown: str) -> None:
    assert str(parse_forward(text)) == shown


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("127.0.0.1:1", "is not LISTEN=TARGET@PEER"),
        ("=a@b", "is not LISTEN=TARGET@PEER"),
        ("127.0.0.1:1=", "is not LISTEN=TARGET@PEER"),
        ("127.0.0.1:1=a", "names no peer"),
        ("127.0.0.1:1=@b", "has no target"),
        ("127.0.0.1=a@b", "needs a host and a port"),
        ("tls://127.0.0.1:1=a@b", "tls is for links"),
    ],
)
def test_wrong_forward_is_explained(text: str, because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        parse_forward(text, what="--forward")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "laptop.local"])
def test_door_for_other_machines_takes_consent(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--forward-public"):
        check_listen(Address("tcp", host, 1080), is_public=False)
    check_listen(Address("tcp", host, 1080), is_public=True)


@pytest.mark.parametrize("text", ["127.0.0.1:1080=a", "unix:///run/s=a", "[::1]:1=a"])
def test_local_door_takes_none(text: str) -> None:
    check_listen(parse_socks(text).listen, is_public=False)


# --- forwards ------------------------------------------------------------------------------


async def test_forward_leads_to_a_target(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        assert await stage.call() == b"db:hello"
        assert stage.door.counts == {"opened": 1}
        status = door_status(stage.door)
    assert (status["bytes_in"], status["bytes_out"], status["open"]) == (5, 8, 0)


async def test_forward_leads_to_an_address(autojump_clock: MockClock) -> None:
    forwards = ["memory://dev:1=db:80@side"]
    async with open_stage(forwards=forwards, allow=["db:80"]) as stage:
        assert await stage.call() == b"db:hello"


async def test_bytes_travel_together_with_the_open(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        stage.lab.network.set_path("dev", "broker", latency=1.0)
        wire = await stage.dial()
        begun = trio.current_time()
        await wire.send_all(b"x")
        assert await wire.receive_some() == b"db:x"
        assert trio.current_time() - begun < 2.5  # one round trip, not two


async def test_refusal_is_a_reset_with_a_reason(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stage(forwards=["memory://dev:1=nothing@side"]) as stage:
        with caplog.at_level(logging.WARNING, "tunnelkit.outgoing"):
            for _ in range(20):
                with pytest.raises(trio.BrokenResourceError):
                    await stage.call()
        assert stage.door.counts == {"refused": 20}
        assert "serves no target 'nothing' [unknown-target]" in stage.door.last_reason
    assert len([r for r in caplog.records if "nothing" in r.message]) == 1


async def test_client_waits_for_a_session(autojump_clock: MockClock) -> None:
    async with open_stage(has_exit=False) as stage:
        answers: list[bytes] = []

        async def ask_early() -> None:
            answers.append(await stage.call())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_early)
            await trio.sleep(3)
            assert stage.door.waiting_count == 1
            await run_sidecar(stage.lab, targets={"web": address(DB, 80)})
        assert answers == [b"db:hello"]


async def test_client_waits_for_a_bounded_time(autojump_clock: MockClock) -> None:
    async with no_leaks(), open_stage(has_exit=False) as stage:
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert trio.current_time() - begun == pytest.approx(SESSION_WAIT_SECONDS, abs=0.1)
        assert "no session with side within 10 s" in stage.door.last_reason
        assert stage.door.open_count == 0


async def test_clients_that_wait_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnelkit.outgoing.door.MAX_GUESTS", 3)
    async with open_stage(has_exit=False) as stage:
        waiting = [await stage.dial() for _ in range(3)]
        with pytest.raises(trio.BrokenResourceError):
            await stage.call()
        assert stage.door.waiting_count == len(waiting)
        assert "3 clients wait already" in stage.door.last_reason


async def test_running_connection_survives_a_lost_link(autojump_clock: MockClock) -> None:
    async with open_stage(echo) as stage:
        wire = await stage.dial()
        await wire.send_all(b"1")
        assert await wire.receive_some() == b"db:1"
        stage.lab.network.cut("dev", "broker")
        await wire.send_all(b"2")
        assert await wire.receive_some() == b"db:2"


async def test_session_is_renewed_when_the_peer_starts_anew(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await trio.sleep(2)
        stage.lab.end("side")
        await trio.sleep(5)
        await run_sidecar(stage.lab, targets={"web": address(DB, 80)})
        assert await stage.call() == b"db:hello"


async def test_one_session_for_all_doors_to_a_peer(autojump_clock: MockClock) -> None:
    forwards = [f"memory://dev:{n}=web@side" for n in (1, 2)]
    async with open_stage(forwards=forwards, socks=["memory://dev:3=side"]) as stage:
        assert await stage.call(port=2) == b"db:hello"
        assert len(stage.devbox.endpoint.sessions) == 1
        names = [door.name for door in stage.devbox.outgoing.doors]
    assert names == ["web@side", "web@side (2)", "socks@side"]


async def test_peer_that_the_token_does_not_name_is_an_error(autojump_clock: MockClock) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_stage(devbox={"claims": {"peers": ["other"]}}):
            pass
    assert caught.group_contains(
        ConfigurationError, match="does not let it meet 'side'", depth=None
    )


async def test_door_that_cannot_listen_wants_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        outgoing = stage.devbox.outgoing
        with pytest.raises(ConfigurationError, match="in use"):
            await outgoing.add_forward(parse_forward("memory://dev:1=web@other"))
        assert len(outgoing.keeper.sources) == len(outgoing.doors) == 1


async def test_cancelled_opening_of_a_door_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        outgoing = stage.devbox.outgoing

        async def add() -> None:
            await outgoing.add_forward(parse_forward("memory://dev:2=web@other"))

        assert await cancel_at_each_step(add) > 0
        assert len(outgoing.keeper.sources) == len(outgoing.doors) == 2


# --- endings -------------------------------------------------------------------------------


async def test_drain_waits_for_what_runs(autojump_clock: MockClock) -> None:
    async with no_leaks(), open_stage(echo) as stage:
        wire = await stage.dial()
        await wire.send_all(b"1")
        assert await wire.receive_some() == b"db:1"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.devbox.outgoing.drain)
            await trio.sleep(1)
            with pytest.raises(Exception, match="refused"):
                await stage.dial()
            await wire.send_eof()
            assert await wire.receive_some() == b""
        assert stage.devbox.outgoing.open_count == 0


async def test_drain_turns_away_who_waits(autojump_clock: MockClock) -> None:
    async with open_stage(has_exit=False, socks=["memory://dev:2=side"]) as stage:
        wires = [await stage.dial(), await stage.dial(2)]
        begun = trio.current_time()
        await stage.devbox.outgoing.drain()
        assert trio.current_time() - begun < 3
        for wire in wires:
            with pytest.raises(trio.BrokenResourceError):
                await wire.receive_some()


@pytest.mark.parametrize("when", ["idle", "waiting", "asking", "unanswered", "running"])
async def test_leaving_leaves_nothing_behind(when: str, autojump_clock: MockClock) -> None:
    has_exit = when != "waiting"
    async with (
        no_leaks(),
        open_stage(echo, socks=["memory://dev:2=side"], has_exit=has_exit) as stage,
    ):
        if when == "unanswered":
            stage.lab.network.stall("side", DB)
        if when != "idle":
            wire = await stage.dial(2 if when == "asking" else 1)
            await wire.send_all(HELLO)
            await trio.sleep(0.5)


# --- SOCKS5 --------------------------------------------------------------------------------


async def test_socks_opens_what_is_asked_for(autojump_clock: MockClock) -> None:
    async with open_stage(echo, forwards=(), socks=SOCKS, allow=["db:80"]) as stage:
        answer, wire = await ask(stage, early=b"early")
        assert answer == b"\x05\x00\x00\x01" + bytes(6)
        assert await wire.receive_some() == b"db:early"
        await wire.send_all(b"late")
        assert await wire.receive_some() == b"db:late"


async def test_reply_comes_when_the_far_side_has_connected(autojump_clock: MockClock) -> None:
    async with open_stage(forwards=(), socks=SOCKS, allow=["db:80"]) as stage:
        stage.lab.network.set_path("side", DB, latency=2.0)
        begun = trio.current_time()
        assert await reply_to(stage) == 0
        assert trio.current_time() - begun >= 4.0


async def test_replies_tell_why(autojump_clock: MockClock) -> None:
    async with open_stage(forwards=(), socks=SOCKS, allow=["db:80-82"]) as stage:
        assert await reply_to(stage, b"\x05\x01\x00\x03\x02db\x00\x53") == 2  # not allowed
        assert await reply_to(stage, b"\x05\x01\x00\x03\x02db\x00\x51") == 5  # nobody listens
        assert await reply_to(stage, b"\x05\x02\x00\x03\x02db\x00\x50") == 7  # BIND
        stage.lab.network.stall("side", DB)
        assert await reply_to(stage) == 4
        stage.lab.end("side")
        await trio.sleep(1)
        assert await reply_to(stage) == 3


async def test_lost_link_is_a_timeout_for_who_asks(autojump_clock: MockClock) -> None:
    async with no_leaks(), open_stage(forwards=(), socks=SOCKS, allow=["db:80"]) as stage:
        stage.lab.network.stall("side", "broker")
        begun = trio.current_time()
        assert await reply_to(stage) in (3, 6)
        assert trio.current_time() - begun <= 31


async def test_refused_client_can_read_its_answer(autojump_clock: MockClock) -> None:
    async with open_stage(forwards=(), socks=SOCKS) as stage:
        _, wire = await ask(stage, early=b"x" * 4096)
        await wire.send_all(b"y" * 10_000)
        assert await wire.receive_some() == b""
        await trio.sleep(3)
        assert stage.door.open_count == 0


async def test_slow_handshake_has_a_deadline(autojump_clock: MockClock) -> None:
    async with open_stage(forwards=(), socks=SOCKS) as stage:
        wire = await stage.dial()
        with pytest.raises(trio.BrokenResourceError):
            for byte in HELLO + TO_DB:
                await wire.send_all(bytes([byte]))
                await trio.sleep(1.5)
        assert "did not say where" in stage.door.last_reason


@pytest.mark.parametrize("after", [b"", HELLO, HELLO + TO_DB[:5]])
async def test_client_that_leaves_early_is_forgotten(
    after: bytes, autojump_clock: MockClock
) -> None:
    async with no_leaks(), open_stage(forwards=(), socks=SOCKS) as stage:
        wire = await stage.dial()
        if after:
            await wire.send_all(after)
        await trio.sleep(0.1)
        wire.reset()
        await trio.sleep(0.1)
        assert stage.door.open_count == 0


async def test_login_is_asked_for(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["db:80"]) as stage:
        spec = Socks(address("dev", 2), "side", Login(b"ada", b"lovelace"))
        await stage.devbox.outgoing.add_socks(spec)
        wire = await stage.dial(2)
        await wire.send_all(b"\x05\x01\x02")
        assert await wire.receive_some() == b"\x05\x02"
        await wire.send_all(b"\x01\x03ada\x08lovelace" + TO_DB)
        assert await wire.receive_some(2) == b"\x01\x00"


async def test_bulk_is_carried_both_ways(autojump_clock: MockClock) -> None:
    async def swallow(service: Service, wire: Wire) -> None:
        while await service.receive(wire):
            pass
        await wire.send_all(bytes(service.received))
        await wire.send_eof()

    data = bytes(range(256)) * 4096
    async with open_stage(swallow) as stage:
        assert await stage.call(data) == data
