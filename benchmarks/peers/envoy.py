"""Envoy as a peer: each connection is a CONNECT stream of one HTTP/2 connection.

How it works
------------
Two processes.  The entry has a listener for each door, whose TCP proxy opens a CONNECT stream to
the exit.  The exit ends CONNECT; the authority of the stream names the door, and so the target.

What is set in its favour: HTTP/2 windows of 16 MiB a stream and 64 MiB the connection, buffers of
4 MiB a connection, room for all streams in one connection, and none of the limits on connections
or time that it has by default.  No access log, no administration port.  TCP_NODELAY is its default.

What cannot be set: DATA frames are 16 KiB.  One worker thread each (`--concurrency 1`), as the
other programs have; more threads would not share the one connection.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.load import Address
from benchmarks.peers import FROM_EXTRA, Route, require_program
from benchmarks.peers.two_hops import TwoHops, pick_two_hops, start_two_hops, write_settings
from benchmarks.processes import Fleet

__all__ = [
    "FLAGS",
    "HTTP2",
    "HTTP_MANAGER",
    "HTTP_OPTIONS",
    "ROUTER",
    "Settings",
    "cluster",
    "entry_settings",
    "exit_settings",
    "listener",
    "start_envoy",
    "typed",
]

Settings = dict[str, Any]  # a message of Envoy's as JSON, which has no narrower type

HTTP2: Final[Settings] = {
    "allow_connect": True,
    "max_concurrent_streams": 16384,
    "initial_stream_window_size": 16 << 20,
    "initial_connection_window_size": 64 << 20,
}

# Without hot restart it makes no memory that other Envoys see.
FLAGS: Final = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")

BUFFER_BYTES: Final = 4 << 20
"""How much Envoy holds of a connection before it stops reading."""

UNLIMITED: Final = 1_000_000
"""In place of limits of 1,024 connections and streams."""

PREFIX: Final = "type.googleapis.com/envoy.extensions"

TCP_PROXY: Final = "filters.network.tcp_proxy.v3.TcpProxy"
HTTP_MANAGER: Final = "filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER: Final = "filters.http.router.v3.Router"
HTTP_OPTIONS: Final = "upstreams.http.v3.HttpProtocolOptions"


async def start_envoy(fleet: Fleet, targets: Route) -> Route:
    """Start the two Envoys in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = require_program("envoy", FROM_EXTRA)
    hops = pick_two_hops(targets)
    commands = {}
    for role, settings in (("exit", exit_settings(hops)), ("entry", entry_settings(hops))):
        path = write_settings(fleet.folder / f"envoy-{role}.json", settings)
        commands[role] = [program, *FLAGS, "-c", str(path)]
    return await start_two_hops(fleet, "envoy", commands, hops)


def entry_settings(hops: TwoHops) -> Settings:
    """Return the settings of the Envoy that accepts clients."""
    listeners = [
        listener(name, address, "envoy.filters.network.tcp_proxy", _tunnel(name))
        for name, address in hops.doors.items()
    ]
    link = cluster("link", hops.link)
    options = typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": HTTP2})
    link["typed_extension_protocol_options"] = {f"envoy.extensions.{HTTP_OPTIONS}": options}
    return {"static_resources": {"listeners": listeners, "clusters": [link]}}


def exit_settings(hops: TwoHops) -> Settings:
    """Return the settings of the Envoy that dials the targets."""
    manager = typed(
        HTTP_MANAGER,
        stat_prefix="link",
        codec_type="HTTP2",
        http2_protocol_options=HTTP2,
        stream_idle_timeout="0s",
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
        route_config={"virtual_hosts": [_end_of_tunnel(name) for name in hops.targets]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed(ROUTER)}],
    )
    name = "envoy.filters.network.http_connection_manager"
    link = listener("link", hops.link, name, manager)
    clusters = [cluster(name, address) for name, address in hops.targets.items()]
    return {"static_resources": {"listeners": [link], "clusters": clusters}}


def _authority(door: str) -> str:
    """Return how the streams of a door name their target. Nobody resolves it."""
    return f"{door}.tunnel:80"


def _tunnel(door: str) -> Settings:
    """Return the filter that carries a connection in a CONNECT stream."""
    return typed(
        TCP_PROXY,
        stat_prefix=door,
        cluster="link",
        idle_timeout="0s",
        tunneling_config={"hostname": _authority(door)},
    )


def _end_of_tunnel(door: str) -> Settings:
    """Return the route by which a CONNECT stream becomes a connection to its target."""
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    action = {"cluster": door, "timeout": "0s", "upgrade_configs": [upgrade]}
    route = {"match": {"connect_matcher": {}}, "route": action}
    return {"name": door, "domains": [_authority(door)], "routes": [route]}


def listener(name: str, address: Address, filter_name: str, filter_settings: Settings) -> Settings:
    """Return what accepts connections, and the filter that they go to."""
    chain = {"filters": [{"name": filter_name, "typed_config": filter_settings}]}
    return {
        "name": name,
        "address": _socket(address),
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [chain],
    }


def cluster(name: str, address: Address) -> Settings:
    """Return what is connected to."""
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    endpoint = {"endpoint": {"address": _socket(address)}}
    return {
        "name": name,
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, UNLIMITED)]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _socket(address: Address) -> Settings:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def typed(kind: str, **settings: object) -> Settings:
    """Return a message of Envoy's that carries its type."""
    return {"@type": f"{PREFIX}.{kind}", **settings}
