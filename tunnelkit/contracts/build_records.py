"""Records of repositories, and of what is built from them (no I/O).

Where something is one of two kinds, the record has a member for each, and exactly one is there.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from .units import Port, PrebuildId, ProjectId, Time, WorkspaceId
from .workspace_records import ContainerImageInfo, CpuAmount

__all__ = [
    "BuildTarget",
    "ComposeBuild",
    "GitAuth",
    "GitBranch",
    "ImageBuild",
    "PortAttributes",
    "PrebuildInfo",
    "PrebuildTarget",
    "ProjectRequest",
    "RepoBuildError",
    "RepoBuildInfo",
    "RepoBuildOutput",
    "RepoBuildResult",
    "RepoContentPosition",
    "RepoServiceBuild",
    "WorkspaceTarget",
]


# --- repositories -------------------------------------------------------------------------------


@attrs.frozen
class GitAuth:
    """How to get at a repository that is not public."""

    username: str
    token: str = attrs.field(repr=False)


@attrs.frozen
class GitBranch:
    """A branch of a repository, and its newest commit."""

    name: str
    commit: str
    summary: str
    """The subject of the commit."""
    time: Time


@attrs.frozen
class ProjectRequest:
    """The repository of a project."""

    id: ProjectId
    osuser: str
    repo_url: str
    auth: GitAuth | None = None
    """None: the repository is public."""


class RepoContentPosition(StrEnum):
    """Where the bytes of an archive belong."""

    INITIAL = "Initial"
    """It is the first: what was sent before is forgotten."""
    APPEND = "Append"


# --- builds -------------------------------------------------------------------------------------


@attrs.frozen
class WorkspaceTarget:
    """A workspace that is built."""

    id: WorkspaceId
    name: str


@attrs.frozen
class PrebuildTarget:
    """A prebuild that is built: what new workspaces of a project begin with."""

    id: PrebuildId
    project: ProjectId


@attrs.frozen
class BuildTarget:
    """What is built: a workspace or a prebuild."""

    workspace: WorkspaceTarget | None = None
    prebuild: PrebuildTarget | None = None

    def __attrs_post_init__(self) -> None:
        if (self.workspace is None) == (self.prebuild is None):
            raise ValueError("what is built: either `workspace` or `prebuild`")


@attrs.frozen
class PrebuildInfo:
    """Which prebuild of which user of a host is meant."""

    id: PrebuildId
    osuser: str


@attrs.frozen
class RepoBuildInfo:
    """What is to be built, from what, and with how much."""

    target: BuildTarget
    osuser: str
    repo_name: str
    repo_url: str
    head: str
    """The commit."""
    branch: str
    cpus: CpuAmount
    memory: int
    """GiB."""
    auth: GitAuth | None = None
    """None: the repository is public."""
    env: dict[str, str] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class PortAttributes:
    """What a repository says of a port that its program listens on."""

    port: Port
    label: str = ""


@attrs.frozen
class RepoServiceBuild:
    """The image of one service of a compose file."""

    name: str
    image: str
    info: ContainerImageInfo


@attrs.frozen
class ComposeBuild:
    """Several containers, as a compose file describes them."""

    services: list[RepoServiceBuild]
    ports_attributes: list[PortAttributes] = attrs.field(factory=list)


@attrs.frozen
class ImageBuild:
    """One container."""

    image: str
    info: ContainerImageInfo
    ports_attributes: list[PortAttributes] = attrs.field(factory=list)


@attrs.frozen
class RepoBuildOutput:
    """What was built: several containers, or one."""

    compose: ComposeBuild | None = None
    image: ImageBuild | None = None

    def __attrs_post_init__(self) -> None:
        if (self.compose is None) == (self.image is None):
            raise ValueError("what was built: either `compose` or `image`")


@attrs.frozen
class RepoBuildError:
    """Why a repository could not be built as it says; a standard image was taken instead."""

    text: str
    stdout: list[str] = attrs.field(factory=list)
    """The last lines; all of them went to `ConductorService.update_build_repo_stdout`."""
    stderr: list[str] = attrs.field(factory=list)


@attrs.frozen
class RepoBuildResult:
    """How a build ended."""

    output: RepoBuildOutput
    error: RepoBuildError | None = None
    """None: it was built as the repository says."""
