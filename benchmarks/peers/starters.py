"""Every peer that has processes, by the name of its subject, and what starts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from benchmarks.peers import Route
from benchmarks.peers.envoy import start_envoy
from benchmarks.peers.envoy_http import start_envoy_http
from benchmarks.peers.haproxy_rhttp import start_haproxy_rhttp
from benchmarks.peers.mux import start_smux, start_yamux
from benchmarks.peers.one_hop import (
    start_haproxy,
    start_haproxy_256k,
    start_haproxy_http,
    start_nginx_stream,
    start_trio,
)
from benchmarks.peers.openssh import start_openssh_l, start_openssh_r
from benchmarks.peers.python_mux import start_asyncssh, start_libp2p, start_snitun
from benchmarks.peers.python_proxies import start_grpc_proxy, start_hypercorn, start_mitmproxy
from benchmarks.peers.singbox import start_singbox
from benchmarks.peers.v2ray import start_v2ray
from benchmarks.peers.websocat import start_websocat
from benchmarks.processes import Fleet

__all__ = ["STARTERS"]

STARTERS: Final[Mapping[str, Callable[[Fleet, Route], Awaitable[Route]]]] = {
    "haproxy": start_haproxy,
    "haproxy_256k": start_haproxy_256k,
    "haproxy_http": start_haproxy_http,
    "yamux": start_yamux,
    "nginx_stream": start_nginx_stream,
    "trio": start_trio,
    "smux": start_smux,
    "openssh_l": start_openssh_l,
    "openssh_r": start_openssh_r,
    "envoy": start_envoy,
    "v2ray": start_v2ray,
    "singbox": start_singbox,
    "websocat": start_websocat,
    "haproxy_rhttp": start_haproxy_rhttp,
    "snitun": start_snitun,
    "asyncssh": start_asyncssh,
    "libp2p": start_libp2p,
    "envoy_http": start_envoy_http,
    "mitmproxy": start_mitmproxy,
    "hypercorn": start_hypercorn,
    "grpc_proxy": start_grpc_proxy,
}
"""Each starts a relay in front of the targets that it is given, and returns its doors."""
