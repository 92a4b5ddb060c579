"""Collect exchanges within bounds (no I/O).

How it works.  `Recorder.begin` makes a watch for each exchange that is wanted.  A watch keeps what
it is shown: heads without credentials at once, bodies as they come.  Once the exchange is over, its
bodies are decoded and redacted, and what came is let go of.  `exchanges` does the same to a copy of
those that are still going on, such as streams of events.

At a bound the recorder is over: no exchange begins any more, and those that go on get no further
bytes; `why_over` says which bound it was.  What was kept stays until the recorder is let go of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from tunnelkit.http.head import Fields, RequestHead, ResponseHead, values_of
from tunnelkit.wire.stream import Buffer

from .decode import decode, encodings_of
from .records import Body, Exchange, Times
from .redact import REDACTION, Redaction

__all__ = ["Bounds", "ExchangeWatch", "Recorder", "wanted"]

MIB: Final = 1024 * 1024

MAX_INTERIM: Final = 16
"""Most interim answers of one request that are kept.  Stops: a server that sends them for ever."""

EXCHANGE_BYTES: Final = 4096
"""What an exchange is counted as beside its heads and bodies, bytes: about its objects."""

_OPAQUE: Final = (b"image/", b"audio/", b"video/", b"font/", b"text/css")
"""Kinds of bodies that are kept although they cannot be read: they have no named members."""
_OPAQUE_WORDS: Final = (b"javascript", b"wasm", b"x-font", b"zip", b"pdf")


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a recorder stops, and what it cuts."""

    exchanges: int = 1000
    """Most exchanges.  Stops: a capture that was forgotten filling the memory."""
    body_bytes: int = MIB
    """Most bytes kept of one body, before and after decoding; 0: bodies are not kept.
    Stops: one download filling the capture, and small bodies that decode to huge ones."""
    total_bytes: int = 64 * MIB
    """Most bytes in all.  Stops: many large bodies filling the memory."""
    seconds: float = 600.0
    """How long a capture runs.  Stops: one that was forgotten, which goes on recording."""


DEFAULT_BOUNDS: Final = Bounds()


