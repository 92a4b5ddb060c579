"""HAR files for tests, as programs write them."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["entry", "har", "pairs"]


def pairs(**values: str) -> list[dict[str, str]]:
    """Return headers; an underscore in a name stands for a hyphen."""
    return [{"name": n.replace("_", "-"), "value": value} for n, value in values.items()]


def entry(url: str = "http://shop/", method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return an entry that was answered with 200 and ``ok``.

    Args:
        more: ``request``, ``response`` and ``content`` have members that are added to those;
            everything else is of the entry.
    """
    content = {"size": 2, "mimeType": "text/plain", "text": "ok"} | more.pop("content", {})
    request = {"method": method, "url": url, "headers": [], "bodySize": 0}
    response = {"status": 200, "headers": [], "content": content}
    return {
        "startedDateTime": "2026-01-01T00:00:00Z",
        "time": 1.5,
        "request": request | more.pop("request", {}),
        "response": response | more.pop("response", {}),
        **more,
    }


def har(*entries: object) -> bytes:
    """Return a file with these entries."""
    return json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()
