"""The customer of the demo: an ordinary HTTP client that knows nothing of tunnels.

``client.py call HOST:PORT`` makes one call, ``client.py download HOST:PORT --mib N`` one download:
one connection, one request, no second try.  ``client.py ask HOST:PORT --requests JSON`` makes
several requests over one connection.  All print lines of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse

READ_BYTES = 1024 * 1024
REPORTS = 100
"""How often a download says how far it is."""

GAP_SECONDS = 0.005
"""A wait for the next byte that is longer than this is told, seconds."""


def tell(**facts: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(facts), flush=True)


def call(address: str) -> None:
    """Ask the shop for an apple."""
    started = time.monotonic()
    connection = HTTPConnection(address, timeout=30)
    connection.request("GET", "/buy")
    response = connection.getresponse()
    answer = json.loads(response.read())
    tell(status=response.status, seconds=time.monotonic() - started, **answer)


def ask(address: str, requests: list[list[str]]) -> None:
    """Ask over one connection; tell each answer, and the port that the client had.

    Args:
        requests: ``[PATH, HOST, TRACESTATE, AUTHORIZATION]``; only the path is needed.
    """
    connection = HTTPConnection(address, timeout=30)
    for path, *more in requests:
        names = ("Host", "Tracestate", "Authorization")
        headers = {name: value for name, value in zip(names, more, strict=False) if value}
        connection.request("GET", path, headers=headers)
        port = connection.sock.getsockname()[1]
        response = connection.getresponse()
        answer = json.loads(response.read())
        cache = response.getheader("Cache-Control") or ""
        tell(**{**answer, "status": response.status, "port": port, "cache": cache})


def download(address: str, mib: int) -> None:
    """Read the download; tell the progress, the gaps, and the checksum."""
    connection = HTTPConnection(address, timeout=120)
    connection.request("GET", f"/download?mib={mib}")
    response = connection.getresponse()
    total = int(response.getheader("Content-Length") or 0)
    started = time.monotonic()
    digest, received, gaps = _read_all(response, total)
    tell(
        event="done",
        status=response.status,
        served_by=response.getheader("X-Served-By"),
        received=received,
        sha256=digest,
        seconds=time.monotonic() - started,
        gaps=gaps,
    )


def _read_all(response: HTTPResponse, total: int) -> tuple[str, int, list[dict[str, float]]]:
    digest, received, told, gaps = hashlib.sha256(), 0, 0, []
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    asked = time.monotonic()
    # `read1` would make new bytes each time; this is one copy, and returns what is there.
    while received < total and (count := response.fp.readinto1(buffer)):
        now = time.monotonic()
        if now - asked > GAP_SECONDS:
            gaps.append({"offset": received, "from": asked, "seconds": now - asked})
        received += count
        digest.update(view[:count])
        if received * REPORTS // total > told:
            told = received * REPORTS // total
            tell(event="progress", received=received, at=now)
        asked = time.monotonic()
    return digest.hexdigest(), received, gaps


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(description="The client of the demo.")
    parser.add_argument("command", choices=("call", "ask", "download"))
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--mib", type=int, default=1)
    parser.add_argument("--requests", type=json.loads, default=[])
    options = parser.parse_args()
    try:
        if options.command == "call":
            call(options.address)
        elif options.command == "ask":
            ask(options.address, options.requests)
        else:
            download(options.address, options.mib)
    except (OSError, ValueError, HTTPException) as error:
        sys.exit(f"error: {options.command} to {options.address} failed: {error!r}")


if __name__ == "__main__":
    main()
