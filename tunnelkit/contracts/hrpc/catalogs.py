"""What the dashboard asks of app catalogs: workloads that environments are made from (no I/O)."""

from __future__ import annotations

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..kube_records import KubeContainerInfo, KubeServicePort, KubeWorkloadKind
from ..units import CatalogId, CatalogWorkloadId, ClusterId, OrgId, Time, UserId
from .pages import PageInfo, PagePaginationParams

__all__ = [
    "CatalogMethods",
    "KubeAppCatalog",
    "KubeAppCatalogPage",
    "KubeAppCatalogWorkload",
    "KubeAppCatalogWorkloadCreate",
]


@attrs.frozen
class KubeAppCatalog:
    """A set of workloads of one cluster."""

    id: CatalogId
    name: str
    cluster_id: ClusterId
    cluster_name: str
    version: int
    """Grows with each change; an environment tells which one it has."""
    created_by: UserId
    created_at: Time
    updated_at: Time
    description: str | None = None


@attrs.frozen
class KubeAppCatalogPage:
    """A page of catalogs, the newest first."""

    items: list[KubeAppCatalog]
    info: PageInfo


@attrs.frozen
class KubeAppCatalogWorkload:
    """A workload of a catalog, as environments get it."""

    id: CatalogWorkloadId
    catalog_id: CatalogId
    name: str
    namespace: str
    """Where the cluster has it."""
    kind: KubeWorkloadKind
    containers: list[KubeContainerInfo]
    ports: list[KubeServicePort]
    """Of the services that lead to it."""
    created_at: Time


@attrs.frozen
class KubeAppCatalogWorkloadCreate:
    """A workload of the cluster that is to be in the catalog."""

    name: str
    namespace: str
    kind: KubeWorkloadKind


class CatalogMethods(Service):
    """About app catalogs; what changes one needs an administrator."""

    async def create_app_catalog(
        self,
        org_id: OrgId,
        cluster_id: ClusterId,
        name: str,
        description: str | None,
        workloads: list[KubeAppCatalogWorkloadCreate],
    ) -> CatalogId:
        """Make a catalog of workloads of a cluster."""
        raise NotServed

    @rpc_method(read_only=True)
    async def all_app_catalogs(
        self,
        org_id: OrgId,
        search: str | None = None,
        pagination: PagePaginationParams | None = None,
    ) -> KubeAppCatalogPage:
        """Return a page of the catalogs.

        Args:
            search: only those whose name or description has this text.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_app_catalog(self, org_id: OrgId, catalog_id: CatalogId) -> KubeAppCatalog:
        """Return one catalog."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_app_catalog_workloads(
        self, org_id: OrgId, catalog_id: CatalogId
    ) -> list[KubeAppCatalogWorkload]:
        """Return the workloads of a catalog."""
        raise NotServed

    async def delete_app_catalog(self, org_id: OrgId, catalog_id: CatalogId) -> None:
        """Delete a catalog.

        Raises:
            RpcError: CONFLICT, there are environments that were made from it.
        """
        raise NotServed

    async def delete_app_catalog_workload(
        self, org_id: OrgId, workload_id: CatalogWorkloadId
    ) -> None:
        """Take a workload out of its catalog; environments have it until they are synchronised."""
        raise NotServed

    async def update_app_catalog_workload(
        self, org_id: OrgId, workload_id: CatalogWorkloadId, containers: list[KubeContainerInfo]
    ) -> None:
        """Change the containers of a workload of a catalog."""
        raise NotServed

    async def add_workloads_to_app_catalog(
        self, org_id: OrgId, catalog_id: CatalogId, workloads: list[KubeAppCatalogWorkloadCreate]
    ) -> None:
        """Add workloads to a catalog; those that it has stay as they are."""
        raise NotServed
