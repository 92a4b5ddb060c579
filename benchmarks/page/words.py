"""How subjects and figures are called on the page and in its plots."""

from __future__ import annotations

from typing import Final

from benchmarks.cases import OURS
from benchmarks.report import format_figure

__all__ = [
    "CEILING",
    "format_spread",
    "format_us",
    "is_ours",
    "label",
    "sentence_list",
]

CEILING: Final = "direct"
"""The subject with nothing in between: no rival, so that no plot ranks it among them."""

LABELS: Final = {
    "ours_broker": "ours, broker",
    "ours_wss": "ours, wss",
    "link": "ours, no broker",
    "haproxy": "HAProxy",
    "haproxy_256k": "HAProxy 256 KiB",
    "haproxy_http": "HAProxy, HTTP",
    "rules": "ours, with a rule",
    "pass": "ours, no rule",
    "splice": "ours, looks at nothing",
    "envoy_http": "Envoy, HTTP",
    "hypercorn": "hypercorn, httpx2",
    "grpc_proxy": "proxy on grpc.aio",
    "haproxy_rhttp": "HAProxy rhttp",
    "nginx_stream": "nginx stream",
    "trio": "Trio relay",
    "openssh_l": "ssh -L",
    "openssh_r": "ssh -R",
    "envoy": "Envoy",
    "v2ray": "V2Ray",
    "singbox": "sing-box",
    "snitun": "SniTun",
    "asyncssh": "AsyncSSH",
    "libp2p": "py-libp2p",
    "ours_ws": "ours, WebSocket",
    "grpcio": "gRPC, threads",
    "grpc_aio": "gRPC, asyncio",
    "aiorpcx": "aiorpcX",
    "openssh": "OpenSSH",
    "go": "Go",
    "python": "Python",
}


def label(name: str) -> str:
    """Return how a subject or a tool is written; most are written as they are called."""
    return LABELS.get(name, name.replace("_", " "))


def is_ours(subject: str) -> bool:
    """Whether a subject is this project: `ours`, or one of its variants."""
    return subject == OURS or subject.startswith(f"{OURS}_")


def format_us(microseconds: float) -> str:
    """Return a time in µs as whole ones; above 100 ms in ms."""
    if microseconds >= 100_000:
        return f"{microseconds / 1000:.0f} ms"
    return f"{microseconds:,.0f}"


def format_spread(low: float, high: float) -> str:
    """Return the slowest and the fastest round, the unit written once: "40.6 – 45.3 k"."""
    first, last = format_figure(low), format_figure(high)
    if first.endswith(" k") and last.endswith(" k"):
        first = first.removesuffix(" k")
    return f"{first} – {last}"


def sentence_list(names: list[str]) -> str:
    """Return names as a sentence lists them: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
