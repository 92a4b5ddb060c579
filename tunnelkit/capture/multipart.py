"""Take credentials out of multipart forms (no I/O)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["redact_parts"]

_BOUNDARY: Final = re.compile(rb"(?i)boundary=(?:\"([^\"]{1,200})\"|([^\s;,\"]{1,200}))")
_NAME: Final = re.compile(rb"(?i)[;\s]name=(?:\"([^\"]*)\"|([^\s;\"]*))")


def redact_parts(
    data: bytes, kind: bytes, is_secret: Callable[[bytes], bool], mark: Callable[[bytes], bytes]
) -> bytes:
    """Return a multipart form without the parts whose names say that they are secret.

    Args:
        kind: its ``Content-Type``, with the boundary.
        mark: returns what stands for a value.
    """
    found = _BOUNDARY.search(kind)
    if found is None:
        return data
    line = b"--" + (found[1] or found[2])
    return line.join(_part(part, is_secret, mark) for part in data.split(line))


def _part(part: bytes, is_secret: Callable[[bytes], bool], mark: Callable[[bytes], bytes]) -> bytes:
    head, gap, value = part.partition(b"\r\n\r\n")
    found = _NAME.search(head)
    if not gap or found is None or not is_secret(found[1] or found[2] or b""):
        return part
    end = b"\r\n" if value.endswith(b"\r\n") else b""
    return head + gap + mark(value.removesuffix(b"\r\n")) + end
