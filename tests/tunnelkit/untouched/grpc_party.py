"""A server or a client of gRPC by grpcio, as a program: ``serve NAME`` or ``call ADDRESS USER``.

The server tells its port in a line, the client what it was answered, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "orders.Cart"
LARGE = 300_000


def serve(name: str) -> None:
    """Serve until the input ends."""

    def add(request: bytes, context: Any) -> bytes:
        asked = dict(context.invocation_metadata())
        if request == b"fail":
            context.set_trailing_metadata((("x-why", "asked-for"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: ä")
        context.send_initial_metadata((("x-first", asked.get("x-user", "")),))
        return f"{name} {len(request)}".encode()

    def talk(requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield request * 2
        context.set_trailing_metadata((("x-last", name),))

    def pour(request: bytes, context: Any) -> Iterator[bytes]:
        for number in range(int(request)):
            yield bytes([number % 256]) * LARGE

    kinds = {
        "Add": grpc.unary_unary_rpc_method_handler(add),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Pour": grpc.unary_stream_rpc_method_handler(pour),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, kinds),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)


def call(address: str, user: str, authority: str = "") -> dict[str, Any]:
    """Make calls of every kind over one connection; return what came.

    Args:
        authority: whom they are for; "": the address.
    """
    found: dict[str, Any] = {}
    metadata = (("x-user", user),)
    options = [("grpc.default_authority", authority or address)]
    with grpc.insecure_channel(address, options) as channel:
        add = channel.unary_unary(f"/{SERVICE}/Add")
        answer, first = add.with_call(b"x" * LARGE, metadata=metadata, timeout=20)
        found["unary"] = [answer.decode(), sorted(map(list, first.initial_metadata()))]
        found["at once"] = [
            one.result().decode()
            for one in [add.future(b"y" * size, metadata=metadata) for size in range(50)]
        ]
        found["failed"] = _failure(add, metadata)
        said: list[bytes] = []
        talk = channel.stream_stream(f"/{SERVICE}/Talk")(_turns(said), metadata=metadata)
        for item in talk:
            said.append(item)
        found["both ways"] = [len(said), len(said[-1]), list(map(list, talk.trailing_metadata()))]
        poured = list(channel.unary_stream(f"/{SERVICE}/Pour")(b"10", metadata=metadata))
        found["poured"] = [len(poured), len(set(poured)), sum(map(len, poured))]
        endless = channel.unary_stream(f"/{SERVICE}/Pour")(b"1000000", metadata=metadata)
        next(endless)
        endless.cancel()
        found["after a cancelled one"] = add(b"zz", metadata=metadata, timeout=20).decode()
    return found


def _failure(add: Any, metadata: Any) -> list[Any]:
    try:
        add(b"fail", metadata=metadata)
    except grpc.RpcError as error:
        return [str(error.code()), error.details(), list(map(list, error.trailing_metadata()))]
    return []


def _turns(said: list[bytes]) -> Iterator[bytes]:
    """Say the next thing only once the last was answered."""
    for number in range(20):
        while len(said) < number:
            time.sleep(0.001)
        yield bytes([number]) * 5_000


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        print(json.dumps(call(*sys.argv[2:])))
