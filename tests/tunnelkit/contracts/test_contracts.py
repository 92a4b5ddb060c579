"""The declared interfaces are the contract: nothing is missing, and nothing is there beside it."""

from __future__ import annotations

import re
import typing
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Any

import msgspec
import pytest

import tunnelkit.contracts
from docs.draw_rpc import records
from tests.tunnelkit.contracts.table import CHOICES, CONTRACT, RECORDS, Entry
from tunnelkit.contracts import CONTRACTS
from tunnelkit.contracts.build_records import BuildTarget, RepoBuildOutput
from tunnelkit.contracts.hrpc.pages import PagePaginationParams
from tunnelkit.contracts.kube_records import KubeEnvVar, PaginationParams
from tunnelkit.contracts.records import DevboxRouteConfig, DirectCredential
from tunnelkit.contracts.units import Port, Time
from tunnelkit.contracts.workspace_records import CpuAmount
from tunnelkit.rpc.codes import RpcCode, RpcError
from tunnelkit.rpc.keeping import KeptPeer
from tunnelkit.rpc.proxy import make_proxy
from tunnelkit.rpc.service import Service, methods_of, service_name
from tunnelkit.rpc.spec import MethodSpec

METHODS = [spec for interface in CONTRACTS for spec in methods_of(interface).values()]
BY_NAME = {service_name(interface): interface for interface in CONTRACTS}


def admits_none(wanted: Any) -> bool:
    return NoneType in typing.get_args(wanted)


def written(wanted: Any) -> str:
    """Return the name of a type as the table writes it."""
    if wanted is NoneType:
        return "-"
    if wanted in (Port, Time):
        return "Port" if wanted == Port else "Time"
    parts = typing.get_args(wanted)
    if isinstance(wanted, UnionType) or typing.get_origin(wanted) is typing.Union:
        rest = [part for part in parts if part is not NoneType]
        return f"{'|'.join(map(written, rest))}{'?' * admits_none(wanted)}"
    if parts:
        return f"{wanted.__origin__.__name__}[{','.join(map(written, parts))}]"
    return str(wanted.__name__)


def entry_of(spec: MethodSpec) -> Entry:
    types = {**spec.types, spec.streamed: "payload"} if spec.item is bytes else spec.types
    arguments = (
        f"{name}: {wanted if isinstance(wanted, str) else written(wanted)}"
        for name, wanted in types.items()
    )
    return Entry(tuple(arguments), written(spec.result))


def test_services_of_the_contract() -> None:
    assert set(BY_NAME) == set(CONTRACT)
    assert len(BY_NAME) == len(CONTRACTS) == 13


@pytest.mark.parametrize("service", CONTRACT)
def test_methods_of_the_contract(service: str) -> None:
    declared = {spec.name: entry_of(spec) for spec in methods_of(BY_NAME[service]).values()}
    assert declared == CONTRACT[service]


DECLARED = {record.__name__: record for record in records()}


@pytest.mark.parametrize("name", RECORDS)
def test_members_of_a_record(name: str) -> None:
    hints = typing.get_type_hints(DECLARED[name], include_extras=True)
    assert {f"{one}: {written(wanted)}" for one, wanted in hints.items()} == RECORDS[name]


@pytest.mark.parametrize("name", CHOICES)
def test_values_of_an_enumeration(name: str) -> None:
    values: Any = DECLARED[name]
    assert {one.value for one in values} == CHOICES[name]


REPLACED = {
    "devbox_session.update_device_name",
    "kube_cluster.tunnel_heartbeat",
    "kube_cluster.report_tunnel_metrics",
    "sidecar_proxy_manager.report_routing_metrics",
}


@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: spec.wire_name)
def test_method_that_was_replaced_says_by_what(spec: MethodSpec) -> None:
    found = re.match(r"Replaced by [^`.]*`([\w.]+)`", spec.about)
    assert (found is not None) == (spec.wire_name in REPLACED)
    if found is not None:
        is_whole = found[1].startswith("tunnelkit.")
        assert callable(resolve_name(found[1] if is_whole else f"tunnelkit.contracts.{found[1]}"))


def test_count_of_methods() -> None:
    assert len(CONTRACT["hrpc"]) == 49
    assert len(METHODS) == 136


def test_overview_names_every_service_as_it_is_called() -> None:
    rows = re.findall(r"^    (\w+) +(\w+)  ", tunnelkit.contracts.__doc__ or "", re.MULTILINE)
    assert rows == [(one.__name__, one.rpc_name) for one in CONTRACTS]


@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: spec.wire_name)
def test_every_method_is_explained(spec: MethodSpec) -> None:
    assert spec.about.endswith(".")
    assert not spec.is_streamed


@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: spec.wire_name)
def test_what_only_looks_is_marked(spec: MethodSpec) -> None:
    name = spec.name.removeprefix("devbox_session_").removeprefix("devbox_intercept_")
    looks = name.startswith(("get_", "list", "all_", "running_")) or name.endswith("heartbeat")
    asks_for_a_path = "direct" in name
    assert spec.read_only == ((looks or name in LOOKS) and not asks_for_a_path)


LOOKS = {"whoami", "ping", "version"}


@pytest.mark.parametrize("interface", CONTRACTS, ids=service_name)
async def test_nobody_serves_an_interface(interface: type[Service]) -> None:
    for spec in methods_of(interface).values():
        arguments = dict.fromkeys(spec.types)
        with pytest.raises(RpcError) as error:
            await getattr(interface(), spec.name)(**arguments)
        assert error.value.code == RpcCode.NOT_SERVED


@pytest.mark.parametrize("interface", CONTRACTS, ids=service_name)
def test_every_interface_has_a_proxy(interface: type[Service]) -> None:
    proxy = make_proxy(interface, KeptPeer())
    assert isinstance(proxy, interface)


BOTH = b'{"workspace": {"id": "1", "name": "a"}, "prebuild": {"id": "1", "project": "2"}}'


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (BuildTarget, b"{}"),
        (BuildTarget, BOTH),
        (RepoBuildOutput, b"{}"),
        (CpuAmount, b'{"dedicated": [1], "shared": 2}'),
        (KubeEnvVar, b'{"name": "A", "value": "1", "value_from": {"kind": "Secret", "key": "k"}}'),
        (PaginationParams, b'{"limit": 0}'),
        (PagePaginationParams, b'{"page": 0}'),
        (DirectCredential, b'{"token": "t", "expires_at": "2030-01-01T00:00:00"}'),
    ],
)
def test_record_that_makes_no_sense_is_refused(record: type, wrong: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=record)


ROUTE = b"""{"intercept_id": "1", "workload_id": "2", "auth_token": "hush", "websocket_url":
    "wss://relay", "port_mappings": {"80": 8080}}"""


def test_record_comes_back_as_it_went() -> None:
    route = msgspec.json.decode(ROUTE, type=DevboxRouteConfig)
    assert (route.path_pattern, route.port_mappings) == ("/*", {80: 8080})
    assert msgspec.json.decode(msgspec.json.encode(route), type=DevboxRouteConfig) == route


def test_secret_is_not_in_a_repr() -> None:
    assert "hush" not in repr(msgspec.json.decode(ROUTE, type=DevboxRouteConfig))


def test_port_of_a_route_is_a_port() -> None:
    with pytest.raises(msgspec.ValidationError, match="65535"):
        msgspec.json.decode(ROUTE.replace(b"8080", b"80800"), type=DevboxRouteConfig)
