"""OpenSSH as a peer: `ssh -L` and `ssh -R`, two processes and one connection between them.

How it works
------------
Keys and settings lie in a folder of the run; nothing of the user's or of the machine's ssh is
read.  Each subject has an sshd of its own, and one ssh that forwards all doors:

- -L: the client program comes to ssh, the target is dialled by sshd;
- -R: the client program comes to sshd, the target is dialled by ssh.

What is set in its favour: the cipher is AES-128-GCM, which processors have instructions for and
which is faster than the default, ChaCha20; no compression; TCP_NODELAY on both sides.  sshd sets
it for a session with a terminal only, so that ssh opens one beside the forwards: with `ssh -N`,
-R waits for delayed acknowledgements and reaches a fifth.  The windows (2 MiB a channel) cannot be
set.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Final

import trio

from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, HOST, Route, pick_doors, require_program
from benchmarks.processes import BenchmarkError, Child, Fleet, pick_ports, run_tool

__all__ = [
    "KEEP_OPEN",
    "configure",
    "make_keys",
    "start_openssh_l",
    "start_openssh_r",
    "wait_listening",
]

PRIVILEGE_SEPARATION: Final = Path("/run/sshd")
"""An empty folder that sshd insists on where root starts it."""

START_SECONDS: Final = 10.0
"""How long sshd may take to listen: it reads one key."""

CIPHER: Final = "aes128-gcm@openssh.com"

KEEP_OPEN: Final = "exec sleep infinity"
"""What the session runs, whose terminal makes sshd set TCP_NODELAY; it ends with the session."""

SERVER_CONFIGURATION = """
ListenAddress {listen}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
LogLevel ERROR
"""

CLIENT_CONFIGURATION = """
Host {listen.host}
    Port {listen.port}
    User {user}
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    BatchMode yes
    LogLevel ERROR
    Ciphers {cipher}
    Compression no
    ControlMaster no
    ControlPath none
    ExitOnForwardFailure yes
"""


async def start_openssh_l(fleet: Fleet, targets: Route) -> Route:
    """Start sshd, and an ssh that listens for clients (`-L`).

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "openssh_l", "-L", targets)


async def start_openssh_r(fleet: Fleet, targets: Route) -> Route:
    """Start an sshd that listens for clients, as its ssh asks it to (`-R`).

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "openssh_r", "-R", targets)


async def _start(fleet: Fleet, name: str, direction: str, targets: Route) -> Route:
    sshd, ssh = require_program("sshd"), require_program("ssh")
    link = Address(HOST, pick_ports(1)[0])
    doors = pick_doors(targets)
    folder = fleet.folder / name
    await make_keys(folder)
    configure(folder, link)
    # In the foreground, by its absolute path, because it executes itself for each connection.
    server = [sshd, "-D", "-e", "-f", str(folder / "server.conf")]
    await wait_listening(await fleet.start(f"{name}-sshd", server), link)
    forwards: list[str] = []
    for door, target in zip(doors.doors.values(), targets.doors.values(), strict=True):
        forwards += [direction, f"{door}:{target}"]
    client = [ssh, "-F", str(folder / "client.conf"), "-tt", *forwards, link.host, KEEP_OPEN]
    child = await fleet.start(f"{name}-ssh", client)
    try:
        await wait_body(doors.web, BODY)
    except BenchmarkError:
        child.check_alive()
        raise
    return doors


async def make_keys(folder: Path) -> None:
    """Make a pair of keys for the host and one for the user, in a new folder for us alone.

    Raises:
        BenchmarkError: they cannot be made.
    """
    await trio.Path(folder).mkdir(mode=0o700)
    for name in ("host_key", "user_key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        await run_tool(make, timeout_seconds=30)


def configure(folder: Path, listen: Address) -> None:
    """Write the settings of both sides of a connection to *listen*."""
    values = {"listen": listen, "folder": folder, "user": getpass.getuser(), "cipher": CIPHER}
    (folder / "server.conf").write_text(SERVER_CONFIGURATION.format(**values))
    (folder / "client.conf").write_text(CLIENT_CONFIGURATION.format(**values))
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)


async def wait_listening(child: Child, address: Address) -> None:
    """Wait until *child* accepts connections at an address.

    Raises:
        BenchmarkError: it does not within START_SECONDS, or has ended.

    Cancellation: atomic.
    """
    with trio.move_on_after(START_SECONDS):
        while True:
            child.check_alive()
            try:
                stream = await trio.open_tcp_stream(address.host, address.port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return
    raise BenchmarkError(f"{child.name} did not listen at {address}: {child.last_words()}")
