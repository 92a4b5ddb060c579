"""Send the requests of a HAR to a target, one after the other, and compare what answers them.

How it works.  Each request gets a connection of its own, to the target and to nobody else, whatever
its URL says; ``Host`` stays as it was recorded, unless another one is given.  h11 reads and writes.
A body is sent while its answer is read already, so that neither side waits for the other.  What
takes longer than its deadline is given up, and is an outcome like any other.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import h11
import trio

from tunnelkit.errors import ConfigurationError
from tunnelkit.http.head import Fields

from .comparing import NOT_COMPARED, Difference, compare
from .decode import decode, encodings_of
from .reading import Answer, Call

__all__ = ["Outcome", "Target", "fields_to_send", "parse_target", "replay"]

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of an answer that are read, and that it decodes to.  Stops: answers without end."""

MAX_HEAD_BYTES: Final = 256 * 1024
"""Longest head of an answer, bytes.  Stops: one that never ends."""

READ_BYTES: Final = 64 * 1024
DEADLINE_SECONDS: Final = 30.0
"""How long a request may take unless told otherwise, seconds."""

_NOT_SENT: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
        *(b"transfer-encoding", b"content-length", b"expect", b"http2-settings"),
    }
)
"""Fields of one connection, or that say how a body is framed: replay says that anew."""

_READABLE: Final = ("gzip", "deflate", "identity")
"""What an answer may be encoded with, as the standard library can read it."""

_WITH_BODY: Final = ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests are sent."""

    host: str
    port: int
    is_tls: bool = False

    @property
    def authority(self) -> str:
        """What ``Host`` says where nothing else does."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


@dataclass(slots=True)
class Outcome:
    """What came of one request."""

    call: Call
    answer: Answer | None = None
    differences: list[Difference] = field(default_factory=list)
    error: str = ""
    """Why there was no answer."""
    skipped: str = ""
    """Why it was not sent."""

    @property
    def is_same(self) -> bool:
        """Whether the answer is as it was; also of what was not sent."""
        return not self.differences and not self.error


@dataclass(frozen=True, slots=True)
class _Plan:
    """What all requests of a replay have in common; see `replay`."""

    target: Target
    added: Fields
    ignored: frozenset[str]
    timeout: float
    context: ssl.SSLContext | None


def parse_target(text: str) -> Target:
    """Return the target that *text* names, such as ``http://127.0.0.1:8080``.

    Raises:
        ConfigurationError: it names none.
    """
    wrong = f"{text!r} is no target: write it as http://HOST:PORT or https://HOST:PORT"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(wrong) from None
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
    if parts.scheme not in ("http", "https") or not host or any(rest):
        raise ConfigurationError(wrong)
    is_tls = parts.scheme == "https"
    return Target(host, port or (443 if is_tls else 80), is_tls)


