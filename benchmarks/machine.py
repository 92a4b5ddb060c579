"""The machine that a report speaks of: processor, kernel, and the version of every tool."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Final

import trio

from benchmarks.peers import find_program
from benchmarks.peers.haproxy_rhttp import find_haproxy3
from benchmarks.peers.python_mux import LIBP2P_FOLDER
from benchmarks.peers.python_proxies import MITMPROXY_FOLDER
from benchmarks.peers.singbox import find_singbox

__all__ = ["describe_machine", "first_version"]

VERSION_COMMANDS = {
    "haproxy": ("haproxy", "-v"),
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "-v"),
    "iperf3": ("iperf3", "--version"),
    "go": ("go", "version"),
    "yamux": ("dpkg-query", "-W", "-f", "${Version}", "golang-github-hashicorp-yamux-dev"),
    "smux": ("dpkg-query", "-W", "-f", "${Version}", "golang-github-xtaci-smux-dev"),
    "openssh": ("ssh", "-V"),
    "envoy": ("envoy", "--version"),
    "v2ray": ("v2ray", "-version"),
    "singbox": ("sing-box", "version"),
    "websocat": ("websocat", "--version"),
}

FINDERS: Final[Mapping[str, Callable[[], str | None]]] = {"sing-box": find_singbox}
"""Programs that may lie where nobody else looks."""

KERNEL_SETTINGS = ("ip_local_port_range", "tcp_tw_reuse", "tcp_max_tw_buckets")
"""What decides how many new connections a second a machine can make on loopback."""


def first_version(text: str) -> str:
    """Return the first thing in `text` that looks like a version, or "" if there is none."""
    found = re.search(r"\d+\.\d+[^\s,;/)]*", text)
    return found.group() if found else ""


async def describe_machine() -> dict[str, object]:
    """Return what a reader needs to judge the figures; "" stands for what is not installed.

    Cancellation: atomic.
    """
    facts: dict[str, object] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "system": _system_name(),
        "python": platform.python_version(),
        "trio": _package_version("trio"),
        "snitun": _package_version("snitun"),
        "asyncssh": _package_version("asyncssh"),
        "hypercorn": _package_version("hypercorn"),
        "httpx2": _package_version("httpx2"),
        "mitmproxy": _version_in(MITMPROXY_FOLDER, "mitmproxy"),
        "grpcio": _package_version("grpcio"),
        "aiorpcx": _package_version("aiorpcx"),
        "libp2p": _version_in(LIBP2P_FOLDER, "libp2p"),
        "load_average_before": round(os.getloadavg()[0], 2),
    }
    for name, command in VERSION_COMMANDS.items():
        finder = FINDERS.get(command[0], partial(find_program, command[0]))
        facts[name] = await _tool_version(finder(), command[1:])
    facts["haproxy_rhttp"] = await _tool_version(await find_haproxy3(), ["-v"])
    for name in KERNEL_SETTINGS:
        path = Path("/proc/sys/net/ipv4") / name
        facts[name] = " ".join(path.read_text().split()) if path.exists() else ""
    return facts


async def _tool_version(program: str | None, flags: Sequence[str]) -> str:
    if program is None:
        return ""
    # Some print their version to standard error, and wrk ends with exit code 1 as well.
    done = await trio.run_process(
        [program, *flags], check=False, capture_stdout=True, stderr=subprocess.STDOUT
    )
    # Envoy begins with its own path, which may hold a version too.
    return first_version(done.stdout.decode(errors="replace").replace(program, ""))


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _version_in(environment: Path, name: str) -> str:
    """Return the version of a package in another environment than our own."""
    folders = [str(path) for path in environment.glob("lib/python*/site-packages")]
    return next((found.version for found in distributions(name=name, path=folders)), "")
