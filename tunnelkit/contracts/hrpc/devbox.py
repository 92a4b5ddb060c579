"""What the dashboard asks of devboxes: sessions and intercepts (no I/O)."""

from __future__ import annotations

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..records import (
    DevboxEnvironmentInfo,
    DevboxSessionInfo,
    PortMappingOverride,
    WorkloadInterceptInfo,
)
from ..units import EnvironmentId, InterceptId, OrgId, SessionId, UserId, WorkloadId

__all__ = ["DevboxMethods", "DevboxSessionSummary", "DevboxWhoami", "StartedIntercept"]


@attrs.frozen
class DevboxSessionSummary:
    """The session of the device that is connected, or was connected last."""

    session_id: SessionId
    session: DevboxSessionInfo
    is_connected: bool
    active_environment: DevboxEnvironmentInfo | None = None


@attrs.frozen
class DevboxWhoami:
    """Who is logged in, and on which device."""

    user_id: UserId
    email: str
    organizations: list[OrgId]
    session: DevboxSessionInfo | None = None
    """None: no device of the user has a session."""


@attrs.frozen
class StartedIntercept:
    """An intercept that was started."""

    intercept_id: InterceptId


class DevboxMethods(Service):
    """About the devices of whoever is logged in."""

    @rpc_method(read_only=True)
    async def devbox_session_get_session(self) -> DevboxSessionSummary | None:
        """Return the session of the user's device; None: there is none."""
        raise NotServed

    async def devbox_session_revoke_session(self, session_id: SessionId) -> None:
        """End a session: its token opens nothing from now on, and its connection is closed."""
        raise NotServed

    @rpc_method(read_only=True)
    async def devbox_session_get_active_environment(self) -> DevboxEnvironmentInfo | None:
        """Return the environment that the user works in; None: no one was chosen."""
        raise NotServed

    async def devbox_session_set_active_environment(self, environment_id: EnvironmentId) -> None:
        """Work in another environment; the device is told."""
        raise NotServed

    @rpc_method(read_only=True)
    async def devbox_session_whoami(self) -> DevboxWhoami:
        """Return who is logged in."""
        raise NotServed

    @rpc_method(read_only=True)
    async def devbox_intercept_list(
        self, environment_id: EnvironmentId
    ) -> list[WorkloadInterceptInfo]:
        """Return the intercepts of an environment."""
        raise NotServed

    async def devbox_intercept_start(
        self, workload_id: WorkloadId, port_mappings: list[PortMappingOverride]
    ) -> StartedIntercept:
        """Let the user's device answer for a workload, now or once it connects.

        Args:
            port_mappings: none: each port of the workload keeps its number.

        Raises:
            RpcError: CONFLICT, somebody else answers for the workload.
        """
        raise NotServed

    async def devbox_intercept_stop(self, intercept_id: InterceptId) -> None:
        """Let the workload answer for itself again."""
        raise NotServed
