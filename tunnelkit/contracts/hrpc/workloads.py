"""What the dashboard asks of the workloads of an environment (no I/O)."""

from __future__ import annotations

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..kube_records import KubeContainerInfo, KubeServicePort, KubeWorkloadKind
from ..records import WorkloadInterceptInfo
from ..units import CatalogWorkloadId, EnvironmentId, OrgId, ServiceId, Time, WorkloadId
from .environments import KubeEnvironment
from .previews import KubeEnvironmentPreviewUrl

__all__ = [
    "KubeEnvironmentService",
    "KubeEnvironmentWorkload",
    "KubeEnvironmentWorkloadDetail",
    "WorkloadMethods",
]


@attrs.frozen
class KubeEnvironmentWorkload:
    """A workload of an environment."""

    id: WorkloadId
    environment_id: EnvironmentId
    """In a branch: that of the base, as long as the branch has no copy of its own."""
    name: str
    namespace: str
    kind: KubeWorkloadKind
    containers: list[KubeContainerInfo]
    ports: list[KubeServicePort]
    """Of the services that lead to it."""
    created_at: Time
    catalog_workload_id: CatalogWorkloadId | None = None
    """None: the catalog does not have it any more."""
    base_workload_id: WorkloadId | None = None
    """What it is a branch's copy of; None: it is no copy."""
    replicas: int | None = None
    """How many are wanted; None: the kind knows no such number."""
    ready_replicas: int | None = None
    """None: the cluster has not told."""


@attrs.frozen
class KubeEnvironmentService:
    """A service of an environment."""

    id: ServiceId
    environment_id: EnvironmentId
    name: str
    namespace: str
    ports: list[KubeServicePort]
    selector: dict[str, str]
    """Labels of the pods that it leads to."""
    created_at: Time


@attrs.frozen
class KubeEnvironmentWorkloadDetail:
    """A workload, and what belongs to it."""

    environment: KubeEnvironment
    workload: KubeEnvironmentWorkload
    services: list[KubeEnvironmentService]
    intercepts: list[WorkloadInterceptInfo]
    preview_urls: list[KubeEnvironmentPreviewUrl]


class WorkloadMethods(Service):
    """About the workloads of an environment; who may change it may change them."""

    @rpc_method(read_only=True)
    async def get_environment_workloads(
        self, org_id: OrgId, environment_id: EnvironmentId
    ) -> list[KubeEnvironmentWorkload]:
        """Return the workloads of an environment; of a branch: its own, and those of its base."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_environment_services(
        self, org_id: OrgId, environment_id: EnvironmentId
    ) -> list[KubeEnvironmentService]:
        """Return the services of an environment; of a branch: those of its base too."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_environment_workload(
        self, org_id: OrgId, workload_id: WorkloadId
    ) -> KubeEnvironmentWorkload | None:
        """Return one workload; None: there is none."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_environment_workload_detail(
        self, org_id: OrgId, environment_id: EnvironmentId, workload_id: WorkloadId
    ) -> KubeEnvironmentWorkloadDetail:
        """Return one workload and what belongs to it, as the environment sees it."""
        raise NotServed

    async def update_environment_workload(
        self,
        org_id: OrgId,
        environment_id: EnvironmentId,
        workload_id: WorkloadId,
        containers: list[KubeContainerInfo],
    ) -> WorkloadId:
        """Change the containers of a workload.

        Returns:
            The id of what was changed: in a branch, of its own copy, made now where need be.
        """
        raise NotServed

    async def delete_environment_workload(
        self, org_id: OrgId, environment_id: EnvironmentId, workload_id: WorkloadId
    ) -> None:
        """Delete a workload; in a branch: its own copy, so that it has that of the base again."""
        raise NotServed
