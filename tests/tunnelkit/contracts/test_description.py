"""The description of all contracts: whole, typed, and closed in itself."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from msgspec import UNSET

from tests.tunnelkit.contracts.table import CONTRACT
from tunnelkit.contracts import CONTRACTS
from tunnelkit.rpc.channels import MAX_MESSAGE_BYTES
from tunnelkit.rpc.describe import describe
from tunnelkit.rpc.openrpc import Document, Schema

DOCUMENT = describe(CONTRACTS)
BY_NAME = {method.name: method for method in DOCUMENT.methods}
SCHEMAS = DOCUMENT.components.schemas
PREFIX = "#/components/schemas/"


def inside(schema: Schema) -> Iterator[Schema]:
    """Yield a schema and all that it is made of."""
    yield schema
    parts = [] if schema.properties is UNSET else list(schema.properties.values())
    for some in (schema.any_of, schema.prefix_items):
        parts += [] if some is UNSET else some
    for one in (schema.items, schema.additional_properties, schema.property_names):
        parts += [one] if isinstance(one, Schema) else []
    for part in parts:
        yield from inside(part)


def whole() -> Iterator[tuple[str, Schema]]:
    """Yield every schema of the document, with the place where it stands."""
    for name, schema in SCHEMAS.items():
        yield from ((name, part) for part in inside(schema))
    for method in DOCUMENT.methods:
        for content in (*method.params, method.result):
            yield from ((f"{method.name}.{content.name}", part) for part in inside(content.schema))


def is_open(schema: Schema) -> bool:
    """Whether anything goes."""
    if schema.type == "object":
        return schema.properties in (UNSET, {}) and not isinstance(
            schema.additional_properties, Schema
        )
    if schema.type == "array":
        return not isinstance(schema.items, Schema) and schema.prefix_items is UNSET
    members = (schema.type, schema.ref, schema.any_of, schema.enum, schema.const)
    return all(member is UNSET for member in members)


def test_nothing_is_untyped() -> None:
    assert [place for place, schema in whole() if is_open(schema)] == []


def test_every_reference_leads_somewhere() -> None:
    found = {schema.ref for _, schema in whole() if schema.ref is not UNSET}
    assert found == {PREFIX + name for name in SCHEMAS}
    errors = {f"#/components/errors/{name}" for name in DOCUMENT.components.errors}
    assert {one.ref for method in DOCUMENT.methods for one in method.errors} <= errors


def test_no_two_records_have_one_name() -> None:
    assert [name for name in SCHEMAS if not name.isidentifier()] == []


@pytest.mark.parametrize(
    "name", [f"{service}.{method}" for service, methods in CONTRACT.items() for method in methods]
)
def test_every_method_is_described(name: str) -> None:
    service, _, method = name.partition(".")
    wanted = [one.partition(":")[0] for one in CONTRACT[service][method].arguments]
    assert [param.name for param in BY_NAME[name].params] == wanted


def test_nothing_else_is_described() -> None:
    assert len(BY_NAME) == len(DOCUMENT.methods) == sum(map(len, CONTRACT.values()))
    assert {one.name for one in DOCUMENT.services} == set(CONTRACT)


def test_what_must_be_there_comes_first() -> None:
    for method in DOCUMENT.methods:
        required = [param.required for param in method.params]
        assert required == sorted(required, reverse=True)


def test_document_fits_into_a_message() -> None:
    data = msgspec.json.encode(DOCUMENT)
    assert len(data) < MAX_MESSAGE_BYTES / 4
    assert msgspec.json.encode(msgspec.json.decode(data, type=Document)) == data


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "array"}])
def test_check_finds_what_is_untyped(schema: dict[str, str]) -> None:
    assert is_open(msgspec.convert(schema, Schema))
