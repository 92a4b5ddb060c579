"""What the dashboard asks of namespaces that an organisation keeps (no I/O)."""

from __future__ import annotations

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..units import NamespaceId, OrgId, Time, UserId

__all__ = ["KubeNamespace", "NamespaceMethods"]


@attrs.frozen
class KubeNamespace:
    """A namespace that environments may be put in."""

    id: NamespaceId
    name: str
    is_shared: bool
    created_by: UserId
    created_at: Time
    description: str | None = None


class NamespaceMethods(Service):
    """About namespaces; a shared one is changed by an administrator, others by their owner."""

    async def create_kube_namespace(
        self,
        org_id: OrgId,
        name: str,
        description: str | None = None,
        is_shared: bool = False,
    ) -> KubeNamespace:
        """Keep a namespace.

        Raises:
            RpcError: CONFLICT, the organisation has one of that name.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def all_kube_namespaces(self, org_id: OrgId, is_shared: bool) -> list[KubeNamespace]:
        """Return the namespaces that are shared, or those of the caller."""
        raise NotServed

    async def delete_kube_namespace(self, org_id: OrgId, namespace_id: NamespaceId) -> None:
        """Forget a namespace.

        Raises:
            RpcError: CONFLICT, there are environments in it.
        """
        raise NotServed
