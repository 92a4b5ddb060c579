"""The contract: every service, its methods, their arguments and results.

Written down apart from the declarations, so that neither changes alone.  What has a ``?`` may be
null.  ``-`` stands for no result, and ``payload`` for bytes that are streamed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CHOICES", "CONTRACT", "RECORDS", "Entry"]

_TEXT = """
devbox_session
    whoami() DevboxSessionInfo
    get_active_environment() DevboxEnvironmentInfo?
    set_active_environment(environment_id: EnvironmentId) -
    heartbeat() -
    list_workload_intercepts(environment_id: EnvironmentId) list[WorkloadInterceptInfo]
    list_services(environment_id: EnvironmentId) list[ServiceInfo]
    request_direct_client_config(environment_id: EnvironmentId, stun_observed_addr: str?) DirectTunnelConfig?
    update_device_name(device_name: str) -

devbox_client
    session_displaced(new_device_name: str) -
    environment_changed(environment: DevboxEnvironmentInfo?) -
    ping() -
    request_direct_config(user_id: UserId, stun_observed_addr: str?) DirectTunnelConfig?
    start_intercept(intercept: StartInterceptRequest) -
    stop_intercept(intercept_id: InterceptId) -

devbox_intercept
    start_workload_intercept(workload_id: WorkloadId, port_mappings: list[PortMappingOverride]) InterceptId
    stop_workload_intercept(intercept_id: InterceptId) -

kube_cluster
    report_cluster_info(cluster_info: KubeClusterInfo) -
    heartbeat() -
    tunnel_heartbeat() -
    report_tunnel_metrics(active_connections: int, bytes_transferred: int, connection_count: int, connection_errors: int) -
    report_resource_change(event: ResourceChangeEvent) -
    list_branch_service_routes(environment_id: EnvironmentId, workload_id: WorkloadId) list[ProxyBranchRouteConfig]
    request_direct_config(environment_id: EnvironmentId, stun_observed_addr: str?) DirectTunnelConfig?

kube_manager
    get_workloads(namespace: str?, workload_kind_filter: KubeWorkloadKind?, include_system_workloads: bool, pagination: PaginationParams?) KubeWorkloadList
    get_workload_details(name: str, namespace: str) KubeWorkload?
    get_namespaces() list[KubeNamespaceInfo]
    deploy_workload_yaml(namespace: str, workloads_with_resources: KubeWorkloadsWithResources, labels: dict[str,str]) -
    get_workloads_raw_yaml(workloads: list[WorkloadIdentifier]) list[KubeRawWorkloadYaml]
    get_namespaced_resources(requests: list[NamespacedResourceRequest]) list[NamespacedResourceResponse]
    set_devbox_routes(environment_id: EnvironmentId, routes: dict[WorkloadId,DevboxRouteConfig]) -
    set_devbox_route(environment_id: EnvironmentId, route: DevboxRouteConfig) -
    remove_devbox_route(environment_id: EnvironmentId, workload_id: WorkloadId, branch_environment_id: EnvironmentId?) -
    clear_devbox_routes(environment_id: EnvironmentId, branch_environment_id: EnvironmentId?) -
    update_branch_service_route(base_environment_id: EnvironmentId, workload_id: WorkloadId, route: ProxyBranchRouteConfig) -
    remove_branch_service_route(base_environment_id: EnvironmentId, workload_id: WorkloadId, branch_environment_id: EnvironmentId) -
    refresh_branch_service_routes(environment_id: EnvironmentId) -
    get_devbox_direct_config(user_id: UserId, environment_id: EnvironmentId, namespace: str, stun_observed_addr: str?) DirectTunnelConfig?
    destroy_environment(environment_id: EnvironmentId, namespace: str) -
    delete_namespaced_resources(namespace: str, resources: list[NamespacedResource]) -
    configure_watches(namespaces: list[str]) -
    add_namespace_watch(namespace: str) -
    remove_namespace_watch(namespace: str) -
    add_branch_environment(base_environment_id: EnvironmentId, branch: BranchEnvironmentInfo) -
    remove_branch_environment(base_environment_id: EnvironmentId, branch_environment_id: EnvironmentId) -

sidecar_proxy_manager
    register_sidecar_proxy(workload_id: WorkloadId, environment_id: EnvironmentId, namespace: str) -
    heartbeat(workload_id: WorkloadId, environment_id: EnvironmentId) -
    report_routing_metrics(request_count: int, byte_count: int, active_connections: int) -
    request_direct_config(environment_id: EnvironmentId, stun_observed_addr: str?) DirectTunnelConfig?

