"""The files behind a program's trust: read at the start, read again, written when learnt."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.tunnelkit.pairs import ISSUER, RING, World
from tunnelkit.auth import Identity, KeyRing, RevocationList, Revoked, generate_key
from tunnelkit.auth.files import write_secret_file
from tunnelkit.auth.keys import save_private_key
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ConfigurationError
from tunnelkit.programs.credentials import Credentials
from tunnelkit.status import program_methods, trust_status


def a_list(*, lifetime_seconds: int = 60, age: float = 0, **kinds: dict[str, int]) -> str:
    now = time.time() - age
    return RevocationList.sign(
        ISSUER, Revoked(**kinds), lifetime_seconds=lifetime_seconds, now=now
    ).text


def write_token(folder: Path, subject: str = "alice") -> Identity:
    identity = Identity.issue(ISSUER, subject, peers=["*"], targets=["*"])
    save_private_key(folder / "key.pem", identity.key, force=True)
    write_secret_file(folder / "token", identity.token.encode(), force=True)
    return identity


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """The settings of alice, whose list is not there yet."""
    ring, key, token = (str(tmp_path / name) for name in ("ring.json", "key.pem", "token"))
    Path(ring).write_text(RING.to_jwks())
    write_token(tmp_path)
    revoked = str(tmp_path / "list")
    return argparse.Namespace(keys=KeyRing.load(ring), key=key, token=token, revoked=revoked)


def test_a_list_that_is_not_there_yet_is_no_fault(options: argparse.Namespace) -> None:
    credentials = Credentials(options)
    assert credentials.trust.revocations is None
    assert credentials.summary == {"issuers": list(RING.key_ids)}


def test_a_program_begins_with_the_list_of_its_file(options: argparse.Namespace) -> None:
    Path(options.revoked).write_text(a_list(tokens={"x": 1}) + "\n")
    assert Credentials(options).summary["revoked"][0].startswith("1 entries, serial")


@pytest.mark.parametrize("text", ["", "nonsense", "a.b.c"])
def test_a_list_that_cannot_be_believed_ends_the_start(
    options: argparse.Namespace, text: str
) -> None:
    Path(options.revoked).write_text(text)
    with pytest.raises(ConfigurationError, match="revocation list .*list"):
        Credentials(options)


async def test_what_is_learnt_is_written_down(
    options: argparse.Namespace, autojump_clock: MockClock
) -> None:
    credentials, text = Credentials(options), a_list(tokens={"x": 1})
    async with World().endpoint("alice", identity=credentials.identity, clock=time.time) as alice:
        credentials.keep(alice)
        assert alice.learn_revocations(text)
    assert Credentials(options).trust.revocations == alice.trust.revocations


async def test_a_reload_takes_what_is_new_and_keeps_what_is_newer(
    options: argparse.Namespace, tmp_path: Path, autojump_clock: MockClock
) -> None:
    credentials = Credentials(options)
    async with World().endpoint("alice", identity=credentials.identity, clock=time.time) as alice:
        credentials.keep(alice)
        alice.learn_revocations(a_list(tokens={"x": 1}))
        in_force = alice.trust.revocations
        (tmp_path / "list").write_text(a_list(age=50, tokens={"old": 1}))
        (tmp_path / "ring.json").write_text(
            KeyRing([*RING.keys, generate_key().public_key()]).to_jwks()
        )
        newer = write_token(tmp_path)
        credentials.reload()
        assert alice.trust.revocations == in_force
        assert len(alice.ring) == 2
        assert alice.identity.token == newer.token


async def test_the_token_of_somebody_else_is_not_taken(
    options: argparse.Namespace,
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    credentials = Credentials(options)
    async with World().endpoint("alice", identity=credentials.identity, clock=time.time) as alice:
        credentials.keep(alice)
        write_token(tmp_path, "mallory")
        credentials.reload()
        assert alice.subject == "alice"
    assert "are not reloaded, the old ones stay in use: the token is for mallory" in caplog.text


async def test_a_stale_list_is_told_when_it_becomes_so(
    options: argparse.Namespace, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    credentials = Credentials(options)
    async with World().endpoint("alice", identity=credentials.identity, clock=time.time) as alice:
        credentials.keep(alice)
        alice.learn_revocations(a_list(lifetime_seconds=60, tokens={"x": 1}))
        await trio.sleep(30)
        assert "is stale" not in caplog.text
        await trio.sleep(31)
        assert caplog.text.count("is stale: it stays in force") == 1


# --- what the admin socket tells ------------------------------------------------------------


async def of_alice() -> Endpoint:
    async with World().endpoint("alice") as alice:
        return alice


async def test_trust_is_told_without_a_list(autojump_clock: MockClock) -> None:
    status: Any = trust_status(await of_alice())
    assert status["revocations"] is None
    assert [issuer["is_believed"] for issuer in status["issuers"]] == [True]


async def test_a_list_is_taken_once(autojump_clock: MockClock) -> None:
    async with World().endpoint("alice", clock=time.time, identity=None) as alice:
        method = program_methods("x", alice)["set-revocations"]
        text = a_list(tokens={"x": 1}, subjects={"s": 1})
        first: Any = await method(text)
        second: Any = await method(f" {text}\n")
    assert (first["accepted"], second["accepted"]) == (True, False)
    assert first["revocations"]["tokens"] == 1
