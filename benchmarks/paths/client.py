"""The client's end of our own loads, run in the entry's namespace; prints one line of JSON.

    python client.py port HOST:PORT SECONDS      nothing, once somebody listens there
    python client.py web HOST:PORT SECONDS       the body of one HTTP answer
    python client.py wait HOST:PORT SECONDS      nothing, once an echo has come back
    python client.py echo HOST:PORT SECONDS LEAD milliseconds of each echo
    python client.py bulk HOST:PORT SECONDS      when it began, and what the target counted

The first three try again until SECONDS have passed.  The echo asks 50 times a second with 64
bytes, whether or not the last answer has come, and reckons from the moment that it meant to ask:
an answer that is late does not keep the next question from being counted.  It connects at once
and begins LEAD seconds later, when a bulk stream beside it has found its rate.  `bulk` sends for
SECONDS and then waits until all has arrived, so that the next load finds the path empty.

The standard library is all that this program uses.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

INTERVAL_SECONDS = 0.02
MESSAGE_BYTES = 64
CHUNK = bytes(128 * 1024)
DRAIN_SECONDS = 30.0
"""How long answers may take that are still under way at the end."""

TRY_SECONDS = 5.0
"""How long one try of those may take that try again."""


def connect(address: str, seconds: float) -> socket.socket:
    """Return a connection whose calls end within *seconds*."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def insist(attempt: Callable[[], Any], seconds: float) -> Any:
    """Try until it works or the time is over; end the program with the last error then."""
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > end:
                sys.exit(f"no answer within {seconds:g} s: {error!r}")
            time.sleep(0.05)


def fetch(address: str) -> str:
    """Make one HTTP request and return the body."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TRY_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def open_echo(address: str) -> socket.socket:
    """Return a connection to the target's echo over which one message has come back."""
    connection = connect(address, TRY_SECONDS)
    connection.sendall(b"e" + bytes(MESSAGE_BYTES))
    missing = MESSAGE_BYTES
    while missing > 0:
        missing -= len(receive(connection))
    return connection


def measure_echo(address: str, seconds: float, lead: float) -> list[float]:
    """Return the milliseconds that each echo took, in the order of asking.

    Raises:
        OSError: the connection broke, or answers are missing after DRAIN_SECONDS.
    """
    total = max(1, round(seconds / INTERVAL_SECONDS))
    taken: list[float] = []
    begin = time.monotonic() + lead
    with open_echo(address) as connection:
        start, asked, received = max(begin, time.monotonic()), 0, 0
        while len(taken) < total:
            now = time.monotonic()
            if asked < total and now >= start + asked * INTERVAL_SECONDS:
                connection.sendall(bytes(MESSAGE_BYTES))
                asked += 1
                continue
            next_at = start + asked * INTERVAL_SECONDS if asked < total else now + DRAIN_SECONDS
            if select.select([connection], [], [], next_at - now)[0]:
                received += len(receive(connection))
                now = time.monotonic()
                while len(taken) < received // MESSAGE_BYTES:
                    meant_at = start + len(taken) * INTERVAL_SECONDS
                    taken.append((now - meant_at) * 1000)
            elif asked == total:
                raise TimeoutError(f"{total - len(taken)} of {total} echoes did not come back")
    return taken


def measure_bulk(address: str, seconds: float) -> dict[str, object]:
    """Send for *seconds*; return when that began, and the reports of the target.

    The end is not told by a half-close, because not every tunnel passes one on.

    Raises:
        OSError: the connection broke, or not all arrived within DRAIN_SECONDS.
    """
    text = bytearray()
    sent = 0
    with connect(address, TRY_SECONDS) as connection:
        connection.sendall(b"s")
        start = time.monotonic()
        connection.setblocking(False)
        while (left := start + seconds - time.monotonic()) > 0:
            readable, writable, _ = select.select([connection], [connection], [], left)
            if readable:
                text += receive(connection)
            if writable:
                sent += connection.send(CHUNK)
        connection.settimeout(DRAIN_SECONDS)
        while not text.endswith(f" {sent}\n".encode()):
            text += receive(connection)
    lines = [line.split() for line in text.decode().splitlines()]
    return {"start": start, "reports": [(float(at), int(count)) for at, count in lines]}


def receive(connection: socket.socket) -> bytes:
    """Return what has come.

    Raises:
        ConnectionError: that was the end.
    """
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("the connection was closed")
    return data


def main() -> None:
    """Do what the command line says."""
    what, address, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    try:
        match what:
            case "port":
                found: object = insist(lambda: connect(address, TRY_SECONDS).close(), seconds)
            case "web":
                found = insist(lambda: fetch(address), seconds)
            case "wait":
                found = insist(lambda: open_echo(address).close(), seconds)
            case "echo":
                found = measure_echo(address, seconds, float(sys.argv[4]))
            case "bulk":
                found = measure_bulk(address, seconds)
            case _:
                sys.exit(f"unknown: {what}")
    except OSError as error:
        sys.exit(f"{what}: {error!r}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
