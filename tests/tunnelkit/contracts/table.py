"""The contract: every service, its methods, their arguments and results.

Written down apart from the declarations, so that neither changes alone.  An argument with ``?`` may
be null; a result too.  ``-`` stands for no result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CONTRACT", "Entry"]

_TEXT = """
devbox_session
    whoami() DevboxSessionInfo
    get_active_environment() DevboxEnvironmentInfo?
    set_active_environment(environment_id) -
    heartbeat() -
    list_workload_intercepts(environment_id) list[WorkloadInterceptInfo]
    list_services(environment_id) list[ServiceInfo]
    request_direct_client_config(environment_id, stun_observed_addr?) DirectTunnelConfig?
    update_device_name(device_name) -

devbox_client
    session_displaced(new_device_name) -
    environment_changed(environment?) -
    ping() -
    request_direct_config(user_id, stun_observed_addr?) DirectTunnelConfig?
    start_intercept(intercept) -
    stop_intercept(intercept_id) -

devbox_intercept
    start_workload_intercept(workload_id, port_mappings) InterceptId
    stop_workload_intercept(intercept_id) -

kube_cluster
    report_cluster_info(cluster_info) -
    heartbeat() -
    tunnel_heartbeat() -
    report_tunnel_metrics(active_connections, bytes_transferred, connection_count, connection_errors) -
    report_resource_change(event) -
    list_branch_service_routes(environment_id, workload_id) list[ProxyBranchRouteConfig]
    request_direct_config(environment_id, stun_observed_addr?) DirectTunnelConfig?

kube_manager
    get_workloads(namespace?, workload_kind_filter?, include_system_workloads, pagination?) KubeWorkloadList
    get_workload_details(name, namespace) KubeWorkload?
    get_namespaces() list[KubeNamespaceInfo]
    deploy_workload_yaml(namespace, workloads_with_resources, labels) -
    get_workloads_raw_yaml(workloads) list[KubeRawWorkloadYaml]
    get_namespaced_resources(requests) list[NamespacedResourceResponse]
    set_devbox_routes(environment_id, routes) -
    set_devbox_route(environment_id, route) -
    remove_devbox_route(environment_id, workload_id, branch_environment_id?) -
    clear_devbox_routes(environment_id, branch_environment_id?) -
    update_branch_service_route(base_environment_id, workload_id, route) -
    remove_branch_service_route(base_environment_id, workload_id, branch_environment_id) -
    refresh_branch_service_routes(environment_id) -
    get_devbox_direct_config(user_id, environment_id, namespace, stun_observed_addr?) DirectTunnelConfig?
    destroy_environment(environment_id, namespace) -
    delete_namespaced_resources(namespace, resources) -
    configure_watches(namespaces) -
    add_namespace_watch(namespace) -
    remove_namespace_watch(namespace) -
    add_branch_environment(base_environment_id, branch) -
    remove_branch_environment(base_environment_id, branch_environment_id) -

sidecar_proxy_manager
    register_sidecar_proxy(workload_id, environment_id, namespace) -
    heartbeat(workload_id, environment_id) -
    report_routing_metrics(request_count, byte_count, active_connections) -
    request_direct_config(environment_id, stun_observed_addr?) DirectTunnelConfig?

sidecar_proxy
    heartbeat() -
    set_service_routes(routes) -
    set_devbox_route(route) -
    stop_devbox(branch_environment?) -
    upsert_branch_service_route(route) -
    remove_branch_service_route(branch_environment_id) -

devbox_proxy_manager
    register_devbox_proxy(environment_id) -
    heartbeat(environment_id) -

devbox_proxy
    heartbeat() -
    add_branch_environment(branch) -
    remove_branch_environment(environment_id) -
    list_branch_environments() list[BranchEnvironmentInfo]
    start_tunnel(environment_id?) -
    stop_tunnel(environment_id?) -
    get_tunnel_status(environment_id?) TunnelStatus

workspace
    ping() str
    version() str
    create_workspace(req) -
    start_workspace(req) ContainerInfo
    stop_workspace(req) -
    delete_workspace(req) -
    create_project(req) -
    get_project_branches(req) list[GitBranch]
    transfer_repo(info, position, content) -
    unarchive_repo(info) -
    build_repo(info) RepoBuildResult
    rebuild_repo(info) RepoBuildResult
    create_prebuild_archive(output, prebuild, repo_name) -
    copy_prebuild_image(prebuild, output, dest_osuser, target) -
    copy_prebuild_content(prebuild, info) -
    delete_prebuild(prebuild, output?) -
    transfer_prebuild(prebuild, output, dst_host, dst_port) -
    unarchive_prebuild(prebuild, repo_name) -

