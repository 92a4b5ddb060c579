"""Services as an OpenRPC document: methods, types, errors and states (no I/O).

A peer answers ``rpc.describe`` with the document of what it serves, so that a program that knows
nothing of it can find out what to call.  It says what an interface says, not what is served of it:
a method that nobody overrides is there, and answers with NOT_SERVED.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Raw

from tunnelkit._version import __version__

from .codes import RpcCode
from .openrpc import (
    Components,
    Content,
    Document,
    Error,
    Info,
    Method,
    Reference,
    Schema,
    ServiceInfo,
    Tag,
)
from .service import NotServed, Service, methods_of, rpc_method, service_name
from .spec import MethodSpec, whole_of

__all__ = ["Protocol", "ProtocolService", "describe", "errors_of"]

OPENRPC: Final = "1.3.2"
_SCHEMAS: Final = "#/components/schemas/{name}"
_ERRORS: Final = "#/components/errors/"

_BEFORE_DISPATCH: Final = {
    RpcCode.PARSE_ERROR,
    RpcCode.INVALID_REQUEST,
    RpcCode.METHOD_NOT_FOUND,
}
"""Codes of messages that reach no method."""


def describe(services: Iterable[Service | type[Service]]) -> Document:
    """Return the document of *services*: interfaces, or objects that serve them.

    Raises:
        LocalProtocolError: one is no service.
    """
    classes = [one if isinstance(one, type) else type(one) for one in services]
    for one in classes:
        service_name(one)
    return _document(tuple(one.rpc_interface for one in classes))


@lru_cache(maxsize=8)
def _document(interfaces: tuple[type[Service], ...]) -> Document:
    """Make a document once: it takes as long as some hundred calls."""
    specs = [spec for one in interfaces for spec in methods_of(one).values()]
    found, named = msgspec.json.schema_components(
        [wanted for spec in specs for wanted in _types_of(spec)], ref_template=_SCHEMAS
    )
    schemas = iter([_schema(one) for one in found])
    return Document(
        openrpc=OPENRPC,
        info=Info(title="tunnelkit", version=__version__),
        methods=[_method(spec, schemas) for spec in specs],
        components=Components(
            schemas={name: _schema(one) for name, one in named.items()},
            errors={code.name: Error(code, _in_words(code)) for code in RpcCode},
        ),
        services=[_service(one) for one in interfaces],
    )


def _types_of(spec: MethodSpec) -> Iterator[Any]:
    """Yield the types of the parameters, and that of the result; what is streamed as a whole."""
    for name, wanted in spec.types.items():
        yield whole_of(spec.item) if name == spec.streamed else wanted
    yield whole_of(spec.result) if spec.is_streamed else spec.result


def _schema(found: object) -> Schema:
    return msgspec.json.decode(msgspec.json.encode(found), type=Schema)


def _method(spec: MethodSpec, schemas: Iterator[Schema]) -> Method:
    """Return one method; takes the schemas of its parameters and of its result."""
    return Method(
        name=spec.wire_name,
        summary=" ".join(spec.about.split()),
        tags=[Tag(spec.service)],
        params=[_parameter(spec, one, next(schemas)) for one in spec.parameters.values()],
        result=Content("result", next(schemas), required=True, streamed=spec.is_streamed),
        errors=[Reference(_ERRORS + code.name) for code in errors_of(spec)],
        read_only=spec.read_only,
        requires_state=list(spec.requires_state),
    )


def _parameter(spec: MethodSpec, parameter: inspect.Parameter, schema: Schema) -> Content:
    is_required = parameter.default is parameter.empty
    if not is_required and parameter.default is not None:
        default = Raw(msgspec.json.encode(parameter.default))
        schema = msgspec.structs.replace(schema, default=default)
    return Content(parameter.name, schema, is_required, streamed=parameter.name == spec.streamed)


def errors_of(spec: MethodSpec) -> list[RpcCode]:
    """Return the codes with which a method may answer, as far as its declaration tells."""
    never = set(_BEFORE_DISPATCH)
    if spec.read_only:
        never.add(RpcCode.STALE_EPOCH)
    if not spec.requires_state:
        never.add(RpcCode.WRONG_STATE)
    return [code for code in RpcCode if code not in never]


def _in_words(code: RpcCode) -> str:
    return code.name.lower().replace("_", " ")


def _service(interface: type[Service]) -> ServiceInfo:
    states = [one for spec in methods_of(interface).values() for one in spec.requires_state]
    about = (inspect.getdoc(interface) or "").partition("\n\n")[0]
    return ServiceInfo(
        service_name(interface), " ".join(about.split()), list(dict.fromkeys(states))
    )


# --- serving it ---------------------------------------------------------------------------------


class Protocol(Service, name="rpc"):
    """What every peer serves about itself."""

    @rpc_method(read_only=True)
    async def describe(self) -> Document:
        """Return what can be called here, as an OpenRPC document; this service is not in it."""
        raise NotServed


class ProtocolService(Protocol):
    """Serves `Protocol`.

    Args:
        services: returns what is served now.
    """

    def __init__(self, services: Callable[[], Iterable[Service]]) -> None:
        self._services = services

    async def describe(self) -> Document:
        return describe(self._services())
