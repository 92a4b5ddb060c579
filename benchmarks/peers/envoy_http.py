"""Envoy as a proxy of HTTP: one process that reads requests, with a rule about a header.

The rule takes no request, as ours does not.  Connections to the target are used again; the target
of gRPC is talked to in HTTP/2, the others in HTTP/1.1.

What is set in its favour: the buffers, windows and limits of `envoy.py`, no timeouts, no request
ids, and no access log.  One worker thread, as the other programs have.
"""

from __future__ import annotations

from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, FROM_EXTRA, Route, pick_doors, require_program
from benchmarks.peers.envoy import (
    FLAGS,
    HTTP2,
    HTTP_MANAGER,
    HTTP_OPTIONS,
    ROUTER,
    Settings,
    cluster,
    listener,
    typed,
)
from benchmarks.peers.two_hops import write_settings
from benchmarks.processes import BenchmarkError, Fleet

__all__ = ["proxy_settings", "start_envoy_http"]

HTTP2_DOORS = ("calls",)


async def start_envoy_http(fleet: Fleet, targets: Route) -> Route:
    """Start one Envoy in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = require_program("envoy", FROM_EXTRA)
    doors = pick_doors(targets)
    path = write_settings(fleet.folder / "envoy-http.json", proxy_settings(doors, targets))
    child = await fleet.start("envoy_http", [program, *FLAGS, "-c", str(path)])
    try:
        await wait_body(doors.web, BODY)
    except BenchmarkError:
        child.check_alive()
        raise
    return doors


def proxy_settings(doors: Route, targets: Route) -> Settings:
    """Return the settings of an Envoy with a listener for each door."""
    filter_name = "envoy.filters.network.http_connection_manager"
    listeners = [
        listener(name, address, filter_name, _manager(name))
        for name, address in doors.doors.items()
    ]
    clusters = [
        _target(f"{name}{suffix}", address, is_http2=name in HTTP2_DOORS)
        for name, address in targets.doors.items()
        for suffix in ("", "_developer")
    ]
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _manager(door: str) -> Settings:
    """Return the filter that reads requests, and says where each goes."""
    header = {"name": "x-user", "string_match": {"exact": "nobody"}}
    routes = [
        {"match": {"prefix": "/", "headers": [header]}, "route": _to(f"{door}_developer")},
        {"match": {"prefix": "/"}, "route": _to(door)},
    ]
    return typed(
        HTTP_MANAGER,
        stat_prefix=door,
        codec_type="HTTP2" if door in HTTP2_DOORS else "HTTP1",
        http2_protocol_options=HTTP2,
        stream_idle_timeout="0s",
        generate_request_id=False,
        route_config={"virtual_hosts": [{"name": door, "domains": ["*"], "routes": routes}]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed(ROUTER)}],
    )


def _to(name: str) -> Settings:
    return {"cluster": name, "timeout": "0s"}


def _target(name: str, address: Address, *, is_http2: bool) -> Settings:
    made = cluster(name, address)
    if is_http2:
        options = typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": HTTP2})
        made["typed_extension_protocol_options"] = {f"envoy.extensions.{HTTP_OPTIONS}": options}
    return made
