"""One client of the gateway: where its requests go, and what they look like there."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from tunnelkit.addresses import Address, Destination
from tunnelkit.carriers import ConnectFailed
from tunnelkit.errors import ConfigurationError, ErrorCode
from tunnelkit.http.answers import Reply
from tunnelkit.http.head import RequestHead, values_of
from tunnelkit.http.proxy import HttpProxy
from tunnelkit.http.routing import Limits, Owner, Reached, Route
from tunnelkit.http.watching import Watch
from tunnelkit.pump import Pump
from tunnelkit.reach import Attempts, Reach
from tunnelkit.session import Session

from .pages import error_reply, login_reply, redirect_reply
from .places import Api, NoPreview, PathRoute, Place, Preview, Tunnel, place_of
from .rewriting import Arrival, answer_for, credentials_in, origin_of, request_for
from .settings import GatewaySettings
from .sites import Access, Caller, Credentials, Directory, Entry, Site, may_enter

if TYPE_CHECKING:
    from tunnelkit.capture import Recorder
    from tunnelkit.http.h2_proxy import H2Proxy

__all__ = ["GatewayVisitor", "House"]

_log = logging.getLogger(__name__)

LOOKUP_SECONDS: Final = 10.0
"""How long the control plane may take to say what a request may do, seconds.  Stops: requests that
pile up behind a directory that hangs."""


class House(Protocol):
    """What visitors have in common."""

    settings: GatewaySettings
    directory: Directory
    limits: Limits
    reach: Reach
    pump: Pump
    recorder: Recorder | None

    def start(self, function: Callable[[], object]) -> None:
        """Run an asynchronous function in the background, as long as the gateway runs."""

    async def resolve(self, address: Address) -> Address:
        """Look an address up."""

    async def session(self, peer: str) -> Session:
        """Return a session with a peer, once it is open."""

    def count(self, what: str) -> None:
        """Count something that happened."""


class GatewayVisitor:
    """One client connection.

    Args:
        client: its address, as in ``192.0.2.1:4711``.
        scheme: ``http`` or ``https``.
    """

    def __init__(self, house: House, client: str, scheme: str, *, is_http2: bool) -> None:
        self.limits = house.limits
        self.proxy: HttpProxy | H2Proxy = _http2(self) if is_http2 else HttpProxy(self)
        self._house = house
        self._attempts = Attempts(house.reach, client)
        self._client = client
        self._is_over = False
        self._scopes: set[trio.CancelScope] = set()
        """Of what runs for this client."""
        settings = house.settings
        self._arrival = Arrival(
            _ip_of(client), scheme, settings.environment_key, settings.login_cookie
        )

    # --- where a request goes -----------------------------------------------------------------

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        settings = self._house.settings
        place = place_of(head, settings.domain, settings.tunnel_path)
        self._house.count(type(place).__name__.lower())
        if head.method == b"CONNECT":
            found(self._refusal(head, 405, "this is no proxy"))
        elif _is_too_large(head, settings.max_body_bytes):
            why = f"a request may have {settings.max_body_bytes} bytes"
            found(self._refusal(head, 413, why))
        elif isinstance(place, Tunnel):
            found(self._own(head, settings.tunnel, "the tunnel"))
        elif isinstance(place, NoPreview):
            why = f"{place.label!r} is not {{port}}-{{service}}-{{hash}}"
            found(self._refusal(head, 400, why))
        elif isinstance(place, Api):
            found(self._own(head, settings.api, "the API"))
        else:
            self._do(partial(self._look_up, head, place, found))

    async def _look_up(
        self, head: RequestHead, place: Place, found: Callable[[Route], None]
    ) -> None:
        """Ask the control plane, and decide; whatever goes wrong is an answer."""
        try:
            with trio.fail_after(LOOKUP_SECONDS):
                route = await self._route_of(head, place)
        except trio.TooSlowError:
            route = self._refusal(head, 504, "the control plane takes too long to say who may in")
        except Exception:
            # Of the directory, which others write.  It costs this request, and not the gateway.
            _log.exception("unexpected error of the directory")
            route = self._refusal(head, 500, "the control plane could not be asked")
        found(route)

    async def _route_of(self, head: RequestHead, place: Place) -> Route:
        directory, settings = self._house.directory, self._house.settings
        site: Site | None = None
        if isinstance(place, Preview):
            site = await directory.preview(place.name)
            if site is None:
                return self._refusal(head, 404, f"there is no preview {place.name}")
        elif isinstance(place, PathRoute):
            site = await directory.path(place.name)
            if site is None:
                return self._own(head, settings.api, "the API")
            site = replace(site, prefix=f"/{place.name}")
        assert site is not None  # nothing else is looked up
        cookie, bearer = credentials_in(head, settings.login_cookie)
        by_bearer = await directory.caller(Credentials(bearer=bearer)) if bearer else None
        caller = by_bearer
        if caller is None and cookie:
            caller = await directory.caller(Credentials(cookie))
        return self._enter(head, site, caller, has_bearer=by_bearer is not None)

    def _enter(
        self, head: RequestHead, site: Site, caller: Caller | None, *, has_bearer: bool
    ) -> Route:
        entry = may_enter(site, caller)
        if entry is Entry.LOGIN:
            self._house.count("login")
            reply = login_reply(head, self._arrival.scheme, self._house.settings.login_url)
            return Route(None, reply=reply)
        if entry is Entry.FORBIDDEN:
            return self._refusal(head, 403, f"{site.name} is not shared with you")
        path, asked = origin_of(head)
        if site.prefix and path.partition(b"?")[0] == site.prefix.encode():
            # Without the stroke at its end, the links of a page would lead beside it.
            rest = path[len(site.prefix) :].decode("ascii")
            return Route(None, reply=redirect_reply(308, f"{site.prefix}/{rest}"))
        return self._to(head, site, asked, has_bearer=has_bearer)

    def _to(self, head: RequestHead, site: Site, asked: bytes, *, has_bearer: bool) -> Route:
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        sends = request_for(head, site, self._arrival, has_bearer=has_bearer, trace=trace)
        return Route(
            site,
            sends=sends,
            answers=partial(
                answer_for,
                site=site,
                asked=asked.decode("latin-1"),
                login_cookie=self._arrival.login_cookie,
            ),
            is_http1=not site.speaks_http2,
            watch=self._watch(head, site),
        )

    def _own(self, head: RequestHead, upstream: Address | None, what: str) -> Route:
        """Return the way to a part of the control plane, which lets in whom it wants to."""
        if upstream is None:
            return self._refusal(head, 404, f"{what} is not served here")
        site = Site(what, upstream, Access.PUBLIC)
        # It has to know who asks, so it gets the login cookie and the token.
        arrival = replace(self._arrival, login_cookie="")
        sends = request_for(head, site, arrival, has_bearer=False, trace="")
        return Route(site, sends=sends, is_http1=True, watch=self._watch(head, site))

    def _watch(self, head: RequestHead, site: Site) -> Watch | None:
        """Return who keeps a request and its answer, or nobody."""
        recorder = self._house.recorder
        if recorder is None:
            return None
        scheme, client = self._arrival.scheme, self._client
        return recorder.begin(head, client=client, scheme=scheme, port=site.name)

    def _refusal(self, head: RequestHead, status: int, why: str) -> Route:
        self._house.count(f"refused-{status}")
        return Route(None, reply=error_reply(head, status, why))

    def reply(self, head: RequestHead | None, route: Route, status: int, why: str) -> Reply:
        self._house.count(f"failed-{status}")
        site = route.key if isinstance(route.key, Site) else None
        return error_reply(head, status, why, site)

    # --- how it gets there --------------------------------------------------------------------

    def connect(self, route: Route, back: Reached) -> None:
        assert isinstance(route.key, Site)  # as all routes without a reply
        if isinstance(route.key.upstream, Address):
            self._do(partial(self._connect, route.key, route.key.upstream, back))
        else:
            self._do(partial(self._open, route.key, route.key.upstream, back))

    async def _connect(self, site: Site, upstream: Address, back: Reached) -> None:
        """Look an address up, and connect to it."""
        failed = partial(self._not_reached, site, back)
        try:
            with trio.fail_after(LOOKUP_SECONDS):
                address = await self._house.resolve(upstream)
        except (ConnectFailed, ConfigurationError) as error:
            failed(str(error))
        except trio.TooSlowError:
            failed(f"no answer to who {upstream.host} is within {LOOKUP_SECONDS:g} s")
        else:
            self._attempts.connect(address, back, failed)

    async def _open(self, site: Site, upstream: Destination, back: Reached) -> None:
        """Wait for the session with a peer, and open a stream to what it serves."""
        try:
            session = await self._house.session(upstream.peer)
        except trio.TooSlowError:
            _log.info("%s: no session with %s", site.name, upstream)
            back.failed(503, f"{site.name} is not connected")
        else:
            failed = partial(self._not_reached, site, back)
            self._attempts.open(session, upstream.target, back, failed)

    def _not_reached(self, site: Site, back: Reached, why: str) -> None:
        back.failed(504 if "no answer" in why else 502, f"{site.name} cannot be reached")
        _log.info("%s cannot be reached: %s", site.name, why)

    # --- tasks --------------------------------------------------------------------------------

    def _do(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run a function in the background, as long as the client is there."""
        self._house.start(partial(self._run, function))

    async def _run(self, function: Callable[[], Awaitable[object]]) -> None:
        if self._is_over:
            return
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await function()
            except Exception:
                # A bug.  It costs this client, and not everybody at the gateway.
                _log.exception("unexpected error at a request of %s", self._client)
                self.proxy.reset(ErrorCode.INTERNAL_ERROR, "internal error")
            finally:
                self._scopes.discard(scope)

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        return self._house.pump.call_later(seconds, expired).cancel

    def now(self) -> float:
        return trio.current_time()

    def proxy_over(self) -> None:
        self._is_over = True
        self._attempts.cancel()
        for scope in self._scopes:
            scope.cancel()


def _http2(owner: Owner) -> H2Proxy:
    from tunnelkit.http.h2_proxy import H2Proxy  # where nobody speaks HTTP/2, it is not loaded

    return H2Proxy(owner)


def _ip_of(client: str) -> str:
    """Return the address in ``HOST:PORT``."""
    host = client.rpartition(":")[0] or client
    return host.strip("[]") if client.count(":") else ""


def _is_too_large(head: RequestHead, most: int | None) -> bool:
    length = next(values_of(head.fields, b"content-length"), b"0")
    return most is not None and length.isdigit() and int(length) > most
