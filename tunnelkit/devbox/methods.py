"""What the admin socket of a devbox offers: status."""

from __future__ import annotations

from tunnelkit.admin import Method
from tunnelkit.outgoing.describe import outgoing_status
from tunnelkit.recording import capture_methods
from tunnelkit.status import endpoint_methods, endpoint_status

from . import Devbox

__all__ = ["devbox_methods", "devbox_status"]


def devbox_status(devbox: Devbox) -> dict[str, object]:
    """Describe a devbox: its endpoint, what it serves, and its local listeners."""
    return {
        "program": "devbox_proxy",
        **endpoint_status(devbox.endpoint),
        **outgoing_status(devbox.outgoing),
    }


def devbox_methods(devbox: Devbox) -> dict[str, Method]:
    """Return the methods of a devbox's admin socket."""

    async def status() -> dict[str, object]:
        return devbox_status(devbox)

    return {
        **endpoint_methods("devbox_proxy", devbox.endpoint),
        **capture_methods(lambda: {"targets": devbox.lookout}),
        "status": status,
    }
