"""What a method is: its name, its parameters and their types, its result (no I/O).

Parameters are one record, which msgspec decodes and checks in one step; a wrong field is named by
its path (``$.zone``).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, Final

import msgspec
from msgspec import Raw

from .codes import RpcCode, RpcError
from .payload import is_payload

__all__ = ["UNKNOWN_METHOD", "MethodSpec", "whole_of"]


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """One method of an interface, as callers and servers need to know it."""

    service: str
    name: str
    about: str
    """The first paragraph of its docstring."""
    parameters: Mapping[str, inspect.Parameter]
    types: Mapping[str, Any]
    """By parameter."""
    result: Any
    """The type of the result, or of one of its items."""
    is_streamed: bool
    read_only: bool
    requires_state: tuple[str, ...]
    by_name: type[msgspec.Struct]
    """The record of its parameters, from an object."""
    by_place: type[msgspec.Struct]
    """The same from an array."""
    has_keyword_only: bool = False
    streamed: str = ""
    """The parameter that is streamed, if one is; its record has all of it, or nothing."""
    item: Any = None
    """The type of one item of that parameter."""

    @property
    def has_payload(self) -> bool:
        """Whether the result or an argument is a payload."""
        return (self.is_streamed and is_payload(self.result)) or is_payload(self.item)

    @property
    def wire_name(self) -> str:
        """What it is called on the wire."""
        return f"{self.service}.{self.name}"

    def decode(self, params: Raw) -> dict[str, Any]:
        """Return the arguments in *params*, an object or an array.

        Raises:
            RpcError: INVALID_PARAMS, with the path to what is wrong.
        """
        data = bytes(params)
        record = self.by_place if data[:1] == b"[" else self.by_name
        try:
            found = msgspec.json.decode(data, type=record)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            text = str(error) if isinstance(error, msgspec.ValidationError) else "this is no JSON"
            raise RpcError(RpcCode.INVALID_PARAMS, f"{self.wire_name}: {text}") from None
        return {name: getattr(found, name) for name in self.types}

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> msgspec.Struct:
        """Return the record of arguments of a call, as the caller wrote them.

        Raises:
            TypeError: they do not fit the method's parameters.
        """
        if not self.has_keyword_only:
            return self.by_name(*args, **kwargs)
        return self.by_name(**self._arguments(args, kwargs))

    def bind_streamed(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[msgspec.Struct, AsyncIterable[Any]]:
        """Return the record of the other arguments, and the one that is streamed.

        Raises:
            TypeError: they do not fit the method's parameters.
        """
        arguments = self._arguments(args, kwargs)
        values = arguments.pop(self.streamed)
        return self.by_name(**arguments), values

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        signature = inspect.Signature(list(self.parameters.values()))
        return signature.bind(*args, **kwargs).arguments


UNKNOWN_METHOD: Final = MethodSpec(
    service="rpc",
    name="unknown",
    about="What stands for a method that nobody serves, whatever name it was called by.",
    parameters={},
    types={},
    result=None,
    is_streamed=False,
    read_only=True,
    requires_state=(),
    by_name=msgspec.Struct,
    by_place=msgspec.Struct,
)
"""One name for all of them, so that nobody fills the labels of a metric."""


def whole_of(item: Any) -> Any:
    """Return the type of all items of that type together, for those who do not stream."""
    return bytes if is_payload(item) else GenericAlias(list, (item,))
