"""Records of Kubernetes: clusters, namespaces, workloads and their containers (no I/O).

They hold what somebody chooses by, not whole objects: those travel as YAML (`kube_objects`).
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from .records import PortProtocol
from .units import Port, Time

__all__ = [
    "KubeClusterInfo",
    "KubeClusterStatus",
    "KubeContainerInfo",
    "KubeContainerPort",
    "KubeEnvSource",
    "KubeEnvSourceKind",
    "KubeEnvVar",
    "KubeNamespaceInfo",
    "KubeServicePort",
    "KubeWorkload",
    "KubeWorkloadKind",
    "KubeWorkloadList",
    "KubeWorkloadStatus",
    "NamespacedResourceKind",
    "PaginationParams",
]


class KubeWorkloadKind(StrEnum):
    """What runs containers."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    REPLICA_SET = "ReplicaSet"
    POD = "Pod"
    JOB = "Job"
    CRON_JOB = "CronJob"


class NamespacedResourceKind(StrEnum):
    """What an environment may have in its namespace."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    REPLICA_SET = "ReplicaSet"
    POD = "Pod"
    JOB = "Job"
    CRON_JOB = "CronJob"
    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"
    SERVICE = "Service"


class KubeWorkloadStatus(StrEnum):
    """How a workload is, in one word."""

    RUNNING = "Running"
    """As many replicas are ready as are wanted."""
    PENDING = "Pending"
    """Fewer are ready."""
    FAILED = "Failed"
    SUCCEEDED = "Succeeded"
    """A job that is done."""
    UNKNOWN = "Unknown"


class KubeClusterStatus(StrEnum):
    """How a cluster is, in one word."""

    READY = "Ready"
    NOT_READY = "NotReady"
    """Its kube-manager is not connected, or was silent for too long."""
    ERROR = "Error"
    """Its kube-manager cannot talk to Kubernetes."""


# --- clusters and namespaces --------------------------------------------------------------------


@attrs.frozen
class KubeClusterInfo:
    """What a kube-manager finds where it runs."""

    cluster_version: str
    """Of Kubernetes, such as ``v1.31.2``."""
    node_count: int
    available_cpu: str
    """What pods can have in all, as a Kubernetes quantity: ``7800m``."""
    available_memory: str
    """The same of memory: ``30Gi``."""
    manager_namespace: str
    """Where the kube-manager itself runs."""
    status: KubeClusterStatus = KubeClusterStatus.READY
    provider: str | None = None
    """Whose cluster it is, such as ``gke``; None: the nodes do not say."""
    region: str | None = None


@attrs.frozen
class KubeNamespaceInfo:
    """A namespace of a cluster."""

    name: str
    status: str
    """The phase that Kubernetes tells: ``Active`` or ``Terminating``."""
    created_at: Time | None = None


# --- containers ---------------------------------------------------------------------------------


class KubeEnvSourceKind(StrEnum):
    """Where the value of an environment variable comes from."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"
    FIELD = "Field"
    """A member of the pod itself."""
    RESOURCE_FIELD = "ResourceField"
    """What the container requests, or may have."""


@attrs.frozen
class KubeEnvSource:
    """The place of a value that is not written out."""

    kind: KubeEnvSourceKind
    key: str
    """The key in the object, or the path of the member."""
    name: str | None = None
    """The name of the ConfigMap or Secret; for RESOURCE_FIELD, of the container."""
    is_optional: bool = False
    """Whether the container starts without it."""


@attrs.frozen
class KubeEnvVar:
    """An environment variable of a container."""

    name: str
    value: str | None = attrs.field(default=None, repr=False)
    value_from: KubeEnvSource | None = None
    """Instead of `value`."""

    def __attrs_post_init__(self) -> None:
        if self.value is not None and self.value_from is not None:
            raise ValueError("an environment variable has `value` or `value_from`, not both")


@attrs.frozen
class KubeContainerPort:
    """A port that a container listens on."""

    container_port: Port
    name: str | None = None
    protocol: PortProtocol = PortProtocol.TCP


@attrs.frozen
class KubeContainerInfo:
    """A container of a workload, as far as an environment may change it.

    Quantities are written as Kubernetes does: ``250m`` of a processor, ``512Mi`` of memory.
    """

    name: str
    image: str
    original_image: str | None = None
    """What the catalog or the base says, where `image` replaces it."""
    cpu_request: str | None = None
    cpu_limit: str | None = None
    memory_request: str | None = None
    memory_limit: str | None = None
    env_vars: list[KubeEnvVar] = attrs.field(factory=list)
    ports: list[KubeContainerPort] = attrs.field(factory=list)


@attrs.frozen
class KubeServicePort:
    """A port of a service, and where it leads."""

    port: Port
    target_port: Port | str
    """A number, or the name of a port of the container."""
    name: str | None = None
    protocol: PortProtocol = PortProtocol.TCP


# --- workloads ----------------------------------------------------------------------------------


@attrs.frozen
class KubeWorkload:
    """A workload of a cluster."""

    name: str
    namespace: str
    kind: KubeWorkloadKind
    status: KubeWorkloadStatus
    containers: list[KubeContainerInfo]
    replicas: int | None = None
    """How many are wanted; None: the kind knows no such number."""
    ready_replicas: int | None = None
    labels: dict[str, str] = attrs.field(factory=dict)
    created_at: Time | None = None


@attrs.frozen
class PaginationParams:
    """Which part of a long list is wanted."""

    limit: int = 50
    """Most entries, 1 to 500."""
    cursor: str | None = None
    """The `next_cursor` of the part before; None: the first part."""

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.limit <= 500:
            raise ValueError("a part of a list has 1 to 500 entries")


@attrs.frozen
class KubeWorkloadList:
    """A part of the workloads."""

    workloads: list[KubeWorkload]
    next_cursor: str | None = None
    """For the next part; None: this was the last."""
