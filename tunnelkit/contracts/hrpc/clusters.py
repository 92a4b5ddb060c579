"""What the dashboard asks of clusters (no I/O)."""

from __future__ import annotations

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..kube_records import (
    KubeClusterInfo,
    KubeNamespaceInfo,
    KubeWorkload,
    KubeWorkloadKind,
    KubeWorkloadList,
    PaginationParams,
)
from ..units import ClusterId, OrgId, Time

__all__ = ["ClusterMethods", "CreatedKubeCluster", "KubeCluster"]


@attrs.frozen
class KubeCluster:
    """A cluster of an organisation."""

    id: ClusterId
    name: str
    can_deploy_personal: bool
    """Whether members may have environments of their own there."""
    can_deploy_shared: bool
    """Whether shared environments may be there."""
    created_at: Time
    info: KubeClusterInfo | None = None
    """What its kube-manager told last; None: it has never connected."""
    last_seen_at: Time | None = None


@attrs.frozen
class CreatedKubeCluster:
    """A new cluster, and what its kube-manager connects with."""

    cluster_id: ClusterId
    token: str = attrs.field(repr=False)
    """Shown this once; only a digest of it is kept."""


class ClusterMethods(Service):
    """About clusters; what changes one needs an administrator."""

    @rpc_method(read_only=True)
    async def all_kube_clusters(self, org_id: OrgId) -> list[KubeCluster]:
        """Return the clusters of an organisation."""
        raise NotServed

    async def create_kube_cluster(self, org_id: OrgId, name: str) -> CreatedKubeCluster:
        """Make a cluster known, before its kube-manager connects."""
        raise NotServed

    async def delete_kube_cluster(self, org_id: OrgId, cluster_id: ClusterId) -> None:
        """Forget a cluster.

        Raises:
            RpcError: CONFLICT, it has environments.
        """
        raise NotServed

    async def set_cluster_deployable(
        self,
        org_id: OrgId,
        cluster_id: ClusterId,
        can_deploy_personal: bool,
        can_deploy_shared: bool,
    ) -> None:
        """Say which environments may be made in a cluster; those that are there stay."""
        raise NotServed

    async def set_cluster_personal_deployable(
        self, org_id: OrgId, cluster_id: ClusterId, can_deploy: bool
    ) -> None:
        """Say whether members may make environments of their own in a cluster."""
        raise NotServed

    async def set_cluster_shared_deployable(
        self, org_id: OrgId, cluster_id: ClusterId, can_deploy: bool
    ) -> None:
        """Say whether shared environments may be made in a cluster."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_workloads(
        self,
        org_id: OrgId,
        cluster_id: ClusterId,
        namespace: str | None = None,
        workload_kind_filter: KubeWorkloadKind | None = None,
        include_system_workloads: bool = False,
        pagination: PaginationParams | None = None,
    ) -> KubeWorkloadList:
        """Return workloads of a cluster, as it has them now.

        Args:
            namespace: only those there; None: those of all.
            include_system_workloads: also what Kubernetes itself runs.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_workload_details(
        self, org_id: OrgId, cluster_id: ClusterId, name: str, namespace: str
    ) -> KubeWorkload | None:
        """Return one workload of a cluster; None: there is none of that name."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_cluster_namespaces(
        self, org_id: OrgId, cluster_id: ClusterId
    ) -> list[KubeNamespaceInfo]:
        """Return the namespaces of a cluster, as it has them now."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_cluster_info(self, org_id: OrgId, cluster_id: ClusterId) -> KubeCluster:
        """Return one cluster."""
        raise NotServed
