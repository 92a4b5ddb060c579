"""A long path in one process: two TUN devices, and packets that go from one to the other later.

    python -m benchmarks.paths.relay FIRST SECOND --rate BYTES --delay SECONDS --queue BYTES
        [--loss SHARE] [--control SOCKET]

The kernel's TCP on both sides sees real packets, real round trips and real drops.  Both devices
are made here and vanish with this process; whoever started it moves them to where they belong.
Prints "ready" when they exist; SIGTERM ends it.

How it works
------------
One loop: read what has come, ask the shaper of its direction when it arrives, put it at the end of
that direction's queue; write what is due.  A delay is the same for all packets, so that the first
of a queue is always the next that is due.  `select` waits, because its timeout counts
microseconds where that of epoll counts milliseconds.

The control socket takes one word in a datagram and answers with one: "silence" drops every packet
from now on, those under way too, "pass" ends that, "counts" returns JSON.

Beside `shaping` it uses the standard library alone: it has to start fast and to run lean.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

from benchmarks.paths.shaping import Shaper

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000

BATCH_PACKETS = 32
"""Most packets that are read in one direction before the other has its turn."""

LARGEST_PACKET = 65_536

LATE_SECONDS = 0.001
"""What a packet may be late by before it is counted: the program had no processor."""


def open_tun(name: str) -> int:
    """Make a TUN device and return its descriptor, which does not block.

    Raises:
        OSError: the kernel has no TUN, or this is not root.
    """
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source: int, sink: int, shaper: Shaper) -> None:
        self.shaper = shaper
        self.is_silent = False
        self.refused_count = 0
        """Packets that the receiving side did not take: its device is down, or full."""
        self.late_count = 0
        """Packets delivered more than LATE_SECONDS after they were due."""
        self._source = source
        self._sink = sink
        self._queue: deque[tuple[float, bytes]] = deque()

    def due(self) -> float | None:
        """When the next packet arrives; None while nothing is under way."""
        return self._queue[0][0] if self._queue else None

    def read(self) -> None:
        """Take what has come."""
        read, admit, append, source = os.read, self.shaper.admit, self._queue.append, self._source
        for _ in range(BATCH_PACKETS):
            try:
                packet = read(source, LARGEST_PACKET)
            except BlockingIOError:
                return
            if not self.is_silent:
                arrival = admit(len(packet), time.monotonic())
                if arrival is not None:
                    append((arrival, packet))

    def write(self, now: float) -> None:
        """Deliver what is due."""
        queue = self._queue
        while queue and queue[0][0] <= now:
            arrival, packet = queue.popleft()
            self.late_count += now - arrival > LATE_SECONDS
            try:
                os.write(self._sink, packet)
            except OSError:
                self.refused_count += 1

    def silence(self) -> None:
        """Drop everything until `is_silent` is unset."""
        self.is_silent = True
        self._queue.clear()

    def counts(self) -> dict[str, int]:
        """Return what happened so far."""
        shaper = self.shaper
        return {
            "passed": shaper.passed_count,
            "dropped": shaper.full_count,
            "lost": shaper.lost_count,
            "refused": self.refused_count,
            "late": self.late_count,
        }


class Control:
    """The socket by which the relay is told what to do."""

    def __init__(self, path: str, directions: tuple[Direction, Direction]) -> None:
        self._directions = directions
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(path)

    def answer(self) -> None:
        """Obey the orders that have come; one from nowhere gets no answer."""
        with suppress(BlockingIOError):
            order, sender = self.socket.recvfrom(64)
            reply = self._obey(order.decode())
            if sender:
                self.socket.sendto(reply.encode(), sender)

    def _obey(self, order: str) -> str:
        match order:
            case "silence":
                for direction in self._directions:
                    direction.silence()
            case "pass":
                for direction in self._directions:
                    direction.is_silent = False
            case "counts":
                return json.dumps([direction.counts() for direction in self._directions])
            case _:
                return "unknown"
        return "done"


def take_precedence() -> None:
    """Go before all ordinary programs: a router does not share its processor with its users."""
    with suppress(OSError):  # a container may forbid it; the count of late packets tells
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def run(
    devices: tuple[int, int], directions: tuple[Direction, Direction], control: Control | None
) -> None:
    """Carry packets until the process is ended."""
    by_device = dict(zip(devices, directions, strict=True))
    waiting = list(devices)
    if control is not None:
        waiting.append(control.socket.fileno())
    while True:
        times = [due for direction in directions if (due := direction.due()) is not None]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        readable, _, _ = select.select(waiting, [], [], timeout)
        for source in readable:
            if source in by_device:
                by_device[source].read()
            elif control is not None:
                control.answer()
        now = time.monotonic()
        for direction in directions:
            direction.write(now)


def main() -> None:
    """Make the devices and run."""
    parser = argparse.ArgumentParser(description="A long path between two TUN devices.")
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--rate", type=float, required=True, help="bytes a second")
    parser.add_argument("--delay", type=float, required=True, help="seconds, one way")
    parser.add_argument("--queue", type=int, required=True, help="bytes")
    parser.add_argument("--loss", type=float, default=0.0, help="share of the packets")
    parser.add_argument("--control", help="path of the socket to make")
    options = parser.parse_args()
    first, second = (open_tun(name) for name in (options.first, options.second))
    directions = (
        Direction(first, second, _shaper(options, seed=1)),
        Direction(second, first, _shaper(options, seed=2)),
    )
    control = Control(options.control, directions) if options.control else None
    take_precedence()
    print("ready", flush=True)
    run((first, second), directions, control)


def _shaper(options: argparse.Namespace, seed: int) -> Shaper:
    return Shaper(options.rate, options.delay, options.queue, options.loss, seed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main()
