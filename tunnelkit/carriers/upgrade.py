"""The HTTP handshake that turns a pipe into a WebSocket, for both sides.

A handshake is an object on a pipe, driven by the pump like everything else: no task waits in it.
What both sides share is in `exchange`, what a user can set in `upgrade_options`.

This module is imported where the first WebSocket is made, and not before: the libraries behind it
take 2 MiB, which a program without WebSockets need not pay for.
"""

from __future__ import annotations

from .exchange import MAX_HEAD_BYTES, TIMEOUT_SECONDS
from .upgrade_client import connect_websocket
from .upgrade_options import SUBPROTOCOL, WebSocketOptions
from .upgrade_server import LINGER_SECONDS, listen_websocket

__all__ = [
    "LINGER_SECONDS",
    "MAX_HEAD_BYTES",
    "SUBPROTOCOL",
    "TIMEOUT_SECONDS",
    "WebSocketOptions",
    "connect_websocket",
    "listen_websocket",
]
