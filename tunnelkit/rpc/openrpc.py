"""Records of a description of services: OpenRPC 1.3.2, and the JSON Schema in it (no I/O).

https://spec.open-rpc.org.  Members that begin with ``x-`` are ours; readers that do not know them
leave them alone.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType, field

__all__ = [
    "Components",
    "Content",
    "Document",
    "Error",
    "Info",
    "Method",
    "Reference",
    "Schema",
    "ServiceInfo",
    "Tag",
]

Plain: TypeAlias = str | int | float | bool | None
"""A value that is no container."""


class Schema(msgspec.Struct, omit_defaults=True, rename="camel"):
    """A JSON Schema, with the keywords that types of Python become."""

    ref: str | UnsetType = field(default=UNSET, name="$ref")
    type: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    properties: dict[str, Schema] | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET
    additional_properties: Schema | bool | UnsetType = UNSET
    property_names: Schema | UnsetType = UNSET
    min_properties: int | UnsetType = UNSET
    max_properties: int | UnsetType = UNSET
    items: Schema | bool | UnsetType = UNSET
    prefix_items: list[Schema] | UnsetType = UNSET
    min_items: int | UnsetType = UNSET
    max_items: int | UnsetType = UNSET
    any_of: list[Schema] | UnsetType = UNSET
    enum: list[Plain] | UnsetType = UNSET
    const: Plain | UnsetType = UNSET
    format: str | UnsetType = UNSET
    pattern: str | UnsetType = UNSET
    content_encoding: str | UnsetType = UNSET
    min_length: int | UnsetType = UNSET
    max_length: int | UnsetType = UNSET
    minimum: int | float | UnsetType = UNSET
    maximum: int | float | UnsetType = UNSET
    exclusive_minimum: int | float | UnsetType = UNSET
    exclusive_maximum: int | float | UnsetType = UNSET
    multiple_of: int | float | UnsetType = UNSET
    default: Raw | UnsetType = UNSET


class Reference(msgspec.Struct):
    """Stands for something under `Components`."""

    ref: str = field(name="$ref")


class Info(msgspec.Struct):
    """What the description is of."""

    title: str
    version: str
    """Of the program."""


class Tag(msgspec.Struct):
    """The service that a method is of."""

    name: str


class Content(msgspec.Struct, omit_defaults=True):
    """A parameter, or the result."""

    name: str
    schema: Schema
    required: bool = False
    streamed: bool = field(default=False, name="x-streamed")
    """Whether it goes item by item.  Who does not stream sends it, or gets it, as one list, and
    bytes as one string of base64."""


class Error(msgspec.Struct):
    """An error that a method may answer with."""

    code: int
    message: str


class Method(msgspec.Struct, omit_defaults=True):
    """One method."""

    name: str
    summary: str
    tags: list[Tag]
    params: list[Content]
    result: Content
    errors: list[Reference]
    read_only: bool = field(default=False, name="x-read-only")
    requires_state: list[str] = field(default_factory=list, name="x-requires-state")
    """The states of the service in which it can be called; none: in all."""


class ServiceInfo(msgspec.Struct, omit_defaults=True):
    """One service."""

    name: str
    description: str
    states: list[str] = field(default_factory=list)
    """Those that its methods name."""


class Components(msgspec.Struct):
    """What is referred to."""

    schemas: dict[str, Schema]
    errors: dict[str, Error]


class Document(msgspec.Struct):
    """Services, as another program or a person can read them."""

    openrpc: str
    info: Info
    methods: list[Method]
    components: Components
    services: list[ServiceInfo] = field(name="x-services")
