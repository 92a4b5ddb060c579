"""Objects that look like a service and call it at the other end."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

import msgspec

from .epochs import Epoch
from .service import Service, methods_of, service_name
from .spec import MethodSpec

__all__ = ["Calling", "make_proxy"]

T = TypeVar("T", bound=Service)

_CLASSES: dict[type[Service], type[Service]] = {}


class Calling(Protocol):
    """What a proxy calls through: a peer."""

    def epoch_of(self, service: str) -> Epoch:
        """Return what is known of the epoch of a service, for a new proxy to keep."""

    async def call(self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch) -> Any:
        """Call a method and return its result."""

    async def call_with_values(
        self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch, values: AsyncIterable[Any]
    ) -> Any:
        """Call a method that takes a streamed argument."""

    def stream(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        epoch: Epoch,
        values: AsyncIterable[Any] | None = None,
    ) -> AsyncIterator[Any]:
        """Call a method whose result is streamed, and perhaps an argument as well."""


def make_proxy(interface: type[T], peer: Calling) -> T:
    """Return an object of the type *interface* whose methods call those of *peer*.

    Raises:
        LocalProtocolError: it is no interface.
    """
    made = _CLASSES.get(interface)
    if made is None:
        methods = {name: _method(spec) for name, spec in methods_of(interface).items()}
        made = type(f"{interface.__name__}Proxy", (interface,), methods)
        _CLASSES[interface] = made
    proxy = made.__new__(made)
    object.__setattr__(proxy, "_peer", peer)
    object.__setattr__(proxy, "_epoch", peer.epoch_of(service_name(interface)))
    return cast("T", proxy)


def _method(spec: MethodSpec) -> Callable[..., Any]:
    def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        peer: Calling = self._peer
        if not spec.streamed:
            return peer.stream(spec, spec.bind(args, kwargs), self._epoch)
        params, values = spec.bind_streamed(args, kwargs)
        return peer.stream(spec, params, self._epoch, values)

    def call(self: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        peer: Calling = self._peer
        return peer.call(spec, spec.bind(args, kwargs), self._epoch)

    def call_with_values(self: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        peer: Calling = self._peer
        params, values = spec.bind_streamed(args, kwargs)
        return peer.call_with_values(spec, params, self._epoch, values)

    made: Callable[..., Any] = call
    if spec.is_streamed:
        made = stream
    elif spec.streamed:
        made = call_with_values
    made.__name__, made.__doc__ = spec.name, spec.about
    return made
