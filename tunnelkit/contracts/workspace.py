"""The conductor and its workspace hosts, and the hosts among each other (no I/O).

`WorkspaceService` and `ConductorService` share one TCP connection.  `InterWorkspaceService`
is what a host serves to other hosts.

Archives travel as payloads: a slow disk slows the sender, and other calls go on beside them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

from tunnelkit.rpc import NotServed, Service, rpc_method

from .build_records import (
    BuildTarget,
    GitBranch,
    PrebuildInfo,
    ProjectRequest,
    RepoBuildInfo,
    RepoBuildOutput,
    RepoBuildResult,
    RepoContentPosition,
)
from .units import Port, Time, WorkspaceId
from .workspace_records import (
    ContainerInfo,
    CreateWorkspaceRequest,
    DeleteWorkspaceRequest,
    HostWorkspace,
    StartWorkspaceRequest,
    StopWorkspaceRequest,
)

__all__ = ["ConductorService", "InterWorkspaceService", "WorkspaceService"]


class WorkspaceService(Service, name="workspace"):
    """The conductor calls a workspace host."""

    @rpc_method(read_only=True)
    async def ping(self) -> str:
        """Return ``pong``."""
        raise NotServed

    @rpc_method(read_only=True)
    async def version(self) -> str:
        """Return the version of the host's program."""
        raise NotServed

    async def create_workspace(self, req: CreateWorkspaceRequest) -> None:
        """Make the containers, the volume and the network of a workspace.

        Raises:
            RpcError: CONFLICT, there is a workspace of that name; NOT_FOUND, there is no such
                image.
        """
        raise NotServed

    async def start_workspace(self, req: StartWorkspaceRequest) -> ContainerInfo:
        """Run a workspace and return its container; a no-op where it runs."""
        raise NotServed

    async def stop_workspace(self, req: StopWorkspaceRequest) -> None:
        """Stop a workspace; a no-op where it does not run."""
        raise NotServed

    async def delete_workspace(self, req: DeleteWorkspaceRequest) -> None:
        """Delete a workspace; a no-op where there is none."""
        raise NotServed

    async def create_project(self, req: ProjectRequest) -> None:
        """Clone the repository of a project.

        Raises:
            RpcError: REFUSED, the repository cannot be read; the text says why.
        """
        raise NotServed

    @rpc_method(read_only=True)
    async def get_project_branches(self, req: ProjectRequest) -> list[GitBranch]:
        """Return the branches of a project's repository, as they are upstream now."""
        raise NotServed

    async def transfer_repo(
        self, info: RepoBuildInfo, position: RepoContentPosition, content: AsyncIterable[bytes]
    ) -> None:
        """Take the archive of a repository, or what follows a part that was sent before."""
        raise NotServed

    async def unarchive_repo(self, info: RepoBuildInfo) -> None:
        """Unpack the archive whose pieces were transferred."""
        raise NotServed

    async def build_repo(self, info: RepoBuildInfo) -> RepoBuildResult:
        """Build a repository; its output goes to the conductor line by line.

        A build that fails gives a result that says so, with a standard image.
        """
        raise NotServed

    async def rebuild_repo(self, info: RepoBuildInfo) -> RepoBuildResult:
        """Build a repository again, from the files that the workspace has."""
        raise NotServed

    async def create_prebuild_archive(
        self, output: RepoBuildOutput, prebuild: PrebuildInfo, repo_name: str
    ) -> None:
        """Pack a prebuild, files and images, for other hosts."""
        raise NotServed

    async def copy_prebuild_image(
        self,
        prebuild: PrebuildInfo,
        output: RepoBuildOutput,
        dest_osuser: str,
        target: BuildTarget,
    ) -> None:
        """Give the images of a prebuild to another user of the host."""
        raise NotServed

    async def copy_prebuild_content(self, prebuild: PrebuildInfo, info: RepoBuildInfo) -> None:
        """Give the files of a prebuild to what is built from it."""
        raise NotServed

    async def delete_prebuild(
        self, prebuild: PrebuildInfo, output: RepoBuildOutput | None = None
    ) -> None:
        """Delete a prebuild; a no-op where there is none.

        Args:
            output: its images are deleted too; None: it was never built.
        """
        raise NotServed

    async def transfer_prebuild(
        self, prebuild: PrebuildInfo, output: RepoBuildOutput, dst_host: str, dst_port: Port
    ) -> None:
        """Send the archive of a prebuild to another host."""
        raise NotServed

    async def unarchive_prebuild(self, prebuild: PrebuildInfo, repo_name: str) -> None:
        """Unpack the archive of a prebuild that another host has sent."""
        raise NotServed


class ConductorService(Service, name="conductor"):
    """A workspace host calls the conductor."""

    async def update_workspace_last_inactivity(
        self, workspace_id: WorkspaceId, last_inactivity: Time | None
    ) -> None:
        """Say since when nobody is connected to a workspace; None: somebody is."""
        raise NotServed

    async def update_build_repo_stdout(self, target: BuildTarget, line: str) -> None:
        """Show a line that a build has written."""
        raise NotServed

    async def update_build_repo_stderr(self, target: BuildTarget, line: str) -> None:
        """Show a line that a build has written as an error."""
        raise NotServed

    @rpc_method(read_only=True)
    async def running_workspaces_on_host(self) -> list[HostWorkspace]:
        """Return the workspaces that should run on the host that asks."""
        raise NotServed

    async def auto_delete_inactive_workspaces(self) -> None:
        """Delete what has been stopped for longer than workspaces are kept."""
        raise NotServed


class InterWorkspaceService(Service, name="inter_workspace"):
    """A workspace host calls another one."""

    async def transfer_prebuild_archive(
        self, archive: PrebuildInfo, file: str, append: bool, content: AsyncIterable[bytes]
    ) -> None:
        """Take a file of a prebuild's archive, or what follows a part that was sent before.

        Args:
            file: the name of the file, without a folder.
            append: whether it follows what was sent before; else it begins the file anew.

        Raises:
            RpcError: INVALID_PARAMS, `file` is no plain name.
        """
        raise NotServed
