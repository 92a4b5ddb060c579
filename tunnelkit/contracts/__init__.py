"""What the programs of the system ask of each other: thirteen typed interfaces (no I/O).

Who calls whom, and over what:

    interface               on the wire            caller             server
    HrpcService             hrpc                   dashboard          API                HTTPS
    DevboxSessionRpc        devbox_session         developer's device API                WebSocket 1
    DevboxInterceptRpc      devbox_intercept       developer's device API                WebSocket 1
    DevboxClientRpc         devbox_client          API                developer's device WebSocket 1
    WorkspaceService        workspace              conductor          workspace host     TCP 2
    ConductorService        conductor              workspace host     conductor          TCP 2
    InterWorkspaceService   inter_workspace        workspace host     workspace host     TCP
    KubeClusterRpc          kube_cluster           kube-manager       API                WebSocket 3
    KubeManagerRpc          kube_manager           API                kube-manager       WebSocket 3
    SidecarProxyManagerRpc  sidecar_proxy_manager  sidecar            kube-manager       TCP 4
    SidecarProxyRpc         sidecar_proxy          kube-manager       sidecar            TCP 4
    DevboxProxyManagerRpc   devbox_proxy_manager   devbox proxy       kube-manager       TCP 5
    DevboxProxyRpc          devbox_proxy           kube-manager       devbox proxy       TCP 5

Services with one number share one connection: both sides call, at the same time.  The conductor is
a part of the API's process.  Tunnels carry data beside these connections, never over them, and are
opened once a service has said yes.

A method says no with an error code (`RpcCode`).  FORBIDDEN and NOT_FOUND can come from any that
names something; a docstring tells of a code where it means more.  Methods that change nothing are
marked as such, and so are heartbeats: they can be called whatever has changed meanwhile.  Four
methods are kept for their names, and say what has replaced them; where nobody serves them any more
they answer with NOT_SERVED.
"""

from __future__ import annotations

from typing import Final

from tunnelkit.rpc import Service

from .devbox import DevboxClientRpc, DevboxInterceptRpc, DevboxSessionRpc
from .devbox_proxy import DevboxProxyManagerRpc, DevboxProxyRpc
from .hrpc import HrpcService
from .kube import KubeClusterRpc, KubeManagerRpc
from .sidecar import SidecarProxyManagerRpc, SidecarProxyRpc
from .workspace import ConductorService, InterWorkspaceService, WorkspaceService

__all__ = [
    "CONTRACTS",
    "ConductorService",
    "DevboxClientRpc",
    "DevboxInterceptRpc",
    "DevboxProxyManagerRpc",
    "DevboxProxyRpc",
    "DevboxSessionRpc",
    "HrpcService",
    "InterWorkspaceService",
    "KubeClusterRpc",
    "KubeManagerRpc",
    "SidecarProxyManagerRpc",
    "SidecarProxyRpc",
    "WorkspaceService",
]

CONTRACTS: Final[tuple[type[Service], ...]] = (
    HrpcService,
    DevboxSessionRpc,
    DevboxInterceptRpc,
    DevboxClientRpc,
    WorkspaceService,
    ConductorService,
    InterWorkspaceService,
    KubeClusterRpc,
    KubeManagerRpc,
    SidecarProxyManagerRpc,
    SidecarProxyRpc,
    DevboxProxyManagerRpc,
    DevboxProxyRpc,
)
"""Every interface, in the order of the table above."""
