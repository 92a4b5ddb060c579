"""Settings of the programs: help, version, `--check`, the environment, and every wrong value."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from examples import broker, demo, devbox_proxy, sidecar_proxy
from tests.examples.started import LAPTOP, SIDECAR, Credentials

pytestmark = pytest.mark.usefixtures("logging_restored")

PROXIES = [broker, devbox_proxy, sidecar_proxy]
LINK = "tcp://127.0.0.1:7000"
PORT = "web=127.0.0.1:0,127.0.0.1:80"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a program that ends by itself; return its status and what it printed."""
    for name in [name for name in os.environ if name.startswith("TUNNELKIT_")]:
        monkeypatch.delenv(name)

    def run(program: ModuleType, arguments: Sequence[str]) -> tuple[int, str, str]:
        try:
            status = program.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def enough(program: ModuleType, credentials: Credentials) -> list[str]:
    """Return flags with which *program* would run."""
    if program is broker:
        return ["--listen", "tcp://127.0.0.1:0", "--keys", str(credentials.ring)]
    if program is devbox_proxy:
        return [*credentials.identity(LAPTOP), "--link", LINK, "--target", "web=127.0.0.1:80"]
    return [*credentials.identity(SIDECAR), "--link", LINK, "--port", PORT]


@pytest.mark.parametrize("program", [*PROXIES, demo])
def test_help_shows_an_example_and_every_exit_status(run: Run, program: ModuleType) -> None:
    status, out, _ = run(program, ["--help"])
    assert status == 0
    assert f"python examples/{program.__name__.rpartition('.')[2]}.py" in out
    assert "exit status" in out


@pytest.mark.parametrize("program", [*PROXIES, demo])
def test_version_is_the_library_s(run: Run, program: ModuleType) -> None:
    status, out, _ = run(program, ["--version"])
    assert (status, out.split()[0]) == (0, "tunnelkit")


@pytest.mark.parametrize("program", PROXIES)
def test_check_prints_what_would_run(
    run: Run, program: ModuleType, credentials: Credentials
) -> None:
    status, out, err = run(program, [*enough(program, credentials), "--check"])
    assert (status, err) == (0, "")
    assert "the settings are right" in out
    assert "tcp://127.0.0.1:" in out


@pytest.mark.parametrize("program", PROXIES)
def test_missing_setting_is_named_with_its_variable(run: Run, program: ModuleType) -> None:
    status, _, err = run(program, [])
    assert status == 2
    assert err.startswith("error: --")
    assert "TUNNELKIT_" in err


@pytest.mark.parametrize("program", PROXIES)
def test_unknown_flag_leads_to_the_help(run: Run, program: ModuleType) -> None:
    status, _, err = run(program, ["--nonsense"])
    assert status == 2
    assert "--help" in err


