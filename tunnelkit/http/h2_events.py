"""What has happened on a connection of HTTP/2, as its machine tells it (no I/O)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ConnectionFailed",
    "DataReceived",
    "Event",
    "GoAway",
    "Headers",
    "InformationalResponseReceived",
    "RemoteSettingsChanged",
    "RequestReceived",
    "ResponseReceived",
    "StreamEnded",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Fields in their order; `NeverIndexedHeaderTuple`: one that is never to be kept in tables."""


@dataclass(slots=True)
class RequestReceived:
    """A client has opened a stream."""

    stream_id: int
    headers: Headers
    stream_ended: bool


@dataclass(slots=True)
class ResponseReceived:
    """The head of a final answer."""

    stream_id: int
    headers: Headers
    stream_ended: bool


@dataclass(slots=True)
class InformationalResponseReceived:
    """The head of an answer before the final one."""

    stream_id: int
    headers: Headers


@dataclass(slots=True)
class DataReceived:
    """Bytes of a body; `flow_controlled_length` is what is to be acknowledged for them."""

    stream_id: int
    data: bytes
    flow_controlled_length: int
    stream_ended: bool


@dataclass(slots=True)
class TrailersReceived:
    """Fields behind a body; `StreamEnded` follows."""

    stream_id: int
    headers: Headers


@dataclass(slots=True)
class StreamEnded:
    """The peer sends no more on a stream; only told where no other event says so."""

    stream_id: int


@dataclass(slots=True)
class StreamReset:
    """A stream was cut; `by_peer` is false where the peer has broken a rule and we have cut it."""

    stream_id: int
    error_code: int
    by_peer: bool


@dataclass(slots=True)
class WindowUpdated:
    """More may be sent on a stream; 0: on all."""

    stream_id: int


@dataclass(slots=True)
class RemoteSettingsChanged:
    """The peer has said what it takes: more or less may be sent on all streams."""


@dataclass(slots=True)
class GoAway:
    """The peer opens no more streams, and has not seen ours above the last one."""

    last_stream_id: int
    code: int


@dataclass(slots=True)
class ConnectionFailed:
    """The peer has broken a rule that ends the connection; it was told, and nothing follows."""

    code: int
    text: str


Event: TypeAlias = (
    RequestReceived
    | ResponseReceived
    | InformationalResponseReceived
    | DataReceived
    | TrailersReceived
    | StreamEnded
    | StreamReset
    | WindowUpdated
    | RemoteSettingsChanged
    | GoAway
    | ConnectionFailed
)
