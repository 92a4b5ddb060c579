"""A typed client of services that are served over HTTP (`http_app`).

    async with open_http_client("https://api.example.com/api/rpc", token=token) as client:
        clusters = await client.proxy(HrpcService).all_kube_clusters(org_id)

The HTTP is that of httpx2 (the extra `control`), which keeps connections between calls.  What goes
beyond JSON-RPC stands in a header, which servers that do not know it leave alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from .calls import result_of
from .codes import PeerGone, RpcCode, RpcError
from .context import extras_to_send
from .epochs import Epoch
from .http_checks import EXTRAS_HEADER
from .messages import Extras, Fault, Reply, encode_request, parse
from .payload import is_payload
from .proxy import make_proxy
from .service import Service
from .spec import MethodSpec, whole_of
from .wholes import gathered

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpClient", "open_http_client"]

CONNECT_SECONDS: Final = 10.0
"""How long a connection may take, seconds; for the answer the caller's scope has a deadline."""

T = TypeVar("T", bound=Service)


class HttpClient:
    """Calls services over HTTP; made by `open_http_client`."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self._url = url
        self._http = http
        self._ids = count(1)
        self._epochs: dict[str, Epoch] = {}
        """The newest of each service, with which proxies begin."""

    def proxy(self, interface: type[T]) -> T:
        """Return an object whose methods call those of the server."""
        return make_proxy(interface, self)

    def epoch_of(self, service: str) -> Epoch:
        """Return what is known of the epoch of a service, for a new proxy to keep."""
        known = self._epochs.get(service)
        return Epoch(known.known if known is not None else None)

    async def call(self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch) -> Any:
        """Call a method and return its result.

        Raises:
            RpcError: the server answered with an error, or its answer is none.
            PeerGone: the server cannot be reached, or went away before it answered.
        Cancellation: the handler is cancelled, and may have finished all the same.
        """
        return await self._ask(spec, params, epoch, spec.result)

    async def call_with_values(
        self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch, values: AsyncIterable[Any]
    ) -> Any:
        """Call a method that takes a streamed argument, all of which goes in one message.

        Raises:
            RpcError: TOO_LARGE, it does not fit into one: nothing was sent.
        """
        return await self._ask(spec, await gathered(spec, params, values), epoch, spec.result)

    async def stream(
        self,
        spec: MethodSpec,
        params: msgspec.Struct,
        epoch: Epoch,
        values: AsyncIterable[Any] | None = None,
    ) -> AsyncIterator[Any]:
        """Call a method whose result is streamed, and yield what came in one message."""
        if values is not None:
            params = await gathered(spec, params, values)
        found = await self._ask(spec, params, epoch, whole_of(spec.result))
        for item in [found] if is_payload(spec.result) else found:
            yield item

    async def _ask(
        self, spec: MethodSpec, params: msgspec.Struct, epoch: Epoch, wanted: Any
    ) -> Any:
        number, carried = next(self._ids), epoch.known
        extras = extras_to_send(carried)
        message = encode_request(spec.wire_name, params, number)
        status, body = await self._post(message, extras)
        found = parse(body)[0][0]
        if not isinstance(found, Reply) or found.id not in (number, None):
            why = found.text if isinstance(found, Fault) else "it answers something else"
            text = f"{spec.wire_name}: the server's answer (HTTP {status}) is none: {why}"
            raise RpcError(RpcCode.INTERNAL_ERROR, text)
        if found.extras is not None and isinstance(found.extras.epoch, int):
            newest = self._epochs.setdefault(spec.service, Epoch())
            for one in (epoch, newest):
                one.learn(found.extras.epoch, carried)
        return result_of(spec, found, wanted).unwrap()

    async def _post(self, message: bytes, extras: Extras) -> tuple[int, bytes]:
        from httpx2 import TransportError

        told = msgspec.json.encode(extras).decode()
        headers = {"content-type": "application/json", EXTRAS_HEADER: told}
        try:
            response = await self._http.post(self._url, content=message, headers=headers)
        except TransportError as error:
            why = str(error) or type(error).__name__
            raise PeerGone(f"{self._url}: no answer: {why}") from error
        return response.status_code, response.content


@asynccontextmanager
async def open_http_client(
    url: str,
    *,
    token: str = "",
    cookies: Mapping[str, str] | None = None,
    http: httpx2.AsyncClient | None = None,
) -> AsyncGenerator[HttpClient]:
    """Call services over HTTP until the block is left.

    Args:
        url: where they are served, such as ``https://api.example.com/api/rpc``.
        token: shown with each call, as a bearer token.
        cookies: sent with each call.
        http: a client with settings of its own (a proxy, a unix socket, certificates); it stays
            open, and the other arguments are not used.

    Raises:
        ModuleNotFoundError: httpx2 is not installed: ``pip install tunnelkit[control]``.
    """
    import httpx2

    if http is not None:
        yield HttpClient(url, http)
        return
    headers = {"authorization": f"Bearer {token}"} if token else {}
    timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
    jar = dict(cookies or {})
    async with httpx2.AsyncClient(headers=headers, cookies=jar, timeout=timeout) as made:
        yield HttpClient(url, made)
