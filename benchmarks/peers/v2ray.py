"""V2Ray as a peer: its reverse proxy, a bridge that dials a portal, with Mux.Cool between them.

How it works
------------
Two processes.  The portal (the entry) listens for clients and for its bridge; the bridge (the
exit) dials the portal, which sends it every client's connection, with the target's address, as a
stream of Mux.Cool.

What is set in its favour: between them runs VLESS, which encrypts nothing, over plain TCP;
buffers of 4 MiB a connection instead of 512 KiB; no sniffing, no access log.  TCP_NODELAY is Go's
default.

What cannot be set: every two seconds the bridge looks, and opens a further connection while it has
more than 16 streams for each.  Mux.Cool has no window of a stream: one that nobody reads holds up
its connection.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from benchmarks.peers import Route, require_program
from benchmarks.peers.two_hops import TwoHops, pick_two_hops, start_two_hops, write_settings
from benchmarks.processes import Fleet

__all__ = ["bridge_settings", "portal_settings", "start_v2ray"]

DOMAIN: Final = "bridge.internal"
"""By this name the portal knows the bridge's own streams from those of clients. Never resolved."""

COMMON: Final = {
    "log": {"access": "none", "loglevel": "error"},
    "policy": {"levels": {"0": {"bufferSize": 4096, "connIdle": 3600}}},  # in KiB, in seconds
}


async def start_v2ray(fleet: Fleet, targets: Route) -> Route:
    """Start a portal and its bridge in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = require_program("v2ray")
    hops = pick_two_hops(targets)
    user = str(uuid4())
    settings = {"portal": portal_settings(hops, user), "bridge": bridge_settings(hops, user)}
    commands = {
        role: [program, "-config", str(write_settings(fleet.folder / f"v2ray-{role}.json", text))]
        for role, text in settings.items()
    }
    return await start_two_hops(fleet, "v2ray", commands, hops)


def portal_settings(hops: TwoHops, user: str) -> dict[str, Any]:
    """Return the settings of the side that listens."""
    doors = [
        {
            "tag": name,
            "listen": listen.host,
            "port": listen.port,
            "protocol": "dokodemo-door",
            "settings": {
                "address": hops.targets[name].host,
                "port": hops.targets[name].port,
                "network": "tcp",
            },
        }
        for name, listen in hops.doors.items()
    ]
    link = {
        "tag": "link",
        "listen": hops.link.host,
        "port": hops.link.port,
        "protocol": "vless",
        "settings": {"clients": [{"id": user}], "decryption": "none"},
    }
    rule = {"type": "field", "inboundTag": ["link", *hops.doors], "outboundTag": "portal"}
    return {
        **COMMON,
        "reverse": {"portals": [{"tag": "portal", "domain": DOMAIN}]},
        "inbounds": [link, *doors],
        "routing": {"rules": [rule]},
    }


def bridge_settings(hops: TwoHops, user: str) -> dict[str, Any]:
    """Return the settings of the side that dials the portal and the targets."""
    server = {
        "address": hops.link.host,
        "port": hops.link.port,
        "users": [{"id": user, "encryption": "none"}],
    }
    from_bridge = {"type": "field", "inboundTag": ["bridge"]}
    rules = [
        {**from_bridge, "domain": [f"full:{DOMAIN}"], "outboundTag": "link"},
        {**from_bridge, "outboundTag": "targets"},
    ]
    return {
        **COMMON,
        "reverse": {"bridges": [{"tag": "bridge", "domain": DOMAIN}]},
        "outbounds": [
            {"tag": "targets", "protocol": "freedom"},
            {"tag": "link", "protocol": "vless", "settings": {"vnext": [server]}},
        ],
        "routing": {"rules": rules},
    }
