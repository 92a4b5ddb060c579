"""Records of workspaces: containers in which somebody works on a repository (no I/O)."""

from __future__ import annotations

from enum import StrEnum

import attrs

from .units import Port, Time, WorkspaceId

__all__ = [
    "ContainerImageInfo",
    "ContainerInfo",
    "ContainerPort",
    "ContainerStatus",
    "CpuAmount",
    "CreateWorkspaceRequest",
    "DeleteWorkspaceRequest",
    "HostWorkspace",
    "StartWorkspaceRequest",
    "StopWorkspaceRequest",
]


@attrs.frozen
class CpuAmount:
    """How much of the processors a container may use."""

    dedicated: list[int] | None = None
    """Numbers of cores that nobody else uses."""
    shared: int | None = None
    """A share as large as that many cores."""

    def __attrs_post_init__(self) -> None:
        if (self.dedicated is None) == (self.shared is None):
            raise ValueError("processors are either dedicated or shared")


# --- containers ---------------------------------------------------------------------------------


class ContainerStatus(StrEnum):
    """What a container does."""

    CREATED = "Created"
    RUNNING = "Running"
    PAUSED = "Paused"
    EXITED = "Exited"


@attrs.frozen
class ContainerPort:
    """A port of a container, as its host offers it."""

    container_port: Port
    host_port: Port


@attrs.frozen
class ContainerInfo:
    """A container of a host."""

    id: str
    """As the container engine names it."""
    name: str
    image: str
    status: ContainerStatus
    ports: list[ContainerPort] = attrs.field(factory=list)


@attrs.frozen
class ContainerImageInfo:
    """What an image says of the containers that are made from it."""

    entrypoint: list[str] = attrs.field(factory=list)
    cmd: list[str] = attrs.field(factory=list)
    env: dict[str, str] = attrs.field(factory=dict, repr=False)
    working_dir: str = "/"
    user: str = ""
    exposed_ports: list[Port] = attrs.field(factory=list)


# --- workspaces ---------------------------------------------------------------------------------


@attrs.frozen
class CreateWorkspaceRequest:
    """A workspace that is to be made from an image that is there."""

    id: WorkspaceId
    workspace_name: str
    volume_name: str
    create_network: bool
    """Whether the network is to be made first."""
    network_name: str
    osuser: str
    """Whose container engine on the host it is."""
    image: str
    ssh_public_key: str
    """What the workspace lets in, as a line of ``authorized_keys``."""
    repo_name: str
    env: dict[str, str] = attrs.field(repr=False)
    cpus: CpuAmount
    memory: int
    """GiB."""
    disk: int
    """GiB."""
    service: str | None = None
    """Which service of a compose file it is; None: there is none."""


@attrs.frozen
class StartWorkspaceRequest:
    """A workspace that is to run."""

    osuser: str
    workspace_name: str


@attrs.frozen
class StopWorkspaceRequest:
    """A workspace that is to stop."""

    osuser: str
    workspace_name: str


@attrs.frozen
class DeleteWorkspaceRequest:
    """A workspace that is to be deleted, and what goes with it."""

    osuser: str
    workspace_name: str
    network: str | None = None
    """Deleted too; None: others use it."""
    images: list[str] = attrs.field(factory=list)
    keep_content: bool = False
    """Whether the files of the repository stay on the host."""


@attrs.frozen
class HostWorkspace:
    """A workspace that runs on a host."""

    id: WorkspaceId
    name: str
    osuser: str
    created_at: Time
    ssh_port: Port | None = None
    ide_port: Port | None = None
    last_inactivity: Time | None = None
    """Since when nobody is connected; None: somebody is."""
    updated_at: Time | None = None
