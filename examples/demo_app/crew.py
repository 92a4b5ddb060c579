"""The programs of the demo: who runs, where each of them is, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import trio

from examples.demo_app.stage import DemoFailed, Stage
from examples.demo_app.way import Way
from tunnelkit.admin import call_admin

SIDECAR = "sidecar/prices"
LAPTOP = "devbox/alice"
BROKERS = ("broker-1", "broker-2")
ENDS = ("sidecar", "devbox")

SESSION_SECONDS = 15.0
LINKS_SECONDS = 20.0
LOOK_SECONDS = 0.02


def other_broker(name: str) -> str:
    """Return the broker that is not *name*."""
    return next(broker for broker in BROKERS if broker != name)


class Crew:
    """The programs of one run.

    Args:
        stage: where processes are started.
        way: how links get to the brokers.
    """

    def __init__(self, stage: Stage, way: Way) -> None:
        self.stage = stage
        self.way = way
        self.brokers: dict[str, str] = {}
        """The address of each broker, by its name."""
        self.prices = self.shop = self.copy = ""

    # --- starting ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Make keys and tokens, and start everybody."""
        stage = self.stage
        (stage.folder / "run").mkdir(mode=0o700)
        doors: dict[str, str] = {}

        async def start_service(name: str, *arguments: object) -> None:
            child = await stage.start(name, "demo_app/prices.py", *arguments)
            doors[name] = child.ready["listeners"]["http"]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._make_tokens)
            nursery.start_soon(self.way.prepare, stage)
            nursery.start_soon(start_service, "prices")
            nursery.start_soon(start_service, "copy", "--served-by", "laptop", "--discount", 20)
        async with trio.open_nursery() as nursery:
            for name in BROKERS:
                nursery.start_soon(self.start_broker, name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._start_devbox, doors["copy"])
            nursery.start_soon(self._start_sidecar, doors["prices"])
        shop = await stage.start("shop", "demo_app/shop.py", "--prices", self.prices)
        self.shop = shop.ready["listeners"]["http"]
        self.copy = doors["copy"]

    async def _make_tokens(self) -> None:
        folder, tool = self.stage.folder, self.stage.tool
        async with trio.open_nursery() as nursery:
            for name in ("issuer", "sidecar", "laptop"):
                nursery.start_soon(
                    tool, "tunnelkit.auth", "keygen", "--out", folder / f"{name}.pem"
                )
        common = ("mint", "--signing-key", folder / "issuer.pem", "--lifetime", "1h")
        grants = {
            "sidecar": ("--subject", SIDECAR, "--peer", "devbox/*", "--target", "prices"),
            "laptop": ("--subject", LAPTOP, "--peer", "sidecar/*"),
        }
        async with trio.open_nursery() as nursery:
            for name, grant in grants.items():
                holder = ("--holder-key", folder / f"{name}.pem.pub.json")
                out = ("--out", folder / f"{name}.token")
                nursery.start_soon(tool, "tunnelkit.auth", *common, *grant, *holder, *out)

    async def add_identity(self, name: str, *grant: str) -> None:
        """Make the key and the token of somebody who joins."""
        folder, tool = self.stage.folder, self.stage.tool
        await tool("tunnelkit.auth", "keygen", "--out", folder / f"{name}.pem")
        files = ("--signing-key", folder / "issuer.pem", "--out", folder / f"{name}.token")
        holder = ("--holder-key", folder / f"{name}.pem.pub.json", "--lifetime", "1h")
        await tool("tunnelkit.auth", "mint", *files, *holder, *grant)

    async def start_broker(self, name: str) -> None:
        """Start a broker, at its old address if it had one."""
        ring = self.stage.folder / "issuer.pem.pub.json"
        address = self.brokers.get(name, self.way.listen)
        flags = ("--listen", address, "--keys", ring, "--admin", self.socket(name))
        broker = await self.stage.start(name, "broker.py", *flags, *self.way.broker_flags)
        self.brokers[name] = broker.ready["links"][0]

    async def _start_devbox(self, copy: str) -> None:
        flags = ("--target", f"prices={copy}")
        await self.start_end("devbox", "devbox", *flags, identity="laptop")

    async def _start_sidecar(self, prices: str) -> None:
        flags = ("--port", f"prices=127.0.0.1:0,{prices}")
        doors = await self.start_end("sidecar", "sidecar", *flags)
        self.prices = doors["prices"]

    def _identity(self, name: str) -> list[object]:
        folder = self.stage.folder
        files = ("--key", folder / f"{name}.pem", "--token", folder / f"{name}.token")
        return ["--keys", folder / "issuer.pem.pub.json", *files]

    async def start_end(
        self, name: str, program: str, *flags: object, identity: str = ""
    ) -> Mapping[str, str]:
        """Start an endpoint that keeps a link to each broker; return where it listens."""
        links = [text for broker in BROKERS for text in ("--link", self.brokers[broker])]
        rest = (*links, *self.way.endpoint_flags, "--admin", self.socket(name))
        variables = self.way.endpoint_variables
        script = {"gateway": "gateway.py"}.get(program, f"{program}_proxy.py")
        proof = self._identity(identity or name)
        child = await self.stage.start(name, script, *proof, *flags, *rest, **variables)
        return cast(Mapping[str, str], child.ready["listeners"])

    # --- what they say ----------------------------------------------------------------------

    def socket(self, name: str) -> str:
        """Return the path of a program's admin socket."""
        return str(self.stage.folder / "run" / f"{name}.sock")

    async def status(self, name: str) -> dict[str, Any]:
        """Return what the admin socket of a program says."""
        return cast(dict[str, Any], await call_admin(self.socket(name), "status"))

    async def session(self, name: str) -> dict[str, Any] | None:
        """Return the session of an endpoint; None while it is not open."""
        for session in (await self.status(name))["sessions"]:
            if session["state"] == "open":
                return cast(dict[str, Any], session)
        return None

    async def total(self, name: str, what: str) -> int:
        """Return a number of all sessions of an endpoint together."""
        return sum(session[what] for session in (await self.status(name))["sessions"])

    async def replayed(self) -> int:
        """Return how many bytes both ends have replayed so far."""
        sent_again = [await self.total(name, "replayed_bytes") for name in ENDS]
        return sum(sent_again)

    async def counts(self) -> dict[str, int]:
        """Return which way the connections to the intercepted port went."""
        status = await self.status("sidecar")
        return cast(dict[str, int], status["ports"][0]["counts"])

    async def carrier(self) -> str:
        """Return which broker carries the session; "" while none does, or it is on its way."""
        sessions = [await self.session(name) for name in ENDS]
        links = {session["link"] if session else "" for session in sessions}
        found = {self.broker_at(link) for link in links}
        return found.pop() if len(found) == 1 else ""

    def broker_at(self, link: str) -> str:
        """Return the broker that a link leads to; a proxy stands behind the address."""
        for name, address in self.brokers.items():
            if link.partition(" ")[0] == address:
                return name
        return ""

    async def wait_session(self) -> str:
        """Wait until sidecar and laptop are joined; return the broker that carries them.

        Raises:
            DemoFailed: that took too long.
        """
        with trio.move_on_after(SESSION_SECONDS):
            while True:
                if broker := await self.carrier():
                    return broker
                await trio.sleep(LOOK_SECONDS)
        raise DemoFailed("the sidecar and the laptop did not come together")

    async def wait_links(self) -> list[dict[str, Any]]:
        """Wait until both ends have a link to each broker; return the links.

        Raises:
            DemoFailed: that took too long.
        """
        links: list[dict[str, Any]] = []
        with trio.move_on_after(LINKS_SECONDS):
            while True:
                ends = [await self.status(name) for name in ENDS]
                links = [link for end in ends for link in end["links"] if link["state"] == "up"]
                if len(links) == len(BROKERS) * len(ENDS):
                    return links
                await trio.sleep(LOOK_SECONDS)
        raise DemoFailed(f"only {len(links)} links are up after {LINKS_SECONDS:g} s")
