"""A sidecar proxy and its kube-manager: one TCP connection, on which both sides call (no I/O)."""

from __future__ import annotations

from tunnelkit.rpc import NotServed, Service, rpc_method

from .records import DevboxRouteConfig, DirectTunnelConfig, ProxyBranchRouteConfig
from .units import EnvironmentId, WorkloadId

__all__ = ["SidecarProxyManagerRpc", "SidecarProxyRpc"]


class SidecarProxyManagerRpc(Service, name="sidecar_proxy_manager"):
    """The sidecar calls the kube-manager."""

    async def register_sidecar_proxy(
        self, workload_id: WorkloadId, environment_id: EnvironmentId, namespace: str
    ) -> None:
        """Say whose connections pass here; the routes of that workload follow.

        Every replica of a workload registers, and each gets the routes.

        Raises:
            RpcError: FORBIDDEN, the caller has not proven to be of that environment.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def heartbeat(self, workload_id: WorkloadId, environment_id: EnvironmentId) -> None:
        """Say that the sidecar is there.

        Raises:
            RpcError: NOT_FOUND, it is not registered: register again.
        """
        raise NotServed

    async def report_routing_metrics(
        self, request_count: int, byte_count: int, active_connections: int
    ) -> None:
        """Replaced by the metrics that each program serves (`tunnelkit.monitoring.serve_monitor`).

        It told what has passed since the sidecar started.

        Args:
            byte_count: in both directions.
        """
        raise NotServed

    async def request_direct_config(
        self, environment_id: EnvironmentId, stun_observed_addr: str | None = None
    ) -> DirectTunnelConfig | None:
        """Ask for a direct path to a developer's device; None: there is none, use the relay.

        Args:
            environment_id: the environment whose intercept is meant: the registered one, or a
                branch of it.
            stun_observed_addr: where the sidecar is seen from outside, as ``host:port``.

        Raises:
            RpcError: FORBIDDEN, it is another environment.
        """
        raise NotServed


class SidecarProxyRpc(Service, name="sidecar_proxy"):
    """The kube-manager calls the sidecar.

    A change of routes ends the connections that went by the old one, and no others.
    """

    @rpc_method(read_only=True)
    async def heartbeat(self) -> None:
        """Answer; that shows that the sidecar is alive."""
        raise NotServed

    async def set_service_routes(self, routes: list[ProxyBranchRouteConfig]) -> None:
        """Have these routes of branches, and no others."""
        raise NotServed

    async def set_devbox_route(self, route: DevboxRouteConfig) -> None:
        """Send connections to a developer's device: all of them, or those of one branch."""
        raise NotServed

    async def stop_devbox(self, branch_environment: EnvironmentId | None = None) -> None:
        """Send no more connections to a device.

        Args:
            branch_environment: only those of this branch; None: those of no branch.
        """
        raise NotServed

    async def upsert_branch_service_route(self, route: ProxyBranchRouteConfig) -> None:
        """Add the route of one branch, or replace it.

        Raises:
            RpcError: INVALID_PARAMS, it names no service.
        """
        raise NotServed

    async def remove_branch_service_route(self, branch_environment_id: EnvironmentId) -> None:
        """Forget the route of one branch; a no-op where there is none."""
        raise NotServed
