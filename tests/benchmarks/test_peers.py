"""What a peer needs is found, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import Address
from benchmarks.peers import Route, mux, pick_doors
from benchmarks.peers.one_hop import stream_module
from benchmarks.processes import BenchmarkError


def test_route_has_the_doors_that_are_needed() -> None:
    route = Route(Address("a", 1), None, Address("b", 2))
    assert list(route.doors) == ["web", "mixed"]


def test_relay_has_the_doors_of_its_targets_elsewhere() -> None:
    targets = Route(Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    doors = pick_doors(targets)
    assert list(doors.doors) == ["web", "bulk"]
    assert not {*doors.doors.values()} & {*targets.doors.values()}


def test_stream_module_of_debian_lies_in_the_folder_of_modules() -> None:
    build = "configure arguments: --modules-path=/usr/lib/nginx/modules --with-stream=dynamic"
    assert stream_module(build) == Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def test_stream_module_may_be_built_in() -> None:
    assert stream_module("--modules-path=/m --with-stream --with-stream_ssl_module") is None


def test_nginx_without_stream_module_is_named() -> None:
    with pytest.raises(BenchmarkError, match="without its stream module"):
        stream_module("--modules-path=/m --with-stream_ssl_module")


@pytest.mark.needs_program("go")
async def test_missing_library_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux, "DEBIAN_GOPATH", tmp_path)
    with pytest.raises(BenchmarkError, match="golang-github-xtaci-smux-dev is not installed"):
        await mux.build_relay("smux", tmp_path)
