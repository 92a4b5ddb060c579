"""A client of aiorpcX, which is asyncio and knows nothing of ours: over lines on TCP, both ways.

python lines.py PORT: prints what it saw, as JSON.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 # a program that is not ours
import json
import sys
from typing import Any

import aiorpcx


class Session(aiorpcx.RPCSession):  # type: ignore[misc] # it has no types
    """Serves a clock to whoever it is connected to."""

    async def handle_request(self, request: Any) -> Any:
        assert request.method == "clock.now"
        return {"zone": request.args["zone"], "seconds": 2.5}


async def main(port: int) -> dict[str, Any]:
    """Call everything there is, and return the answers."""
    seen: dict[str, Any] = {}
    async with aiorpcx.connect_rs("127.0.0.1", port, session_factory=Session) as session:
        seen["by_name"] = await session.send_request("clock.now", {"zone": "CET"})
        seen["by_place"] = await session.send_request("clock.now", ["EST"])
        seen["list"] = len(await session.send_request("clock.ticks", [5]))
        seen["two_way"] = await session.send_request("back.ask", [20])
        await session.send_notification("clock.now", ["UTC"])
        async with session.send_batch() as batch:
            batch.add_request("clock.now", ["A"])
            batch.add_notification("clock.now", ["B"])
            batch.add_request("clock.fail", ["refuse"])
        first, second = batch.results
        seen["batch"] = [first["zone"], second.code]
        try:
            await session.send_request("clock.now", [5])
        except aiorpcx.RPCError as error:
            seen["wrong"] = [error.code, error.message]
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
