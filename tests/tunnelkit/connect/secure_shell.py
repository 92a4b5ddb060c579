"""An sshd of the test's own, and a client that reaches it through a tunnel and nowhere else."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from tests.examples.started import LAPTOP, Credentials, Program, Programs, environment
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing
from tunnelkit.devbox import open_devbox

CALLER = "user/bob"
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""An empty folder that sshd insists on where root starts it."""

_SERVER = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""

_CLIENT = """\
Host box
    User {user}
    ProxyCommand {proxy}
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    BatchMode yes
    LogLevel ERROR
"""


@dataclass
class SecureShell:
    """What a test needs to run ssh, or a program that runs ssh."""

    folder: Path
    programs: Programs
    broker: Program

    @property
    def link(self) -> str:
        return str(self.broker.ready["links"][0])

    @property
    def command(self) -> list[str]:
        """The client, with its settings."""
        return ["ssh", "-F", str(self.folder / "client.conf")]

    async def run(
        self, *command: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end; it finds ssh with our settings where it looks for it."""
        ssh = shlex.join(self.command)
        return await trio.run_process(
            list(map(str, command)),
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={
                **environment(),
                "GIT_SSH_COMMAND": ssh,
                "GIT_CONFIG_GLOBAL": os.devnull,
                "RSYNC_RSH": ssh,
            },
        )

    async def restart_broker(self) -> None:
        """Kill the broker, and start another one at the same address."""
        link = self.link
        self.broker.process.kill()
        await self.broker.wait()
        self.broker = await self.programs.broker(listen=link)


async def start_secure_shell(
    folder: Path, programs: Programs, nursery: trio.Nursery
) -> SecureShell:
    """Start broker and devbox, which serves the target ``ssh``; each connection gets an sshd."""
    for name in ("host_key", "user_key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        await trio.run_process(make)
    _configure_server(folder)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, partial(_serve_one, folder), listeners)
    broker = await programs.broker()
    link = broker.ready["links"][0]
    target = Address("tcp", "127.0.0.1", port)
    nursery.start_soon(_run_devbox, programs.credentials, link, target)
    identity = programs.credentials.identity(CALLER, is_caller=True)
    proxy = [sys.executable, "-m", "tunnelkit.connect", *identity, "--link", link]
    text = shlex.join([*proxy, f"ssh@{LAPTOP}"])
    made = _CLIENT.format(folder=folder, user=getpass.getuser(), proxy=text.replace("%", "%%"))
    (folder / "client.conf").write_text(made)
    return SecureShell(folder, programs, broker)


async def _run_devbox(credentials: Credentials, link: str, target: Address) -> None:
    laptop = Identity.issue(credentials.issuer, LAPTOP, peers=["*"], targets=[])
    ring = KeyRing.load(credentials.ring)
    async with open_devbox(laptop, ring, targets={"ssh": target}, dial=[link]):
        await trio.sleep_forever()


def _configure_server(folder: Path) -> None:
    (folder / "server.conf").write_text(_SERVER.format(folder=folder))
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)


async def _serve_one(folder: Path, stream: trio.SocketStream) -> None:
    """Run sshd as inetd would: so the test chooses no port, and knows when it is over."""
    program = shutil.which("sshd")
    assert program is not None  # tests that come here are marked
    command = [program, "-i", "-e", "-f", str(folder / "server.conf")]
    connection = os.dup(stream.socket.fileno())
    os.set_blocking(connection, True)
    await stream.aclose()
    try:
        with (folder / "sshd.log").open("ab") as log:
            await trio.run_process(
                command, stdin=connection, stdout=connection, stderr=log, check=False
            )
    finally:
        os.close(connection)
