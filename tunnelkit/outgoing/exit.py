"""`Exit`: what an endpoint serves to its peers: named targets, and addresses that its rules allow.

An incoming stream says where it wants to go: to a name on the list of targets, or to an address,
``HOST:PORT``, that a rule allows (`allow`).  The exit looks the host up, connects to it, answers
`opened` and splices the two; if not, it refuses with a code and a text that the other side can
read.  What is not allowed is refused before anything is looked up, and always with the same words,
so that a refusal tells nothing about what exists behind.

`opened` is sent only after the connect, so that the other side can still turn to its own target
when nobody listens here.  That the peer's own token allows the target, the endpoint has checked
before the exit hears of the stream.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Final

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Pending, Pipe
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import ConfigurationError, ErrorCode
from tunnelkit.pump import Deadlines
from tunnelkit.session import Session
from tunnelkit.splice import PipeEnd, splice_stream
from tunnelkit.wire.stream import NullEnd, StreamCore

from .allow import AllowList, AllowRule, HostPort, IPAddress, unmapped
from .attempts import connect_any

__all__ = ["Exit"]

MAX_LOOK_UPS: Final = 16
"""Names that an exit looks up at once; more wait.  Stops: a peer that takes all of the threads, in
which the system looks names up, with names that nobody answers for."""


class _Opening(NullEnd):
    """The sink of a stream whose target is being connected to: notices when the peer leaves."""

    __slots__ = ("is_left", "key", "on_left", "pending", "stream", "words")

    def __init__(
        self, stream: StreamCore, words: object, on_left: Callable[[_Opening], None]
    ) -> None:
        self.stream = stream
        self.words = words
        self.on_left = on_left
        self.pending: Pending | None = None
        self.key = -1
        self.is_left = False

    def abort(self, code: int, text: str) -> None:
        self.leave()

    def stop(self, code: int, text: str) -> None:
        self.leave()

    def leave(self) -> None:
        """The peer does not wait any more."""
        if not self.is_left:
            self.cancel()
            self.on_left(self)

    def cancel(self) -> None:
        """Give the connect up."""
        self.is_left = True
        if self.pending is not None:
            self.pending.cancel()


class Exit:
    """Connects incoming streams of an endpoint to what its settings allow.

    Args:
        endpoint: whose streams to serve; its `on_stream` is taken.
        nursery: for looking names up.
        targets: from the names that peers may ask for to addresses.
        allow: rules for targets that are addresses.  Without targets and rules all is refused.
        own_addresses: returns where this program listens: a name never leads there.

    Raises:
        ConfigurationError: a target's name has a colon, or a rule is none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        nursery: trio.Nursery,
        *,
        targets: Mapping[str, Address],
        allow: Iterable[AllowRule | str] = (),
        own_addresses: Callable[[], Iterable[Address]] = tuple,
    ) -> None:
        for name in targets:
            if ":" in name:
                raise ConfigurationError(
                    f"target {name!r} has a colon, as only addresses do: choose another name"
                )
        self.targets = dict(targets)
        self.allow = AllowList(allow)
        self.served_count = 0
        self.refused_count = 0
        self.last_refusal = ""
        self.on_idle: Callable[[], None] = lambda: None
        self.join: Callable[[PipeEnd, StreamCore], None] = splice_stream
        """Joins the connection to a target and the stream that asked for it."""
        self._named = {name for name, address in targets.items() if not _is_numeric(address)}
        self._own_addresses = own_addresses
        self._endpoint = endpoint
        self._nursery = nursery
        self._look_ups = trio.CapacityLimiter(MAX_LOOK_UPS)
        self._deadlines = Deadlines(endpoint.pump, limits.CONNECT_TIMEOUT_SECONDS)
        self._openings: set[_Opening] = set()
        self._ends: set[PipeEnd] = set()
        self._is_draining = False
        endpoint.on_stream = self._offered

    @property
    def open_count(self) -> int:
        """How many connections are open or being made."""
        return len(self._ends) + len(self._openings)

    def drain(self) -> None:
        """Refuse new streams from now on; `on_idle` is called when the last running one is over."""
        self._is_draining = True

    def close(self) -> None:
        """Refuse what comes from now on, and reset what is open."""
        self._is_draining = True
        text = f"{self._endpoint.subject} is shutting down"
        for opening in list(self._openings):
            self._give_up(opening, ErrorCode.GOING_AWAY, text)
        self._deadlines.close()
        for end in list(self._ends):
            end.reset(ErrorCode.GOING_AWAY, text)

    # --- what is asked for --------------------------------------------------------------------

    def _offered(self, session: Session, stream: StreamCore) -> None:
        subject, wanted = self._endpoint.subject, stream.target[:100]
        if self._is_draining:
            self._refuse(stream, ErrorCode.GOING_AWAY, f"{subject} is shutting down")
        elif ":" in stream.target:
            self._offered_address(stream)
        elif stream.target in self.targets:
            self._offered_name(stream, self.targets[stream.target])
        else:
            text = f"{subject} serves no target {wanted!r}"
            self._refuse(stream, ErrorCode.UNKNOWN_TARGET, text)

    def _offered_name(self, stream: StreamCore, address: Address) -> None:
        opening = self._begin(stream, address)
        if stream.target in self._named:
            self._nursery.start_soon(self._look_up, opening, address, None)
        else:
            self._connect(opening, [address])

    def _offered_address(self, stream: StreamCore) -> None:
        try:
            target = HostPort.parse(stream.target)
        except ValueError as error:
            text = f"{self._endpoint.subject} serves no target {stream.target[:100]!r}: {error}"
            self._refuse(stream, ErrorCode.UNKNOWN_TARGET, text)
            return
        network = self._endpoint.network
        address = Address(network.plain_scheme, target.host, target.port)
        if not self.allow.may_try(target) or (target.ip and not self._may_reach(target, address)):
            self._refuse(stream, ErrorCode.FORBIDDEN, self._not_allowed(target))
            return
        opening = self._begin(stream, target)
        if target.ip is None:
            self._nursery.start_soon(self._look_up, opening, address, target)
        else:
            self._connect(opening, [address])

    def _not_allowed(self, target: HostPort) -> str:
        return f"{self._endpoint.subject} does not allow address {str(target)[:100]!r}"

    def _may_reach(self, target: HostPort, address: Address) -> bool:
        try:
            ip: IPAddress = unmapped(ip_address(address.host))
        except ValueError:
            # Only hosts in memory have no number, and nothing makes names lead elsewhere there.
            return address.scheme == "memory"
        return self.allow.may_reach(target, ip, is_own=self._is_own(ip, address.port))

    def _is_own(self, ip: IPAddress, port: int) -> bool:
        """Whether this program listens there; a name that leads to it would make a loop."""
        hosts = {own.host for own in self._own_addresses() if own.port == port}
        if str(ip) in hosts:
            return True
        return bool(hosts & {"0.0.0.0", "::"}) and is_local(ip)

    async def _look_up(self, opening: _Opening, address: Address, target: HostPort | None) -> None:
        """Look an address up, and connect; *target* is what the peer asked for by address."""
        network, pump = self._endpoint.network, self._endpoint.pump
        if opening.is_left:
            return
        found: list[Address] | ConnectFailed
        with trio.CancelScope() as opening.pending:
            try:
                found = await network.resolve_all(address, self._look_ups)
            except ConnectFailed as error:
                found = error
            with pump.batch():
                opening.pending = None
                if isinstance(found, ConnectFailed):
                    self._connected(opening, found)
                elif target is None:
                    self._connect(opening, found)
                elif allowed := [one for one in found if self._may_reach(target, one)]:
                    self._connect(opening, allowed)
                else:
                    self._give_up(opening, ErrorCode.FORBIDDEN, self._not_allowed(target))

    # --- connecting ---------------------------------------------------------------------------

    def _begin(self, stream: StreamCore, words: object) -> _Opening:
        opening = _Opening(stream, words, self._left)
        stream.sink = opening
        self._openings.add(opening)

        def timed_out() -> None:
            text = f"no answer from {words} within {limits.CONNECT_TIMEOUT_SECONDS:g} s"
            self._give_up(opening, ErrorCode.TARGET_UNREACHABLE, text)

        opening.key = self._deadlines.add(timed_out)
        return opening

    def _connect(self, opening: _Opening, addresses: list[Address]) -> None:
        def done(result: Pipe | ConnectFailed) -> None:
            self._connected(opening, result)

        network, pump = self._endpoint.network, self._endpoint.pump
        opening.pending = connect_any(network, addresses, pump, done)

    def _connected(self, opening: _Opening, result: Pipe | ConnectFailed) -> None:
        opening.pending = None
        if isinstance(result, ConnectFailed):
            if not opening.is_left:
                code = ErrorCode.TARGET_REFUSED if result.refused else ErrorCode.TARGET_UNREACHABLE
                # Not the whole text: it tells which address a name led to.
                why = str(result).rpartition(": ")[2]
                self._give_up(opening, code, f"cannot connect to {opening.words}: {why}")
            return
        self._forget(opening)
        if opening.is_left or not opening.stream.accept():
            result.close()
            self._tell_if_idle()
            return
        self.served_count += 1
        end = PipeEnd(result, self._over)
        self._ends.add(end)
        self.join(end, opening.stream)

    def _left(self, opening: _Opening) -> None:
        """The peer left; where it only stopped reading, it still waits for an answer."""
        self._forget(opening)
        opening.stream.refuse(ErrorCode.CANCELLED, "the opener gave up")
        self._tell_if_idle()

    def _give_up(self, opening: _Opening, code: int, text: str) -> None:
        self._forget(opening)
        opening.cancel()
        self._refuse(opening.stream, code, text)
        self._tell_if_idle()

    def _forget(self, opening: _Opening) -> None:
        self._deadlines.remove(opening.key)
        self._openings.discard(opening)

    def _over(self, end: PipeEnd) -> None:
        self._ends.discard(end)
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self.open_count:
            self.on_idle()

    def _refuse(self, stream: StreamCore, code: int, text: str) -> None:
        self.refused_count += 1
        self.last_refusal = text
        stream.refuse(code, text)


def _is_numeric(address: Address) -> bool:
    if address.scheme != "tcp":
        return True
    try:
        ip_address(address.host)
    except ValueError:
        return False
    return True


def is_local(ip: IPAddress) -> bool:
    """Whether an address is one of this machine: only those can be bound to."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
