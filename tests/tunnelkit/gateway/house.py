"""A gateway on a memory network, with a directory that a test fills, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio

from tests.tunnelkit.faults.http1 import Answer, HttpClient, fields_of, serve_http
from tests.tunnelkit.faults.lab import Lab, address, open_lab
from tests.tunnelkit.faults.wires import Service, Wire, dial, serve
from tunnelkit.gateway import (
    Access,
    Caller,
    Credentials,
    Gateway,
    GatewaySettings,
    PreviewName,
    Site,
    open_gateway,
)

__all__ = ["Answer", "Book", "House", "open_house", "public", "tell"]

DOMAIN = "p.example"
SHOP = "80-shop-x.p.example"


@dataclass
class Book:
    """A directory."""

    previews: dict[str, Site] = field(default_factory=dict)
    paths: dict[str, Site] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    delay: float = 0.0
    fails: bool = False
    asked: int = 0

    async def preview(self, name: PreviewName) -> Site | None:
        self.asked += 1
        await trio.sleep(self.delay)
        if self.fails:
            raise RuntimeError("the database is gone, with the password hunter2")
        return self.previews.get(str(name))

    async def path(self, name: str) -> Site | None:
        return self.paths.get(name)

    async def caller(self, credentials: Credentials) -> Caller | None:
        return self.callers.get(credentials.bearer or credentials.cookie)


def public(name: str = "shop", host: str = "web", **more: object) -> Site:
    """Return a site that everybody may see."""
    return Site(name, address(host, 8080), **{"access": Access.PUBLIC, **more})  # type: ignore[arg-type] # a test's choice


async def tell(service: Service, wire: Wire) -> None:
    """Serve HTTP/1.1: each answer says what was asked, its fields included."""

    def lines(request: h11.Request, size: int) -> str:
        first = f"{service.name} {request.method.decode()} {request.target.decode()}"
        fields = [f"{name.decode()}: {value.decode()}" for name, value in request.headers]
        return "\n".join([first, *fields, f"size: {size}"])

    await serve_http(service, wire, lines)


class Client(HttpClient):
    """One connection to a gateway."""

    async def get(self, target: str = "/", host: str = SHOP, **headers: str) -> Answer:
        """Ask, and return the answer."""
        return await self.send("GET", target, [("Host", host), *fields_of(headers)])


@dataclass
class House:
    """What a test has."""

    lab: Lab
    gateway: Gateway
    book: Book
    web: Service

    async def client(self) -> Client:
        """Connect."""
        return Client(await self.dial())

    async def dial(self) -> Wire:
        """Connect, and leave the rest to the test."""
        return await dial(self.lab, address("gate", 80))

    async def get(self, target: str = "/", host: str = SHOP, **headers: str) -> Answer:
        """Ask over a connection of its own."""
        return await (await self.client()).get(target, host, **headers)


@asynccontextmanager
async def open_house(
    *,
    handler: Callable[[Service, Wire], Awaitable[None]] = tell,
    settings: GatewaySettings | None = None,
    brokers: tuple[str, ...] = ("broker",),
    bandwidth: float | None = None,
    **previews: Site,
) -> AsyncGenerator[House]:
    """Run a gateway, and a service "web" behind it; *previews* are those of port 80, hash "x"."""
    async with open_lab(bandwidth=bandwidth) as lab:
        for name in brokers:
            await lab.broker(name)
        endpoint = await lab.endpoint("gate", *brokers)
        book = Book({f"80-{name}-x": site for name, site in previews.items()})
        opened = open_gateway(
            endpoint,
            book,
            settings or GatewaySettings(domain=DOMAIN, login_cookie="login"),
            listen=[address("gate", 80)],
        )
        gateway = await lab.run("gateway", opened)
        yield House(lab, gateway, book, await serve(lab, "web", 8080, handler, "web"))
