"""What our own loads are sent to: the first byte of a connection says what is wanted.

    python target.py PORT

- `e`: everything that follows comes back;
- `s`: everything that follows is counted.  Every 20 ms in which something came, a line of text
  goes back: the monotonic clock in seconds, and the bytes so far.

Prints "ready" when it accepts; SIGTERM ends it.  The standard library is all that it uses, with a
thread for each connection: there are two or three.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from contextlib import suppress

REPORT_SECONDS = 0.02
CHUNK_BYTES = 256 * 1024


def echo(connection: socket.socket) -> None:
    """Send everything back."""
    while data := connection.recv(CHUNK_BYTES):
        connection.sendall(data)


def count(connection: socket.socket) -> None:
    """Count everything, and tell."""
    buffer = bytearray(CHUNK_BYTES)
    received = told = 0
    told_at = time.monotonic()
    while True:
        wait = REPORT_SECONDS if received > told else None
        if select.select([connection], [], [], wait)[0]:
            size = connection.recv_into(buffer)
            if not size:
                return
            received += size
        now = time.monotonic()
        if received > told and now - told_at >= REPORT_SECONDS:
            connection.sendall(f"{now:.6f} {received}\n".encode())
            told, told_at = received, now


def serve(connection: socket.socket) -> None:
    """Serve one connection to its end; that it breaks is its client's matter."""
    with connection, suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        match connection.recv(1):
            case b"e":
                echo(connection)
            case b"s":
                count(connection)


def main() -> None:
    """Accept until the process is ended."""
    listener = socket.create_server(("", int(sys.argv[1])), backlog=64)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=[connection], daemon=True).start()


if __name__ == "__main__":
    main()
