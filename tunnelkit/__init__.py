"""Tunnels, intercepts and dev environments on Trio.

The names that most programs need; the rest is in the packages:

=====================  =====================================================================
`open_endpoint`        one identity, its links and its sessions; `Session` and `Stream`
`tunnelkit.broker`     `open_broker`: join endpoints that cannot reach each other
`tunnelkit.sidecar`    `open_sidecar`: listeners in front of a workload, with intercepts
`tunnelkit.devbox`     `open_devbox`: serve streams from an allow-list of local targets
`tunnelkit.auth`       keys, capability tokens, proofs; `python -m tunnelkit.auth`
`tunnelkit.testing`    a network in memory under virtual time, with faults
`tunnelkit.wire`       the protocol without I/O (docs/wire-protocol.md)
=====================  =====================================================================
"""

from ._version import __version__
from .addresses import Address, parse_address
from .auth import Capability, Identity, KeyRing, generate_key
from .endpoint import Endpoint, open_endpoint
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ErrorCode,
    LinkError,
    LinkLost,
    LinkRefused,
    LocalProtocolError,
    OpenRefused,
    RemoteProtocolError,
    SessionError,
    TunnelError,
)
from .session import Session
from .stream import Stream, StreamReset

__all__ = [
    "Address",
    "AuthenticationError",
    "Capability",
    "ConfigurationError",
    "Endpoint",
    "ErrorCode",
    "Identity",
    "KeyRing",
    "LinkError",
    "LinkLost",
    "LinkRefused",
    "LocalProtocolError",
    "OpenRefused",
    "RemoteProtocolError",
    "Session",
    "SessionError",
    "Stream",
    "StreamReset",
    "TunnelError",
    "__version__",
    "generate_key",
    "open_endpoint",
    "parse_address",
]
