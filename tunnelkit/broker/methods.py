"""What the admin socket of a broker offers: status."""

from __future__ import annotations

from tunnelkit.admin import Method
from tunnelkit.status import link_status, program_methods

from .server import Broker

__all__ = ["broker_methods", "broker_status"]


def broker_status(broker: Broker) -> dict[str, object]:
    """Describe a broker: its links, and how much of its budget is in use."""
    registry = broker.registry
    return {
        "program": "broker",
        "links": [link_status(link) for link in broker.links],
        "broker": {
            "sessions_joined": registry.joined_count,
            "sessions_waiting": registry.session_count - registry.joined_count,
            "free_budget_bytes": registry.free_bytes,
            "overruns": broker.overruns,
        },
    }


def broker_methods(broker: Broker) -> dict[str, Method]:
    """Return the methods of a broker's admin socket."""

    async def status() -> dict[str, object]:
        return broker_status(broker)

    return {**program_methods("broker", broker), "status": status}
