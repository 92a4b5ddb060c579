"""Exits in virtual time: addresses by rule, names that lead elsewhere, refusals, look-ups."""

from __future__ import annotations

import socket
import threading
from functools import partial
from ipaddress import ip_address

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.faults.wires import echo, serve
from tests.tunnelkit.outgoing.stage import DB, Stage, open_stage
from tests.tunnelkit.pairs import RING, make_identity, wait_until
from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import SYSTEM_NETWORK
from tunnelkit.devbox import open_devbox
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused
from tunnelkit.outgoing.attempts import in_turns
from tunnelkit.outgoing.exit import is_local
from tunnelkit.testing import no_leaks
from tunnelkit.testing.network import MemoryHost


async def open_target(stage: Stage, target: str) -> bytes:
    """Open a target at the exit; return what its service answers."""
    session = stage.devbox.outgoing.keeper.session_with("side")
    assert session is not None
    async with await session.open_stream(target) as stream:
        await stream.send_all(b"x")
        await stream.send_eof()
        return await stream.receive_some()


async def refusal(stage: Stage, target: str) -> OpenRefused:
    """Open a target that is refused; return the refusal."""
    with pytest.raises(OpenRefused) as caught:
        await open_target(stage, target)
    return caught.value


@pytest.mark.parametrize("target", ["db:80", "DB.:80", f"{DB}:80", "web"])
async def test_allowed_target_is_opened(target: str, autojump_clock: MockClock) -> None:
    async with open_stage(allow=["db:80", f"{DB}:80"]) as stage:
        assert await open_target(stage, target) == b"db:x"


async def test_refused_address_is_refused_before_it_is_looked_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(host: MemoryHost, address: Address) -> list[Address]:
        raise AssertionError("looked up")

    async with open_stage(allow=["other:80"]) as stage:
        monkeypatch.setattr(MemoryHost, "resolve_all", fail)
        refused = [await refusal(stage, t) for t in ("db:80", "nowhere:80", f"{DB}:80")]
    assert {one.code for one in refused} == {ErrorCode.FORBIDDEN}
    assert refused[0].text == "side does not allow address 'db:80'"
    assert refused[1].text == "side does not allow address 'nowhere:80'"


@pytest.mark.parametrize("where", ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "fe80::1"])
async def test_name_that_leads_to_a_special_address_is_refused(
    where: str, autojump_clock: MockClock
) -> None:
    async with open_stage(allow=["*:8000"]) as stage:
        await serve(stage.lab, "side", 8000)
        stage.lab.network.names["evil"] = [where]
        refused = await refusal(stage, "evil:8000")
    assert (refused.code, refused.text) == (6, "side does not allow address 'evil:8000'")


async def test_only_the_allowed_addresses_of_a_name_are_tried(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["*:80"]) as stage:
        local = stage.sidecar.ports["web"]  # listens on port 80, too
        stage.lab.network.names["mixed"] = ["127.0.0.1", DB, "::1"]
        assert await open_target(stage, "mixed:80") == b"db:x"
        assert not local.counts


async def test_name_never_leads_to_the_exit_s_own_listener(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["loop:80", "10.0.0.0/8:80"]) as stage:
        stage.sidecar.ports["web"].listener.address = Address("memory", DB, 80)  # type: ignore[misc, union-attr]
        stage.lab.network.names["loop"] = [DB]
        assert (await refusal(stage, "loop:80")).code == ErrorCode.FORBIDDEN
        assert (await refusal(stage, f"{DB}:80")).code == ErrorCode.FORBIDDEN


async def test_localhost_is_opened_by_its_name(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["localhost:8080"]) as stage:
        await serve(stage.lab, "side", 8080, name="local")
        assert await open_target(stage, "localhost:8080") == b"local:x"


async def test_both_the_token_and_the_rules_have_to_agree(autojump_clock: MockClock) -> None:
    options = {"claims": {"targets": ["db:*"]}}
    async with open_stage(allow=["*:80", f"{DB}:*"], devbox=options) as stage:
        assert await open_target(stage, "db:80") == b"db:x"
        refused = await refusal(stage, f"{DB}:80")
        assert "the token of dev does not allow" in refused.text
        assert (await refusal(stage, "db:81")).text == "side does not allow address 'db:81'"


@pytest.mark.parametrize("target", ["::1:80", "db:0", "db:http", "a/b:80", "127.1:80", "[x]:1"])
async def test_what_is_no_address_is_no_target(target: str, autojump_clock: MockClock) -> None:
    async with open_stage(allow=["*:*"]) as stage:
        refused = await refusal(stage, target)
    assert refused.code == ErrorCode.UNKNOWN_TARGET
    assert "side serves no target" in refused.text


