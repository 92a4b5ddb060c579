"""Programs whose keys, tokens and revocations change while they run."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.examples.started import LAPTOP, Credentials, Program, Programs
from tunnelkit.admin import call_admin
from tunnelkit.admin.__main__ import main as admin
from tunnelkit.auth import MAX_REVOCATIONS_BYTES, read_unverified, save_private_key
from tunnelkit.auth.__main__ import main as auth

MIB = 1 << 20


async def pour(stream: trio.SocketStream) -> None:
    """Send without end, slowly enough for a machine that is busy."""
    try:
        while True:
            await stream.send_all(bytes(MIB // 4))
            await trio.sleep(0.005)
    except trio.BrokenResourceError:
        pass


@dataclass
class Setting:
    """A broker, a devbox with an endless download, and a sidecar that fails closed."""

    made: Programs
    folder: Path
    broker: Program
    devbox: Program
    sidecar: Program
    laptop: list[str]
    """The flags of the devbox's identity."""

    @property
    def programs(self) -> tuple[Program, ...]:
        return self.broker, self.devbox, self.sidecar

    @property
    def ring(self) -> Path:
        return self.folder / "ring.json"

    def file(self, flag: str) -> str:
        return self.laptop[self.laptop.index(flag) + 1]

    def admin(self, name: str) -> str:
        return str(self.folder / "run" / f"{name}.sock")

    async def download(self) -> trio.SocketStream:
        host, port = self.sidecar.ready["listeners"]["web"].split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        assert await stream.receive_some(1)
        return stream

    async def hang_up(self, text: str, *programs: Program) -> None:
        """Send SIGHUP, and wait until each program has said *text* once more."""
        before = [program.log.count(text) for program in programs]
        for program, count in zip(programs, before, strict=True):
            program.send(signal.SIGHUP)
            while program.log.count(text) == count:  # noqa: ASYNC110 # the log comes as it comes
                await trio.sleep(0.01)


@pytest.fixture
async def setting(tmp_path: Path, nursery: trio.Nursery) -> AsyncGenerator[Setting]:
    credentials = Credentials(tmp_path / "files")
    programs = Programs(nursery, credentials)
    folder = credentials.folder
    save_private_key(folder / "issuer.pem", credentials.issuer)
    try:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, pour, listeners)
        target = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        run = folder / "run"
        broker = await programs.broker(
            "--admin", run / "broker.sock", "--revoked", folder / "b.jws"
        )
        link = ("--link", broker.ready["links"][0])
        laptop = credentials.identity(LAPTOP)
        devbox = await programs.start(
            "devbox_proxy",
            *laptop,
            *link,
            "--target",
            f"web={target}",
            "--revoked",
            folder / "d.jws",
        )
        flags = ["--port", "web=127.0.0.1:0,127.0.0.1:1", "--intercept", f"web={LAPTOP}"]
        sidecar = await programs.sidecar(
            *link, *flags, "--fail-closed", "--admin", run / "sidecar.sock"
        )
        await sidecar.wait_log(f"session with {LAPTOP} is open")
        yield Setting(programs, folder, broker, devbox, sidecar, laptop)
    finally:
        with trio.CancelScope(shield=True):
            await programs.aclose()


async def revoke(setting: Setting, *what: str) -> Any:
    """Sign a list and give it to the broker, as people do."""
    file, key = str(setting.folder / "list.jws"), str(setting.folder / "issuer.pem")
    ring = str(setting.ring)
    assert auth(["revoke", "--list", file, "--signing-key", key, "--keys", ring, *what]) == 0
    text = (setting.folder / "list.jws").read_text()
    return await call_admin(setting.admin("broker"), "set-revocations", {"signed": text})


def identity_file(text: str) -> str:
    """Return the issuer of a token in a file."""
    return read_unverified(Path(text).read_text().strip()).issuer_key_id


async def test_a_revoked_download_is_cut_and_the_list_is_kept(setting: Setting) -> None:
    async with await setting.download() as stream:
        answer = await revoke(setting, "--token", setting.file("--token"))
        assert answer["accepted"] is True
        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):  # and no clean end
            while await stream.receive_some():
                pass
    await setting.sidecar.wait_log("[token-revoked]")
    await setting.devbox.wait_log("trying again")
    await setting.sidecar.wait_log("a revocation list is in force")
    again = setting.folder / "run" / "again.sock"
    await setting.made.broker("--admin", again, "--revoked", setting.folder / "b.jws")
    for socket in (str(again), setting.admin("sidecar")):
        trust: Any = await call_admin(socket, "trust")
        assert trust["revocations"]["tokens"] == 1


async def test_a_rotation_drops_no_link_and_no_byte(setting: Setting) -> None:
    key, ring = str(setting.folder / "issuer.pem"), str(setting.ring)
    token, holder = setting.file("--token"), setting.file("--key")
    before = identity_file(token)
    async with await setting.download() as stream:
        assert auth(["rotate", "--signing-key", key, "--ring", ring, "--overlap", "1h"]) == 0
        await setting.hang_up("2 issuers are believed", *setting.programs)
        mint = ["mint", "--signing-key", key, "--holder-key", holder, "--subject", LAPTOP]
        mint += ["--lifetime", "2h", "--peer", "*", "--out", token, "--force"]
        assert auth(mint) == 0
        assert identity_file(token) != before
        await setting.hang_up("--key and --token are reloaded", setting.devbox)
        received = 0
        with trio.fail_after(20):
            while received < MIB:
                received += len(await stream.receive_some())
    for program in setting.programs:
        assert "is down" not in program.log
        assert "ended" not in program.log


async def test_a_ring_is_read_again_or_stays_as_it_was(setting: Setting) -> None:
    async with await setting.download() as stream:
        setting.ring.write_text("{}")
        await setting.hang_up("are not reloaded, the old ones stay in use", *setting.programs)
        assert await stream.receive_some()
    setting.ring.write_text(Credentials(setting.folder / "other").ring.read_text())
    setting.broker.send(signal.SIGHUP)
    await setting.devbox.wait_log("was taken off the key ring")
    await setting.sidecar.wait_log("[token-revoked]")


def test_a_list_that_is_none_never_leaves_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").write_bytes(b"x" * (MAX_REVOCATIONS_BYTES + 1))
    assert admin([str(tmp_path / "socket"), "revocations", str(tmp_path / "list")]) == 2
    assert "more than a revocation list may have" in capsys.readouterr().err
