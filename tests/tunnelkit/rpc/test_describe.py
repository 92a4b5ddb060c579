"""What a description says of services, and that a peer answers with it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import attrs
import msgspec
import pytest
from trio.testing import memory_stream_pair

from tunnelkit.errors import LocalProtocolError
from tunnelkit.rpc.channels import LineChannel
from tunnelkit.rpc.codes import RpcCode, RpcError
from tunnelkit.rpc.describe import Protocol, ProtocolService, describe
from tunnelkit.rpc.dispatch import Registry
from tunnelkit.rpc.peer import open_peer
from tunnelkit.rpc.service import NotServed, Service, rpc_method


@attrs.frozen
class Door:
    """A way in."""

    port: int
    keys: list[str] = attrs.field(factory=list)


class Doors(Service, name="doors"):
    """Ways in.

    More of it.
    """

    async def open(self, door: Door, seconds: float = 1.5, note: str | None = None) -> Door | None:
        """Open a door,
        and close it later.

        More of it.
        """
        raise NotServed

    @rpc_method(read_only=True, requires_state=("open", "closing"))
    def watch(self, spare: Door = Door(1)) -> AsyncIterator[Door]:
        raise NotServed

    @rpc_method(requires_state=("shut", "open"))
    async def paint(self, colour: str, strokes: AsyncIterable[int]) -> None:
        raise NotServed


class Served(Doors):
    pass


def told(*services: Service | type[Service]) -> Any:
    """Return a description as a client of any language sees it."""
    return json.loads(msgspec.json.encode(describe(services)))


DOCUMENT = told(Doors)
OPEN, WATCH, PAINT = DOCUMENT["methods"]


def codes_of(method: Any) -> set[str]:
    return {one["$ref"].rpartition("/")[2] for one in method["errors"]}


def test_document_says_what_it_is() -> None:
    assert DOCUMENT["openrpc"] == "1.3.2"
    assert DOCUMENT["info"].keys() == {"title", "version"}


def test_method_has_its_name_and_summary() -> None:
    assert (OPEN["name"], OPEN["tags"]) == ("doors.open", [{"name": "doors"}])
    assert OPEN["summary"] == "Open a door, and close it later."


def test_parameters_in_order_with_defaults() -> None:
    assert OPEN["params"] == [
        {"name": "door", "schema": {"$ref": "#/components/schemas/Door"}, "required": True},
        {"name": "seconds", "schema": {"type": "number", "default": 1.5}},
        {"name": "note", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    ]


def test_default_may_be_a_record() -> None:
    assert WATCH["params"][0]["schema"]["default"] == {"port": 1, "keys": []}


def test_result_that_may_be_null() -> None:
    wanted = {"anyOf": [{"$ref": "#/components/schemas/Door"}, {"type": "null"}]}
    assert OPEN["result"] == {"name": "result", "schema": wanted, "required": True}


def test_what_is_streamed_is_a_list_that_says_so() -> None:
    door = {"$ref": "#/components/schemas/Door"}
    assert WATCH["result"]["schema"] == {"type": "array", "items": door}
    assert WATCH["result"]["x-streamed"]
    strokes = PAINT["params"][1]
    assert strokes["schema"] == {"type": "array", "items": {"type": "integer"}}
    assert (strokes["x-streamed"], strokes["required"]) == (True, True)


def test_settings_are_members_of_ours() -> None:
    assert (WATCH["x-read-only"], WATCH["x-requires-state"]) == (True, ["open", "closing"])
    assert not {"x-read-only", "x-requires-state"} & OPEN.keys()


def test_services_with_their_states() -> None:
    states = ["open", "closing", "shut"]
    wanted = {"name": "doors", "description": "Ways in.", "states": states}
    assert DOCUMENT["x-services"] == [wanted]


def test_record_is_described_once() -> None:
    door = DOCUMENT["components"]["schemas"]["Door"]
    assert (door["description"], door["required"]) == ("A way in.", ["port"])
    assert door["properties"]["keys"] == {"type": "array", "items": {"type": "string"}}


def test_errors_fit_the_method() -> None:
    assert "STALE_EPOCH" in codes_of(OPEN) - codes_of(WATCH)
    assert "WRONG_STATE" in codes_of(WATCH) - codes_of(OPEN)
    assert not {"PARSE_ERROR", "METHOD_NOT_FOUND"} & codes_of(OPEN)


def test_errors_are_all_codes() -> None:
    errors = DOCUMENT["components"]["errors"]
    assert {name: one["code"] for name, one in errors.items()} == {c.name: c for c in RpcCode}
    assert errors["STALE_EPOCH"]["message"] == "stale epoch"


def test_server_is_described_as_its_interface() -> None:
    assert told(Served()) == told(Served) == DOCUMENT


def test_nothing_is_described_as_nothing() -> None:
    assert told()["methods"] == told()["x-services"] == []


def test_class_without_a_name_is_not_described() -> None:
    with pytest.raises(LocalProtocolError, match="is no service"):
        describe([Service])


async def test_peer_describes_what_it_serves() -> None:
    left, right = memory_stream_pair()
    async with (
        open_peer(LineChannel(left)) as caller,
        open_peer(LineChannel(right), serve=[Served()]),
    ):
        document = await caller.proxy(Protocol).describe()
        assert json.loads(msgspec.json.encode(document)) == DOCUMENT


def test_registry_describes_what_was_added_later() -> None:
    registry = Registry()
    before = describe(registry.services.values())
    registry.add(Served())
    assert (len(before.methods), len(describe(registry.services.values()).methods)) == (0, 3)


def test_name_of_the_protocol_is_taken() -> None:
    with pytest.raises(RpcError) as error:
        Registry([ProtocolService(list)])
    assert error.value.code == RpcCode.CONFLICT