conductor
    update_workspace_last_inactivity(workspace_id, last_inactivity?) -
    update_build_repo_stdout(target, line) -
    update_build_repo_stderr(target, line) -
    running_workspaces_on_host() list[HostWorkspace]
    auto_delete_inactive_workspaces() -

inter_workspace
    transfer_prebuild_archive(archive, file, append, content) -

hrpc
    devbox_session_get_session() DevboxSessionSummary?
    devbox_session_revoke_session(session_id) -
    devbox_session_get_active_environment() DevboxEnvironmentInfo?
    devbox_session_set_active_environment(environment_id) -
    devbox_session_whoami() DevboxWhoami
    devbox_intercept_list(environment_id) list[WorkloadInterceptInfo]
    devbox_intercept_start(workload_id, port_mappings) StartedIntercept
    devbox_intercept_stop(intercept_id) -
    all_kube_clusters(org_id) list[KubeCluster]
    create_kube_cluster(org_id, name) CreatedKubeCluster
    delete_kube_cluster(org_id, cluster_id) -
    set_cluster_deployable(org_id, cluster_id, can_deploy_personal, can_deploy_shared) -
    set_cluster_personal_deployable(org_id, cluster_id, can_deploy) -
    set_cluster_shared_deployable(org_id, cluster_id, can_deploy) -
    get_workloads(org_id, cluster_id, namespace?, workload_kind_filter?, include_system_workloads, pagination?) KubeWorkloadList
    get_workload_details(org_id, cluster_id, name, namespace) KubeWorkload?
    get_cluster_namespaces(org_id, cluster_id) list[KubeNamespaceInfo]
    get_cluster_info(org_id, cluster_id) KubeCluster
    create_app_catalog(org_id, cluster_id, name, description?, workloads) CatalogId
    all_app_catalogs(org_id, search?, pagination?) KubeAppCatalogPage
    get_app_catalog(org_id, catalog_id) KubeAppCatalog
    get_app_catalog_workloads(org_id, catalog_id) list[KubeAppCatalogWorkload]
    delete_app_catalog(org_id, catalog_id) -
    delete_app_catalog_workload(org_id, workload_id) -
    update_app_catalog_workload(org_id, workload_id, containers) -
    add_workloads_to_app_catalog(org_id, catalog_id, workloads) -
    create_kube_environment(org_id, app_catalog_id, cluster_id, name, is_shared) KubeEnvironment
    create_branch_environment(org_id, base_environment_id, name) KubeEnvironment
    all_kube_environments(org_id, search?, is_shared, is_branch, pagination?) KubeEnvironmentPage
    get_environment_dashboard_summary(org_id, recent_limit?) KubeEnvironmentDashboardSummary
    get_kube_environment(org_id, environment_id) KubeEnvironment
    delete_kube_environment(org_id, environment_id) -
    pause_kube_environment(org_id, environment_id) -
    resume_kube_environment(org_id, environment_id) -
    sync_environment_from_catalog(org_id, environment_id) -
    rebase_branch_environment(org_id, environment_id) -
    get_environment_workloads(org_id, environment_id) list[KubeEnvironmentWorkload]
    get_environment_services(org_id, environment_id) list[KubeEnvironmentService]
    get_environment_workload(org_id, workload_id) KubeEnvironmentWorkload?
    get_environment_workload_detail(org_id, environment_id, workload_id) KubeEnvironmentWorkloadDetail
    update_environment_workload(org_id, environment_id, workload_id, containers) WorkloadId
    delete_environment_workload(org_id, environment_id, workload_id) -
    create_kube_namespace(org_id, name, description?, is_shared) KubeNamespace
    all_kube_namespaces(org_id, is_shared) list[KubeNamespace]
    delete_kube_namespace(org_id, namespace_id) -
    create_environment_preview_url(org_id, environment_id, request) KubeEnvironmentPreviewUrl
    get_environment_preview_urls(org_id, environment_id) list[KubeEnvironmentPreviewUrl]
    update_environment_preview_url(org_id, preview_url_id, request) KubeEnvironmentPreviewUrl
    delete_environment_preview_url(org_id, preview_url_id) -
"""  # noqa: E501

_LINE = re.compile(r"    (\w+)\((.*)\) (\S+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One method, as the table has it."""

    arguments: tuple[str, ...]
    """Names in order, with ``?`` where null is allowed."""
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
