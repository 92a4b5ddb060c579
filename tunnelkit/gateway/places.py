"""Which part of the gateway a request is for, by its host and its path (no I/O)."""

from __future__ import annotations

from dataclasses import dataclass

from tunnelkit.http.head import RequestHead, values_of

from .rewriting import origin_of
from .sites import PreviewName, read_preview_name

__all__ = ["Api", "NoPreview", "PathRoute", "Place", "Preview", "Tunnel", "host_of", "place_of"]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A link of an endpoint, by an upgrade to WebSocket."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A host of its own."""

    name: PreviewName


@dataclass(frozen=True, slots=True)
class NoPreview:
    """A host below the domain that is no preview's."""

    label: str


@dataclass(frozen=True, slots=True)
class PathRoute:
    """A path that begins with the name of a site, or the API where no site has that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Api:
    """The control plane."""


Place = Tunnel | Preview | NoPreview | PathRoute | Api


def host_of(head: RequestHead) -> str:
    """Return the host that a request is for, without a port, in lower case; "": none is named."""
    text = origin_of(head)[1].decode("latin-1").lower()
    name = text.partition("]")[0] + "]" if text.startswith("[") else text.partition(":")[0]
    return name.rstrip(".")


def place_of(head: RequestHead, domain: str, tunnel_path: str) -> Place:
    """Return which part of the gateway a request is for.

    Args:
        domain: below which the preview hosts are; "": there are none.
        tunnel_path: where links come in.
    """
    host = host_of(head)
    if domain and host.endswith(f".{domain}"):
        label = host[: -len(domain) - 1]
        name = read_preview_name(label)
        return NoPreview(label) if name is None else Preview(name)
    path = origin_of(head)[0].partition(b"?")[0].decode("ascii")
    is_upgrade = any(b"websocket" in value.lower() for value in values_of(head.fields, b"upgrade"))
    if is_upgrade and path == tunnel_path:
        return Tunnel()
    name_in_path = path.split("/")[1] if path.startswith("/") else ""
    return PathRoute(name_in_path) if name_in_path else Api()