async def test_failure_does_not_tell_where_a_name_leads(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["db:81"]) as stage:
        refused = await refusal(stage, "db:81")
    assert refused.code == ErrorCode.TARGET_REFUSED
    assert "cannot connect to db:81: connection refused" in refused.text
    assert DB not in refused.text


async def test_silent_first_address_costs_little(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["two:80"]) as stage:
        stage.lab.network.host("fd00::1").vanish()
        stage.lab.network.names["two"] = ["fd00::1", DB]
        begun = trio.current_time()
        assert await open_target(stage, "two:80") == b"db:x"
        assert trio.current_time() - begun < 0.5


async def test_silent_addresses_are_unreachable_in_time(autojump_clock: MockClock) -> None:
    async with open_stage(allow=["two:80"]) as stage:
        for host in ("fd00::1", "10.0.0.9"):
            stage.lab.network.host(host).vanish()
        stage.lab.network.names["two"] = ["fd00::1", "10.0.0.9"]
        begun = trio.current_time()
        refused = await refusal(stage, "two:80")
        waited = trio.current_time() - begun
    assert refused.code == ErrorCode.TARGET_UNREACHABLE
    assert waited == pytest.approx(limits.CONNECT_TIMEOUT_SECONDS, abs=0.1)


async def test_slow_look_up_ends_with_the_time_for_a_connect(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(host: MemoryHost, address: Address, limiter: object) -> list[Address]:
        await trio.sleep_forever()

    async with no_leaks(), open_stage(allow=["db:80"]) as stage:
        monkeypatch.setattr(MemoryHost, "resolve_all", hang)
        assert "no answer from db:80 within 10 s" in (await refusal(stage, "db:80")).text
        assert stage.sidecar.exit.open_count == 0


async def test_flood_of_slow_names_is_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[Address] = []

    async def hang(
        host: MemoryHost, address: Address, limiter: trio.CapacityLimiter
    ) -> list[Address]:
        async with limiter:
            running.append(address)
            await trio.sleep_forever()

    async with no_leaks(), open_stage(allow=["*:80"]) as stage:
        monkeypatch.setattr(MemoryHost, "resolve_all", hang)
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(refusal, stage, f"host{number}:80")
            await trio.sleep(5)
            assert len(running) == 16


async def test_look_up_that_was_given_up_counts_until_its_thread_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer could else take all of the threads: it opens streams, and resets them."""
    answer, limiter = threading.Event(), trio.CapacityLimiter(1)
    look_up = partial(SYSTEM_NETWORK.resolve_all, Address("tcp", "slow.test", 80), limiter)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer.wait() and [])
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_up)
            await wait_until(lambda: limiter.borrowed_tokens)
            nursery.cancel_scope.cancel()
        assert limiter.borrowed_tokens == 1
    finally:
        answer.set()
    await wait_until(lambda: not limiter.borrowed_tokens)


async def test_exit_of_a_sidecar_drains(autojump_clock: MockClock) -> None:
    async with open_stage(echo, allow=["db:80"]) as stage:
        wire = await stage.dial()
        await wire.send_all(b"1")
        assert await wire.receive_some() == b"db:1"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.sidecar.drain)
            await trio.sleep(1)
            assert (await refusal(stage, "db:80")).code == ErrorCode.GOING_AWAY
            await wire.send_eof()
        assert stage.sidecar.open_count == 0


async def test_name_with_a_colon_is_a_wrong_setting(autojump_clock: MockClock) -> None:
    with pytest.raises(ConfigurationError, match="'a:1' has a colon"):
        async with open_devbox(
            make_identity("dev"), RING, targets={"a:1": Address("tcp", "127.0.0.1", 1)}
        ):
            pass


def test_families_take_turns() -> None:
    six, four = (
        [Address("tcp", f"{start}{n}", 1) for n in (1, 2, 3)] for start in ("fd00::", "10.0.0.")
    )
    assert in_turns([*six, *four[:2]]) == [six[0], four[0], six[1], four[1], six[2]]


@pytest.mark.parametrize(
    ("ip", "is_mine"), [("127.0.0.1", True), ("127.0.0.9", True), ("192.0.2.1", False)]
)
def test_addresses_of_this_machine_are_known(ip: str, is_mine: bool) -> None:
    assert is_local(ip_address(ip)) is is_mine
