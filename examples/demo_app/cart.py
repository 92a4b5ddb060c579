"""The service `cart`, which speaks gRPC, and its client: ``cart.py serve NAME``, ``cart.py call``.

Messages are plain bytes, so that nothing has to be generated.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import grpc

METHOD = "/demo.Cart/Add"
CALL_SECONDS = 20


def serve(name: str) -> None:
    """Answer with the service's name until SIGTERM."""

    def add(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-served-by", name),))
        return f"{request.decode()}: in the cart of {name}".encode()

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Add": grpc.unary_unary_rpc_method_handler(add)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Cart", handlers),))
    door = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop(0)

    signal.signal(signal.SIGTERM, stop)
    ready = {"event": "ready", "program": "cart", "pid": os.getpid(), "listeners": {"grpc": door}}
    print(json.dumps(ready), flush=True)
    server.wait_for_termination()


def call(address: str) -> None:
    """Call twice over one channel: as anybody, and for the branch blue; tell who answered."""
    with grpc.insecure_channel(address) as channel:
        add = channel.unary_unary(METHOD)
        for metadata in ((), (("x-branch", "blue"),)):
            answer, done = add.with_call(b"apple", metadata=metadata, timeout=CALL_SECONDS)
            trailers = {item.key: item.value for item in done.trailing_metadata()}
            told = {"answer": answer.decode(), "served_by": trailers["x-served-by"]}
            print(json.dumps(told), flush=True)


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(description="A service of the demo that speaks gRPC.")
    parser.add_argument("command", choices=("serve", "call"))
    parser.add_argument("what", metavar="NAME or HOST:PORT")
    options = parser.parse_args()
    {"serve": serve, "call": call}[options.command](options.what)


if __name__ == "__main__":
    main()
