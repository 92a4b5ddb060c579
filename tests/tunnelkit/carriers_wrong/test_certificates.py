"""Certificates that are not accepted, on real sockets: both sides name the cause, and the alert."""

from __future__ import annotations

import functools

import pytest

from tests.tunnelkit.carriers_wrong.ports import dial, open_port
from tests.tunnelkit.certificates import authority, tls_settings
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.carriers import TlsSettings
from tunnelkit.pump import Pump
from tunnelkit.testing import no_leaks

HOST = "127.0.0.1"


@functools.cache
def settings(kind: str) -> TlsSettings:
    """Return settings of one side, right or wrong in one respect."""
    good, other = authority(), authority("other")
    match kind:
        case "expired":
            return TlsSettings(**good.issue(HOST, expired=True))
        case "wrong name":
            return TlsSettings(**good.issue("example.org"))
        case "stranger's":
            return TlsSettings(**other.issue(HOST), ca=good.file)
        case "asks for a certificate":
            return TlsSettings(**good.issue(HOST), client_ca=good.file)
        case "shows none":
            return TlsSettings(ca=good.file)
        case "shows an expired one":
            return TlsSettings(**good.issue("x", expired=True), ca=good.file)
    return tls_settings()


CASES = {
    # (client, server): what the client says, what the server says.
    ("good", "expired"): ("has expired: renew it", "TLS alert certificate expired"),
    ("good", "wrong name"): ("for another name: dial the name it is for", "TLS alert bad cert"),
    ("good", "stranger's"): ("give that CA with --tls-ca", "TLS alert unknown ca"),
    ("shows none", "asks for a certificate"): (
        "give one (--tls-cert and --tls-key) (TLS alert certificate required)",
        "the client shows no certificate",
    ),
    ("stranger's", "asks for a certificate"): (
        "does not trust the CA of this side's certificate",
        "give that CA with --tls-client-ca",
    ),
    ("shows an expired one", "asks for a certificate"): (
        "TLS alert certificate expired",
        "the client's certificate has expired",
    ),
}


@pytest.mark.parametrize("scheme", ["tls", "wss"])
@pytest.mark.parametrize(("client", "server"), CASES)
async def test_certificate_that_is_not_accepted(
    pump: Pump, scheme: str, client: str, server: str
) -> None:
    here, there = CASES[client, server]
    with quiet_pump():
        async with no_leaks():
            async with open_port(pump, scheme, settings(server)) as port:
                error, is_connect = await dial(pump, port, scheme, settings(client))
                assert here in str(error)
                # A client's own certificate is judged when its handshake is over: see tls_connect.
                assert is_connect or (scheme, server) == ("tls", "asks for a certificate")
                assert is_connect is str(error).startswith("cannot connect to")
                await wait_until(lambda: there in port.said())
                assert not port.owner.up


@pytest.mark.parametrize("scheme", ["tls", "wss"])
async def test_client_with_a_certificate_is_let_in(pump: Pump, scheme: str) -> None:
    async with open_port(pump, scheme, settings("asks for a certificate")) as port:
        assert await dial(pump, port, scheme, settings("good")) == (None, False)
