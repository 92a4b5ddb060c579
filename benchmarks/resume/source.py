"""A server whose downloads last for some seconds and end with their own checksum.

    python source.py SECONDS

Each connection gets numbered blocks of a mebibyte for SECONDS, as fast as it takes them, then the
SHA-256 of everything before, 32 bytes, and the end.  Prints "ready PORT" when it accepts;
SIGTERM ends it.  The standard library is all that this program uses.
"""

from __future__ import annotations

import hashlib
import random
import socket
import sys
import threading
import time
from contextlib import suppress

BLOCK = random.Random(1).randbytes(1024 * 1024 - 8)
"""Random, so that no two places of a block are alike."""


def send(connection: socket.socket, seconds: float) -> None:
    """Serve one download; that its client leaves is no error."""
    with connection, suppress(OSError):
        seen = hashlib.sha256()
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            block = number.to_bytes(8, "big") + BLOCK
            seen.update(block)
            connection.sendall(block)
            number += 1
        connection.sendall(seen.digest())


def main() -> None:
    """Accept until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ready {listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        arguments = (connection, float(sys.argv[1]))
        threading.Thread(target=send, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
