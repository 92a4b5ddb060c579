"""A proxy of gRPC as one writes it in Python: generic handlers of grpc.aio, bytes in, bytes out.

    python grpc_aio_proxy.py LISTEN TARGET

Each argument is an address HOST:PORT.  Prints "ready" when it accepts; SIGTERM ends it.

Every unary call, whatever its name, is made again at the target, over one connection, with its
metadata.  A failure goes back with its code and its words.  It imports nothing of this project.

What is set in its favour: messages stay bytes, what calls a method is made once, the metadata of
answers is left out, and neither the number nor the length of calls is limited.  It has no rule.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # it has no types
    """Serves every method by calling it at the target."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._known: dict[str, Any] = {}

    def service(self, details: Any) -> Any:
        """Return the handler of a method."""
        handler = self._known.get(details.method)
        if handler is None:
            handler = self._known[details.method] = self._handler(details.method)
        return handler

    def _handler(self, method: str) -> Any:
        call = self._channel.unary_unary(method)

        async def pass_on(message: bytes, context: Any) -> Any:
            metadata = [pair for pair in context.invocation_metadata() if is_passed_on(pair[0])]
            try:
                return await call(message, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")

        return grpc.unary_unary_rpc_method_handler(pass_on)


def is_passed_on(name: str) -> bool:
    """Whether metadata of this name is the application's, not grpc's own."""
    return name != "user-agent" and not name.startswith("grpc-")


async def main(listen: str, target: str) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    async with grpc.aio.insecure_channel(target) as channel:
        server.add_generic_rpc_handlers((Handlers(channel),))
        server.add_insecure_port(listen)
        await server.start()
        print("ready", flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
