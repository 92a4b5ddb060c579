"""Answers of our own: what a client is told where no server answers (no I/O)."""

from __future__ import annotations

import json
from http import HTTPStatus

from .head import Fields, values_of

__all__ = ["answer_of", "wants_json"]


def wants_json(fields: Fields) -> bool:
    """Return whether a client asks for JSON, and not for a page."""
    accepted = b",".join(values_of(fields, b"accept")).lower()
    return b"application/json" in accepted and b"text/html" not in accepted


def answer_of(status: int, text: str, *, is_json: bool = False) -> bytes:
    """Return a whole response that says what is wrong; the connection ends behind it.

    Args:
        text: what is wrong, and what to do; it must hold no secret.
    """
    phrase = HTTPStatus(status).phrase
    if is_json:
        kind, body = "application/json", json.dumps({"status": status, "error": text}) + "\n"
    else:
        kind, body = "text/plain; charset=utf-8", f"{status} {phrase}: {text}\n"
    data = body.encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + data
