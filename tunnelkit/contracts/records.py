"""Records that several pairs of peers use: routes, port mappings, direct paths (no I/O).

Values of enumerations are written as Kubernetes writes its own, with capitals.  Members that hold a
secret are left out of a record's `repr`.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from .units import EnvironmentId, InterceptId, Port, Time, UserId, WorkloadId

__all__ = [
    "AccessLevel",
    "BranchEnvironmentInfo",
    "DevboxEnvironmentInfo",
    "DevboxRouteConfig",
    "DevboxSessionInfo",
    "DirectCredential",
    "DirectTunnelConfig",
    "PortMapping",
    "PortMappingOverride",
    "PortProtocol",
    "ProxyBranchRouteConfig",
    "WorkloadInterceptInfo",
]


class PortProtocol(StrEnum):
    """What is spoken on a port, below the application."""

    TCP = "TCP"
    UDP = "UDP"


class AccessLevel(StrEnum):
    """Who may use a route."""

    PERSONAL = "Personal"
    """The owner of the environment."""
    SHARED = "Shared"
    """Every member of the organisation."""
    PUBLIC = "Public"
    """Everybody."""


# --- direct paths -----------------------------------------------------------------------------


@attrs.frozen
class DirectCredential:
    """What a dialer shows on a direct path; it serves once."""

    token: str = attrs.field(repr=False)
    expires_at: Time


@attrs.frozen
class DirectTunnelConfig:
    """How to reach the other end without a relay."""

    credential: DirectCredential
    server_certificate: bytes | None = None
    """The only certificate to believe, in DER; base64 on the wire."""
    stun_observed_addr: str | None = None
    """Where the listener is seen from outside, as ``host:port``."""


# --- devboxes ---------------------------------------------------------------------------------


@attrs.frozen
class DevboxSessionInfo:
    """Whose session it is, and on which device."""

    user_id: UserId
    email: str
    device_name: str
    created_at: Time
    expires_at: Time
    last_used_at: Time | None = None


@attrs.frozen
class DevboxEnvironmentInfo:
    """The environment that a developer works in."""

    environment_id: EnvironmentId
    environment_name: str
    cluster_name: str
    namespace: str


@attrs.frozen
class PortMappingOverride:
    """Which local port a port of the workload leads to."""

    workload_port: Port
    local_port: Port | None = None
    """None: the same number."""


@attrs.frozen
class PortMapping:
    """Where connections to a port of an intercepted workload go."""

    workload_port: Port
    local_port: Port
    protocol: PortProtocol = PortProtocol.TCP


@attrs.frozen
class WorkloadInterceptInfo:
    """An intercept: a developer's device answers for a workload."""

    intercept_id: InterceptId
    workload_id: WorkloadId
    workload_name: str
    namespace: str
    port_mappings: list[PortMapping]
    created_at: Time
    device_name: str | None = None
    """None: no device is connected, and the workload answers for itself."""


# --- routes -----------------------------------------------------------------------------------


@attrs.frozen
class DevboxRouteConfig:
    """Sends the connections of a workload to a developer's device."""

    intercept_id: InterceptId
    workload_id: WorkloadId
    """The workload of the base environment, for a branch too."""
    auth_token: str = attrs.field(repr=False)
    """Of the environment; opens the tunnel."""
    websocket_url: str
    """The relay, for when there is no direct path."""
    path_pattern: str = "/*"
    """Paths of HTTP requests that are sent; all others stay in the cluster."""
    branch_environment_id: EnvironmentId | None = None
    """Only requests of this branch are sent; None: all."""
    created_at_epoch_seconds: int | None = None
    expires_at_epoch_seconds: int | None = None
    """None: until it is removed."""
    port_mappings: dict[Port, Port] = attrs.field(factory=dict)
    """Local port by workload port; a port that is not there keeps its number."""


@attrs.frozen
class ProxyBranchRouteConfig:
    """Sends the requests of a branch to its own copy of a workload."""

    branch_environment_id: EnvironmentId
    service_names: dict[Port, str]
    """Name of the branch's service by the port of the base service."""
    headers: dict[str, str] = attrs.field(factory=dict)
    """Set on each request that is sent."""
    requires_auth: bool = True
    access_level: AccessLevel = AccessLevel.PERSONAL
    timeout_ms: int | None = None
    """Milliseconds until the branch has answered; None: as long as it takes."""
    devbox_route: DevboxRouteConfig | None = None
    """Goes before `service_names` while it is there."""


@attrs.frozen
class BranchEnvironmentInfo:
    """A branch, as those who carry its connections know it."""

    environment_id: EnvironmentId
    auth_token: str = attrs.field(repr=False)
    namespace: str
