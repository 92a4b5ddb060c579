"""A JSON-RPC 2.0 server that knows the standard, and refuses whatever goes beyond it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import memory_stream_pair

from tunnelkit.rpc import LineChannel, Peer, open_peer

MEMBERS = {"jsonrpc", "method", "params", "id"}


@dataclass
class StrictServer:
    """Answers each method of a table with the same result, one call after the other."""

    results: dict[str, object]
    answers_unknown: bool = True
    """Whether a method that is not in the table is answered at all."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """What was called, but for what the server does not know."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """What has members that the standard does not have, and notifications."""

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer until the connection ends."""
        channel = LineChannel(stream)
        while (data := await channel.receive()) is not None:
            answer = self._answer(json.loads(data))
            if answer:
                await channel.send([json.dumps({"jsonrpc": "2.0", **answer}).encode()])

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        if call.keys() != MEMBERS:
            self.refused.append(call)
            return {"id": None, "error": {"code": -32600, "message": "Invalid Request"}}
        if call["method"] in self.results:
            self.calls.append(call)
            return {"id": call["id"], "result": self.results[call["method"]]}
        if not self.answers_unknown:
            return {}
        return {"id": call["id"], "error": {"code": -32601, "message": "Method not found"}}


@asynccontextmanager
async def calling(server: StrictServer) -> AsyncGenerator[Peer]:
    """Open a peer whose other end is *server*."""
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery, open_peer(LineChannel(left)) as peer:
        nursery.start_soon(server.serve, right)
        yield peer
        nursery.cancel_scope.cancel()
