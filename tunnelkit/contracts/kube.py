"""A kube-manager and the API: one WebSocket, on which both sides call (no I/O)."""

from __future__ import annotations

from tunnelkit.rpc import NotServed, Service, rpc_method

from .kube_objects import (
    KubeRawWorkloadYaml,
    KubeWorkloadsWithResources,
    NamespacedResource,
    NamespacedResourceRequest,
    NamespacedResourceResponse,
    ResourceChangeEvent,
    WorkloadIdentifier,
)
from .kube_records import (
    KubeClusterInfo,
    KubeNamespaceInfo,
    KubeWorkload,
    KubeWorkloadKind,
    KubeWorkloadList,
    PaginationParams,
)
from .records import (
    BranchEnvironmentInfo,
    DevboxRouteConfig,
    DirectTunnelConfig,
    ProxyBranchRouteConfig,
)
from .units import EnvironmentId, UserId, WorkloadId

__all__ = ["KubeClusterRpc", "KubeManagerRpc"]


class KubeClusterRpc(Service, name="kube_cluster"):
    """The kube-manager calls the API, about the cluster whose token opened the connection."""

    async def report_cluster_info(self, cluster_info: KubeClusterInfo) -> None:
        """Tell what the cluster is like; the first call of each connection."""
        raise NotServed

    @rpc_method(read_only=True)
    async def heartbeat(self) -> None:
        """Say that the kube-manager is there; without it for long, the cluster is not ready."""
        raise NotServed

    @rpc_method(read_only=True)
    async def tunnel_heartbeat(self) -> None:
        """Replaced by `KubeClusterRpc.heartbeat`; whether a tunnel is up, its own links tell."""
        raise NotServed

    async def report_tunnel_metrics(
        self,
        active_connections: int,
        bytes_transferred: int,
        connection_count: int,
        connection_errors: int,
    ) -> None:
        """Replaced by the metrics that each program serves (`tunnelkit.monitoring.serve_monitor`).

        It told what has passed through the tunnel since it is up.

        Args:
            bytes_transferred: in both directions.
            connection_count: all that were opened, those that failed included.
        """
        raise NotServed

    async def report_resource_change(self, event: ResourceChangeEvent) -> None:
        """Tell of a change in a namespace that is watched."""
        raise NotServed

    @rpc_method(read_only=True)
    async def list_branch_service_routes(
        self, environment_id: EnvironmentId, workload_id: WorkloadId
    ) -> list[ProxyBranchRouteConfig]:
        """Return where branches have their own copy of a workload of a base environment."""
        raise NotServed

    async def request_direct_config(
        self, environment_id: EnvironmentId, stun_observed_addr: str | None = None
    ) -> DirectTunnelConfig | None:
        """Ask the device of an environment's owner for a direct path; None: use the relay.

        Args:
            stun_observed_addr: where the sidecar is seen from outside, as ``host:port``.
        """
        raise NotServed