sidecar_proxy
    heartbeat() -
    set_service_routes(routes: list[ProxyBranchRouteConfig]) -
    set_devbox_route(route: DevboxRouteConfig) -
    stop_devbox(branch_environment: EnvironmentId?) -
    upsert_branch_service_route(route: ProxyBranchRouteConfig) -
    remove_branch_service_route(branch_environment_id: EnvironmentId) -

devbox_proxy_manager
    register_devbox_proxy(environment_id: EnvironmentId) -
    heartbeat(environment_id: EnvironmentId) -

devbox_proxy
    heartbeat() -
    add_branch_environment(branch: BranchEnvironmentInfo) -
    remove_branch_environment(environment_id: EnvironmentId) -
    list_branch_environments() list[BranchEnvironmentInfo]
    start_tunnel(environment_id: EnvironmentId?) -
    stop_tunnel(environment_id: EnvironmentId?) -
    get_tunnel_status(environment_id: EnvironmentId?) TunnelStatus

workspace
    ping() str
    version() str
    create_workspace(req: CreateWorkspaceRequest) -
    start_workspace(req: StartWorkspaceRequest) ContainerInfo
    stop_workspace(req: StopWorkspaceRequest) -
    delete_workspace(req: DeleteWorkspaceRequest) -
    create_project(req: ProjectRequest) -
    get_project_branches(req: ProjectRequest) list[GitBranch]
    transfer_repo(info: RepoBuildInfo, position: RepoContentPosition, content: payload) -
    unarchive_repo(info: RepoBuildInfo) -
    build_repo(info: RepoBuildInfo) RepoBuildResult
    rebuild_repo(info: RepoBuildInfo) RepoBuildResult
    create_prebuild_archive(output: RepoBuildOutput, prebuild: PrebuildInfo, repo_name: str) -
    copy_prebuild_image(prebuild: PrebuildInfo, output: RepoBuildOutput, dest_osuser: str, target: BuildTarget) -
    copy_prebuild_content(prebuild: PrebuildInfo, info: RepoBuildInfo) -
    delete_prebuild(prebuild: PrebuildInfo, output: RepoBuildOutput?) -
    transfer_prebuild(prebuild: PrebuildInfo, output: RepoBuildOutput, dst_host: str, dst_port: Port) -
    unarchive_prebuild(prebuild: PrebuildInfo, repo_name: str) -

conductor
    update_workspace_last_inactivity(workspace_id: WorkspaceId, last_inactivity: Time?) -
    update_build_repo_stdout(target: BuildTarget, line: str) -
    update_build_repo_stderr(target: BuildTarget, line: str) -
    running_workspaces_on_host() list[HostWorkspace]
    auto_delete_inactive_workspaces() -

inter_workspace
    transfer_prebuild_archive(archive: PrebuildInfo, file: str, append: bool, content: payload) -

