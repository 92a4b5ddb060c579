"""Handshakes that cannot succeed: each end says why, and what to do."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.tunnelkit.carriers_tls.ends import make_pair, up
from tests.tunnelkit.certificates import authority, tls_settings
from tests.tunnelkit.strangers import Owner, accepting, dialing, quiet_pump, settle
from tunnelkit.carriers import Pipe, PipeBroken, TlsSettings
from tunnelkit.carriers.tls import TlsPipe, tls_client, tls_server
from tunnelkit.carriers.tls_errors import is_truncation
from tunnelkit.link import Link
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.testing import memory_pipe_pair


@pytest.fixture
async def pump() -> AsyncGenerator[Pump]:
    pump = acquire_pump()
    with quiet_pump():
        yield pump
    await release_pump(pump)


@functools.cache
def settings(kind: str) -> TlsSettings:
    """Return settings of one side, right or wrong in one respect."""
    good, other = authority(), authority("other")
    mine = good.issue("right")
    match kind:
        case "expired":
            return TlsSettings(**good.issue("right", expired=True))
        case "wrong name":
            return TlsSettings(**good.issue("wrong"))
        case "stranger's":
            return TlsSettings(**other.issue("right"), ca=good.file)
        case "asks for a certificate":
            return TlsSettings(**mine, client_ca=good.file)
        case "shows none":
            return TlsSettings(ca=good.file)
        case "shows an expired one":
            return TlsSettings(**good.issue("x", expired=True), ca=good.file)
    return tls_settings()


async def fail(pump: Pump, client: str, server: str) -> tuple[str, str]:
    """Make a handshake; return what client and server say of it."""
    pair = make_pair(pump, client=settings(client), server=settings(server))
    await up(pair.left, pair.right)
    for pipe in (pair.left, pair.right):
        pipe.want(True, False)
    await wait_all_tasks_blocked()
    errors = [_error_of(pipe) for pipe in (pair.left, pair.right)]
    pair.close()
    return errors[0], errors[1]


def _error_of(pipe: TlsPipe) -> str:
    try:
        pipe.try_receive(10)
    except PipeBroken as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("client", "server", "client_says", "server_says"),
    [
        ("good", "expired", "certificate of right has expired: renew", "says that this side's"),
        ("good", "wrong name", "is for another name: dial the name", "does not accept this"),
        ("good", "stranger's", "not trusted here: give that CA with --tls-ca", "not trust the CA"),
        ("shows none", "asks for a certificate", "other side asks for a cert", "shows no cert"),
        ("stranger's", "asks for a certificate", "does not trust the CA", "with --tls-client-ca"),
        ("shows an expired one", "asks for a certificate", "has expired", "client's certificate"),
    ],
)
async def test_certificate_that_is_not_accepted(
    pump: Pump, client: str, server: str, client_says: str, server_says: str
) -> None:
    client_error, server_error = await fail(pump, client, server)
    assert client_says in client_error
    assert server_says in server_error


async def test_client_with_a_certificate_is_let_in(pump: Pump) -> None:
    assert await fail(pump, "good", "asks for a certificate") == ("", "")


async def test_check_can_be_left_out(pump: Pump) -> None:
    pair = make_pair(
        pump, client=TlsSettings(check_server=False), server=settings("expired"), host="x"
    )
    await up(pair.left, pair.right)
    assert (pair.left.broken, pair.right.broken) == (None, None)


async def test_other_name_than_the_dialled_one(pump: Pump) -> None:
    client = TlsSettings(ca=authority().file, server_name="wrong")
    pair = make_pair(pump, client=client, server=settings("wrong name"), host="192.0.2.1")
    await up(pair.left, pair.right)
    assert pair.left.broken is None


# --- no TLS, or another one ------------------------------------------------------------------


def stranger(pump: Pump, *, server_side: bool) -> tuple[TlsPipe, Pipe]:
    """Return a TLS pipe that was started, and whoever it talks to."""
    left, right = memory_pipe_pair(pump)
    own = tls_settings()
    pipe = tls_server(right, own) if server_side else tls_client(right, own, "right")
    pipe.start(lambda readable, writable: pipe.want(False, False))
    pipe.want(True, False)
    return pipe, left


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 40])
async def test_client_without_tls(pump: Pump, text: bytes) -> None:
    pipe, peer = stranger(pump, server_side=True)
    peer.try_send(text)
    await settle()
    assert "does not speak TLS, which this address needs: dial tls://" in _error_of(pipe)


async def test_server_without_tls(pump: Pump) -> None:
    pipe, peer = stranger(pump, server_side=False)
    peer.try_send(b"SSH-2.0-x\r\n")
    await settle()
    assert "does not speak TLS: dial tcp://" in _error_of(pipe)


@pytest.mark.parametrize("server_side", [False, True])
async def test_peer_that_leaves_at_once(pump: Pump, server_side: bool) -> None:
    pipe, peer = stranger(pump, server_side=server_side)
    peer.close()
    await settle()
    assert "ended the connection in the TLS handshake" in _error_of(pipe)


@pytest.mark.parametrize("error", [ssl.SSLEOFError(8, "eof"), ssl.SSLError(1, "eof")])
def test_truncation_by_each_name_that_it_has(error: ssl.SSLError) -> None:
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    assert is_truncation(error)


async def test_older_version(pump: Pump) -> None:
    left, right = memory_pipe_pair(pump)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = TlsPipe(left, old.wrap_bio(incoming, outgoing), incoming, outgoing, None)
    server = tls_server(right, tls_settings())
    await up(client, server)
    assert "no TLS version in common" in str(client.broken)
    assert "no TLS version in common" in str(server.broken)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_other_application_protocol(pump: Pump, side: str) -> None:
    left, right = memory_pipe_pair(pump)
    own, other = tls_settings(), {"alpn": "h2", "require_alpn": False}
    client = tls_client(left, own, "right", **(other if side == "client" else {}))  # type: ignore[arg-type] # by name
    server = tls_server(right, own, **(other if side == "server" else {}))  # type: ignore[arg-type] # by name
    await up(client, server)
    strict = client if side == "server" else server
    assert "speaks TLS but not tunnelkit/1" in str(strict.broken)


# --- links -----------------------------------------------------------------------------------


async def test_link_without_tls_to_a_tls_port(pump: Pump) -> None:
    left, right = memory_pipe_pair(pump)
    owners = Owner(), Owner()
    Link(tls_server(right, tls_settings()), accepting(), owners[1]).start()
    Link(left, dialing(), owners[0]).start()
    await settle()
    assert "speaks TLS: dial tls://" in str(owners[0].closed)
    assert "does not speak TLS, which this address needs" in str(owners[1].closed)


async def test_link_with_tls_to_a_plain_port(pump: Pump) -> None:
    left, right = memory_pipe_pair(pump)
    owners = Owner(), Owner()
    Link(right, accepting(), owners[1]).start()
    Link(tls_client(left, tls_settings(), "right"), dialing(), owners[0]).start()
    await settle()
    assert "lost during the hello: the other side does not speak TLS" in str(owners[0].closed)
    assert "looks like TLS" in str(owners[1].closed)


@pytest.mark.parametrize("says", [b"", b"\x16\x03\x01\x10\x00\x01"])
async def test_endless_handshake_ends_with_the_time_for_the_hello(
    autojump_clock: MockClock, pump: Pump, says: bytes
) -> None:
    left, right = memory_pipe_pair(pump)
    owner = Owner()
    Link(tls_server(right, tls_settings()), accepting(), owner, handshake_seconds=5).start()
    left.try_send(says)
    await trio.sleep(6)
    assert "no complete hello" in str(owner.closed)
