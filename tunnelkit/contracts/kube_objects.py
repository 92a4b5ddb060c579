"""Records of what a kube-manager watches, reads and writes in a cluster (no I/O)."""

from __future__ import annotations

from enum import StrEnum

import attrs

from .kube_records import KubeWorkloadKind, NamespacedResourceKind
from .units import Time

__all__ = [
    "KubeRawWorkloadYaml",
    "KubeWorkloadsWithResources",
    "KubeYaml",
    "NamespacedResource",
    "NamespacedResourceRequest",
    "NamespacedResourceResponse",
    "ResourceChangeEvent",
    "ResourceChangeType",
    "WorkloadIdentifier",
]


@attrs.frozen
class KubeYaml:
    """An object as Kubernetes reads it."""

    name: str
    yaml: str = attrs.field(repr=False)


class ResourceChangeType(StrEnum):
    """What happened to an object."""

    CREATED = "Created"
    UPDATED = "Updated"
    DELETED = "Deleted"


@attrs.frozen
class ResourceChangeEvent:
    """Something changed in a namespace that is watched."""

    namespace: str
    resource_type: NamespacedResourceKind
    resource_name: str
    change_type: ResourceChangeType
    resource_version: str
    """As Kubernetes counts; of two events of one object, the one to believe is the later."""
    timestamp: Time
    resource_yaml: str | None = attrs.field(default=None, repr=False)
    """None for ConfigMaps and Secrets, and for what is gone."""


@attrs.frozen
class WorkloadIdentifier:
    """Which workload of a cluster is meant."""

    name: str
    namespace: str
    kind: KubeWorkloadKind


@attrs.frozen
class KubeRawWorkloadYaml:
    """A workload as the cluster has it."""

    name: str
    namespace: str
    kind: KubeWorkloadKind
    workload_yaml: str = attrs.field(repr=False)


@attrs.frozen
class KubeWorkloadsWithResources:
    """Workloads, and what they need beside them; created in the order of dependence."""

    workloads: list[KubeYaml]
    services: list[KubeYaml] = attrs.field(factory=list)
    configmaps: list[KubeYaml] = attrs.field(factory=list)
    secrets: list[KubeYaml] = attrs.field(factory=list)


@attrs.frozen
class NamespacedResourceRequest:
    """Names of objects that are wanted."""

    namespace: str
    configmaps: list[str] = attrs.field(factory=list)
    secrets: list[str] = attrs.field(factory=list)


@attrs.frozen
class NamespacedResourceResponse:
    """Those of the objects that there are."""

    namespace: str
    configmaps: list[KubeYaml] = attrs.field(factory=list)
    secrets: list[KubeYaml] = attrs.field(factory=list)


@attrs.frozen
class NamespacedResource:
    """Which object of a namespace is meant."""

    kind: NamespacedResourceKind
    name: str
