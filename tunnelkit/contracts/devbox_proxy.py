"""A devbox proxy and its kube-manager: one TCP connection, on which both sides call (no I/O).

A devbox proxy carries the connections of developers into one environment and its branches.  It has
a tunnel for each environment that somebody uses, and none for the others.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from .records import BranchEnvironmentInfo
from .units import EnvironmentId, Time

__all__ = ["DevboxProxyManagerRpc", "DevboxProxyRpc", "TunnelState", "TunnelStatus"]


class TunnelState(StrEnum):
    """How far a tunnel is."""

    STOPPED = "Stopped"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    FAILED = "Failed"
    """It was lost, and is tried again."""


@attrs.frozen
class TunnelStatus:
    """What a tunnel does."""

    environment_id: EnvironmentId
    state: TunnelState
    active_connections: int = 0
    connected_at: Time | None = None
    error: str | None = None
    """Why it is not connected, for people."""


class DevboxProxyManagerRpc(Service, name="devbox_proxy_manager"):
    """The devbox proxy calls the kube-manager."""

    async def register_devbox_proxy(self, environment_id: EnvironmentId) -> None:
        """Say which environment this proxy is of; its branches are told next.

        Raises:
            RpcError: FORBIDDEN, the caller has not proven to be of that environment.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def heartbeat(self, environment_id: EnvironmentId) -> None:
        """Say that the proxy is there.

        Raises:
            RpcError: NOT_FOUND, it is not registered: register again.
        """
        raise NotServed


class DevboxProxyRpc(Service, name="devbox_proxy"):
    """The kube-manager calls the devbox proxy."""

    @rpc_method(read_only=True)
    async def heartbeat(self) -> None:
        """Answer; that shows that the proxy is alive."""
        raise NotServed

    async def add_branch_environment(self, branch: BranchEnvironmentInfo) -> None:
        """Know one more branch, or its new token."""
        raise NotServed

    async def remove_branch_environment(self, environment_id: EnvironmentId) -> None:
        """Forget a branch and stop its tunnel; a no-op where it is not known."""
        raise NotServed

    @rpc_method(read_only=True)
    async def list_branch_environments(self) -> list[BranchEnvironmentInfo]:
        """Return the branches that the proxy knows."""
        raise NotServed

    async def start_tunnel(self, environment_id: EnvironmentId | None = None) -> None:
        """Connect an environment to the API; a no-op where it is connected.

        Args:
            environment_id: a branch; None: the environment of the proxy itself.

        Raises:
            RpcError: NOT_FOUND, there is no such branch.
        """
        raise NotServed

    async def stop_tunnel(self, environment_id: EnvironmentId | None = None) -> None:
        """Disconnect an environment; a no-op where it is not connected.

        Args:
            environment_id: a branch; None: the environment of the proxy itself.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_tunnel_status(self, environment_id: EnvironmentId | None = None) -> TunnelStatus:
        """Return what the tunnel of an environment does.

        Args:
            environment_id: a branch; None: the environment of the proxy itself.

        Raises:
            RpcError: NOT_FOUND, there is no such branch.
        """
        raise NotServed
