"""The programs over tls://, with certificates that are renewed while they run."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.examples.started import (
    LAPTOP,
    ROOT,
    WAIT_SECONDS,
    Credentials,
    Programs,
    environment,
    greet,
)
from tests.tunnelkit.certificates import authority

Targets = Callable[[bytes], Awaitable[str]]


def put_certificate(folder: Path, ca: str) -> list[str]:
    """Put a new certificate for this machine into *folder*; return the flags that name it."""
    names = {name: str(folder / f"{name}.pem") for name in ("certificate", "key")}
    for name, file in authority(ca).issue("127.0.0.1").items():
        shutil.copy(file, names[name])
    return ["--tls-cert", names["certificate"], "--tls-key", names["key"]]


@pytest.fixture
def certificate(tmp_path: Path) -> list[str]:
    """Return the flags that name a certificate, in files that can be changed."""
    return put_certificate(tmp_path, "good")


async def test_intercept_over_tls(
    programs: Programs, targets: Targets, certificate: list[str]
) -> None:
    client_ca = ["--tls-client-ca", authority().file]
    broker = await programs.broker(*certificate, *client_ca, listen="tls://127.0.0.1:0")
    tls = [*certificate, "--tls-ca", authority().file, "--link", broker.ready["links"][0]]
    here, there = await targets(b"cluster"), await targets(b"laptop")
    await programs.devbox(*tls, "--target", f"web={there}")
    port = ("--port", f"web=127.0.0.1:0,{here}", "--intercept", f"web={LAPTOP}")
    sidecar = await programs.sidecar(*tls, *port)
    await sidecar.wait_log(f"session with {LAPTOP} is open")
    assert await greet(sidecar.ready["listeners"]["web"]) == b"laptop"


async def test_hangup_reloads_the_certificate(
    programs: Programs, certificate: list[str], tmp_path: Path
) -> None:
    broker = await programs.broker(*certificate, listen="tls://127.0.0.1:0")
    link = ["--link", broker.ready["links"][0], "--tls-ca", authority("other").file]
    devbox = await programs.devbox(*link)
    await devbox.wait_log("from a CA that is not trusted here: give that CA with --tls-ca")
    put_certificate(tmp_path, "other")
    broker.send(signal.SIGHUP)
    await broker.wait_log("certificates are reloaded")
    await devbox.wait_log("is up")


async def test_reload_that_fails_is_logged(programs: Programs, certificate: list[str]) -> None:
    broker = await programs.broker(*certificate, listen="tls://127.0.0.1:0")
    shutil.copy(__file__, certificate[1])
    broker.send(signal.SIGHUP)
    await broker.wait_log("certificates are not reloaded, the old ones stay in use: cannot use")
    assert await broker.end() == 0


def test_closed_terminal_ends_the_program(credentials: Credentials, certificate: list[str]) -> None:
    """SIGHUP has two meanings; it comes from the kernel here."""
    outer, inner = pty.openpty()
    broker = str(ROOT / "examples" / "broker.py")
    where = ["--listen", "tls://127.0.0.1:0", "--keys", str(credentials.ring)]
    process = subprocess.Popen(
        [sys.executable, broker, *where, *certificate],
        stdin=inner,
        stdout=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    with process:
        os.close(inner)
        assert process.stdout is not None  # a pipe was asked for
        assert b"ready" in process.stdout.readline()
        os.close(outer)
        assert process.wait(WAIT_SECONDS) == 0
