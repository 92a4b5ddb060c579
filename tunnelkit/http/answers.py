"""Answers of our own: what a client is told where no server answers (no I/O)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from .head import Fields, RequestHead, ResponseHead, values_of

__all__ = ["Reply", "grpc_fields", "head_of_reply", "is_grpc", "plain_reply", "wants_json"]

_GRPC: Final = b"application/grpc"
_UNAVAILABLE: Final = b"14"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of our own."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    fields: Fields = ()
    """What else its head says."""


def wants_json(fields: Fields) -> bool:
    """Return whether a client asks for JSON, and not for a page."""
    accepted = b",".join(values_of(fields, b"accept")).lower()
    return b"application/json" in accepted and b"text/html" not in accepted


def plain_reply(head: RequestHead | None, status: int, text: str) -> Reply:
    """Return an answer in words, or in JSON where the client asks for that.

    Args:
        head: what it asked for; None: that could not be read.
        text: what is wrong, and what to do; it must hold no secret.
    """
    if head is not None and wants_json(head.fields):
        body = json.dumps({"status": status, "error": text}) + "\n"
        return Reply(status, body.encode(), "application/json")
    return Reply(status, f"{status} {HTTPStatus(status).phrase}: {text}\n".encode())


def head_of_reply(reply: Reply) -> ResponseHead:
    """Return its head as HTTP/1.1 says it; the connection ends behind it."""
    fields = (
        (b"Content-Type", reply.kind.encode()),
        (b"Content-Length", b"%d" % len(reply.body)),
        (b"Cache-Control", b"no-store"),
        *reply.fields,
        (b"Connection", b"close"),
    )
    return ResponseHead(reply.status, HTTPStatus(reply.status).phrase.encode(), b"1.1", fields)


def is_grpc(head: RequestHead) -> bool:
    """Return whether a request is a call of gRPC."""
    return next(values_of(head.fields, b"content-type"), b"").startswith(_GRPC)


def grpc_fields(text: str) -> Fields:
    """Return how gRPC says that a service cannot be reached: a head with nothing behind it."""
    message = quote(text, safe=" !#$&'()*+,/:;=?@[]").encode()
    return (
        *((b":status", b"200"), (b"content-type", _GRPC)),
        *((b"grpc-status", _UNAVAILABLE), (b"grpc-message", message)),
    )
