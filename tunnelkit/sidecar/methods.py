"""What the admin socket of a sidecar offers: status, and intercepts on and off."""

from __future__ import annotations

from tunnelkit.admin import Method
from tunnelkit.outgoing.describe import outgoing_status
from tunnelkit.status import endpoint_methods, endpoint_status

from . import Intercept, Port, Sidecar

__all__ = ["intercept_status", "port_status", "sidecar_methods"]


def intercept_status(intercept: Intercept | None) -> dict[str, object] | None:
    """Describe an intercept, or None."""
    if intercept is None:
        return None
    return {
        "peer": intercept.peer,
        "target": intercept.target,
        "fail_open": intercept.fail_open,
    }


def port_status(port: Port) -> dict[str, object]:
    """Describe a port: where it is, what is open, which way connections went."""
    return {
        "name": port.name,
        "listen": port.listener.address.host_port if port.listener is not None else "",
        "target": port.target.host_port,
        "open": port.open_count,
        "counts": dict(port.counts),
        "intercept": intercept_status(port.intercept),
        "last_reason": port.last_reason,
    }


def sidecar_methods(sidecar: Sidecar) -> dict[str, Method]:
    """Return the methods of a sidecar's admin socket."""

    def ports() -> list[dict[str, object]]:
        return [port_status(port) for port in sidecar.ports.values()]

    async def status() -> dict[str, object]:
        return {
            "program": "sidecar_proxy",
            **endpoint_status(sidecar.endpoint),
            "ports": ports(),
            **outgoing_status(sidecar.outgoing),
        }

    async def list_intercepts() -> list[dict[str, object]]:
        return ports()

    async def set_intercept(
        port: str, peer: str, target: str = "", fail_open: bool = True
    ) -> dict[str, object]:
        sidecar.set_intercept(port, Intercept(peer, target or port, fail_open))
        return port_status(sidecar.ports[port])

    async def clear_intercept(port: str) -> dict[str, object]:
        sidecar.clear_intercept(port)
        return port_status(sidecar.ports[port])

    return {
        **endpoint_methods("sidecar_proxy", sidecar.endpoint),
        "status": status,
        "intercept.list": list_intercepts,
        "intercept.set": set_intercept,
        "intercept.clear": clear_intercept,
    }
