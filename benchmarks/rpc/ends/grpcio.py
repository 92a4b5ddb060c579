"""gRPC with threads: the server of grpcio, and its client, which waits in the thread that calls."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from benchmarks.rpc.drive import IN_FLIGHT, Told, percentile, pieces
from benchmarks.rpc.ends.grpc_shapes import (
    ADD,
    OPTIONS,
    PAYLOAD,
    SUMS,
    Add,
    Handlers,
    Sum,
    as_is,
    reader,
    write,
)

HOST = "127.0.0.1"


def _add(request: Add, _: Any) -> Sum:
    return Sum(request.a + request.b)


def _sums(request: Add, _: Any) -> Iterator[Sum]:
    number = request.a
    while True:
        number += 1
        yield Sum(number)


def _payload(_: Add, __: Any) -> Iterator[bytes]:
    return pieces()


def serve() -> None:
    """Serve until the process is ended."""
    server = grpc.server(ThreadPoolExecutor(8), options=OPTIONS)
    server.add_generic_rpc_handlers((Handlers(_add, _sums, _payload),))
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    print(f"ready {port}", flush=True)
    server.wait_for_termination()


def _one(channel: Any, seconds: float) -> Told:
    add = channel.unary_unary(ADD, write, reader(Sum))
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        add(Add(1, 2))
        count += 1
    return Told(count, time.perf_counter() - began)


def _many(channel: Any, seconds: float) -> Told:
    """Keep calls in flight as this library does: by futures, whose callbacks begin the next."""
    add = channel.unary_unary(ADD, write, reader(Sum))
    began = time.perf_counter()
    counts = [0] * IN_FLIGHT
    finished = threading.Semaphore(0)

    def begin(worker: int) -> None:
        future = add.future(Add(1, 2))
        future.add_done_callback(lambda done: done_one(worker, done))

    def done_one(worker: int, future: Any) -> None:
        future.result()
        counts[worker] += 1
        if time.perf_counter() < began + seconds:
            begin(worker)
        else:
            finished.release()

    for worker in range(IN_FLIGHT):
        begin(worker)
    for _ in range(IN_FLIGHT):
        finished.acquire()
    return Told(sum(counts), time.perf_counter() - began)


def _items(channel: Any, seconds: float) -> Told:
    count, began = 0, time.perf_counter()
    items = channel.unary_stream(SUMS, write, reader(Sum))(Add(1))
    for _ in items:
        count += 1
        if time.perf_counter() >= began + seconds:
            break
    items.cancel()
    return Told(count, time.perf_counter() - began)


def _beside(channel: Any, _: float) -> Told:
    received = 0

    def receive() -> None:
        nonlocal received
        for piece in channel.unary_stream(PAYLOAD, write, as_is)(Add(1)):
            received += len(piece)

    add = channel.unary_unary(ADD, write, reader(Sum))
    waits: list[float] = []
    thread = threading.Thread(target=receive)
    thread.start()
    began = before = time.perf_counter()
    while thread.is_alive():
        add(Add(1, 2))
        now = time.perf_counter()
        waits.append(now - before)
        before = now
    thread.join()
    waits.sort()
    p50, p99 = (percentile(waits, share) * 1e6 for share in (0.5, 0.99))
    return Told(len(waits), before - began, p50, p99, received)


CASES: dict[str, Callable[[Any, float], Told]] = {
    "calls_1": _one,
    "calls_64": _many,
    "items": _items,
    "beside_payload": _beside,
}


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if arguments == ["serve"]:
        serve()
        return
    _, port, case, seconds = arguments
    with grpc.insecure_channel(f"{HOST}:{port}", options=OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        CASES[case](channel, float(seconds)).print()


if __name__ == "__main__":
    main(sys.argv[1:])