class Recorder:
    """A capture of HTTP that is running, or over.

    Args:
        wall: returns unix seconds.
        steady: returns the seconds of a clock that is never set.
        is_wanted: whether an exchange is recorded; see `wanted`.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        steady: Callable[[], float],
        *,
        bounds: Bounds = DEFAULT_BOUNDS,
        redaction: Redaction = REDACTION,
        is_wanted: Callable[[RequestHead], bool] | None = None,
    ) -> None:
        self.bounds = bounds
        self.redaction = redaction
        self.steady = steady
        self.used_bytes = 0
        self.started_at = wall()
        self._wall = wall
        self._is_wanted = is_wanted
        self._ends = steady() + bounds.seconds
        self._why = ""
        self._watches: list[ExchangeWatch] = []

    @property
    def why_over(self) -> str:
        """Why nothing more is recorded; "": it goes on."""
        if not self._why and self.steady() >= self._ends:
            self._why = f"it ran for {self.bounds.seconds:g} s"
        return self._why

    @property
    def count(self) -> int:
        """How many exchanges were begun."""
        return len(self._watches)

    def stop(self, why: str = "it was stopped") -> None:
        """Record nothing more."""
        self._why = self._why or why

    def begin(
        self,
        head: RequestHead,
        *,
        client: str,
        scheme: str = "http",
        port: str = "",
        rule: str = "",
        now: float | None = None,
    ) -> ExchangeWatch | None:
        """Begin to record an exchange; return its watch, or None: it is not recorded.

        Args:
            client: who asks, such as ``127.0.0.1:50000``.
            scheme: ``http`` or ``https``, as the client sees it.
            port: the name of the port that it came to.
            rule: the name of the rule that took it.
            now: when its head had come, steady seconds; None: now.
        """
        if self.why_over or (self._is_wanted is not None and not self._is_wanted(head)):
            return None
        if len(self._watches) >= self.bounds.exchanges:
            self.stop(f"it has {self.bounds.exchanges} exchanges")
            return None
        exchange = Exchange(
            number=len(self._watches) + 1,
            client=client,
            scheme=scheme,
            port=port,
            rule=rule,
            started_at=self._wall(),
            times=Times(self.steady() if now is None else now),
            request=self.redaction.request(head),
            request_head_bytes=len(head.write()),
        )
        self.take(EXCHANGE_BYTES + exchange.request_head_bytes)
        watch = ExchangeWatch(self, exchange)
        self._watches.append(watch)
        return watch

    def take(self, count: int) -> int:
        """Count bytes that are kept; return how many of them there is room for."""
        room = max(0, self.bounds.total_bytes - self.used_bytes)
        self.used_bytes += min(count, room)
        if count > room:
            self.stop(f"it has {self.bounds.total_bytes} bytes")
        return min(count, room)

    def give_back(self, count: int) -> None:
        """Count bytes that are no longer kept."""
        self.used_bytes -= count

    def exchanges(self) -> list[Exchange]:
        """Return what was recorded, in the order of the requests, as far as it came."""
        return [watch.so_far() for watch in self._watches]


class _Intake:
    """A body as it comes."""

    __slots__ = ("_recorder", "cut", "data", "has_ended", "size")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.data = bytearray()
        self.size = 0
        self.cut = ""
        self.has_ended = False

    def feed(self, data: Buffer) -> None:
        size = len(data)
        self.size += size
        if self.cut or not size:
            return
        limit = self._recorder.bounds.body_bytes
        room = limit - len(self.data)
        if not limit:
            self.cut = "bodies are not kept"
        elif self._recorder.why_over:
            self.cut = "the capture was over"
        else:
            taken = self._recorder.take(min(size, room))
            self.data += data if taken == size else memoryview(data)[:taken]
            if taken < size:
                self.cut = f"only {limit} bytes are kept" if size > room else "the capture is full"

    def body(self, fields: Fields, room: int) -> Body:
        """Return what came, without encodings and credentials, and with at most *room* bytes."""
        redaction = self._recorder.redaction
        kind = next(values_of(fields, b"content-type"), b"")
        data, cut, encodings = bytes(self.data), self.cut, encodings_of(fields)
        found = decode(data, encodings, room) if encodings and data else None
        if found is not None:
            data = found.data
            cut = cut or ("" if found.is_whole else _why_not_whole(len(data) >= room))
        elif encodings and data:
            encodings = ()
            if redaction.is_on and not _is_opaque(kind):
                data, cut = b"", "it cannot be decoded, and so not be redacted"
        kept = redaction.body(data, kind)
        return Body(kept, self.size, cut, encodings, self.has_ended)


def _why_not_whole(is_full: bool) -> str:
    return "it decodes to more than is kept" if is_full else "its encoding ends too early"


def _is_opaque(kind: bytes) -> bool:
    lower = kind.lower()
    return lower.startswith(_OPAQUE) or any(word in lower for word in _OPAQUE_WORDS)


class ExchangeWatch:
    """Watches one exchange; made by `Recorder.begin`.  It is a `tunnelkit.http.watching.Watch`."""

    __slots__ = ("_answer", "_exchange", "_recorder", "_request")

    def __init__(self, recorder: Recorder, exchange: Exchange) -> None:
        self._recorder = recorder
        self._exchange = exchange
        self._request = _Intake(recorder)
        self._answer = _Intake(recorder)

    def request_data(self, data: Buffer) -> None:
        """Bytes of the request's body, without what frames them."""
        self._request.feed(data)

    def request_ended(self, trailers: Fields) -> None:
        """The request has ended, and none of it is missing."""
        self._request.has_ended = True
        self._exchange.times.request_ended = self._recorder.steady()
        self._exchange.request_trailers = self._kept_fields(trailers)

    def sent_to(self, head: RequestHead, server: str) -> None:
        """The request goes to a server; when it goes to another one, that one counts."""
        self._recorder.take(len(head.write()))
        self._exchange.sent = self._recorder.redaction.request(head)
        self._exchange.server = server
        self._exchange.times.sent = self._recorder.steady()

    def answer_begun(self, head: ResponseHead) -> None:
        """The head of an answer, interim ones (1xx) included."""
        exchange = self._exchange
        if 100 <= head.status < 200 and head.status != 101:
            exchange.interim_count += 1
            if len(exchange.interim) < MAX_INTERIM:
                fields = self._kept_fields(head.fields)
                exchange.interim.append(replace(head, fields=fields))
            return
        exchange.answer_head_bytes = len(head.write())
        self._recorder.take(exchange.answer_head_bytes)
        exchange.answer = self._recorder.redaction.answer(head)
        exchange.times.answer_begun = self._recorder.steady()

    def answer_data(self, data: Buffer) -> None:
        """Bytes of the answer's body, without what frames them."""
        self._answer.feed(data)

    def answer_ended(self, trailers: Fields) -> None:
        """The answer has ended, and none of it is missing."""
        self._answer.has_ended = True
        self._exchange.times.answer_ended = self._recorder.steady()
        self._exchange.answer_trailers = self._kept_fields(trailers)

    def over(self, why: str) -> None:
        """Nothing more comes: decode and redact the bodies, and let go of what came."""
        if self._exchange.is_over:
            return
        came = len(self._request.data) + len(self._answer.data)
        self._recorder.give_back(came)
        exchange = self._exchange = self.so_far()
        self._recorder.take(len(exchange.request_body.data) + len(exchange.answer_body.data))
        exchange.is_over = True
        exchange.why = why
        exchange.times.over = self._recorder.steady()
        self._request = self._answer = _Intake(self._recorder)

    def so_far(self) -> Exchange:
        """Return what was recorded until now."""
        exchange = self._exchange
        if exchange.is_over:
            return exchange
        bounds = self._recorder.bounds
        left = max(0, bounds.total_bytes - self._recorder.used_bytes)
        asked = self._request.body(exchange.request.fields, min(bounds.body_bytes, left))
        left = max(0, left - len(asked.data))
        fields = exchange.answer.fields if exchange.answer is not None else ()
        told = self._answer.body(fields, min(bounds.body_bytes, left))
        return replace(
            exchange,
            times=replace(exchange.times),
            interim=list(exchange.interim),
            request_body=asked,
            answer_body=told,
        )

    def _kept_fields(self, fields: Fields) -> Fields:
        self._recorder.take(sum(len(name) + len(value) for name, value in fields))
        return self._recorder.redaction.fields(fields)


def wanted(
    *,
    path_prefix: str = "",
    methods: Iterable[str] = (),
    fields: Iterable[tuple[str, str]] = (),
) -> Callable[[RequestHead], bool]:
    """Return a filter that wants the requests which have all of this.

    Args:
        path_prefix: what the target begins with.
        methods: one of them is the method; none: any is.
        fields: pairs of a name and a text that is in the value of a field of that name.
    """
    prefix = path_prefix.encode()
    allowed = frozenset(method.upper().encode() for method in methods)
    texts = [(name.lower().encode(), text.lower().encode()) for name, text in fields]

    def is_wanted(head: RequestHead) -> bool:
        return (
            head.target.startswith(prefix)
            and (not allowed or head.method in allowed)
            and all(
                any(text in value.lower() for value in values_of(head.fields, name))
                for name, text in texts
            )
        )

    return is_wanted
