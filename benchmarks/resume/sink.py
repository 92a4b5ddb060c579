"""The client of one download: receives to the end, and notes each wait and the checksum.

    python sink.py HOST:PORT FILE

Prints "started" at the first byte.  At the end, FILE holds a line of JSON: `received` (bytes),
`is_intact` (the last 32 bytes are the SHA-256 of all before), `error` (how it broke, or ""),
`ended_at` and `waits` (begin and end), on the monotonic clock.  The standard library is all that
this program uses.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

CHUNK_BYTES = 256 * 1024
WORTH_NOTING_SECONDS = 0.001
DIGEST_BYTES = 32


class Download:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.received = 0
        self.waits: list[tuple[float, float]] = []
        self.error = ""
        self._seen = hashlib.sha256()
        self._tail = b""
        """The last bytes, which may be the checksum."""

    def run(self, connection: socket.socket) -> None:
        """Receive to the end."""
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        last = 0.0
        try:
            while size := connection.recv_into(buffer):
                now = time.monotonic()
                if not self.received:
                    print("started", flush=True)
                elif now - last > WORTH_NOTING_SECONDS:
                    self.waits.append((last, now))
                self._take(view[:size])
                # Before the next call, so that the time for the checksum is no wait.
                last = time.monotonic()
        except OSError as error:
            self.error = repr(error)
        self.waits.append((last, time.monotonic()))

    def _take(self, data: memoryview) -> None:
        self.received += len(data)
        if len(data) >= DIGEST_BYTES:
            self._seen.update(self._tail)
            self._seen.update(data[:-DIGEST_BYTES])
            self._tail = bytes(data[-DIGEST_BYTES:])
        else:
            joined = self._tail + data
            self._seen.update(joined[:-DIGEST_BYTES])
            self._tail = joined[-DIGEST_BYTES:]

    @property
    def is_intact(self) -> bool:
        """Whether all has arrived, as it was sent."""
        return not self.error and self._seen.digest() == self._tail


def main() -> None:
    """Download, and write down what was seen."""
    host, _, port = sys.argv[1].rpartition(":")
    path = Path(sys.argv[2])
    download = Download()
    with socket.create_connection((host, int(port))) as connection:
        download.run(connection)
    told = {
        "received": download.received,
        "is_intact": download.is_intact,
        "error": download.error,
        "ended_at": time.monotonic(),
        "waits": download.waits,
    }
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(told) + "\n")
    os.replace(draft, path)


if __name__ == "__main__":
    main()