async def replay(
    calls: Sequence[Call],
    target: Target,
    *,
    added: Fields = (),
    ignored: frozenset[str] = NOT_COMPARED,
    concurrency: int = 1,
    timeout: float = DEADLINE_SECONDS,
    context: ssl.SSLContext | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Send requests in their order, and return what came of them, in the same order.

    Args:
        added: fields that are sent with each, in place of those of the same name.
        ignored: names of fields that are not compared, in lower case.
        concurrency: how many are on their way at once, at least 1.
        timeout: for each of them, seconds.
        context: for TLS; None: the certificates of the system.
        on_outcome: called as soon as a request is through.

    Cancellation: atomic here; the target may have carried out any of them.
    """
    outcomes: list[Outcome | None] = [None] * len(calls)
    waiting = iter(enumerate(calls))
    if target.is_tls and context is None:
        context = ssl.create_default_context()
    plan = _Plan(target, added, ignored, timeout, context if target.is_tls else None)

    async def work() -> None:
        for place, call in waiting:
            outcome = await _outcome_of(call, plan)
            outcomes[place] = outcome
            on_outcome(outcome)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(max(1, min(concurrency, len(calls)))):
            nursery.start_soon(work)
    return [outcome for outcome in outcomes if outcome is not None]


async def _outcome_of(call: Call, plan: _Plan) -> Outcome:
    if call.why_not or call.answer is None:
        return Outcome(call, skipped=call.why_not or "it had no answer")
    talk = _Talk(call, plan)
    error = ""
    with trio.move_on_after(plan.timeout) as scope:
        error = await talk.run()
    answer = talk.answer()
    if scope.cancelled_caught and not talk.has_enough():
        error = f"no whole answer within {plan.timeout:g} s"
    if answer is None or error:
        return Outcome(call, answer, error=error or "the connection ended without an answer")
    return Outcome(call, answer, compare(call.answer, answer, plan.ignored))


def fields_to_send(call: Call, target: Target, added: Fields = ()) -> Fields:
    """Return the fields of a request as it is sent again."""
    replaced = {name.lower() for name, _ in added}
    fields = [
        (name, _readable(value) if name.lower() == b"accept-encoding" else value)
        for name, value in call.fields
        if name.lower() not in _NOT_SENT | replaced
    ]
    fields += [pair for pair in added if pair[0].lower() not in _NOT_SENT]
    if not any(name.lower() == b"host" for name, _ in fields):
        fields.insert(0, (b"Host", target.authority.encode()))
    if call.body or call.method in _WITH_BODY:
        fields.append((b"Content-Length", b"%d" % len(call.body)))
    return (*fields, *_last_fields(call))


def _last_fields(call: Call) -> Iterator[tuple[bytes, bytes]]:
    """Yield what the connection becomes: it ends, or it is upgraded as it was."""
    upgrade = next((value for name, value in call.fields if name.lower() == b"upgrade"), b"")
    if upgrade and call.answer is not None and call.answer.status == 101:
        yield b"Connection", b"Upgrade"
        yield b"Upgrade", upgrade
    else:
        yield b"Connection", b"close"


def _readable(value: bytes) -> bytes:
    """Return the encodings of ``Accept-Encoding`` that can be read here."""
    words = (word.strip() for word in value.decode("latin-1").split(","))
    kept = [word for word in words if word.partition(";")[0].strip().lower() in _READABLE]
    return ", ".join(kept).encode("latin-1") or b"identity"


class _Talk:
    """One request on its connection, and its answer as it comes."""

    def __init__(self, call: Call, plan: _Plan) -> None:
        self._call = call
        self._fields = fields_to_send(call, plan.target, plan.added)
        self._target = plan.target
        self._context = plan.context
        self._head: h11.Response | h11.InformationalResponse | None = None
        self._body = bytearray()
        self._has_ended = False
        self._is_full = False

    async def run(self) -> str:
        """Send and receive; return what went wrong, or "".

        Cancellation: breaks, but `answer` has what came until then.
        """
        call = self._call
        machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        try:
            request = h11.Request(
                method=call.method, target=call.target, headers=list(self._fields)
            )
            data = machine.send(request) or b""
            body = (machine.send(h11.Data(data=call.body)) or b"") if call.body else b""
            body += machine.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            return f"it cannot be sent: {error}"
        try:
            stream = await self._connect()
        except OSError as error:
            return f"the target cannot be reached: {error}"
        try:
            await self._exchange(stream, machine, data + body)
        except h11.RemoteProtocolError as error:
            return f"the answer is no HTTP: {error}"
        except trio.BrokenResourceError as error:
            return f"the connection broke: {error.__cause__ or error}"
        finally:
            await trio.aclose_forcefully(stream)
        return ""

    async def _connect(self) -> trio.abc.Stream:
        target = self._target
        stream = await trio.open_tcp_stream(target.host, target.port)
        if self._context is None:
            return stream
        # A server that ends a connection without saying so in TLS is common, and h11 finds out
        # itself whether an answer is whole.
        return trio.SSLStream(
            stream, self._context, server_hostname=target.host, https_compatible=True
        )

    async def _exchange(
        self, stream: trio.abc.Stream, machine: h11.Connection, data: bytes
    ) -> None:
        async def send() -> None:
            try:
                await stream.send_all(data)
            except trio.BrokenResourceError:
                pass  # it takes no more: its answer may say why, and if not, reading says it

        # Both sides of TLS shake hands first; else the two tasks would do so at the same time.
        if isinstance(stream, trio.SSLStream):
            await stream.do_handshake()
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            try:
                await self._receive(stream, machine)
            except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
                failure = error  # not as a group of one
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _receive(self, stream: trio.abc.Stream, machine: h11.Connection) -> None:
        while not self.has_enough():
            event = machine.next_event()
            if event is h11.NEED_DATA:
                machine.receive_data(bytes(await stream.receive_some(READ_BYTES)))
            elif isinstance(event, h11.Data):
                self._body += event.data[: MAX_ANSWER_BYTES - len(self._body)]
                self._is_full = len(self._body) == MAX_ANSWER_BYTES
            elif isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.InformationalResponse):
                self._has_ended = event.status_code == 101
                self._head = event if self._has_ended else None
            else:
                self._has_ended = isinstance(event, h11.EndOfMessage)
                return

    def has_enough(self) -> bool:
        """Whether there is nothing more to wait for; of streams without end, what there was."""
        if self._has_ended or self._is_full:
            return True
        was = self._call.answer
        return (
            was is not None
            and not was.is_whole
            and self._head is not None
            and len(self._body) >= len(was.body or b"")
            and not encodings_of(self._head_fields())
        )

    def answer(self) -> Answer | None:
        """Return the answer as far as it came; None: not even its head did."""
        if self._head is None:
            return None
        fields, data, is_whole = self._head_fields(), bytes(self._body), self._has_ended
        if encodings := encodings_of(fields):
            found = decode(data, encodings, MAX_ANSWER_BYTES)
            if found is None:
                return Answer(self._head.status_code, fields, None, is_whole)
            data, is_whole = found.data, is_whole and found.is_whole
        return Answer(self._head.status_code, fields, data, is_whole)

    def _head_fields(self) -> Fields:
        return _plain(self._head.headers.raw_items()) if self._head is not None else ()


def _plain(pairs: Iterable[tuple[bytes, bytes]]) -> Fields:
    return tuple((bytes(name), bytes(value)) for name, value in pairs)
