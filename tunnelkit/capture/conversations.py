"""Write the bytes of connections to a pcapng file as they come, within bounds.

How it works.  `ByteRecorder.begin` writes a made-up handshake, and `Conversation.said` the bytes in
made-up segments (`packets`), at once: nothing is kept but one small record for each connection that
is open.  Addresses are those of client and server where these are numeric; a name gets one of
198.18.0.0/15, which belongs to tests, and the name itself is in a comment.

At a bound, or when the file cannot be written, the recorder is over and says why.  No call raises.
Bytes cannot be redacted: a capture of bytes holds every credential that went by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

from tunnelkit._version import __version__
from tunnelkit.wire.stream import Buffer

from .packets import Flow, IpAddress, Place
from .pcapng import interface_block, packet_block, section_block, statistics_block

__all__ = ["ByteBounds", "ByteRecorder", "Conversation"]

MIB: Final = 1024 * 1024

MAX_NAMES: Final = 65_536
"""Most names that get an address; later ones share the last.  Stops: names that fill the memory."""

_FIRST_NAMED: Final = IPv4Address("198.18.0.1")
_EPHEMERAL: Final = 49_152
"""The first port of those that clients get, where theirs is not known or taken."""

MAX_OPEN: Final = 10_000
"""Most connections at once; others are not recorded.  Stops: more than there are ports to give."""


class Writable(Protocol):
    """What a capture is written to: a binary file."""

    def write(self, data: bytes, /) -> object:
        """Write all of *data*."""


@dataclass(frozen=True, slots=True)
class ByteBounds:
    """When a capture of bytes stops."""

    file_bytes: int = 256 * MIB
    """Most bytes of the file.  Stops: one download filling the disk."""
    seconds: float = 600.0
    """How long it runs.  Stops: one that was forgotten."""


_BOUNDS: Final = ByteBounds()


class ByteRecorder:
    """A capture of bytes that is running, or over.

    Args:
        file: what is written to; the caller closes it, after `close`.
        wall: returns unix seconds.
        steady: returns the seconds of a clock that is never set.
        first_seq: the first sequence number of each side.
    """

    def __init__(
        self,
        file: Writable,
        wall: Callable[[], float],
        steady: Callable[[], float],
        *,
        bounds: ByteBounds = _BOUNDS,
        first_seq: int = 0,
    ) -> None:
        self.bounds = bounds
        self.written_bytes = 0
        self.why_over = ""
        self._file = file
        self._wall = wall
        self._steady = steady
        self._ends = steady() + bounds.seconds
        self._first_seq = first_seq
        self._last = 0
        self._names: dict[str, IpAddress] = {}
        self._open: set[tuple[Place, Place]] = set()
        self._next_port = _EPHEMERAL
        program = f"tunnelkit {__version__}"
        text = "bytes of connections; packets, and addresses of names, are made up"
        self._write(section_block(program) + interface_block("tunnelkit", text))

    @property
    def open_count(self) -> int:
        """How many conversations have not ended."""
        return len(self._open)

    def begin(self, client: str, server: str) -> Conversation | None:
        """Begin to record a connection; None: it is not recorded.

        Args:
            client: ``ADDRESS:PORT``, or any name.
            server: likewise.
        """
        if self.is_over() or len(self._open) >= MAX_OPEN:
            return None
        pair = self._places(client, server)
        self._open.add(pair)
        conversation = Conversation(self, Flow(*pair, first_seq=self._first_seq), pair)
        for number, packet in enumerate(conversation.flow.begin()):
            self.write_packet(packet, "" if number else f"{client} to {server}")
        return conversation

    def is_over(self) -> bool:
        """Whether nothing more is recorded; `why_over` says why."""
        if not self.why_over and self._steady() >= self._ends:
            self.close(f"it ran for {self.bounds.seconds:g} s")
        return bool(self.why_over)

    def close(self, why: str = "it was stopped") -> None:
        """Record nothing more, and write why."""
        if not self.why_over:
            self._end(why)
            self._write(statistics_block(self._now(), f"the capture ended: {why}"))

    def _end(self, why: str) -> None:
        self.why_over = why
        self._open.clear()

    def write_packet(self, packet: bytes, comment: str = "") -> None:
        """Write a packet, unless the recorder is over, or is then."""
        if self.is_over():
            return
        block = packet_block(packet, self._now(), comment)
        if self.written_bytes + len(block) > self.bounds.file_bytes:
            self.close(f"the file has {self.written_bytes} bytes")
        else:
            self._write(block)

    def forget(self, pair: tuple[Place, Place]) -> None:
        """A conversation has ended."""
        self._open.discard(pair)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except (OSError, ValueError) as error:  # the disk is full, or somebody closed the file
            self._end(f"the file cannot be written: {error}")
        else:
            self.written_bytes += len(data)

    def _now(self) -> int:
        """Return nanoseconds that never go back, as readers expect of a file."""
        self._last = max(self._last, round(self._wall() * 1e9))
        return self._last

    def _places(self, client: str, server: str) -> tuple[Place, Place]:
        """Return places of one family that no open conversation has."""
        (here, port), (there, to_port) = self._place(client), self._place(server)
        if here.version != there.version:
            here, there = _mapped(here), _mapped(there)
        target = Place(there, to_port or 1)
        source = Place(here, port)
        while not source.port or (source, target) in self._open:
            source = Place(here, self._next_port)
            self._next_port = max(_EPHEMERAL, (self._next_port + 1) & 0xFFFF)
        return source, target

    def _place(self, text: str) -> tuple[IpAddress, int]:
        """Return the address and the port of a client or a server; 0: there is none."""
        host, colon, digits = text.rpartition(":")
        port = int(digits) if colon and digits.isascii() and digits.isdigit() else -1
        if not 0 <= port <= 0xFFFF or (":" in host and not host.startswith("[")):
            host, port = text, 0
        try:
            return ip_address(host.strip("[]")), port
        except ValueError:
            return self._named(host), port

    def _named(self, name: str) -> IpAddress:
        if name not in self._names and len(self._names) < MAX_NAMES:
            self._names[name] = _FIRST_NAMED + len(self._names)
        return self._names.get(name, _FIRST_NAMED + MAX_NAMES)


def _mapped(address: IpAddress) -> IPv6Address:
    if isinstance(address, IPv4Address):
        return IPv6Address(f"::ffff:{address}")
    return address


class Conversation:
    """One connection of a capture; made by `ByteRecorder.begin`.  No call raises."""

    __slots__ = ("_pair", "_recorder", "flow", "has_ended")

    def __init__(self, recorder: ByteRecorder, flow: Flow, pair: tuple[Place, Place]) -> None:
        self._recorder = recorder
        self._pair = pair
        self.flow = flow
        self.has_ended = False

    def said(self, from_client: bool, data: Buffer) -> None:
        """Record bytes of one direction; the buffer is valid only during the call."""
        for packet in self.flow.say(from_client, data):
            if self._recorder.why_over:
                return
            self._recorder.write_packet(packet)

    def finished(self, from_client: bool) -> None:
        """Record that one direction has ended, and the other one goes on."""
        for packet in self.flow.finish(from_client):
            self._recorder.write_packet(packet)

    def ended(self, is_reset: bool, *, by_client: bool = False) -> None:
        """Record the end of both directions; a no-op after the first time.

        Args:
            is_reset: whether bytes are missing.
            by_client: who reset it.
        """
        if self.has_ended:
            return
        self.has_ended = True
        if is_reset:
            for packet in self.flow.reset(by_client):
                self._recorder.write_packet(packet)
        else:
            self.finished(by_client)
            self.finished(not by_client)
        self._recorder.forget(self._pair)
