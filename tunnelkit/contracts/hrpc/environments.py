"""What the dashboard asks of environments (no I/O)."""

from __future__ import annotations

from enum import StrEnum

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..units import CatalogId, ClusterId, EnvironmentId, OrgId, Time, UserId
from .pages import PageInfo, PagePaginationParams

__all__ = [
    "EnvironmentMethods",
    "KubeEnvironment",
    "KubeEnvironmentDashboardSummary",
    "KubeEnvironmentPage",
    "KubeEnvironmentStatus",
    "KubeEnvironmentStatusCount",
]


class KubeEnvironmentStatus(StrEnum):
    """What an environment is doing."""

    CREATING = "Creating"
    RUNNING = "Running"
    FAILED = "Failed"
    """It could not be made."""
    ERROR = "Error"
    """It was made, and something is wrong with it now."""
    PAUSING = "Pausing"
    PAUSED = "Paused"
    PAUSE_FAILED = "PauseFailed"
    RESUMING = "Resuming"
    RESUME_FAILED = "ResumeFailed"
    DELETING = "Deleting"
    DELETED = "Deleted"


@attrs.frozen
class KubeEnvironment:
    """An environment: of one person, shared, or a branch of a shared one."""

    id: EnvironmentId
    name: str
    namespace: str
    """A branch has that of its base."""
    app_catalog_id: CatalogId
    app_catalog_name: str
    cluster_id: ClusterId
    cluster_name: str
    status: KubeEnvironmentStatus
    is_shared: bool
    user_id: UserId
    """Whose it is; of a shared one: who made it."""
    catalog_version: int
    """The version of the catalog that it has."""
    catalog_update_available: bool
    created_at: Time
    base_environment_id: EnvironmentId | None = None
    """What it is a branch of; None: it is no branch."""
    base_environment_name: str | None = None
    last_synced_at: Time | None = None
    error: str | None = None
    """Why the status is one of failure, for people."""


@attrs.frozen
class KubeEnvironmentPage:
    """A page of environments, the newest first."""

    items: list[KubeEnvironment]
    info: PageInfo


@attrs.frozen
class KubeEnvironmentStatusCount:
    """How many environments are in a status."""

    status: KubeEnvironmentStatus
    count: int


@attrs.frozen
class KubeEnvironmentDashboardSummary:
    """The environments that a person may see, at a glance."""

    total_count: int
    personal_count: int
    shared_count: int
    branch_count: int
    status_breakdown: list[KubeEnvironmentStatusCount]
    recent_environments: list[KubeEnvironment]


class EnvironmentMethods(Service):
    """About environments; a shared one is changed by an administrator, others by their owner.

    What takes long returns once it has begun: the status tells how it goes on.
    """

    async def create_kube_environment(
        self,
        org_id: OrgId,
        app_catalog_id: CatalogId,
        cluster_id: ClusterId,
        name: str,
        is_shared: bool,
    ) -> KubeEnvironment:
        """Make an environment with all workloads of a catalog.

        Raises:
            RpcError: REFUSED, the cluster does not take environments of that kind.
        """
        raise NotServed

    async def create_branch_environment(
        self, org_id: OrgId, base_environment_id: EnvironmentId, name: str
    ) -> KubeEnvironment:
        """Make a branch: an environment that has only what differs from its base.

        Raises:
            RpcError: REFUSED, the base is not shared, or is a branch itself.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def all_kube_environments(
        self,
        org_id: OrgId,
        search: str | None = None,
        is_shared: bool = False,
        is_branch: bool = False,
        pagination: PagePaginationParams | None = None,
    ) -> KubeEnvironmentPage:
        """Return a page of environments: the caller's own, or those that are shared, or branches.

        Args:
            search: only those whose name has this text.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_environment_dashboard_summary(
        self, org_id: OrgId, recent_limit: int | None = None
    ) -> KubeEnvironmentDashboardSummary:
        """Return how many environments there are, and the newest.

        Args:
            recent_limit: how many of the newest; None: 5.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_kube_environment(
        self, org_id: OrgId, environment_id: EnvironmentId
    ) -> KubeEnvironment:
        """Return one environment."""
        raise NotServed

    async def delete_kube_environment(self, org_id: OrgId, environment_id: EnvironmentId) -> None:
        """Begin to delete an environment.

        Raises:
            RpcError: CONFLICT, it has branches.
        """
        raise NotServed

    async def pause_kube_environment(self, org_id: OrgId, environment_id: EnvironmentId) -> None:
        """Begin to stop everything in an environment; nothing is deleted."""
        raise NotServed

    async def resume_kube_environment(self, org_id: OrgId, environment_id: EnvironmentId) -> None:
        """Begin to run everything in an environment again."""
        raise NotServed

    async def sync_environment_from_catalog(
        self, org_id: OrgId, environment_id: EnvironmentId
    ) -> None:
        """Begin to bring an environment to the newest version of its catalog."""
        raise NotServed

    async def rebase_branch_environment(self, org_id: OrgId, environment_id: EnvironmentId) -> None:
        """Begin to bring what a branch has of its own to the version of its base."""
        raise NotServed
