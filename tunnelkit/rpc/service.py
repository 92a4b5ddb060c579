"""Services as typed classes: from annotations to what can be called, and what it takes (no I/O).

An *interface* is a class of annotated methods whose bodies raise `NotServed`::

    class Clock(Service, name="clock"):
        async def now(self, zone: str = "UTC") -> Moment:
            raise NotServed

        def ticks(self, seconds: float) -> AsyncIterator[Moment]:
            raise NotServed

A server derives from it and overrides what it serves, so that what it does not serve answers with
`NOT_SERVED`.  A client gets an object of the same type (`Peer.proxy`), so that a type checker sees
both sides.  Nothing is generated.

On the wire a method is called ``clock.now``: the names of the service and of the method, both in
snake_case.  A service whose meaning changes gets another name (``clock_v2``), and can be served
beside the first.

Parameters become one record, which msgspec decodes and checks in one step; a wrong field is named
by its path (``$.zone``).  Records are attrs classes.  A method that returns an `AsyncIterator` has
a *streamed* result; the last parameter may be an `AsyncIterable`, and is streamed then.  Where the
items are `bytes`, they are a *payload*: a sequence of bytes whose pieces mean nothing (`payload`).
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn, TypeVar

import msgspec

from tunnelkit.errors import LocalProtocolError

from .codes import RpcCode, RpcError
from .spec import MethodSpec, whole_of

__all__ = [
    "NotServed",
    "Service",
    "methods_of",
    "rpc_method",
    "service_name",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SETTINGS: Final = "__rpc_settings__"
_ITERABLES: Final = (AsyncIterator, AsyncIterable)


class NotServed(RpcError):
    """The method is part of the contract, and nobody serves it here."""

    def __init__(self) -> None:
        super().__init__(RpcCode.NOT_SERVED, "nobody serves this method here")


class Service:
    """What interfaces derive from.

    Args:
        name: what the service is called on the wire, in snake_case; only an interface gives one.
    """

    rpc_name: ClassVar[str] = ""
    rpc_interface: ClassVar[type[Service]]
    rpc_methods: ClassVar[Mapping[str, MethodSpec]]

    def __init_subclass__(cls, *, name: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if name is None:
            return
        if not _NAME.fullmatch(name):
            raise LocalProtocolError(f"service name {name!r} is not in snake_case")
        cls.rpc_name = name
        cls.rpc_interface = cls


@dataclass(frozen=True, slots=True)
class _Settings:
    read_only: bool = False
    requires_state: tuple[str, ...] = ()


def rpc_method(
    *, read_only: bool = False, requires_state: tuple[str, ...] = ()
) -> Callable[[_F], _F]:
    """Say more of a method of an interface.

    Args:
        read_only: it changes nothing, so that a stale epoch does not keep it from being called.
        requires_state: the states of the service in which it can be called; none: in all.
    """

    def note(function: _F) -> _F:
        setattr(function, _SETTINGS, _Settings(read_only, requires_state))
        return function

    return note


def service_name(interface: type[Service]) -> str:
    """Return what an interface is called on the wire.

    Raises:
        LocalProtocolError: it has no name: it is no interface.
    """
    if not interface.rpc_name:
        text = "derive from an interface, or give a name: class X(Service, name=...)"
        raise LocalProtocolError(f"{interface.__name__} is no service; {text}")
    return interface.rpc_name


def methods_of(interface: type[Service]) -> Mapping[str, MethodSpec]:
    """Return the methods of an interface by their names, in the order in which they are written.

    Args:
        interface: an interface, or a class that serves one.

    Raises:
        LocalProtocolError: a method lacks annotations, or takes what cannot be sent.
    """
    service = service_name(interface)
    found = interface.rpc_interface
    if "rpc_methods" not in vars(found):
        found.rpc_methods = _read(found, service)
    return found.rpc_methods


def _read(found: type[Service], service: str) -> Mapping[str, MethodSpec]:
    functions = {
        name: value
        for one in reversed(found.__mro__)
        if issubclass(one, Service) and one is not Service
        for name, value in vars(one).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    return {name: _spec_of(service, name, function) for name, function in functions.items()}


def _spec_of(service: str, name: str, function: Callable[..., Any]) -> MethodSpec:
    place = f"{service}.{name}"
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(f"method name {place!r} is not in snake_case")
    hints = typing.get_type_hints(function, include_extras=True)
    _, *parameters = inspect.signature(function).parameters.values()  # without self
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            _refuse(place, f"*{parameter.name} cannot be sent: name each parameter")
        if parameter.name not in hints:
            _refuse(place, f"parameter {parameter.name!r} has no annotation")
    if "return" not in hints:
        _refuse(place, "the result has no annotation")
    result, is_streamed = hints["return"], False
    if typing.get_origin(result) in _ITERABLES:
        (result,), is_streamed = typing.get_args(result), True
    elif not inspect.iscoroutinefunction(function):
        _refuse(place, "it is neither `async def` nor does it return an AsyncIterator")
    types = {parameter.name: hints[parameter.name] for parameter in parameters}
    streamed, item = _streamed(place, types), None
    if streamed:
        (item,) = typing.get_args(types[streamed])
        types[streamed] = whole_of(item) | msgspec.UnsetType
    settings: _Settings = getattr(function, _SETTINGS, _Settings())
    return MethodSpec(
        service=service,
        name=name,
        about=(inspect.getdoc(function) or "").partition("\n\n")[0],
        parameters={parameter.name: parameter for parameter in parameters},
        types=types,
        result=type(None) if result is None else result,
        is_streamed=is_streamed,
        read_only=settings.read_only,
        requires_state=settings.requires_state,
        by_name=_record(place, parameters, types, is_array=False),
        by_place=_record(place, parameters, types, is_array=True),
        has_keyword_only=_has_keyword_only(parameters),
        streamed=streamed,
        item=item,
    )


def _streamed(place: str, types: Mapping[str, Any]) -> str:
    """Return the parameter that is streamed, or ""."""
    streams = [name for name, kind in types.items() if typing.get_origin(kind) in _ITERABLES]
    if len(streams) > 1:
        _refuse(place, f"only one parameter can be streamed, and {' and '.join(streams)} are")
    if streams and streams[0] != list(types)[-1]:
        _refuse(place, f"the parameter that is streamed, {streams[0]}, does not come last")
    return streams[0] if streams else ""


def _refuse(place: str, why: str) -> NoReturn:
    raise LocalProtocolError(f"{place} is no method that can be called from afar: {why}")


def _record(
    place: str,
    parameters: list[inspect.Parameter],
    types: Mapping[str, Any],
    *,
    is_array: bool,
) -> type[msgspec.Struct]:
    """Return the record of a method's parameters; unknown ones are refused."""
    fields = [_field(one, types[one.name]) for one in parameters]
    return msgspec.defstruct(
        place.replace(".", "_"),
        fields,
        array_like=is_array,
        forbid_unknown_fields=True,
        kw_only=not is_array and _has_keyword_only(parameters),
    )


def _field(one: inspect.Parameter, kind: Any) -> tuple[Any, ...]:
    if msgspec.UnsetType in typing.get_args(kind):  # a streamed one comes later, mostly
        return one.name, kind, msgspec.UNSET
    return (one.name, kind) if one.default is one.empty else (one.name, kind, one.default)


def _has_keyword_only(parameters: list[inspect.Parameter]) -> bool:
    return any(one.kind is one.KEYWORD_ONLY for one in parameters)
