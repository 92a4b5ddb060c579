"""Two-way RPC: both sides of one connection serve and call at the same time.

How it works
------------
A *peer* is one end of a connection.  It serves the services that it was given and calls those of
the other end, over whatever carries messages: lines on a Trio stream (TCP, TLS, unix sockets,
stdio, a stream of a tunnel) or messages of a WebSocket.  The messages are JSON-RPC 2.0, so that
any client of that can call; what goes beyond it goes only to those who know it (`greeting`).

    async with open_peer(channel, serve=[ClockService()]) as peer:
        moment = await peer.proxy(Clock).now("UTC")

* `messages` reads and writes, `inflight` knows what is under way, `service` knows what can be
  called and with which types, `dispatch` decides what becomes of a request, and `describe` tells
  others of it as an OpenRPC document: none of them does I/O.
* `peer` has one task that reads, one that writes (`sending`), and one for each call that is served
  (`serving`); calls of this side are made by who wants something (`asking`).  The reader never
  waits for the writer: what is to be sent is queued, and the queue is bounded by bounding what may
  cause it.  So a stalled half never stops the other.  What has arrived and waits is bounded by
  count, and over all calls by bytes (`backlog`).
* Whoever leaves a call tells the other side.  The deadline of the scope in which a call is made
  travels along, as the time that is left, so that it ends on both sides; a handler's own calls
  inherit it.  When the connection ends, all calls end with `PeerGone`.
* A call carries the state that its caller has seen, as a number; where the state has changed since,
  it is refused before any effect (`epochs`, `dispatch`).
* A streamed result is a sequence of numbered items under credit: a slow consumer slows the
  producer, and nothing else.  Bytes are a payload, which never turns into text where both sides
  know better (`payload`).
* `http_app` serves the same services to callers of HTTP, who come and go, and `http_client` calls
  them.

Names on the wire that begin with ``rpc.`` belong to the protocol itself.
"""

from __future__ import annotations

from .channels import Channel, LineChannel
from .codes import PeerGone, RpcCode, RpcError
from .context import current_caller, current_trace, traced
from .dispatch import Bound, Caller, Handler, Middleware, Stateful
from .http_app import HttpApp
from .http_checks import Credentials
from .http_client import HttpClient, open_http_client
from .keeping import KeptPeer, keep_peer
from .middleware import Outcome, audited, authenticated, counted, rate_limited
from .peer import Peer, open_peer
from .service import NotServed, Service, rpc_method
from .sessions import SessionChannel, open_session_channel, session_channels
from .stdio import open_process_channel, open_stdio_channel
from .websocket import WebSocketChannel, accept_websocket, open_websocket

__all__ = [
    "Bound",
    "Caller",
    "Channel",
    "Credentials",
    "Handler",
    "HttpApp",
    "HttpClient",
    "KeptPeer",
    "LineChannel",
    "Middleware",
    "NotServed",
    "Outcome",
    "Peer",
    "PeerGone",
    "RpcCode",
    "RpcError",
    "Service",
    "SessionChannel",
    "Stateful",
    "WebSocketChannel",
    "accept_websocket",
    "audited",
    "authenticated",
    "counted",
    "current_caller",
    "current_trace",
    "keep_peer",
    "open_http_client",
    "open_peer",
    "open_process_channel",
    "open_session_channel",
    "open_stdio_channel",
    "open_websocket",
    "rate_limited",
    "rpc_method",
    "session_channels",
    "traced",
]
