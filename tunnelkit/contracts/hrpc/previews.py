"""What the dashboard asks of preview URLs: addresses of an environment's services (no I/O)."""

from __future__ import annotations

from enum import StrEnum

import attrs

from tunnelkit.rpc import NotServed, Service, rpc_method

from ..units import EnvironmentId, OrgId, Port, PreviewUrlId, ServiceId, Time, UserId

__all__ = [
    "CreatePreviewUrl",
    "KubeEnvironmentPreviewUrl",
    "PreviewAccessLevel",
    "PreviewMethods",
    "PreviewProtocol",
    "UpdatePreviewUrl",
]


class PreviewAccessLevel(StrEnum):
    """Who may open a preview URL."""

    ORGANIZATION = "Organization"
    """Members of the organisation, once they have logged in."""
    PUBLIC = "Public"
    """Everybody who knows it."""


class PreviewProtocol(StrEnum):
    """What the service speaks on the port."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


@attrs.frozen
class KubeEnvironmentPreviewUrl:
    """An address that leads to a port of a service, in one environment."""

    id: PreviewUrlId
    environment_id: EnvironmentId
    service_id: ServiceId
    name: str
    """The first label of the host, unique: ``8080-web-k3v9x0q2m7ab``."""
    url: str
    port: Port
    protocol: PreviewProtocol
    access_level: PreviewAccessLevel
    created_by: UserId
    created_at: Time
    port_name: str | None = None
    description: str | None = None
    last_accessed_at: Time | None = None
    """None: nobody has opened it yet."""


@attrs.frozen
class CreatePreviewUrl:
    """What a preview URL is to lead to."""

    service_id: ServiceId
    """Of the environment or of its base."""
    port: Port
    port_name: str | None = None
    protocol: PreviewProtocol | None = None
    """None: HTTP."""
    access_level: PreviewAccessLevel | None = None
    """None: ORGANIZATION."""
    description: str | None = None


@attrs.frozen
class UpdatePreviewUrl:
    """What is to change of a preview URL; None leaves a member as it is."""

    description: str | None = None
    """An empty one takes it away."""
    access_level: PreviewAccessLevel | None = None


class PreviewMethods(Service):
    """About preview URLs; who may change the environment may change them."""

    async def create_environment_preview_url(
        self, org_id: OrgId, environment_id: EnvironmentId, request: CreatePreviewUrl
    ) -> KubeEnvironmentPreviewUrl:
        """Make a preview URL."""
        raise NotServed

    @rpc_method(read_only=True)
    async def get_environment_preview_urls(
        self, org_id: OrgId, environment_id: EnvironmentId
    ) -> list[KubeEnvironmentPreviewUrl]:
        """Return the preview URLs of an environment."""
        raise NotServed

    async def update_environment_preview_url(
        self, org_id: OrgId, preview_url_id: PreviewUrlId, request: UpdatePreviewUrl
    ) -> KubeEnvironmentPreviewUrl:
        """Change a preview URL; return it as it is now."""
        raise NotServed

    async def delete_environment_preview_url(
        self, org_id: OrgId, preview_url_id: PreviewUrlId
    ) -> None:
        """Delete a preview URL; it leads nowhere from then on."""
        raise NotServed
