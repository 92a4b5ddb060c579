"""What becomes of a request: who serves it, in which state, with which arguments (no I/O).

`Registry` is the table of what one side serves.  It finds the method and decodes the arguments;
what comes of that is a `Bound` call, which goes through middleware and begins at its end.

A service that keeps state derives from `Stateful`.  Its *epoch* grows with every change of the
state; a call that carries an older one is refused before any effect, unless the method only reads.
State and epoch are checked where the call begins, with no await between the check and the first
step of the method: of two calls that saw the same state, the second finds that it has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from msgspec import UNSET

from .codes import RpcCode, RpcError
from .describe import ProtocolService
from .flow import ending
from .messages import Extras, Request
from .service import Service, methods_of
from .spec import UNKNOWN_METHOD, MethodSpec

__all__ = ["Bound", "Caller", "Middleware", "Registry", "Stateful"]


class Stateful:
    """What a service derives from that has a state, and counts its changes.

    Attributes:
        state: the name of the state that it is in; "" before the first `change_state`.
        epoch: how often the state has changed.
    """

    state: str = ""
    epoch: int = 0

    def change_state(self, state: str) -> int:
        """Go to another state, or say that something of this one has changed; return the epoch."""
        self.state = state
        self.epoch += 1
        return self.epoch


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as middleware sees it."""

    name: str
    """The other end, for people; "" where nothing is known of it."""
    subject: str = ""
    """Who it has proven to be; "": nobody."""


Handler: TypeAlias = Callable[["Bound"], Awaitable[Any]]

Middleware: TypeAlias = Callable[["Bound", Handler], Awaitable[Any]]
"""A function around each call: it may look, refuse (by raising RpcError), and call the rest."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A call that is about to be made: a method with its arguments."""

    spec: MethodSpec
    service: Service
    arguments: Mapping[str, Any]
    caller: Caller
    extras: Extras | None = None
    error: RpcError | None = None
    """Why it cannot be made, if it cannot: it goes through middleware as others do."""

    def begin(self) -> Any:
        """Call the method; return what it returned: an awaitable, or an iterator of items.

        Whoever awaits it has to do so at once.

        Raises:
            RpcError: there is no such method, its arguments are wrong, it cannot be called in this
                state, or the caller's epoch is stale: nothing
                was done.  Where items are returned, the first one raises it.
        """
        if self.error is not None:
            raise self.error
        if self.spec.is_streamed and isinstance(self.service, Stateful):
            return self._items()
        self._check()
        return getattr(self.service, self.spec.name)(**self.arguments)

    async def _items(self) -> AsyncIterator[Any]:
        """Yield the items of a method whose first step follows the check."""
        self._check()
        async with ending(getattr(self.service, self.spec.name)(**self.arguments)) as items:
            async for item in items:
                yield item

    def _check(self) -> None:
        if isinstance(self.service, Stateful):
            _check_state(self.service, self.spec, self.extras)


class Registry:
    """What one side serves.

    Args:
        services: instances of classes that derive from interfaces; one of each name.

    Raises:
        RpcError: CONFLICT, two of them have one name.
        LocalProtocolError: one is no service.
    """

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self._methods: dict[str, tuple[Service, MethodSpec]] = {}
        self.services: dict[str, Service] = {}
        self._about = ProtocolService(self.services.values)
        for spec in methods_of(ProtocolService).values():
            self._methods[spec.wire_name] = self._about, spec
        for service in services:
            self.add(service)

    def add(self, service: Service) -> None:
        """Serve one more."""
        methods = methods_of(type(service))
        if service.rpc_name in self.services or service.rpc_name == ProtocolService.rpc_name:
            raise RpcError(RpcCode.CONFLICT, f"service {service.rpc_name!r} is served already")
        self.services[service.rpc_name] = service
        for spec in methods.values():
            self._methods[spec.wire_name] = service, spec

    def bind(self, request: Request, caller: Caller) -> Bound:
        """Return the call that *request* asks for.

        Where there is no such method, or the arguments are wrong, it has an error, and raises it
        where it begins: behind the middleware, which may have nothing said to this caller.
        """
        service, spec = self._methods.get(request.method, (self._about, UNKNOWN_METHOD))
        if spec is UNKNOWN_METHOD:
            error = RpcError(RpcCode.METHOD_NOT_FOUND, self._unknown(request.method))
            return Bound(spec, service, {}, caller, request.extras, error)
        try:
            arguments = spec.decode(request.params)
        except RpcError as error:
            return Bound(spec, service, {}, caller, request.extras, error)
        return Bound(spec, service, arguments, caller, request.extras)

    def extras_for(self, request: Request) -> Extras | None:
        """Return what a reply tells beside the result: the epoch, to who speaks of such things."""
        found = self._methods.get(request.method)
        if request.extras is None or found is None or not isinstance(found[0], Stateful):
            return None
        return Extras(epoch=found[0].epoch)

    def _unknown(self, name: str) -> str:
        service = name.partition(".")[0]
        if service in self.services:
            there = ", ".join(methods_of(type(self.services[service])))
            return f"service {service!r} has no method {name[:100]!r}; it has: {there}"
        there = ", ".join(self.services) or "none"
        return f"there is no method {name[:100]!r}; the services here are: {there}"


def _check_state(service: Stateful, spec: MethodSpec, extras: Extras | None) -> None:
    epoch = extras.epoch if extras is not None else UNSET
    if epoch is not UNSET and epoch != service.epoch and not spec.read_only:
        raise RpcError(
            RpcCode.STALE_EPOCH,
            f"{spec.wire_name}: the state has changed (epoch {service.epoch}, not {epoch}): "
            "look again, and decide anew",
            {"epoch": service.epoch},
        )
    if spec.requires_state and service.state not in spec.requires_state:
        raise RpcError(
            RpcCode.WRONG_STATE,
            f"{spec.wire_name} needs the state {' or '.join(spec.requires_state)}, "
            f"and this is {service.state or 'none yet'}",
            {"state": service.state, "epoch": service.epoch},
        )
