"""A developer's device and the API: one WebSocket, on which both sides call (no I/O).

`DevboxSessionRpc` and `DevboxClientRpc` share the connection.  `DevboxInterceptRpc` is served
beside them, so that an intercept can be started from the device as well as from the dashboard.
"""

from __future__ import annotations

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from .records import (
    DevboxEnvironmentInfo,
    DevboxSessionInfo,
    DirectTunnelConfig,
    PortMapping,
    PortMappingOverride,
    PortProtocol,
    WorkloadInterceptInfo,
)
from .units import EnvironmentId, InterceptId, Port, UserId, WorkloadId

__all__ = [
    "DevboxClientRpc",
    "DevboxInterceptRpc",
    "DevboxSessionRpc",
    "ServiceInfo",
    "ServicePort",
    "StartInterceptRequest",
]


@attrs.frozen
class ServicePort:
    """One port of a service."""

    port: Port
    name: str | None = None
    protocol: PortProtocol = PortProtocol.TCP


@attrs.frozen
class ServiceInfo:
    """A service that the device can reach through the tunnel."""

    name: str
    namespace: str
    ports: list[ServicePort]


@attrs.frozen
class StartInterceptRequest:
    """What a device needs to know before connections of a workload arrive."""

    intercept_id: InterceptId
    workload_id: WorkloadId
    workload_name: str
    namespace: str
    port_mappings: list[PortMapping]


class DevboxSessionRpc(Service, name="devbox_session"):
    """The device calls the API.

    Each method is about the user whose token opened the connection; an environment of somebody
    else is FORBIDDEN.
    """

    @rpc_method(read_only=True)
    async def whoami(self) -> DevboxSessionInfo:
        """Return whose session this is."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_active_environment(self) -> DevboxEnvironmentInfo | None:
        """Return the environment that the user works in; None: no one was chosen."""
        raise NotServed

    async def set_active_environment(self, environment_id: EnvironmentId) -> None:
        """Work in another environment; its intercepts lead to this device from now on."""
        raise NotServed

    @rpc_method(read_only=True)
    async def heartbeat(self) -> None:
        """Say that the device is awake; without it for long, the session ends."""
        raise NotServed

    @rpc_method(read_only=True)
    async def list_workload_intercepts(
        self, environment_id: EnvironmentId
    ) -> list[WorkloadInterceptInfo]:
        """Return the intercepts of an environment."""
        raise NotServed

    @rpc_method(read_only=True)
    async def list_services(self, environment_id: EnvironmentId) -> list[ServiceInfo]:
        """Return the services of an environment; for a branch, those of its base too."""
        raise NotServed

    async def request_direct_client_config(
        self, environment_id: EnvironmentId, stun_observed_addr: str | None = None
    ) -> DirectTunnelConfig | None:
        """Ask for a direct path to the cluster; None: there is none, use the relay.

        Args:
            stun_observed_addr: where the device is seen from outside, as ``host:port``.
        """
        raise NotServed

    async def update_device_name(self, device_name: str) -> None:
        """Replaced by logging in under the new name; `DevboxSessionRpc.whoami` returns it."""
        raise NotServed


class DevboxClientRpc(Service, name="devbox_client"):
    """The API calls the device."""

    async def session_displaced(self, new_device_name: str) -> None:
        """Another device of the user took over; this one stops, and touches nothing of the new."""
        raise NotServed

    async def environment_changed(self, environment: DevboxEnvironmentInfo | None) -> None:
        """The user works in another environment; None: in none."""
        raise NotServed

    @rpc_method(read_only=True)
    async def ping(self) -> None:
        """Answer; that shows that the device is awake."""
        raise NotServed

    async def request_direct_config(
        self, user_id: UserId, stun_observed_addr: str | None = None
    ) -> DirectTunnelConfig | None:
        """Ask for a direct path to the device; None: there is none, use the relay.

        Args:
            user_id: who is meant; refused where it is not the user of this device.
            stun_observed_addr: where the cluster is seen from outside, as ``host:port``.
        """
        raise NotServed

    async def start_intercept(self, intercept: StartInterceptRequest) -> None:
        """Get ready for the connections of a workload; they come once this has returned."""
        raise NotServed

    async def stop_intercept(self, intercept_id: InterceptId) -> None:
        """No more connections will come; a no-op where there is no such intercept."""
        raise NotServed


class DevboxInterceptRpc(Service, name="devbox_intercept"):
    """The device calls the API, to start and stop intercepts itself."""

    async def start_workload_intercept(
        self, workload_id: WorkloadId, port_mappings: list[PortMappingOverride]
    ) -> InterceptId:
        """Answer for a workload of the active environment.

        Args:
            port_mappings: none: each port of the workload keeps its number.

        Raises:
            RpcError: NOT_FOUND; FORBIDDEN, the environment is not the user's; CONFLICT, somebody
                else answers for the workload.
        """
        raise NotServed

    async def stop_workload_intercept(self, intercept_id: InterceptId) -> None:
        """Let the workload answer for itself again.

        Raises:
            RpcError: NOT_FOUND; FORBIDDEN, the intercept is not the user's.
        """
        raise NotServed