def test_variable_stands_for_a_flag(
    run: Run, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNNELKIT_LISTEN", "tcp://127.0.0.1:1 tcp://127.0.0.1:2")
    monkeypatch.setenv("TUNNELKIT_KEYS", str(credentials.ring))
    status, out, _ = run(broker, ["--check"])
    assert status == 0
    assert "tcp://127.0.0.1:1\n" in out
    assert "tcp://127.0.0.1:2\n" in out


def test_flag_wins_over_its_variable(
    run: Run, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNNELKIT_LISTEN", "tcp://127.0.0.1:1")
    _, out, _ = run(broker, [*enough(broker, credentials), "--check"])
    assert "tcp://127.0.0.1:0\n" in out
    assert "tcp://127.0.0.1:1\n" not in out


def test_wrong_variable_is_named_in_the_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNELKIT_DRAIN_SECONDS", "soon")
    status, _, err = run(broker, [])
    assert status == 2
    assert "TUNNELKIT_" in err


@pytest.mark.parametrize(
    ("program", "more", "because"),
    [
        (broker, ["--listen", "127.0.0.1:1"], "--listen '127.0.0.1:1' is not an address"),
        (broker, ["--listen", "memory://a:1"], "write tcp://HOST:PORT, the same with tls"),
        (broker, ["--listen", "tcp://a:70000"], "a port from 0 to 65535"),
        (broker, ["--budget-mib", "many"], "--budget-mib 'many' is not a whole number"),
        (broker, ["--grace-seconds", "-1"], "--grace-seconds '-1' is not a number of seconds"),
        (broker, ["--drain-seconds", "nan"], "is not a number of seconds"),
        (broker, ["--log-level", "loud"], "--log-level 'loud' is none of: debug"),
        (broker, ["--log-format", "xml"], "is none of: human, json"),
        (broker, ["--keys", "nowhere.json"], "nowhere.json does not exist"),
        (broker, ["--admin", ""], "--admin is empty"),
        (broker, ["--listen", "tls://a:1"], "--listen tls:// or wss:// needs --tls-cert and"),
        (broker, ["--tls-cert", "x.pem"], "certificate and key: the private key is missing"),
        (devbox_proxy, ["--tls-ca", "nowhere.pem"], "cannot read CA file nowhere.pem: no such"),
        (devbox_proxy, ["--target", "api=tls://127.0.0.1:1"], "TLS is for links"),
        (devbox_proxy, ["--target", "web"], "is not NAME=HOST:PORT"),
        (devbox_proxy, ["--target", "we b=127.0.0.1:1"], "a name has letters"),
        (devbox_proxy, ["--target", "web=127.0.0.1:1"], "--target web is given twice"),
        (devbox_proxy, ["--target", "api=nonsense"], "needs a host and a port"),
        (devbox_proxy, ["--allow", "db.internal"], "--allow 'db.internal' is not HOST:PORTS"),
        (devbox_proxy, ["--forward", "127.0.0.1:1=pg"], "names no peer; write TARGET@PEER"),
        (devbox_proxy, ["--forward", "0.0.0.0:1=pg@a"], "allow it with --forward-public"),
        (devbox_proxy, ["--socks", "127.0.0.1:1"], "--socks '127.0.0.1:1' is not LISTEN=PEER"),
        (devbox_proxy, ["--socks-login", "nowhere"], "login nowhere does not exist"),
        (sidecar_proxy, ["--allow", "10.0.0.1/8:80"], "has host bits set"),
        (sidecar_proxy, ["--port", "api=127.0.0.1:1"], "needs two addresses"),
        (sidecar_proxy, ["--port", PORT], "--port web is given twice"),
        (sidecar_proxy, ["--intercept", "api=devbox/a"], "names 'api', which does not exist"),
        (sidecar_proxy, ["--intercept", "web=:x"], "--intercept is empty"),
        (sidecar_proxy, ["--key", "nowhere.pem"], "private key nowhere.pem does not exist"),
        (sidecar_proxy, ["--token", "nowhere"], "token nowhere does not exist"),
    ],
)
def test_wrong_setting_is_one_line_that_says_what_is_right(
    run: Run, credentials: Credentials, program: ModuleType, more: list[str], because: str
) -> None:
    status, out, err = run(program, [*enough(program, credentials), *more])
    assert (status, out) == (2, "")
    assert because in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_token_of_another_key_is_refused(run: Run, credentials: Credentials) -> None:
    flags = credentials.identity(LAPTOP)
    flags[3] = credentials.identity(LAPTOP)[3]
    status, _, err = run(devbox_proxy, [*flags, "--link", LINK])
    assert status == 2
    assert "names another holder key" in err


def test_expired_token_is_refused_at_the_start(run: Run, credentials: Credentials) -> None:
    flags = credentials.identity(LAPTOP, now=time.time() - 7200)
    status, _, err = run(devbox_proxy, [*flags, "--link", LINK])
    assert status == 2
    assert "expired" in err
    assert "tunnelkit.auth mint" in err


def test_token_that_others_can_read_is_refused(run: Run, credentials: Credentials) -> None:
    flags = credentials.identity(LAPTOP)
    Path(flags[5]).chmod(0o644)
    status, _, err = run(devbox_proxy, [*flags, "--link", LINK])
    assert status == 2
    assert "chmod 600" in err


def test_endpoint_that_could_reach_nobody_is_refused(run: Run, credentials: Credentials) -> None:
    status, _, err = run(devbox_proxy, credentials.identity(LAPTOP))
    assert status == 2
    assert "neither --link nor --listen" in err


def test_sidecar_without_anything_to_do_is_refused(run: Run, credentials: Credentials) -> None:
    status, _, err = run(sidecar_proxy, [*credentials.identity(SIDECAR), "--link", LINK])
    assert status == 2
    assert "there is nothing to do: give --port" in err


def test_error_tells_no_secret(run: Run, credentials: Credentials, tmp_path: Path) -> None:
    flags = credentials.identity(LAPTOP)
    secret = Path(flags[5]).read_text()
    Path(flags[5]).write_text(secret[:-9] + "!" * 9)
    status, out, err = run(devbox_proxy, [*flags, "--link", LINK])
    assert status == 2
    assert secret[:20] not in out + err


def test_another_issuer_s_ring_is_a_good_setting(run: Run, tmp_path: Path) -> None:
    # Whom the peers believe is for them to say: only they can refuse the token.
    here, there = Credentials(tmp_path / "a"), Credentials(tmp_path / "b")
    flags = [*here.identity(LAPTOP), "--keys", str(there.ring), "--link", LINK, "--check"]
    assert here.issuer is not there.issuer
    assert isinstance(there.issuer, Ed25519PrivateKey)
    assert run(devbox_proxy, flags)[0] == 0


@pytest.mark.parametrize("size", ["31", "many", "-5", "99999999999"])
def test_demo_refuses_an_impossible_size(run: Run, size: str) -> None:
    status, _, err = run(demo, ["--size-mib", size])
    assert status == 2
    assert "whole number from 32" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proxy", "own"], "--proxy own goes with --over wss-proxy"),
        (["--over", "wss-proxy", "--proxy", "tinyproxy"], "tinyproxy is not installed"),
    ],
)
def test_demo_refuses_a_proxy_it_cannot_use(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setenv("PATH", "")
    status, _, err = run(demo, arguments)
    assert status == 2
    assert words in err
