"""Services: what is read off an interface, and what arguments become."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import attrs
import pytest
from msgspec import Meta, Raw

from tunnelkit.errors import LocalProtocolError
from tunnelkit.rpc.codes import RpcCode, RpcError
from tunnelkit.rpc.service import NotServed, Service, methods_of, rpc_method, service_name


@attrs.frozen
class PortMapping:
    workload_port: int
    local_port: int | None = None


class Intercepts(Service, name="intercepts"):
    async def start(self, workload: str, ports: list[PortMapping], force: bool = False) -> str:
        """Start an intercept.

        More of it.
        """
        raise NotServed

    @rpc_method(read_only=True, requires_state=("open", "leaving"))
    def watch(self, seconds: float = 1.0) -> AsyncIterator[PortMapping]:
        raise NotServed

    async def ping(self) -> None:
        raise NotServed


class Served(Intercepts):
    async def ping(self) -> None:
        pass


START = methods_of(Intercepts)["start"]


def test_methods_in_the_order_of_the_interface() -> None:
    assert list(methods_of(Intercepts)) == ["start", "watch", "ping"]


def test_what_a_method_is() -> None:
    assert (START.wire_name, START.about, START.result) == (
        "intercepts.start",
        "Start an intercept.",
        str,
    )
    assert (START.is_streamed, START.read_only, START.requires_state) == (False, False, ())


def test_streamed_method_with_settings() -> None:
    watch = methods_of(Intercepts)["watch"]
    assert (watch.is_streamed, watch.result) == (True, PortMapping)
    assert (watch.read_only, watch.requires_state) == (True, ("open", "leaving"))


def test_server_has_the_methods_of_its_interface() -> None:
    assert methods_of(Served) == methods_of(Intercepts)
    assert service_name(Served) == "intercepts"


@pytest.mark.parametrize(
    "params",
    [
        b'{"workload": "w", "ports": [{"workload_port": 80}]}',
        b'["w", [{"workload_port": 80}]]',
        b'["w", [{"workload_port": 80, "local_port": null}], false]',
    ],
)
def test_arguments_by_name_and_by_place(params: bytes) -> None:
    arguments = START.decode(Raw(params))
    assert arguments == {"workload": "w", "ports": [PortMapping(80)], "force": False}


@pytest.mark.parametrize(
    ("params", "place"),
    [
        (b'{"workload": "w", "ports": [{"workload_port": "80"}]}', "$.ports[0].workload_port"),
        (b'{"workload": "w", "ports": [{}]}', "missing required field `workload_port`"),
        (b'{"workload": "w"}', "missing required field `ports`"),
        (b'{"workload": 5, "ports": []}', "$.workload"),
        (b'{"workload": "w", "ports": [], "x": 1}', "unknown field `x`"),
        (b'["w", [{"workload_port": "80"}]]', "$[1][0].workload_port"),
        (b'["w"]', "at least length 2"),
    ],
)
def test_wrong_arguments_name_the_path(params: bytes, place: str) -> None:
    with pytest.raises(RpcError) as error:
        START.decode(Raw(params))
    assert error.value.code == RpcCode.INVALID_PARAMS
    assert place in error.value.text


def test_bounds_of_an_argument_are_checked() -> None:
    class Doors(Service, name="doors"):
        async def open(self, port: Annotated[int, Meta(ge=1, le=65535)]) -> None:
            raise NotServed

    assert methods_of(Doors)["open"].decode(Raw(b"[80]")) == {"port": 80}
    with pytest.raises(RpcError, match="<= 65535"):
        methods_of(Doors)["open"].decode(Raw(b"[65536]"))


def test_call_is_bound_as_it_was_written() -> None:
    record = START.bind(("w", [PortMapping(1)]), {"force": True})
    assert (record.workload, record.ports, record.force) == ("w", [PortMapping(1)], True)  # type: ignore[attr-defined]


def test_call_with_a_wrong_name_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        START.bind(("w", []), {"colour": 1})


def unannotated() -> type[Service]:
    class Bad(Service, name="bad"):
        async def go(self, x) -> None:  # type: ignore[no-untyped-def]
            raise NotServed

    return Bad


def with_stars() -> type[Service]:
    class Bad(Service, name="bad"):
        async def go(self, *x: int) -> None:
            raise NotServed

    return Bad


def synchronous() -> type[Service]:
    class Bad(Service, name="bad"):
        def go(self) -> int:
            raise NotServed

    return Bad


@pytest.mark.parametrize("make", [unannotated, with_stars, synchronous])
def test_interface_that_cannot_be_called_is_refused(make: type) -> None:
    with pytest.raises(LocalProtocolError, match=r"bad\.go is no method"):
        methods_of(make())


def test_name_is_in_snake_case() -> None:
    with pytest.raises(LocalProtocolError, match="snake_case"):

        class Bad(Service, name="BadName"):
            pass


def test_class_without_a_name_is_no_service() -> None:
    class Nameless(Service):
        pass

    with pytest.raises(LocalProtocolError, match="is no service"):
        methods_of(Nameless)


async def test_method_that_nobody_serves_says_so() -> None:
    with pytest.raises(RpcError) as error:
        await Served().start("w", [])
    assert error.value.code == RpcCode.NOT_SERVED


def test_first_program_of_the_how_to_has_15_lines() -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/call-both-ways.md").read_text()
    program = page.partition("```python run\n")[2].partition("```")[0]
    assert "Service, name=" in program
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
