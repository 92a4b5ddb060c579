"""What the admin socket of a gateway answers: its sites, and what it has counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tunnelkit.admin import Method
from tunnelkit.recording import capture_methods
from tunnelkit.status import endpoint_methods, endpoint_status

from . import Gateway
from .sites import Site

__all__ = ["gateway_methods", "site_status"]


def site_status(name: str, site: Site) -> dict[str, object]:
    """Describe a site."""
    return {
        "name": name,
        "upstream": str(site.upstream),
        "access": site.access.value,
        "owner": site.owner,
        "organisation": site.organisation,
        "environment": site.environment,
        "intercepted_by": site.intercept.whose if site.intercept is not None else "",
    }


def gateway_methods(
    gateway: Gateway, sites: Callable[[], Mapping[str, Site]] = dict
) -> dict[str, Method]:
    """Return the methods of a gateway's admin socket.

    Args:
        sites: returns those that there are, where that is known.
    """

    async def status() -> dict[str, object]:
        return {
            "program": "gateway",
            **endpoint_status(gateway.endpoint),
            "gateway": {
                "doors": [str(address) for address in gateway.addresses],
                "domain": gateway.settings.domain,
                "open": gateway.open_count,
                "counts": dict(sorted(gateway.counts.items())),
            },
        }

    async def list_sites() -> list[dict[str, object]]:
        return [site_status(name, site) for name, site in sorted(sites().items())]

    return {
        **endpoint_methods("gateway", gateway.endpoint),
        **capture_methods(lambda: {"gateway": gateway}),
        "status": status,
        "site.list": list_sites,
    }
