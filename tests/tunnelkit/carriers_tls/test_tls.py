"""TLS pipes: what is particular about them, in virtual time."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.tunnelkit.carriers_tls.ends import TlsPair, make_pair, up
from tests.tunnelkit.certificates import authority
from tests.tunnelkit.strangers import quiet_pump, settle
from tests.tunnelkit.test_carriers import read, ready
from tunnelkit import limits
from tunnelkit.carriers import PipeBroken, TlsSettings, tls_settings
from tunnelkit.carriers import tls_shared as shared
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.testing import MemoryNetwork


@pytest.fixture
async def pump() -> AsyncGenerator[Pump]:
    pump = acquire_pump()
    with quiet_pump():
        yield pump
    await release_pump(pump)


async def joined(pump: Pump, network: MemoryNetwork | None = None) -> TlsPair:
    """Return both ends with the handshake behind them."""
    pair = make_pair(pump, network=network)
    await up(pair.left, pair.right)
    assert pair.left.is_established
    assert pair.right.is_established
    return pair


def wire_of(pair: TlsPair) -> tuple[int, int]:
    """Return how many bytes each end has sent on the wire."""
    left, right = (end._inner for end in (pair.left, pair.right))
    return left.sent_bytes, right.sent_bytes  # type: ignore[attr-defined] # a memory pipe


# --- before and during the handshake -------------------------------------------------------------


async def test_nothing_moves_before_the_handshake(pump: Pump) -> None:
    pair = make_pair(pump)
    assert pair.left.try_send(b"x") == 0
    assert pair.left.try_send_many([b"x"]) == 0
    assert pair.right.try_receive(10) is None
    pair.left.send_eof()
    assert wire_of(pair) == (0, 0)


async def test_handshake_makes_writable(autojump_clock: MockClock, pump: Pump) -> None:
    pair = make_pair(pump, network=MemoryNetwork(latency=0.1))
    pair.right.start(lambda readable, writable: None)
    before = trio.current_time()
    await ready(pair.left, write=True)
    assert trio.current_time() - before == pytest.approx(0.2)
    assert pair.left.try_send(b"x") == 1


async def test_one_round_trip_until_the_first_bytes_arrive(
    autojump_clock: MockClock, pump: Pump
) -> None:
    pair = make_pair(pump, network=MemoryNetwork(latency=0.1))
    pair.right.start(lambda readable, writable: None)
    await ready(pair.left, write=True)
    pair.left.try_send(b"hello")
    assert await read(pair.right) == b"hello"
    assert trio.current_time() == pytest.approx(0.3)


@given(seed=st.integers(0, 1000))
async def test_any_fragments_give_the_same_bytes(seed: int) -> None:
    pump = acquire_pump()
    pair = await joined(pump, MemoryNetwork(seed, fragment=True))
    data, got = bytes(range(256)) * 300, bytearray()
    assert pair.left.try_send(data) == len(data)
    while len(got) < len(data):
        await ready(pair.right)
        got += pair.right.try_receive(10_000) or b""
    assert got == data
    await release_pump(pump)


async def test_handshakes_take_turns(pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    pairs = [make_pair(pump) for _ in range(20)]
    for pair in pairs:
        make: Callable[[], None] = pair.right._handshake

        def count(make: Callable[[], None] = make) -> None:
            steps.append(pump.wakeups)
            make()

        monkeypatch.setattr(pair.right, "_handshake", count)
    await up(*(end for pair in pairs for end in (pair.left, pair.right)))
    assert len(steps) == 40
    assert max(steps.count(batch) for batch in steps) <= 2 * shared.HANDSHAKES_PER_SLICE


async def test_pipe_closed_while_it_waits_for_its_turn(pump: Pump) -> None:
    pairs = [make_pair(pump) for _ in range(10)]
    for pair in pairs:
        pair.right.start(lambda readable, writable: None)
        pair.left.start(lambda readable, writable: None)
    for pair in pairs:
        pump.call_soon(pair.right.close)
    await settle()
    assert not any(pair.right.is_established for pair in pairs)


# --- sending ---------------------------------------------------------------------------------


async def test_what_waits_is_bounded(pump: Pump) -> None:
    pair = await joined(pump, MemoryNetwork(capacity_bytes=10_000))
    taken = 0
    for _ in range(100):
        taken += pair.left.try_send_many([bytes(100_000), bytes(100)] * 5)
    assert taken <= 2 * shared.CHUNK_BYTES


async def test_not_writable_while_ciphertext_waits(pump: Pump) -> None:
    pair = await joined(pump, MemoryNetwork(capacity_bytes=50_000))
    assert pair.left.try_send(bytes(100_000)) == 100_000
    told: list[bool] = []

    def note(readable: bool, writable: bool) -> None:
        told.append(writable)
        pair.left.want(False, False)

    pair.left.start(note)
    pair.left.want(False, True)
    await settle()
    assert not told
    while pair.right.try_receive(50_000):
        await settle()
    assert told
    assert pair.left.try_send(b"x") == 1


async def test_small_frames_share_a_record(pump: Pump) -> None:
    pair = await joined(pump)
    before = wire_of(pair)[0]
    assert pair.left.try_send_many([b"12345678"] * 100) == 800
    assert wire_of(pair)[0] - before < 830


# --- receiving -------------------------------------------------------------------------------


async def test_bytes_left_in_tls_are_reported(pump: Pump) -> None:
    pair = await joined(pump)
    pair.left.try_send(bytes(30_000))
    await ready(pair.right)
    got = len(pair.right.try_receive(10) or b"")
    while got < 30_000:
        await ready(pair.right)
        got += len(pair.right.try_receive(5_000) or b"")
    assert pair.right.try_receive(10) is None


async def test_no_space_is_no_end(pump: Pump) -> None:
    pair = await joined(pump)
    pair.left.try_send(b"x")
    await ready(pair.right)
    assert pair.right.try_receive_into(memoryview(b"")) == -1
    assert await read(pair.right) == b"x"


async def test_paused_reader_stops_the_sender(pump: Pump) -> None:
    pair = await joined(pump)
    while pair.left.try_send(bytes(100_000)):
        await settle()
    assert wire_of(pair)[0] < 300_000


@pytest.mark.parametrize("data", [b"\x17\x03\x03\x00\x30" + bytes(48), bytes(100), b"\xff" * 9])
async def test_hostile_bytes_after_the_handshake(pump: Pump, data: bytes) -> None:
    pair = await joined(pump)
    pair.left.try_send(b"good")
    pair.left._inner.try_send(data)
    assert await read(pair.right) == b"good"
    await ready(pair.right)
    with pytest.raises(PipeBroken, match="TLS|changed on its way"):
        pair.right.try_receive(10)


@given(data=st.binary(min_size=1, max_size=2000), server=st.booleans(), valid=st.integers(0, 300))
async def test_hostile_bytes_only_break_the_pipe(data: bytes, server: bool, valid: int) -> None:
    pump = acquire_pump()
    pair = make_pair(pump)
    good, victim = (pair.left, pair.right) if server else (pair.right, pair.left)
    with quiet_pump():
        victim.start(lambda readable, writable: victim.want(False, False))
        victim.want(True, False)
        if server:
            good.start(lambda readable, writable: None)
        good._inner.try_send(data)
        good._inner.close()
        await settle()
        with pytest.raises(PipeBroken):
            victim.try_receive(10)
    await release_pump(pump)


# --- the end ---------------------------------------------------------------------------------


async def test_truncation_is_no_clean_end(pump: Pump) -> None:
    pair = await joined(pump)
    pair.left.try_send(b"some")
    pair.left._inner.close()
    assert await read(pair.right) == b"some"
    await ready(pair.right)
    for _ in range(2):
        with pytest.raises(PipeBroken, match="without the close of TLS: bytes may be missing"):
            pair.right.try_receive(10)


def _forgiving_context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    """As Python before 3.11.4 makes it: a connection that just stops is a clean end."""
    context = ssl.SSLContext(protocol)
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


async def test_truncation_is_no_clean_end_where_python_says_so(
    pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgiving = SimpleNamespace(**{**vars(ssl), "SSLContext": _forgiving_context})
    monkeypatch.setattr(tls_settings, "ssl", forgiving)
    own = TlsSettings(**authority().issue("right"), ca=authority().file)
    pair = make_pair(pump, client=own, server=own)
    await up(pair.left, pair.right)
    pair.left._inner.close()
    await ready(pair.right)
    with pytest.raises(PipeBroken, match="without the close of TLS: bytes may be missing"):
        pair.right.try_receive(10)


async def test_close_is_a_clean_end(pump: Pump) -> None:
    pair = await joined(pump)
    pair.left.try_send(b"all")
    pair.left.close()
    assert await read(pair.right) == b"all"
    assert await read(pair.right) == b""
    assert await read(pair.right) == b""


async def test_half_close_loses_nothing_that_is_on_its_way(pump: Pump) -> None:
    pair = await joined(pump)
    pair.right.try_send(bytes(50_000))
    await ready(pair.left)
    got = len(pair.left.try_receive(10) or b"")
    pair.left.send_eof()
    while got < 50_000:
        got += len(await read(pair.left))
    assert await read(pair.right) == b""
    assert pair.right.try_send(b"still here") == 10
    assert await read(pair.left) == b"still here"


async def test_nothing_is_sent_after_the_end(pump: Pump) -> None:
    pair = await joined(pump)
    pair.left.send_eof()
    with pytest.raises(PipeBroken, match="broken pipe"):
        pair.left.try_send(b"x")


async def test_close_sends_what_was_taken(pump: Pump) -> None:
    pair = await joined(pump, MemoryNetwork(capacity_bytes=20_000))
    assert pair.left.try_send(bytes(100_000)) == 100_000
    pair.left.close()
    got = 0
    while data := await read(pair.right):
        got += len(data)
    assert got == 100_000
    assert pair.left._inner.closed  # type: ignore[attr-defined] # a memory pipe
    assert not pump.live_timers


@pytest.mark.parametrize("way", ["time", "reset", "broken"])
async def test_linger_is_bounded(autojump_clock: MockClock, pump: Pump, way: str) -> None:
    pair = await joined(pump, MemoryNetwork(capacity_bytes=20_000))
    pair.left.try_send(bytes(100_000))
    pair.left.close()
    if way == "time":
        await trio.sleep(limits.CLOSE_TIMEOUT_SECONDS + 0.1)
    else:
        (pair.left if way == "reset" else pair.right).reset()
        await settle()
    assert pair.left._inner.closed  # type: ignore[attr-defined] # a memory pipe
    assert not pump.live_timers


async def test_pump_that_stops_ends_the_linger() -> None:
    pump = acquire_pump()
    pair = await joined(pump, MemoryNetwork(capacity_bytes=20_000))
    pair.left.try_send(bytes(100_000))
    pair.left.close()
    await release_pump(pump)
    assert pair.left._inner.closed  # type: ignore[attr-defined] # a memory pipe


# --- settings --------------------------------------------------------------------------------


def copy_files(old: dict[str, str], new: dict[str, str]) -> None:
    """Copy files of the same name."""
    for name, file in old.items():
        shutil.copy(file, new[name])


async def test_reload_is_for_new_handshakes(pump: Pump, tmp_path: Path) -> None:
    old, new = authority().issue("right"), authority("other").issue("right")
    files = {name: str(tmp_path / name) for name in old}
    copy_files(old, files)
    server, trust_new = TlsSettings(**files), TlsSettings(ca=authority("other").file)  # type: ignore[arg-type] # files only
    first = make_pair(pump, server=server)
    await up(first.left, first.right)
    copy_files(new, files)
    server.reload()
    second = make_pair(pump, server=server, client=trust_new)
    await up(second.left, second.right)
    assert (first.left.try_send(b"x"), second.left.try_send(b"x")) == (1, 1)


async def test_reload_that_fails_changes_nothing(pump: Pump, tmp_path: Path) -> None:
    files = authority().issue("right")
    server = TlsSettings(**files)
    copy_files({"certificate": __file__}, files)
    with pytest.raises(ConfigurationError, match="cannot use certificate"):
        server.reload()
    pair = make_pair(pump, server=server)
    await up(pair.left, pair.right)
    assert pair.left.is_established


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    good, empty = authority().issue("right"), tmp_path / "empty.pem"
    empty.write_text("")
    for match, options in [
        ("the private key is missing", {"certificate": good["certificate"]}),
        ("the certificate is missing", {"key": good["key"]}),
        ("needs certificate and key", {"client_ca": authority().file}),
        ("cannot read certificate /none: no such file", {**good, "certificate": "/none"}),
        ("cannot read CA file /none", {"ca": "/none"}),
        ("cannot use CA file", {"ca": str(empty)}),
        ("values mismatch", {**good, "key": authority().issue("x")["key"]}),
    ]:
        with pytest.raises(ConfigurationError, match=match):
            TlsSettings(**options)


def test_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form

    files = authority().issue("right")
    key = form.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    secret = form.BestAvailableEncryption(b"secret")
    encoded = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, secret)
    Path(files["key"]).write_bytes(encoded)
    with pytest.raises(ConfigurationError, match="the key is encrypted"):
        TlsSettings(**files)


def test_listening_needs_a_certificate() -> None:
    with pytest.raises(ConfigurationError, match="--tls-cert"):
        TlsSettings().context(server_side=True)