hrpc
    devbox_session_get_session() DevboxSessionSummary?
    devbox_session_revoke_session(session_id: SessionId) -
    devbox_session_get_active_environment() DevboxEnvironmentInfo?
    devbox_session_set_active_environment(environment_id: EnvironmentId) -
    devbox_session_whoami() DevboxWhoami
    devbox_intercept_list(environment_id: EnvironmentId) list[WorkloadInterceptInfo]
    devbox_intercept_start(workload_id: WorkloadId, port_mappings: list[PortMappingOverride]) StartedIntercept
    devbox_intercept_stop(intercept_id: InterceptId) -
    all_kube_clusters(org_id: OrgId) list[KubeCluster]
    create_kube_cluster(org_id: OrgId, name: str) CreatedKubeCluster
    delete_kube_cluster(org_id: OrgId, cluster_id: ClusterId) -
    set_cluster_deployable(org_id: OrgId, cluster_id: ClusterId, can_deploy_personal: bool, can_deploy_shared: bool) -
    set_cluster_personal_deployable(org_id: OrgId, cluster_id: ClusterId, can_deploy: bool) -
    set_cluster_shared_deployable(org_id: OrgId, cluster_id: ClusterId, can_deploy: bool) -
    get_workloads(org_id: OrgId, cluster_id: ClusterId, namespace: str?, workload_kind_filter: KubeWorkloadKind?, include_system_workloads: bool, pagination: PaginationParams?) KubeWorkloadList
    get_workload_details(org_id: OrgId, cluster_id: ClusterId, name: str, namespace: str) KubeWorkload?
    get_cluster_namespaces(org_id: OrgId, cluster_id: ClusterId) list[KubeNamespaceInfo]
    get_cluster_info(org_id: OrgId, cluster_id: ClusterId) KubeCluster
    create_app_catalog(org_id: OrgId, cluster_id: ClusterId, name: str, description: str?, workloads: list[KubeAppCatalogWorkloadCreate]) CatalogId
    all_app_catalogs(org_id: OrgId, search: str?, pagination: PagePaginationParams?) KubeAppCatalogPage
    get_app_catalog(org_id: OrgId, catalog_id: CatalogId) KubeAppCatalog
    get_app_catalog_workloads(org_id: OrgId, catalog_id: CatalogId) list[KubeAppCatalogWorkload]
    delete_app_catalog(org_id: OrgId, catalog_id: CatalogId) -
    delete_app_catalog_workload(org_id: OrgId, workload_id: CatalogWorkloadId) -
    update_app_catalog_workload(org_id: OrgId, workload_id: CatalogWorkloadId, containers: list[KubeContainerInfo]) -
    add_workloads_to_app_catalog(org_id: OrgId, catalog_id: CatalogId, workloads: list[KubeAppCatalogWorkloadCreate]) -
    create_kube_environment(org_id: OrgId, app_catalog_id: CatalogId, cluster_id: ClusterId, name: str, is_shared: bool) KubeEnvironment
    create_branch_environment(org_id: OrgId, base_environment_id: EnvironmentId, name: str) KubeEnvironment
    all_kube_environments(org_id: OrgId, search: str?, is_shared: bool, is_branch: bool, pagination: PagePaginationParams?) KubeEnvironmentPage
    get_environment_dashboard_summary(org_id: OrgId, recent_limit: int?) KubeEnvironmentDashboardSummary
    get_kube_environment(org_id: OrgId, environment_id: EnvironmentId) KubeEnvironment
    delete_kube_environment(org_id: OrgId, environment_id: EnvironmentId) -
    pause_kube_environment(org_id: OrgId, environment_id: EnvironmentId) -
    resume_kube_environment(org_id: OrgId, environment_id: EnvironmentId) -
    sync_environment_from_catalog(org_id: OrgId, environment_id: EnvironmentId) -
    rebase_branch_environment(org_id: OrgId, environment_id: EnvironmentId) -
    get_environment_workloads(org_id: OrgId, environment_id: EnvironmentId) list[KubeEnvironmentWorkload]
    get_environment_services(org_id: OrgId, environment_id: EnvironmentId) list[KubeEnvironmentService]
    get_environment_workload(org_id: OrgId, workload_id: WorkloadId) KubeEnvironmentWorkload?
    get_environment_workload_detail(org_id: OrgId, environment_id: EnvironmentId, workload_id: WorkloadId) KubeEnvironmentWorkloadDetail
    update_environment_workload(org_id: OrgId, environment_id: EnvironmentId, workload_id: WorkloadId, containers: list[KubeContainerInfo]) WorkloadId
    delete_environment_workload(org_id: OrgId, environment_id: EnvironmentId, workload_id: WorkloadId) -
    create_kube_namespace(org_id: OrgId, name: str, description: str?, is_shared: bool) KubeNamespace
    all_kube_namespaces(org_id: OrgId, is_shared: bool) list[KubeNamespace]
    delete_kube_namespace(org_id: OrgId, namespace_id: NamespaceId) -
    create_environment_preview_url(org_id: OrgId, environment_id: EnvironmentId, request: CreatePreviewUrl) KubeEnvironmentPreviewUrl
    get_environment_preview_urls(org_id: OrgId, environment_id: EnvironmentId) list[KubeEnvironmentPreviewUrl]
    update_environment_preview_url(org_id: OrgId, preview_url_id: PreviewUrlId, request: UpdatePreviewUrl) KubeEnvironmentPreviewUrl
    delete_environment_preview_url(org_id: OrgId, preview_url_id: PreviewUrlId) -
