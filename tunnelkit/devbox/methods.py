"""What the admin socket of a devbox offers: status."""

from __future__ import annotations

from tunnelkit.admin import Method
from tunnelkit.status import endpoint_status, program_methods

from . import Devbox

__all__ = ["devbox_methods", "devbox_status"]


def devbox_status(devbox: Devbox) -> dict[str, object]:
    """Describe a devbox: its endpoint, its targets, and what it served."""
    server = devbox.server
    return {
        "program": "devbox_proxy",
        **endpoint_status(devbox.endpoint),
        "targets": {
            "names": {name: address.host_port for name, address in server.targets.items()},
            "open": server.open_count,
            "served": server.served_count,
            "refused": server.refused_count,
        },
    }


def devbox_methods(devbox: Devbox) -> dict[str, Method]:
    """Return the methods of a devbox's admin socket."""

    async def status() -> dict[str, object]:
        return devbox_status(devbox)

    return {**program_methods("devbox_proxy", devbox.endpoint), "status": status}
