"""The second act: two developers on one service, a branch of a gRPC service, and preview URLs."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import secrets
from collections.abc import Callable
from typing import Any

import trio

from examples.demo_app.crew import LAPTOP, Crew
from examples.demo_app.stage import DemoFailed, Stage

BOB = "devbox/bob"
DOMAIN = "preview.localhost"
CALL_SECONDS = 30.0
SESSION_SECONDS = 15.0

See = Callable[[str, str, bool], None]


class SecondAct:
    """The steps of the second act.

    Args:
        see: writes a finding down, and ends the demo if it is not good.
    """

    def __init__(self, stage: Stage, crew: Crew, see: See) -> None:
        self._stage = stage
        self._crew = crew
        self._see = see
        self._cart = self._gateway = ""
        self._token = secrets.token_urlsafe(24)

    @property
    def has_grpc(self) -> bool:
        """Whether gRPC can be shown."""
        return importlib.util.find_spec("grpc") is not None

    @property
    def names(self) -> list[str]:
        """The processes that were started, those that call others first."""
        carts = ["cart-sidecar", "cart", "cart-blue"] if self.has_grpc else []
        return ["gateway", "bob", "copy-bob", *carts]

    # --- steps --------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Bob's laptop, a gateway, and a gRPC service with a branch."""
        await self._crew.add_identity("bob", "--subject", BOB, "--peer", "sidecar/*")
        await self._crew.add_identity("gateway", "--subject", "gateway/demo", "--peer", "sidecar/*")
        copy = await self._stage.start(
            *("copy-bob", "demo_app/prices.py", "--served-by", "bob's laptop", "--discount", 50)
        )
        door = copy.ready["listeners"]["http"]
        await self._crew.start_end("bob", "devbox", "--target", f"prices={door}")
        if self.has_grpc:
            await self._begin_cart()
        await self._begin_gateway()
        self._see("processes that joined", ", ".join(self.names), True)

    async def _begin_cart(self) -> None:
        doors = {}
        for name, served_by in (("cart", "main"), ("cart-blue", "blue")):
            child = await self._stage.start(name, "demo_app/cart.py", "serve", served_by)
            doors[name] = child.ready["listeners"]["grpc"]
        await self._crew.add_identity(
            "cart-sidecar", "--subject", "sidecar/cart", "--peer", "devbox/*"
        )
        flags = ("--port", f"cart=127.0.0.1:0,{doors['cart']},grpc")
        listeners = await self._crew.start_end("cart-sidecar", "sidecar", *flags)
        self._cart = listeners["cart"]
        target = f"tcp://{doors['cart-blue']}"
        await self._rule("cart-sidecar", "cart", "blue", target, "header:x-branch=blue")

    async def _begin_gateway(self) -> None:
        digest = hashlib.sha256(self._token.encode()).hexdigest()
        upstream = f'upstream = "tcp://{self._crew.prices}"'
        lines = [
            *("[previews.80-prices-main]", upstream, 'access = "public"'),
            *("[previews.80-prices-alice]", upstream, 'access = "public"', 'environment = "alice"'),
            *("[previews.80-prices-bob]", upstream, 'owner = "bob"', 'environment = "bob"'),
            *('intercept = "bob\'s laptop"', "[callers.bob]", f'token_hashes = ["{digest}"]'),
        ]
        directory = self._stage.folder / "sites.toml"
        directory.write_text("\n".join([*lines, ""]))
        flags = ("--serve", "http://127.0.0.1:0", "--domain", DOMAIN, "--directory", directory)
        listeners = await self._crew.start_end("gateway", "gateway", *flags)
        self._gateway = listeners["web0"]

    async def share(self) -> None:
        """One keep-alive connection, whose requests go to three places."""
        socket = self._crew.socket("sidecar")
        await self._stage.tool("tunnelkit.admin", socket, "restore", "prices")
        for name, peer in (("alice", LAPTOP), ("bob", BOB)):
            target = f"{peer}:prices"
            await self._rule("sidecar", "prices", name, target, f"tracestate:env={name}")
        await self._wait_for_both()
        users = ["", "alice", "bob", "alice", ""]
        headers = [f"env={user}" if user else "" for user in users]
        got = await self._ask(self._crew.prices, [["/price", "", value] for value in headers])
        served = [one["served_by"] for one in got]
        expected = ["cluster", "laptop", "bob's laptop", "laptop", "cluster"]
        words = ", ".join(
            f"{user or 'nobody'}: {by}" for user, by in zip(users, served, strict=True)
        )
        self._see("who answered", words, served == expected)
        count = len({one["port"] for one in got})
        self._see("connections of the client", str(count), count == 1)

    async def explain(self) -> None:
        """Why a request goes where it goes."""
        socket = self._crew.socket("sidecar")
        asked = ("explain", "prices", "-H", "tracestate: env=bob", "--json")
        found = json.loads(await self._stage.tool("tunnelkit.admin", socket, *asked))
        self._see("bob's request goes to", found["target"], BOB in found["target"])
        self._see("because", f"rule {found['rule']}: {found['why']}", found["rule"] == "bob")
        near = {one["rule"]: one["why"] for one in found["near"]}
        self._see("alice's rule does not take it", near.get("alice", "?"), "alice" in near)

    async def branch(self) -> None:
        """Two calls over one channel of gRPC, of which one is for a branch."""
        if not self.has_grpc:
            self._see("left out", "gRPC needs grpcio: make demo installs it", True)
            return
        client = await self._stage.spawn("cart-client", "demo_app/cart.py", "call", self._cart)
        served: list[str] = []
        with trio.move_on_after(CALL_SECONDS):
            while (line := await client.next_line()) is not None:
                served.append(line["served_by"])
            await client.wait()
        words = f"as anybody: {served[:1]}, for the branch: {served[1:]}"
        self._see("who answered over one channel", words, served == ["main", "blue"])

    async def preview(self) -> None:
        """The same service under three hosts, of which one is bob's alone."""
        hosts = [f"80-prices-{name}.{DOMAIN}" for name in ("main", "alice", "bob")]
        main, alice, bob = hosts
        bearer = f"Bearer {self._token}"
        got = await self._ask(
            self._gateway,
            [["/price", main], ["/price", alice], ["/price", bob, "", bearer], ["/price", main]],
        )
        served = [one.get("served_by") for one in got]
        expected = ["cluster", "laptop", "bob's laptop", "cluster"]
        for host, by in zip(hosts, served, strict=False):
            self._see(f"http://{host}", str(by), served == expected)
        stored = got[2]["cache"]
        self._see("caches may keep bob's answer", stored, stored == "no-store")
        (refused,) = await self._ask(self._gateway, [["/price", bob, ""]])
        words = f"{refused['status']}: {refused.get('error', '')}"
        self._see("without bob's token", words, refused["status"] == 401)

    # --- means --------------------------------------------------------------------------------

    async def _rule(self, sidecar: str, port: str, name: str, target: str, when: str) -> None:
        socket = self._crew.socket(sidecar)
        await self._stage.tool(
            "tunnelkit.admin", socket, "rule", port, name, target, "--when", when
        )

    async def _wait_for_both(self) -> None:
        with trio.move_on_after(SESSION_SECONDS):
            while True:
                sessions = (await self._crew.status("sidecar"))["sessions"]
                if {one["peer"] for one in sessions if one["state"] == "open"} >= {LAPTOP, BOB}:
                    return
                await trio.sleep(0.02)
        raise DemoFailed("the sidecar has no session with both developers")

    async def _ask(self, address: str, asked: list[list[str]]) -> list[dict[str, Any]]:
        """Let a client ask, over one connection as long as it is kept; return the answers."""
        client = await self._stage.spawn(
            "client", "demo_app/client.py", "ask", address, "--requests", json.dumps(asked)
        )
        got: list[dict[str, Any]] = []
        with trio.move_on_after(CALL_SECONDS):
            while (line := await client.next_line()) is not None:
                got.append(line)
            await client.wait()
        if len(got) != len(asked):
            raise DemoFailed(f"{len(got)} of {len(asked)} answers came:\n{client.tail()}")
        return got