"""  # noqa: E501

_RECORDS = """
DevboxSessionInfo(user_id: UserId, email: str, device_name: str, created_at: Time, expires_at: Time, last_used_at: Time?)
DevboxEnvironmentInfo(environment_id: EnvironmentId, environment_name: str, cluster_name: str, namespace: str)
WorkloadInterceptInfo(intercept_id: InterceptId, workload_id: WorkloadId, workload_name: str, namespace: str, port_mappings: list[PortMapping], created_at: Time, device_name: str?)
ServiceInfo(name: str, namespace: str, ports: list[ServicePort])
ServicePort(name: str?, port: Port, protocol: PortProtocol)
PortMappingOverride(workload_port: Port, local_port: Port?)
ResourceChangeEvent(namespace: str, resource_type: NamespacedResourceKind, resource_name: str, change_type: ResourceChangeType, resource_version: str, resource_yaml: str?, timestamp: Time)
KubeWorkloadsWithResources(workloads: list[KubeYaml], services: list[KubeYaml], configmaps: list[KubeYaml], secrets: list[KubeYaml])
WorkloadIdentifier(name: str, namespace: str, kind: KubeWorkloadKind)
NamespacedResourceRequest(namespace: str, configmaps: list[str], secrets: list[str])
NamespacedResource(kind: NamespacedResourceKind, name: str)
BranchEnvironmentInfo(environment_id: EnvironmentId, auth_token: str, namespace: str)
CreateWorkspaceRequest(id: WorkspaceId, workspace_name: str, volume_name: str, create_network: bool, network_name: str, service: str?, osuser: str, image: str, ssh_public_key: str, repo_name: str, env: dict[str,str], cpus: CpuAmount, memory: int, disk: int)
StartWorkspaceRequest(osuser: str, workspace_name: str)
StopWorkspaceRequest(osuser: str, workspace_name: str)
DeleteWorkspaceRequest(osuser: str, workspace_name: str, network: str?, images: list[str], keep_content: bool)
ProjectRequest(id: ProjectId, osuser: str, repo_url: str, auth: GitAuth?)
BuildTarget(workspace: WorkspaceTarget?, prebuild: PrebuildTarget?)
WorkspaceTarget(id: WorkspaceId, name: str)
PrebuildTarget(id: PrebuildId, project: ProjectId)
RepoBuildInfo(target: BuildTarget, osuser: str, repo_name: str, repo_url: str, head: str, branch: str, auth: GitAuth?, env: dict[str,str], cpus: CpuAmount, memory: int)
PrebuildInfo(id: PrebuildId, osuser: str)
RepoBuildOutput(compose: ComposeBuild?, image: ImageBuild?)
ComposeBuild(services: list[RepoServiceBuild], ports_attributes: list[PortAttributes])
ImageBuild(image: str, info: ContainerImageInfo, ports_attributes: list[PortAttributes])
HostWorkspace(id: WorkspaceId, name: str, osuser: str, ssh_port: Port?, ide_port: Port?, last_inactivity: Time?, created_at: Time, updated_at: Time?)
StartedIntercept(intercept_id: InterceptId)
CreatedKubeCluster(cluster_id: ClusterId, token: str)
CreatePreviewUrl(service_id: ServiceId, port: Port, port_name: str?, protocol: PreviewProtocol?, access_level: PreviewAccessLevel?, description: str?)
UpdatePreviewUrl(description: str?, access_level: PreviewAccessLevel?)
DevboxRouteConfig(intercept_id: InterceptId, workload_id: WorkloadId, auth_token: str, websocket_url: str, path_pattern: str, branch_environment_id: EnvironmentId?, created_at_epoch_seconds: int?, expires_at_epoch_seconds: int?, port_mappings: dict[Port,Port])
ProxyBranchRouteConfig(branch_environment_id: EnvironmentId, service_names: dict[Port,str], headers: dict[str,str], requires_auth: bool, access_level: AccessLevel, timeout_ms: int?, devbox_route: DevboxRouteConfig?)
"""  # noqa: E501

CHOICES = {
    "AccessLevel": {"Personal", "Shared", "Public"},
    "RepoContentPosition": {"Initial", "Append"},
}
"""Values of enumerations."""

_LINE = re.compile(r"    (\w+)\((.*)\) (\S+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One method, as the table has it."""

    arguments: tuple[str, ...]
    """Names and types in order: ``name: type``."""
    result: str


def _read(text: str) -> dict[str, dict[str, Entry]]:
    services: dict[str, dict[str, Entry]] = {}
    for line in filter(None, text.splitlines()):
        if not line.startswith(" "):
            service = services[line] = {}
            continue
        found = _LINE.fullmatch(line)
        assert found is not None, line
        name, arguments, result = found.groups()
        assert name not in service, line
        service[name] = Entry(tuple(filter(None, arguments.split(", "))), result)
    return services


CONTRACT = _read(_TEXT)

RECORDS = {
    line.partition("(")[0]: set(line.partition("(")[2].removesuffix(")").split(", "))
    for line in _RECORDS.split("\n")
    if line
}
"""Members of records, ``name: type``; their order means nothing."""