class KubeManagerRpc(Service, name="kube_manager"):
    """The API calls the kube-manager.

    Routes of devboxes and branches are kept by it, and told again to each sidecar that registers.
    A base environment's routes are told apart by workload and branch: those of one branch stay
    when those of another change.
    """

    @rpc_method(read_only=True)
    async def get_workloads(
        self,
        namespace: str | None = None,
        workload_kind_filter: KubeWorkloadKind | None = None,
        include_system_workloads: bool = False,
        pagination: PaginationParams | None = None,
    ) -> KubeWorkloadList:
        """Return workloads of the cluster.

        Args:
            namespace: only those there; None: those of all.
            include_system_workloads: also what Kubernetes itself runs.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_workload_details(self, name: str, namespace: str) -> KubeWorkload | None:
        """Return one workload; None: there is none of that name."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_namespaces(self) -> list[KubeNamespaceInfo]:
        """Return the namespaces of the cluster."""
        raise NotServed

    async def deploy_workload_yaml(
        self,
        namespace: str,
        workloads_with_resources: KubeWorkloadsWithResources,
        labels: dict[str, str],
    ) -> None:
        """Create these objects, or bring them up to date; makes the namespace where need be.

        Args:
            labels: put on each of them.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_workloads_raw_yaml(
        self, workloads: list[WorkloadIdentifier]
    ) -> list[KubeRawWorkloadYaml]:
        """Return workloads as the cluster has them.

        Raises:
            RpcError: NOT_FOUND, there is no such workload.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_namespaced_resources(
        self, requests: list[NamespacedResourceRequest]
    ) -> list[NamespacedResourceResponse]:
        """Return ConfigMaps and Secrets by name; the answers are in the order of the requests."""
        raise NotServed

    async def set_devbox_routes(
        self, environment_id: EnvironmentId, routes: dict[WorkloadId, DevboxRouteConfig]
    ) -> None:
        """Have these routes of one branch, or of none, and no others of it.

        Args:
            environment_id: of the base, for branches too.
            routes: by workload of the base; all name the same branch, or none does.  An empty map
                forgets those of no branch; for a branch there is `clear_devbox_routes`.

        Raises:
            RpcError: INVALID_PARAMS, they name different branches.
        """
        raise NotServed

    async def set_devbox_route(
        self, environment_id: EnvironmentId, route: DevboxRouteConfig
    ) -> None:
        """Add one route, or replace that of the same workload and branch."""
        raise NotServed

    async def remove_devbox_route(
        self,
        environment_id: EnvironmentId,
        workload_id: WorkloadId,
        branch_environment_id: EnvironmentId | None = None,
    ) -> None:
        """Forget one route; a no-op where there is none.

        Args:
            branch_environment_id: that of this branch; None: that of no branch.
        """
        raise NotServed

    async def clear_devbox_routes(
        self, environment_id: EnvironmentId, branch_environment_id: EnvironmentId | None = None
    ) -> None:
        """Forget all routes of an environment, or all of one of its branches."""
        raise NotServed

    async def update_branch_service_route(
        self,
        base_environment_id: EnvironmentId,
        workload_id: WorkloadId,
        route: ProxyBranchRouteConfig,
    ) -> None:
        """Send a branch's requests for a workload to its own copy."""
        raise NotServed

    async def remove_branch_service_route(
        self,
        base_environment_id: EnvironmentId,
        workload_id: WorkloadId,
        branch_environment_id: EnvironmentId,
    ) -> None:
        """Send a branch's requests for a workload to that of the base again."""
        raise NotServed

    async def refresh_branch_service_routes(self, environment_id: EnvironmentId) -> None:
        """Ask the API for all routes of branches again (`list_branch_service_routes`)."""
        raise NotServed

    async def get_devbox_direct_config(
        self,
        user_id: UserId,
        environment_id: EnvironmentId,
        namespace: str,
        stun_observed_addr: str | None = None,
    ) -> DirectTunnelConfig | None:
        """Ask for a direct path to the cluster for a user's device; None: use the relay.

        Args:
            namespace: whose services the path leads to, and to no others.
            stun_observed_addr: where the device is seen from outside, as ``host:port``.
        """
        raise NotServed

    async def destroy_environment(self, environment_id: EnvironmentId, namespace: str) -> None:
        """Delete all that an environment has; returns once it is gone."""
        raise NotServed

    async def delete_namespaced_resources(
        self, namespace: str, resources: list[NamespacedResource]
    ) -> None:
        """Delete these objects; what is not there is deleted already."""
        raise NotServed

    async def configure_watches(self, namespaces: list[str]) -> None:
        """Watch these namespaces, and no others."""
        raise NotServed

    async def add_namespace_watch(self, namespace: str) -> None:
        """Watch one namespace more."""
        raise NotServed

    async def remove_namespace_watch(self, namespace: str) -> None:
        """Watch a namespace no longer; a no-op where it is not watched."""
        raise NotServed

    async def add_branch_environment(
        self, base_environment_id: EnvironmentId, branch: BranchEnvironmentInfo
    ) -> None:
        """Tell the devbox proxies of a base environment of one more branch."""
        raise NotServed

    async def remove_branch_environment(
        self, base_environment_id: EnvironmentId, branch_environment_id: EnvironmentId
    ) -> None:
        """Tell the devbox proxies of a base environment that a branch is gone."""
        raise NotServed
