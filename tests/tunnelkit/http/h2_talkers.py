"""Two sides of HTTP/2 that note what they say and hear: the machine of ours, and that of `h2`."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from h2 import events as theirs
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes

from tunnelkit.http import h2_events as ours
from tunnelkit.http.h2_machine import Machine, MachineLimits

__all__ = ["LIMITS", "Ours", "Talker", "Theirs"]

Pairs: TypeAlias = list[tuple[bytes, bytes]]
Note: TypeAlias = tuple[str, Any]

LIMITS = MachineLimits(
    max_streams=100,
    stream_window_bytes=70_000,
    connection_window_bytes=100_000,
    max_header_bytes=65_536,
)


class Talker(Protocol):
    """One side of a connection."""

    heard: dict[int, list[Note]]

    def open(self, fields: Pairs, *, ends: bool) -> int: ...
    def head(self, stream_id: int, fields: Pairs, *, ends: bool) -> None: ...
    def room(self, stream_id: int) -> int: ...
    def data(self, stream_id: int, data: bytes, *, ends: bool) -> None: ...
    def reset(self, stream_id: int) -> None: ...
    def take(self) -> None: ...
    def output(self) -> bytes: ...
    def receive(self, data: bytes) -> None: ...


class _Heard:
    """What came of each stream, bytes of a body together."""

    def __init__(self) -> None:
        self.heard: dict[int, list[Note]] = {}
        self._untaken: list[tuple[int, int]] = []

    def _note(self, stream_id: int, kind: str, what: Any = None) -> None:
        notes = self.heard.setdefault(stream_id, [])
        if kind == "data" and notes and notes[-1][0] == "data":
            what = notes.pop()[1] + what
        if kind != "data" or what:
            notes.append((kind, what))


class Ours(_Heard):
    """The machine of ours."""

    def __init__(self, *, is_client: bool) -> None:
        super().__init__()
        self.machine = Machine(is_client=is_client, limits=LIMITS)

    def open(self, fields: Pairs, *, ends: bool) -> int:
        return self.machine.open_stream(fields, ends=ends)

    def head(self, stream_id: int, fields: Pairs, *, ends: bool) -> None:
        self.machine.send_headers(stream_id, fields, ends=ends)

    def room(self, stream_id: int) -> int:
        return self.machine.room(stream_id)

    def data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        self.machine.send_data(stream_id, data, ends=ends)

    def reset(self, stream_id: int) -> None:
        self.machine.reset_stream(stream_id, 8)

    def take(self) -> None:
        for stream_id, size in self._untaken:
            self.machine.acknowledge(stream_id, size)
        self._untaken = []

    def output(self) -> bytes:
        return self.machine.take_output()

    def receive(self, data: bytes) -> None:
        for event in self.machine.receive(data, 0.0):
            self._hear(event)

    def _hear(self, event: ours.Event) -> None:
        if isinstance(event, ours.ConnectionFailed):
            raise AssertionError(event)
        if isinstance(event, (ours.RemoteSettingsChanged, ours.GoAway, ours.WindowUpdated)):
            return
        if isinstance(event, (ours.RequestReceived, ours.ResponseReceived)):
            self._note(event.stream_id, "head", _plain(event.headers))
        elif isinstance(event, ours.InformationalResponseReceived):
            self._note(event.stream_id, "interim", _plain(event.headers))
        elif isinstance(event, ours.TrailersReceived):
            self._note(event.stream_id, "trailers", _plain(event.headers))
        elif isinstance(event, ours.DataReceived):
            self._note(event.stream_id, "data", event.data)
            self._untaken.append((event.stream_id, event.flow_controlled_length))
        elif isinstance(event, ours.StreamReset):
            assert event.by_peer, event
            self._note(event.stream_id, "reset")
        if isinstance(event, ours.StreamEnded) or getattr(event, "stream_ended", False):
            self._note(event.stream_id, "end")


class Theirs(_Heard):
    """The machine of `h2`."""

    def __init__(self, *, is_client: bool) -> None:
        super().__init__()
        self.machine = H2Connection(H2Configuration(client_side=is_client, header_encoding=None))
        self.machine.initiate_connection()
        self.machine.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 100})
        self._unheeded = 2

    def settings(self, code: int, value: int) -> None:
        """Say something else of itself, once all was heeded: `h2` does not tell them apart."""
        if not self._unheeded:
            self._unheeded = 1
            self.machine.update_settings({code: value})

    def ping(self) -> None:
        """Ask whether the other side is there."""
        self.machine.ping(b"whatever")

    def open(self, fields: Pairs, *, ends: bool) -> int:
        stream_id = self.machine.get_next_available_stream_id()
        self.machine.send_headers(stream_id, fields, end_stream=ends)
        return stream_id

    def head(self, stream_id: int, fields: Pairs, *, ends: bool) -> None:
        self.machine.send_headers(stream_id, fields, end_stream=ends)

    def room(self, stream_id: int) -> int:
        window = self.machine.local_flow_control_window(stream_id)
        return max(0, min(window, self.machine.max_outbound_frame_size))

    def data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        padding = len(data) % 7 if len(data) + 8 <= self.room(stream_id) else None
        self.machine.send_data(stream_id, data, end_stream=ends, pad_length=padding or None)

    def reset(self, stream_id: int) -> None:
        self.machine.reset_stream(stream_id, 8)

    def take(self) -> None:
        for stream_id, size in self._untaken:
            self.machine.acknowledge_received_data(size, stream_id)
        self._untaken = []

    def output(self) -> bytes:
        return self.machine.data_to_send()

    def receive(self, data: bytes) -> None:
        for event in self.machine.receive_data(data):
            self._hear(event)

    def _hear(self, event: theirs.Event) -> None:
        stream_id = getattr(event, "stream_id", None) or 0
        self._unheeded -= isinstance(event, theirs.SettingsAcknowledged)
        if isinstance(event, (theirs.RequestReceived, theirs.ResponseReceived)):
            self._note(stream_id, "head", _plain(event.headers or []))
        elif isinstance(event, theirs.InformationalResponseReceived):
            self._note(stream_id, "interim", _plain(event.headers or []))
        elif isinstance(event, theirs.TrailersReceived):
            self._note(stream_id, "trailers", _plain(event.headers or []))
        elif isinstance(event, theirs.DataReceived):
            self._note(stream_id, "data", event.data)
            self._untaken.append((stream_id, event.flow_controlled_length or 0))
        elif isinstance(event, theirs.StreamEnded):
            self._note(stream_id, "end")
        elif isinstance(event, theirs.StreamReset):
            assert event.remote_reset, event
            self._note(stream_id, "reset")


def _plain(headers: Any) -> Pairs:
    return [(bytes(name), bytes(value)) for name, value in headers]
