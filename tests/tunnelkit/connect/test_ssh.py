"""ssh, git and rsync through a tunnel, as their users start them."""

from __future__ import annotations

import filecmp
import hashlib
import subprocess
from pathlib import Path
from random import Random

import pytest
import trio

from tests.examples.started import Programs, environment
from tests.tunnelkit.connect.secure_shell import SecureShell, start_secure_shell

MIB = 1024 * 1024
NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")

pytestmark = pytest.mark.needs_program("sshd", "ssh", "ssh-keygen")


@pytest.fixture
async def shell(tmp_path: Path, programs: Programs, nursery: trio.Nursery) -> SecureShell:
    return await start_secure_shell(tmp_path, programs, nursery)


async def test_ssh_runs_a_command_and_returns_its_status(shell: SecureShell) -> None:
    done = await shell.run(*shell.command, "box", "cat; echo aside >&2; exit 7", stdin=b"words")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"words", b"aside\n")


async def test_ssh_carries_a_file_each_way(shell: SecureShell) -> None:
    data = Random(1).randbytes(32 * MIB)
    done = await shell.run(*shell.command, "box", "cat", stdin=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.needs_program("git")
async def test_git_clones_and_pushes(shell: SecureShell, tmp_path: Path) -> None:
    commands: list[list[str | Path]] = [
        ["git", "init", "-q", "--bare", tmp_path / "there"],
        ["git", "clone", "-q", f"box:{tmp_path}/there", tmp_path / "here"],
        ["git", "-C", tmp_path / "here", *NOBODY, "commit", "-q", "--allow-empty", "-m", "one"],
        ["git", "-C", tmp_path / "here", "push", "-q", "origin", "HEAD:main"],
        ["git", "clone", "-q", "-b", "main", f"box:{tmp_path}/there", tmp_path / "again"],
    ]
    for command in commands:
        done = await shell.run(*command)
        assert done.returncode == 0, done.stderr.decode()
    log = await shell.run("git", "-C", tmp_path / "again", "log", "--format=%s")
    assert log.stdout == b"one\n"


@pytest.mark.needs_program("rsync")
async def test_rsync_copies_a_tree(shell: SecureShell, tmp_path: Path) -> None:
    chance = Random(2)
    for name in ("empty", "small", "large"):
        path = tmp_path / "tree" / name / name
        path.parent.mkdir(parents=True)
        path.write_bytes(chance.randbytes({"empty": 0, "small": 100, "large": 4 * MIB}[name]))
    done = await shell.run("rsync", "-a", f"{tmp_path}/tree/", f"box:{tmp_path}/copy/")
    assert done.returncode == 0, done.stderr.decode()
    for path in (tmp_path / "tree").rglob("*/*"):
        assert filecmp.cmp(path, str(path).replace("/tree/", "/copy/"), shallow=False)


@pytest.mark.needs_program("scp")
async def test_scp_copies_a_file_there_and_back(shell: SecureShell, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(Random(4).randbytes(4 * MIB))
    scp = ("scp", "-q", "-F", f"{shell.folder}/client.conf")
    there = await shell.run(*scp, tmp_path / "one", f"box:{tmp_path}/two")
    back = await shell.run(*scp, f"box:{tmp_path}/two", tmp_path / "three")
    assert (there.stderr, back.stderr) == (b"", b"")
    assert filecmp.cmp(tmp_path / "one", tmp_path / "three", shallow=False)


async def test_transfer_outlives_the_broker(shell: SecureShell, tmp_path: Path) -> None:
    data = Random(3).randbytes(32 * MIB)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [*shell.command, "box", f"cat {tmp_path}/data"],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
        )
        assert process.stdout is not None  # asked for above
        received = bytearray(await process.stdout.receive_some(MIB))
        await shell.restart_broker()  # nobody reads meanwhile, so it cannot be through
        async for data_part in process.stdout:
            received += data_part
        status = await process.wait()
    assert (status, (tmp_path / "log").read_bytes()) == (0, b"")
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


async def test_ssh_user_reads_why_there_is_no_connection(shell: SecureShell) -> None:
    settings = shell.folder / "client.conf"
    settings.write_text(settings.read_text().replace("ssh@devbox", "nothing@devbox"))
    done = await shell.run(*shell.command, "box", "true")
    assert done.returncode == 255
    assert b"serves no target 'nothing' [unknown-target]" in done.stderr
