"""A broker with endpoints on a memory network, in virtual time: who meets whom, and what dies."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.broker.puppet import open_puppet, settle
from tests.tunnelkit.faults.lab import Lab, address, open_lab, serve_exchange, transfer
from tests.tunnelkit.pairs import RING, World, wait_until
from tunnelkit.broker import open_broker
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import ConfigurationError, ErrorCode, OpenRefused, SessionError
from tunnelkit.wire.frames import FrameType, Role
from tunnelkit.wire.sending import Sender

KIB = 1024


async def pair(lab: Lab, *brokers: str, **options: object) -> tuple[Endpoint, Endpoint]:
    """Open "alice" and "bob" behind *brokers*; bob serves exchanges."""
    for name in brokers or ("broker",):
        await lab.broker(name)
    bob = await lab.endpoint("bob", *brokers, **options)
    lab.nursery.start_soon(serve_exchange, bob)
    return await lab.endpoint("alice", *brokers, **options), bob


# --- who is there --------------------------------------------------------------------------


async def test_many_endpoints_see_each_other(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        names = [f"e{number}" for number in range(30)]
        endpoints = [await lab.endpoint(name) for name in names]
        await trio.sleep(1)
        for endpoint in endpoints:
            assert endpoint.peers() == {*names} - {endpoint.subject}


async def test_only_peers_that_may_meet_see_each_other(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        a = await lab.endpoint("a", peers=["b", "c"])
        b = await lab.endpoint("b", peers=["a"])
        c = await lab.endpoint("c", peers=["b"])
        await trio.sleep(1)
        assert (a.peers(), b.peers(), c.peers()) == ({"b"}, {"a"}, set())


async def test_a_peer_that_leaves_is_gone(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        a = await lab.endpoint("a")
        async with lab.open_endpoint("b"):
            await trio.sleep(1)
            assert a.peers() == {"b"}
        await trio.sleep(1)
        assert a.peers() == set()


async def test_a_session_with_a_peer_that_may_not_be_met_is_a_clear_error(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        await lab.broker()
        await lab.endpoint("b", peers=["x"])
        a = await lab.endpoint("a")
        with pytest.raises(SessionError, match="'b'.*tokens let the two meet") as caught:
            await a.open_session("b")
        assert caught.value.code == ErrorCode.UNKNOWN_PEER


async def test_an_attach_to_a_peer_that_may_not_be_met_is_forbidden(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        await lab.broker()
        world = World(network=lab.network)
        identity = lab.identity("a", peers=["x"])
        async with open_puppet(world, "a", address("broker"), identity=identity) as a:
            number = a.attach(Role.INITIATOR, "b")
            await settle()
            assert a.detached(number) == [ErrorCode.FORBIDDEN]


async def test_an_unknown_peer_is_waited_for_and_then_named(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        a = await lab.endpoint("a")
        begun = trio.current_time()
        with pytest.raises(SessionError, match="'nobody' within 10 s") as caught:
            await a.open_session("nobody")
        assert caught.value.code == ErrorCode.UNKNOWN_PEER
        assert trio.current_time() - begun == pytest.approx(10, abs=0.1)


async def test_an_attach_for_an_unknown_peer_waits_for_the_grace_time(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        await lab.broker(grace_seconds=30)
        world = World(network=lab.network)
        async with open_puppet(world, "a", address("broker"), identity=lab.identity("a")) as a:
            number = a.attach(Role.INITIATOR, "b")
            await trio.sleep(29)
            assert a.detached(number) == []
            await trio.sleep(3)
            assert a.detached(number) == [ErrorCode.UNKNOWN_PEER]


async def test_a_peer_that_comes_late_is_met(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        a = await lab.endpoint("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.open_session, "b")
            await trio.sleep(5)
            await lab.endpoint("b")
        assert [session.peer for session in a.sessions.values()] == ["b"]


# --- two of the same name ------------------------------------------------------------------


async def test_a_new_instance_displaces_the_old_one(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        old = await lab.endpoint("a", host="old")
        await trio.sleep(1)
        new = await lab.endpoint("a", host="new")
        await trio.sleep(300)
        assert (len(old.links), len(new.links)) == (0, 1)
        assert "displaced" in old.dial_errors[address("broker")]


async def test_a_peer_meets_the_new_instance(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice, _ = await pair(lab)
        session = await alice.open_session("bob")
        new = await lab.endpoint("bob", host="new")
        lab.nursery.start_soon(serve_exchange, new)
        await session.wait_ended()
        await transfer(await alice.open_session("bob"), "again", 100)
        assert len(new.sessions) == 1


async def test_a_newer_link_of_the_same_instance_supersedes(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        world = World(network=lab.network)
        options = {"instance": b"i" * 16, "identity": lab.identity("a")}
        async with (
            open_puppet(world, "a", address("broker"), **options) as old,  # type: ignore[arg-type]
            open_puppet(world, "a", address("broker"), **options) as new,  # type: ignore[arg-type]
        ):
            await settle()
            assert [v["code"] for v in old.got(FrameType.GO_AWAY)] == [ErrorCode.SUPERSEDED]
            assert old.closed is not None
            assert new.closed is None


async def test_an_endpoint_whose_link_is_half_open_comes_back(autojump_clock: MockClock) -> None:
    async with open_lab(latency=0.01) as lab:
        alice, _bob = await pair(lab)
        session = await alice.open_session("bob")
        lab.network.cut("alice", "broker", how="silent")
        await transfer(session, "after", 100 * KIB)
        assert session.resumed_count == 1


# --- loss ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_a_broker_that_dies_again_and_again_loses_nothing(
    seed: int, autojump_clock: MockClock
) -> None:
    chance = Random(seed)
    async with open_lab(seed, latency=0.005, bandwidth=2e6, fragment=seed % 2 == 1) as lab:
        alice, _ = await pair(lab)
        carol = await lab.endpoint("carol")
        sessions = [await e.open_session("bob") for e in (alice, carol)]
        async with trio.open_nursery() as nursery:
            for number, session in enumerate(sessions * 2):
                nursery.start_soon(transfer, session, f"{seed}-{number}", 700 * KIB)
            for _ in range(5):
                await trio.sleep(chance.uniform(0.02, 0.6))
                lab.kill()
                await trio.sleep(chance.uniform(0, 0.5))
                await lab.broker()
        assert all(session.resumed_count for session in sessions)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("how", ["reset", "eof", "silent"])
async def test_one_lost_leg_loses_nothing(
    who: str, how: str, seed: int, autojump_clock: MockClock
) -> None:
    async with open_lab(seed, latency=0.003, bandwidth=4e6) as lab:
        alice, _ = await pair(lab)
        session = await alice.open_session("bob")
        after = Random(f"{who}{how}{seed}").randrange(200 * KIB)
        cut = lab.network.cut(who, "broker", after_bytes=after, how=how)  # type: ignore[arg-type]
        await transfer(session, "leg", 300 * KIB)
        assert cut.happened
        assert session.resumed_count == 1


async def test_a_session_ends_when_the_broker_stays_away(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice, bob = await pair(lab, grace_seconds=20)
        session = await alice.open_session("bob")
        lab.kill()
        assert (await session.wait_ended()).code == ErrorCode.GRACE_EXPIRED
        await wait_until(lambda: not bob.sessions)


# --- drain and several brokers -------------------------------------------------------------


async def test_a_draining_broker_asks_everybody_to_go(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice, bob = await pair(lab, "one", "two")
        session = await alice.open_session("bob")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfer, session, "moving", 2000 * KIB)
            await lab.brokers["one"].drain()
        assert lab.brokers["one"].registry.joined_count == 0
        assert lab.brokers["two"].registry.joined_count == 1
        assert len(bob.sessions) == 1


async def test_a_draining_broker_waits_no_longer_than_it_was_told(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        alice, _ = await pair(lab)
        await alice.open_session("bob")
        begun = trio.current_time()
        await lab.brokers["broker"].drain(timeout=3)
        assert trio.current_time() - begun == pytest.approx(3)


async def test_endpoints_leave_a_draining_broker_when_they_have_moved(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        alice, bob = await pair(lab, "one", "two")
        session = await alice.open_session("bob")
        await lab.brokers["one"].drain()
        await trio.sleep(1)
        assert (len(alice.links), len(bob.links)) == (1, 1)
        await transfer(session, "after", 100 * KIB)


async def test_nobody_attaches_to_a_broker_that_goes_away(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice, _ = await pair(lab)
        await trio.sleep(1)
        with trio.move_on_after(0):
            await lab.brokers["broker"].drain()
        with pytest.raises(SessionError):
            await alice.open_session("bob", timeout=2)


async def test_a_session_that_stays_at_a_draining_broker_still_works(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        alice, _ = await pair(lab)
        session = await alice.open_session("bob")
        lab.nursery.start_soon(lab.brokers["broker"].drain)
        await trio.sleep(1)
        await transfer(session, "last", 100 * KIB)


async def test_the_first_listed_broker_is_used(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice, _ = await pair(lab, "one", "two")
        await trio.sleep(1)
        await alice.open_session("bob")
        assert lab.brokers["one"].registry.joined_count == 1


async def test_the_broker_at_which_both_are_is_used(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker("one")
        await lab.broker("two")
        alice = await lab.endpoint("alice", "one", "two")
        await lab.endpoint("bob", "two")
        await alice.open_session("bob")
        assert lab.brokers["two"].registry.joined_count == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_session_moves_to_the_other_broker_when_one_dies(
    seed: int, autojump_clock: MockClock
) -> None:
    async with open_lab(seed, latency=0.003, bandwidth=4e6) as lab:
        alice, _ = await pair(lab, "one", "two")
        await trio.sleep(1)
        session = await alice.open_session("bob")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfer, session, "moving", 1000 * KIB)
            await trio.sleep(Random(seed).uniform(0, 0.2))
            lab.kill("one")
        assert lab.brokers["two"].registry.joined_count == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_session_wanders_between_brokers_that_die_in_turn(
    seed: int, autojump_clock: MockClock
) -> None:
    chance = Random(seed)
    async with open_lab(seed, latency=0.003, bandwidth=2e6, fragment=seed % 2 == 1) as lab:
        alice, _ = await pair(lab, "one", "two")
        session = await alice.open_session("bob")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfer, session, "wandering", 2000 * KIB)
            for name in ("one", "two", "one", "two"):
                await trio.sleep(chance.uniform(0, 0.5))
                lab.kill(name)
                await trio.sleep(chance.uniform(0, 0.3))
                await lab.broker(name)
        assert session.resumed_count


async def test_a_session_does_not_wait_at_a_broker_that_its_peer_cannot_reach(
    autojump_clock: MockClock,
) -> None:
    async with open_lab(latency=0.001) as lab:
        alice, _ = await pair(lab, "one", "two")
        await trio.sleep(1)
        # Bob is cut off from the first broker at the moment at which alice begins to wait there.
        lab.network.stall("bob", "one")
        session = await alice.open_session("bob", timeout=30)
        assert session.state == "open"
        assert lab.brokers["two"].registry.joined_count == 1


# --- expiry --------------------------------------------------------------------------------


async def test_an_expired_token_opens_no_stream(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        alice, _ = await pair(lab)
        session = await alice.open_session("bob")
        await transfer(session, "before", 100)
        lab.wall += 3600
        with pytest.raises(OpenRefused, match="has expired") as caught:
            await session.open_stream("after:100")
        assert caught.value.code == ErrorCode.TOKEN_EXPIRED


async def test_an_expired_token_ends_the_session_at_the_next_attach(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        await lab.broker()
        await lab.endpoint("bob")
        alice = await lab.endpoint("alice", identity=lab.identity("alice", lifetime_seconds=60))
        session = await alice.open_session("bob")
        lab.wall += 60
        lab.network.cut("bob", "broker")
        assert (await session.wait_ended()).code == ErrorCode.TOKEN_EXPIRED


async def test_running_streams_outlive_the_token(autojump_clock: MockClock) -> None:
    async with open_lab(bandwidth=1e6) as lab:
        alice, _ = await pair(lab)
        session = await alice.open_session("bob")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfer, session, "running", 500 * KIB)
            await trio.sleep(0.1)
            lab.wall += 3600


# --- the budget ----------------------------------------------------------------------------


async def test_a_session_beyond_the_budget_waits_until_there_is_room(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        await lab.broker(budget_bytes=1_200_000)
        for name in ("bob", "carol"):
            lab.nursery.start_soon(serve_exchange, await lab.endpoint(name))
        alice = await lab.endpoint("alice")
        first = await alice.open_session("bob")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.open_session, "carol")
            await trio.sleep(2)
            await first.aclose()
        assert [session.peer for session in alice.sessions.values()] == ["carol"]


async def test_who_ignores_its_cap_is_detached_and_loses_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_lab(latency=0.01) as lab:
        await lab.broker(budget_bytes=1_200_000)  # a cap of 300 KB, and 512 KiB of slack
        bob = await lab.endpoint("bob")
        lab.nursery.start_soon(serve_exchange, bob)
        alice = await lab.endpoint("alice")
        session = await alice.open_session("bob")
        keep_to_cap = Sender.limit

        def limit(self: Sender, cap: int) -> None:
            keep_to_cap(self, 4_000_000 if self is session.core else cap)

        monkeypatch.setattr(Sender, "limit", limit)
        session.core.limit(0)
        lab.network.set_path("bob", "broker", latency=0.01, capacity_bytes=16 * KIB)
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(transfer, session, f"greedy-{number}", 100 * KIB)
            await trio.sleep(0.045)  # the streams are open, and their first bytes under way
            lab.network.stall("bob", "broker")
            await trio.sleep(2)
            lab.network.unstall("bob", "broker")
        assert lab.brokers["broker"].overruns >= 1
        assert session.resumed_count >= 1


async def test_an_address_that_is_in_use_is_a_clear_error(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        await lab.broker()
        opened = open_broker(RING, listen=[address("broker")], network=lab.network.host("broker"))
        with pytest.raises(ConfigurationError, match="memory://broker:7000.*in use"):
            async with opened:
                pass


async def test_one_broker_under_two_addresses_keeps_one_link(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        broker = await lab.broker()
        await broker.listen(address("broker", 7001))
        await lab.endpoint("bob")
        opened = open_endpoint(
            lab.identity("alice"),
            RING,
            dial=[address("broker"), address("broker", 7001)],
            network=lab.network.host("alice"),
        )
        alice = await lab.run("alice", opened)
        session = await alice.open_session("bob")
        await trio.sleep(5)
        before = session.resumed_count
        await trio.sleep(120)
        assert session.resumed_count == before
