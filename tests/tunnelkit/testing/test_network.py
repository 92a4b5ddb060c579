"""Hosts of a memory network: who reaches whom, and what its faults look like."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.testing.recorder import Recorder, Server, Writer, at, join
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Pipe, PipeBroken, connect
from tunnelkit.errors import ConfigurationError, LocalProtocolError
from tunnelkit.pump import Pump
from tunnelkit.testing import Attempt, MemoryNetwork, cancel_at_each_step

RESET = "connection reset by peer"


# --- connecting ----------------------------------------------------------------------------


async def test_connect_takes_a_round_trip(autojump_clock: MockClock, pump: Pump) -> None:
    began = trio.current_time()
    await join(MemoryNetwork(latency=3), pump)
    assert trio.current_time() - began == pytest.approx(6)


async def test_unknown_host_is_named(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    with pytest.raises(ConnectFailed, match=r"memory://nowhere:80: no such host.* has: a") as info:
        await connect(network.host("a"), at("nowhere"), pump)
    assert info.value.refused


async def test_unknown_port_is_refused(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    network.host("b")
    with pytest.raises(ConnectFailed, match="memory://b:80: connection refused") as info:
        await connect(network.host("a"), at("b"), pump)
    assert info.value.refused


async def test_closed_listener_refuses(autojump_clock: MockClock, pump: Pump) -> None:
    host = MemoryNetwork().host("a")
    (await host.listen(at("a"), pump, lambda pipe: None)).close()
    with pytest.raises(ConnectFailed, match="refused"):
        await connect(host, at("a"), pump)


async def test_port_zero_picks_free_ports(autojump_clock: MockClock, pump: Pump) -> None:
    host = MemoryNetwork().host("a")
    listeners = [await host.listen(at("a", 0), pump, lambda pipe: None) for _ in range(2)]
    ports = {listener.address.port for listener in listeners}
    assert len(ports) == 2
    assert 0 not in ports


async def test_port_in_use_is_refused(autojump_clock: MockClock, pump: Pump) -> None:
    host = MemoryNetwork().host("a")
    await host.listen(at("a"), pump, lambda pipe: None)
    with pytest.raises(ConfigurationError, match="in use"):
        await host.listen(at("a"), pump, lambda pipe: None)


async def test_host_listens_only_for_itself(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    network.host("b")
    with pytest.raises(ConfigurationError, match="this host is a"):
        await network.host("a").listen(at("b"), pump, lambda pipe: None)


async def test_host_reaches_itself_as_localhost(autojump_clock: MockClock, pump: Pump) -> None:
    host, accepted = MemoryNetwork().host("a"), list[Pipe]()
    await host.listen(at("localhost"), pump, accepted.append)
    pipe = await connect(host, at("127.0.0.1"), pump)
    pipe.try_send(b"x")
    assert accepted[0].try_receive(9) == b"x"


async def test_other_schemes_are_refused(autojump_clock: MockClock, pump: Pump) -> None:
    host = MemoryNetwork().host("a")
    with pytest.raises(ConfigurationError, match="memory://HOST:PORT"):
        await connect(host, Address("tcp", "a", 80), pump)


async def test_cancelled_connect_leaves_nothing(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork(latency=10)
    server = Server(network.host("b"))
    await server.listen(pump)
    with trio.move_on_after(1):
        await connect(network.host("a"), at("b"), pump)
    assert pump.live_timers == 0
    await trio.sleep(60)
    assert not server.pipes


async def test_connect_is_atomic(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork(latency=1)
    server = Server(network.host("b"))
    await server.listen(pump)

    def check(attempt: Attempt[Pipe]) -> None:
        if attempt.value is not None:
            attempt.value.close()
        assert network.host("a").pipes == []
        for pipe in network.host("b").pipes:
            pipe.close()
        assert pump.live_timers == 0

    assert await cancel_at_each_step(lambda: connect(network.host("a"), at("b"), pump), check=check)


async def test_misspelt_host_of_a_fault_is_refused() -> None:
    network = MemoryNetwork()
    network.host("a")
    with pytest.raises(LocalProtocolError, match="no host 'bb'"):
        network.stall("a", "bb")


# --- stalls and partitions -----------------------------------------------------------------


async def test_stall_holds_everything_and_breaks_nothing(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(latency=1)
    a, b = await join(network, pump)
    reader = Recorder(b)
    a.try_send(b"before ")
    network.stall("a", "b")
    a.try_send(b"during")
    a.close()
    await trio.sleep(100)
    assert reader.trace == []
    network.unstall("a", "b")
    await trio.sleep(100)
    assert (bytes(reader.data), reader.ending) == (b"before during", "eof")


async def test_stalled_path_goes_on_where_it_stopped(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork(latency=4)
    a, b = await join(network, pump)
    reader = Recorder(b)
    a.try_send(b"x")
    await trio.sleep(3)
    network.stall("a", "b")
    await trio.sleep(100)
    network.unstall("a", "b")
    await trio.sleep(100)
    assert reader.last == 104


async def test_stalled_sender_fills_up_and_learns_of_reads_later(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(capacity_bytes=10)
    a, b = await join(network, pump)
    a.try_send(bytes(10))
    network.stall("a", "b")
    b.try_receive(10)
    assert a.try_send(b"x") == 0
    network.unstall("a", "b")
    assert a.try_send(bytes(20)) == 10


async def test_stalled_lane_has_no_timer(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork(latency=1)
    a, _ = await join(network, pump)
    a.try_send(b"x")
    network.stall("a", "b")
    assert pump.live_timers == 0


async def test_connect_over_a_stalled_path_gets_no_answer(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork()
    await join(network, pump)
    network.stall("a", "b")
    with pytest.raises(ConnectFailed, match="no answer within 5 s"):
        await connect(network.host("a"), at("b"), pump, timeout=5)


async def test_connect_goes_on_after_a_stall(autojump_clock: MockClock, pump: Pump) -> None:
    network, connected = MemoryNetwork(latency=1), trio.Event()
    await join(network, pump)
    network.stall("a", "b")
    network.host("a").connect_nowait(at("b"), pump, lambda outcome: connected.set())
    await trio.sleep(10)
    assert not connected.is_set()
    network.unstall("a", "b")
    await connected.wait()


async def test_partition_holds_until_healed(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    a, b = await join(network, pump)
    network.partition({"a"}, {"b"})
    a.try_send(b"x")
    assert b.try_receive(9) is None
    network.heal()
    assert b.try_receive(9) == b"x"


async def test_partition_spares_hosts_of_the_same_side_and_of_none(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork()
    for name in "abcd":
        network.host(name)
    network.partition({"a", "b"}, {"c"})
    held = {pair: network.path(*pair).held for pair in ("ab", "ac", "bc", "ad", "cd", "aa")}
    assert [pair for pair, is_held in held.items() if is_held] == ["ac", "bc"]


# --- cuts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "ending"), [("reset", RESET), ("eof", "eof"), ("silent", None)])
@pytest.mark.parametrize("latency", [0, 1])
async def test_cut_delivers_exactly_so_many_bytes(
    autojump_clock: MockClock, pump: Pump, how: str, ending: str | None, latency: float
) -> None:
    network = MemoryNetwork(latency=latency)
    a, b = await join(network, pump)
    reader, peer = Recorder(b), Recorder(a)
    cut = network.cut("a", "b", after_bytes=1000, how=how)  # type: ignore[arg-type]
    sent = a.try_send(bytes(700)) + a.try_send(bytes(700))
    await trio.sleep(100)
    assert (sent, len(reader.data), cut.happened) == (1400, 1000, True)
    assert (reader.ending, peer.ending) == (ending, ending)


async def test_cut_counts_its_own_direction_only(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    a, b = await join(network, pump)
    cut = network.cut("a", "b", after_bytes=1)
    b.try_send(b"x")
    assert not cut.happened
    a.try_send(b"x")
    assert cut.happened


async def test_cut_without_bytes_is_at_once(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    _, b = await join(network, pump)
    assert network.cut("a", "b").happened
    with pytest.raises(PipeBroken, match=RESET):
        b.try_receive(1)


async def test_cut_before_a_connection_waits_for_one(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    network.host("a")
    network.host("b")
    network.cut("a", "b", how="eof")
    a, b = await join(network, pump)
    a.try_send(b"x")
    assert b.try_receive(9) == b""


async def test_connections_made_after_a_cut_work(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    await join(network, pump)
    network.cut("a", "b")
    server_side: list[Pipe] = []
    await network.host("b").listen(at("b", 81), pump, server_side.append)
    (await connect(network.host("a"), at("b", 81), pump)).try_send(b"x")
    assert server_side[0].try_receive(9) == b"x"


async def test_silently_cut_sender_fills_up(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork(capacity_bytes=10)
    a, _ = await join(network, pump)
    network.cut("a", "b", how="silent")
    assert [a.try_send(bytes(8)), a.try_send(bytes(8))] == [8, 2]


# --- hosts that go down --------------------------------------------------------------------


async def test_crash_resets_peers_and_refuses_connects(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork(latency=1)
    a, _ = await join(network, pump)
    peer = Recorder(a)
    network.host("b").crash()
    with pytest.raises(ConnectFailed, match=r"refused; it has crashed") as info:
        await connect(network.host("a"), at("b"), pump)
    assert info.value.refused
    assert peer.ending == RESET


async def test_crashed_host_cannot_go_on(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    _, b = await join(network, pump)
    here = Recorder(b)
    network.host("b").crash()
    with pytest.raises(ConnectFailed, match="host b is down"):
        await connect(network.host("b"), at("a"), pump)
    with pytest.raises(ConfigurationError, match="host b is down"):
        await network.host("b").listen(at("b"), pump, lambda pipe: None)
    assert here.ending == "host b has crashed"


async def test_vanished_host_is_not_noticed(autojump_clock: MockClock, pump: Pump) -> None:
    network = MemoryNetwork()
    a, b = await join(network, pump)
    peer = Recorder(a)
    network.host("b").vanish()
    a.try_send(b"x")
    b.close()
    with pytest.raises(ConnectFailed, match="no answer"):
        await connect(network.host("a"), at("b"), pump)
    assert peer.trace == []


async def test_peer_of_a_restarted_host_is_reset_once_it_sends(
    autojump_clock: MockClock, pump: Pump
) -> None:
    network = MemoryNetwork()
    a, _ = await join(network, pump)
    peer = Recorder(a)
    network.host("b").vanish()
    network.host("b").restart()
    await trio.sleep(1)
    assert peer.ending is None
    a.try_send(b"x")
    await trio.sleep(1)
    assert peer.ending == RESET


@pytest.mark.parametrize("fault", ["crash", "vanish"])
async def test_restarted_host_listens_again(
    autojump_clock: MockClock, pump: Pump, fault: str
) -> None:
    network = MemoryNetwork()
    await join(network, pump)
    getattr(network.host("b"), fault)()
    network.host("b").restart()
    with pytest.raises(ConnectFailed, match="nothing listens"):
        await connect(network.host("a"), at("b"), pump)
    a, b = await join(network, pump)
    a.try_send(b"x")
    assert b.try_receive(9) == b"x"


@pytest.mark.parametrize("fault", ["crash", "vanish"])
async def test_host_that_went_down_leaves_nothing(
    autojump_clock: MockClock, pump: Pump, fault: str
) -> None:
    network = MemoryNetwork(latency=1)
    a, _ = await join(network, pump)
    Writer(a, bytes(10**6))
    await trio.sleep(0.5)
    getattr(network.host("b"), fault)()
    a.close()
    assert pump.live_timers == 0
    assert network.host("a").pipes == network.host("b").pipes == []
