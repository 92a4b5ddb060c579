"""A request that somebody wrote down, or copied out of what a client printed (no I/O)."""

from __future__ import annotations

import re

from tunnelkit.errors import ConfigurationError

__all__ = ["request_in"]

_LINE = re.compile(r"(\S+) +(\S+)(?: +HTTP/[\d.]+)?")
_HEADER = re.compile(r"(:?[^\s:]+):[ \t]*(.*)")


def request_in(text: str) -> dict[str, object]:
    """Return method, path and headers of a request, as the method ``explain`` takes them.

    Marks that clients put before lines (``> ``) are taken off, and pseudo headers of HTTP/2 are
    understood.  Of a header that comes twice the values are joined.

    Raises:
        ConfigurationError: the text is no request.
    """
    lines = [line.rstrip("\r").removeprefix("> ").removesuffix(">") for line in text.split("\n")]
    lines = lines[next((n for n, line in enumerate(lines) if line.strip()), 0) :]
    headers: dict[str, str] = {}
    for line in lines[1:]:
        if not line.strip():
            break
        found = _HEADER.fullmatch(line)
        if found is None:
            raise ConfigurationError(f"this is no header: {line[:40]!r}; write NAME: VALUE")
        name, value = found[1].lower(), found[2].rstrip()
        glue = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{glue}{value}" if name in headers else value
    first = _LINE.fullmatch(lines[0].strip())
    if first is None or ":" in first[1]:
        raise ConfigurationError(
            f"this is no request: {lines[0][:40]!r}; write METHOD PATH HTTP/1.1, then headers"
        )
    if ":authority" in headers:
        headers.setdefault("host", headers[":authority"])
    kept = {name: value for name, value in headers.items() if not name.startswith(":")}
    return {"method": first[1], "path": first[2], "headers": kept}
